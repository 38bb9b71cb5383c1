//! What a broker says of its own replicas to who plans a recovery.

use anyport_protocol::{Offset, ReplicaId};
use anyport_storage::{GroupId, Store};
use serde::{Deserialize, Serialize};

use crate::cluster::blocking::in_place;
use crate::cluster::group::Group;
use crate::cluster::leadership::Leadership;
use crate::cluster::replicas::{Running, RunningReplicas};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::cluster) struct Survey {
    pub(in crate::cluster) replicas: Vec<Surveyed>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::cluster) struct Surveyed {
    pub(in crate::cluster) group: GroupId,
    pub(in crate::cluster) replica: ReplicaId,
    /// The end of its log; zeros if it has none.
    pub(in crate::cluster) last_term: u64,
    pub(in crate::cluster) last_index: u64,
    /// How far it knows that a majority had it.
    pub(in crate::cluster) committed: u64,
    /// The end of its events once all of its log is applied, of a partition.
    pub(in crate::cluster) tail: Option<Offset>,
    /// Who votes, as its log says; two sets while they change.
    pub(in crate::cluster) voters: Vec<Vec<ReplicaId>>,
}

impl Survey {
    /// Of all replicas that run here. One that is dead, or whose log cannot be read, is none to go on from.
    pub(in crate::cluster) async fn of(store: &Store, metadata: &Group, running: &RunningReplicas) -> Self {
        let mut replicas = Vec::new();
        for (group, running) in
            std::iter::once((metadata, None)).chain(running.values().map(|one| (&one.group, Some(one))))
        {
            replicas.extend(of_one(store, group, running).await);
        }
        Self { replicas }
    }
}

async fn of_one(store: &Store, group: &Group, running: Option<&Running>) -> Option<Surveyed> {
    if let Leadership::Stopped { .. } = group.leadership().current() {
        return None;
    }
    let (committed, _) = group.committed_and_applied().await.ok()?;
    let voters = group.voters().await.ok()?;
    let last = store.log(group.id()).last();
    let tail = match running.and_then(Running::partition) {
        Some(partition) => Some(in_place(|| partition.reader().tail_of_log()).ok()?),
        None => None,
    };
    Some(Surveyed {
        group: group.id(),
        replica: group.replica(),
        last_term: last.map_or(0, |last| last.term),
        last_index: last.map_or(0, |last| last.index),
        committed: committed.map_or(0, |committed| committed.index),
        tail,
        voters,
    })
}
