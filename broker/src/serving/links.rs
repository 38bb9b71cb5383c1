//! Which brokers may have what this one has not.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use anyport_protocol::{BrokerId, Code, Fault};
use anyport_storage::GroupId;
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use crate::cluster::Leaders;
use crate::peer::{Alone, Call, Link, PeerError, Peers};

const NO_REPLICA_RETRY_MS: u32 = 200;
const NO_ANSWER_RETRY_MS: u32 = 100;

/// Which brokers have a replica of each group, the nearest first. Clones share what they know.
#[derive(Clone, Debug, Default)]
pub struct Replicas {
    by_group: Arc<RwLock<HashMap<GroupId, Vec<BrokerId>>>>,
}

impl Replicas {
    pub fn set(&self, group: GroupId, nearest_first: Vec<BrokerId>) {
        self.by_group.write().unwrap_or_else(PoisonError::into_inner).insert(group, nearest_first);
    }

    pub fn of(&self, group: GroupId) -> Vec<BrokerId> {
        let by_group = self.by_group.read().unwrap_or_else(PoisonError::into_inner);
        by_group.get(&group).cloned().unwrap_or_default()
    }
}

/// How this broker reaches the replicas of others. Clones share.
#[derive(Clone, Debug)]
pub struct Links {
    pub own: BrokerId,
    pub peers: Peers,
    pub leaders: Leaders,
    pub replicas: Replicas,
}

impl Links {
    /// Of a broker that is its whole cluster.
    pub fn alone() -> Self {
        Self {
            own: BrokerId::FIRST,
            peers: Arc::new(Alone::default()),
            leaders: Leaders::default(),
            replicas: Replicas::default(),
        }
    }

    pub fn leader(&self, group: GroupId) -> Option<BrokerId> {
        self.leaders.get(group).filter(|leader| *leader != self.own)
    }

    /// Brokers to ask about a group, one after the other: those that have a replica and are there, its leader, and then whoever is
    /// there, since what is known here of placement may be old.
    pub fn candidates(&self, group: GroupId) -> Vec<BrokerId> {
        let reached = self.peers.reached();
        let reached = reached.borrow();
        let likely = self.replicas.of(group).into_iter().chain(self.leader(group));
        let mut candidates = Vec::new();
        for broker in likely.filter(|broker| reached.contains(broker)).chain(reached.iter().copied()) {
            if broker != self.own && !candidates.contains(&broker) {
                candidates.push(broker);
            }
        }
        candidates
    }
}

impl Links {
    /// Has one broker do something. The fault says whether it may have been done.
    pub(crate) async fn ask(
        &self,
        broker: BrokerId,
        call: Call,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, Fault> {
        match timeout_at(deadline, self.peers.call(broker, Link::Bulk, call, body)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(PeerError::Refused { fault, .. })) => Err(fault),
            Ok(Err(error @ PeerError::Unreachable { .. })) => {
                Err(Fault::retry_after(Code::NotReady, NO_ANSWER_RETRY_MS, error.to_string()))
            }
            Ok(Err(error @ PeerError::Lost { .. })) => Err(Fault::new(Code::MaybeStored, error.to_string())),
            Err(_) => Err(Fault::new(Code::MaybeStored, format!("broker {broker} did not answer in time"))),
        }
    }

    /// Asks one broker something that changes nothing there.
    pub(crate) async fn inquire(
        &self,
        broker: BrokerId,
        call: Call,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, Fault> {
        self.ask(broker, call, body, deadline).await.map_err(|fault| match fault.code() {
            Some(Code::MaybeStored) => Fault::retry_after(Code::RetryAfter, NO_ANSWER_RETRY_MS, fault.text),
            _ => fault,
        })
    }
}

pub(crate) fn no_replica(group: GroupId) -> Fault {
    let text = format!("no replica of {group} can be reached from here");
    Fault::retry_after(Code::NotReady, NO_REPLICA_RETRY_MS, text)
}
