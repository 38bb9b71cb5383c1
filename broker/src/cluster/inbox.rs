//! The replicas that run on this broker: what other brokers ask them, and the task that oversees them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyport_protocol::{BrokerId, Code, Fault};
use anyport_storage::GroupId;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::group::Group;
use super::oversight::Overseen;
use super::timing::Pace;
use crate::peer::PeerStream;
use anyport_storage::metadata::Timing;

/// The running replicas by group; clones share them.
#[derive(Clone, Debug, Default)]
pub struct RaftInbox {
    groups: Arc<Mutex<BTreeMap<GroupId, Group>>>,
}

impl RaftInbox {
    /// From now on this replica hears what it is told, and is overseen. A former one of the same group is no longer.
    pub fn insert(&self, group: &Group) {
        self.lock().insert(group.id(), group.clone());
    }

    pub fn remove(&self, group: GroupId) {
        self.lock().remove(&group);
    }

    pub fn get(&self, group: GroupId) -> Option<Group> {
        self.lock().get(&group).cloned()
    }

    /// Answers [`crate::peer::Call::Raft`].
    pub async fn call(&self, _from: BrokerId, _body: Bytes) -> Result<Bytes, Fault> {
        Err(Fault::new(Code::NotReady, "no replica answers yet"))
    }

    /// Serves a [`crate::peer::PeerStreamKind::Snapshot`].
    pub async fn stream(&self, _from: BrokerId, _stream: PeerStream) {}

    /// Oversees all replicas until it is told to stop: without it no leader sends heartbeats.
    pub async fn oversee(self, timing: Timing, reached: watch::Receiver<BTreeSet<BrokerId>>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(Pace::from(timing).heartbeat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut overseen = BTreeMap::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            self.refresh(&mut overseen);
            let reached = reached.borrow().clone();
            for group in overseen.values_mut() {
                group.on_heartbeat(&reached, Instant::now()).await;
            }
        }
    }

    fn refresh(&self, overseen: &mut BTreeMap<GroupId, Overseen>) {
        let groups = self.lock();
        overseen.retain(|id, known| groups.get(id).is_some_and(|group| group.is_same(&known.group)));
        for (id, group) in groups.iter() {
            overseen.entry(*id).or_insert_with(|| Overseen::new(group.clone()));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<GroupId, Group>> {
        // Every critical section is a few map operations.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
