//! Making a replica all of its group: noted while the broker runs, done before anything runs.

use std::collections::BTreeSet;
use std::sync::mpsc;

use anyport_protocol::ReplicaId;
use anyport_storage::{Done, GroupId, GroupLog, LogEntry, LogId, Payload, Store, StoreError};
use openraft::{Membership, Vote};
use serde::{Deserialize, Serialize};

use crate::cluster::blocking::in_place;
use crate::cluster::encoding::{BadStored, decode_vote, encode_membership, encode_vote};
use crate::cluster::noted::Noted;
use crate::cluster::replicas::ReplicaError;

/// The row that says what is to be done at the next start.
const ROW: &str = "recovery";

/// One replica that is to be all of its group, if its log still ends where the plan says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::cluster) struct Forced {
    pub(in crate::cluster) group: GroupId,
    pub(in crate::cluster) replica: ReplicaId,
    pub(in crate::cluster) last_term: u64,
    pub(in crate::cluster) last_index: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ForceError {
    #[error("recover: {0}")]
    Store(#[from] StoreError),
    #[error("recover: {0}")]
    Replica(#[from] ReplicaError),
    #[error("recover {group}: its vote: {cause}")]
    Vote { group: GroupId, cause: BadStored },
    #[error("recover: the note of what is to be done: {0}")]
    Note(#[from] rmp_serde::decode::Error),
}

impl Forced {
    fn is_at_its_end(&self, log: &GroupLog) -> bool {
        let (term, index) = log.last().map_or((0, 0), |last| (last.term, last.index));
        (term, index) == (self.last_term, self.last_index)
    }
}

/// Durable when it returns. `None` if one of them is not as the plan says.
pub(super) fn note(store: &Store, forced: &[Forced]) -> Result<Option<()>, ForceError> {
    for one in forced {
        if Noted::read(store, one.group)?.has != Some(one.replica) || !one.is_at_its_end(&store.log(one.group)) {
            return Ok(None);
        }
    }
    in_place(|| store.put_local(ROW, &rmp_serde::to_vec_named(forced).expect("plain data")))?;
    Ok(Some(()))
}

/// Does what was noted, before any replica runs. Done half and then again it comes to the same.
pub(in crate::cluster) fn carry_out(store: &Store) -> Result<(), ForceError> {
    let row = store.local(ROW)?.unwrap_or_default();
    if row.is_empty() {
        return Ok(());
    }
    let forced: Vec<Forced> = rmp_serde::from_slice(&row)?;
    for one in &forced {
        let log = store.log(one.group);
        if one.is_at_its_end(&log) {
            force(&log, one.replica)?;
            tracing::warn!(group = %one.group, replica = %one.replica, "this replica is all of its group now: an operator has said so");
        } else {
            tracing::warn!(group = %one.group, last = ?log.last(), "the log has grown since it was planned, or was recovered already");
        }
    }
    Ok(store.put_local(ROW, b"")?)
}

/// In a term that no other replica has led in, as far as is known here: what others still have of it is not compared any more.
fn force(log: &GroupLog, replica: ReplicaId) -> Result<(), ForceError> {
    let group = log.group();
    let vote = log.vote()?.map(|vote| decode_vote(&vote)).transpose();
    let vote = vote.map_err(|cause| ForceError::Vote { group, cause })?;
    let last = log.last();
    let term = 1 + vote.map_or(0, |vote| vote.leader_id.term).max(last.map_or(0, |last| last.term));
    let (done, voted) = notice();
    log.save_vote(&encode_vote(&Vote::new(term, replica.0)), done);
    voted()?;
    let id = LogId { term, node: replica.0, index: last.map_or(0, |last| last.index + 1) };
    let alone = Membership::new(vec![BTreeSet::from([replica.0])], ());
    let entry = LogEntry { id, payload: Payload::Membership(encode_membership(&alone)) };
    let (done, appended) = notice();
    log.append(vec![entry], done)?;
    Ok(appended()?)
}

/// What the committer is to call, and what waits until it has.
fn notice() -> (Done, impl FnOnce() -> Result<(), StoreError>) {
    let (told, outcome) = mpsc::channel();
    let done: Done = Box::new(move |result| drop(told.send(result)));
    (done, move || outcome.recv().unwrap_or(Err(StoreError::Closed)))
}
