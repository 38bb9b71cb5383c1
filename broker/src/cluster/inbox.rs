//! The replicas that run on this broker: what other brokers ask them, and the task that oversees them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyport_protocol::{BrokerId, Code, Fault, ReplicaId};
use anyport_storage::GroupId;
use anyport_storage::metadata::Timing;
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::group::Group;
use super::oversight::Overseen;
use super::pulse::Health;
use super::receiving::{self, Incoming};
use super::timing::Pace;
use super::types::{RaftVote, Snapshot, SnapshotData, SnapshotMeta, from_raft_id};
use super::wire::{self, Answer, Asked, BadMessage, Install, Piece, Request};

/// The running replicas by group; clones share them.
#[derive(Clone, Debug)]
pub struct RaftInbox {
    replicas: Arc<Mutex<BTreeMap<GroupId, Replica>>>,
    /// Where snapshots that come in are written.
    folder: Arc<Path>,
}

#[derive(Clone, Debug)]
struct Replica {
    group: Group,
    /// One file at a time.
    incoming: Arc<Mutex<Option<Incoming>>>,
}

impl RaftInbox {
    pub fn new(snapshot_folder: PathBuf) -> Self {
        Self { replicas: Arc::default(), folder: snapshot_folder.into() }
    }

    /// From now on this replica hears what it is told, and is overseen. A former one of the same group is no longer.
    pub fn insert(&self, group: &Group) {
        let replica = Replica { group: group.clone(), incoming: Arc::default() };
        self.lock().insert(group.id(), replica);
    }

    pub fn remove(&self, group: GroupId) {
        self.lock().remove(&group);
    }

    pub fn get(&self, group: GroupId) -> Option<Group> {
        self.lock().get(&group).map(|replica| replica.group.clone())
    }

    /// Answers [`crate::peer::Call::Raft`], which may hold questions to several replicas.
    pub async fn call(&self, from: BrokerId, body: Bytes) -> Result<Bytes, Fault> {
        let unreadable = |bad: BadMessage| Fault::new(Code::MalformedFrame, format!("a message of Raft: {bad}"));
        let questions = wire::split(body).map_err(unreadable)?;
        let asked = questions.into_iter().map(Asked::decode).collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
        let shared = asked.len() > 1;
        let answers = join_all(asked.into_iter().map(|asked| self.answer(from, asked, shared))).await;
        Ok(wire::join(&answers.iter().map(Answer::encode).collect::<Vec<_>>()))
    }

    /// `shared`: the answers to other questions wait for this one.
    async fn answer(&self, from: BrokerId, asked: Asked, shared: bool) -> Answer {
        let Asked { group, target, request } = asked;
        let replica = self.lock().get(&group).filter(|replica| replica.group.replica() == target).cloned();
        let Some(replica) = replica else { return Answer::NoSuchReplica };
        if request.vote().is_some_and(|vote| ReplicaId(vote.leader_id.node_id).broker() != from) {
            return Answer::Failed(format!("broker {from} speaks for another's replica"));
        }
        let patience = shared.then_some(replica.group.inner.pace.heartbeat / 2);
        let answer = self.answer_of(replica, request);
        match patience {
            Some(patience) => tokio::time::timeout(patience, answer).await.unwrap_or(Answer::Late),
            None => answer.await,
        }
    }

    async fn answer_of(&self, replica: Replica, request: Request) -> Answer {
        let raft = &replica.group.inner.raft;
        match request {
            Request::Append(append) => raft.append_entries(append).await.map(Answer::Append).unwrap_or_else(failed),
            Request::Vote(vote) => raft.vote(vote).await.map(Answer::Vote).unwrap_or_else(failed),
            Request::Snapshot { vote, meta, bytes } => {
                replica.install(vote, meta, SnapshotData::Bytes(bytes.into())).await
            }
            Request::Piece(piece) => self.take(replica, piece).await,
            Request::Install(install) => self.install(replica, install).await,
        }
    }

    async fn take(&self, replica: Replica, piece: Piece) -> Answer {
        replica.group.inner.oversight.receives_snapshot(Instant::now());
        let (folder, group, target) = (Arc::clone(&self.folder), replica.group.id(), replica.group.replica());
        let slot = Arc::clone(&replica.incoming);
        let taken = blocking(move || receiving::take(&mut lock(&slot), &folder, group, target, &piece)).await;
        taken.map(Answer::Has).unwrap_or_else(failed)
    }

    async fn install(&self, replica: Replica, install: Install) -> Answer {
        let Some(of) = install.meta.last_log_id.as_ref().map(from_raft_id) else { return Answer::Has(0) };
        replica.group.inner.oversight.receives_snapshot(Instant::now());
        let (slot, target, wanted) = (Arc::clone(&replica.incoming), replica.group.replica(), install.clone());
        match blocking(move || receiving::complete(&mut lock(&slot), target, of, &wanted)).await {
            Ok(Ok(file)) => replica.install(install.vote, install.meta, SnapshotData::File(Arc::new(file))).await,
            Ok(Err(has)) => Answer::Has(has),
            Err(error) => failed(error),
        }
    }

    /// Oversees all replicas until it is told to stop: without it no leader sends heartbeats.
    pub async fn oversee(
        self,
        timing: Timing,
        reached: watch::Receiver<BTreeSet<BrokerId>>,
        health: watch::Receiver<Health>,
        stop: CancellationToken,
    ) {
        let mut ticks = tokio::time::interval(Pace::from(timing).heartbeat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut overseen = BTreeMap::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            self.refresh(&mut overseen);
            if health.borrow().is_stuck() {
                overseen.values_mut().for_each(Overseen::on_stuck);
                continue;
            }
            let reached = reached.borrow().clone();
            for group in overseen.values_mut() {
                group.on_heartbeat(&reached, Instant::now()).await;
            }
        }
    }

    fn refresh(&self, overseen: &mut BTreeMap<GroupId, Overseen>) {
        let replicas = self.lock();
        overseen.retain(|id, known| replicas.get(id).is_some_and(|replica| replica.group.is_same(&known.group)));
        for (id, replica) in replicas.iter() {
            overseen.entry(*id).or_insert_with(|| Overseen::new(replica.group.clone()));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<GroupId, Replica>> {
        lock(&self.replicas)
    }
}

impl Replica {
    async fn install(&self, vote: RaftVote, meta: SnapshotMeta, data: SnapshotData) -> Answer {
        let snapshot = Snapshot { meta, snapshot: Box::new(data) };
        let installed = self.group.inner.raft.install_full_snapshot(vote, snapshot).await;
        installed.map(|response| Answer::Installed(response.vote)).unwrap_or_else(failed)
    }
}

/// Locks are held for lines; that of what comes in, on a blocking thread, for as long as a piece is written.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(error: impl std::fmt::Display) -> Answer {
    Answer::Failed(error.to_string())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other).flatten()
}
