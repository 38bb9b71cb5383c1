//! The one thread that makes writes durable, for all groups of the broker.
//!
//! It takes whatever has been queued while the last sync ran, writes it, syncs once, and tells everybody in the order of
//! submission. There is no timer: under load rounds grow by themselves, and when idle a write is synced at once.
//!
//! What is queued is bounded by those who queue: a group has one append under way, and waits for it.

use std::fmt;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rocksdb::WriteBatch;

use crate::Done;
use crate::engine::Disk;
use crate::error::{OpenError, StoreError};
use crate::log::Written;
use crate::options::SyncMode;

/// One write, and whom to tell.
pub(crate) struct Job {
    pub(crate) batch: WriteBatch,
    pub(crate) durability: Durability,
    /// Told once the write can be read from RocksDB.
    pub(crate) written: Option<Written>,
    pub(crate) done: Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// As the store's [`SyncMode`] says.
    AsStore,
    /// Synced, whatever the mode: votes, purge marks, the broker's own facts.
    Synced,
}

enum Message {
    Job(Job),
    Stop,
}

/// Jobs of one round: past this, telling the first ones matters more than sharing the sync.
const ROUND_JOBS_MAX: usize = 1024;

pub(crate) struct Committer {
    queue: Sender<Message>,
    /// Held for reading while a job is queued, so that none is queued behind the stop and never told.
    open: RwLock<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Committer {
    pub(crate) fn start(disk: Arc<Disk>, mode: SyncMode) -> Result<Self, OpenError> {
        let (queue, inbox) = mpsc::channel();
        let task = CommitterThread { disk, mode, inbox, unsynced_since: None, stopping: false };
        let thread = thread::Builder::new()
            .name("store-committer".into())
            .spawn(|| task.run())
            .map_err(|cause| OpenError::Thread { name: "store-committer", cause })?;
        Ok(Self { queue, open: RwLock::new(true), thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn check_open(&self) -> Result<(), StoreError> {
        if *self.open.read().unwrap_or_else(PoisonError::into_inner) { Ok(()) } else { Err(StoreError::Closed) }
    }

    /// Queues a job. If the store is closed, gives back whom to tell: the caller does so once it holds no lock.
    pub(crate) fn submit(&self, job: Job) -> Refused {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        if !*open {
            return Refused(Some(job.done));
        }
        match self.queue.send(Message::Job(job)) {
            Err(mpsc::SendError(Message::Job(job))) => Refused(Some(job.done)),
            Err(mpsc::SendError(Message::Stop)) | Ok(()) => Refused(None),
        }
    }

    /// Returns when everything queued so far is durable and told. On the committer's own thread it only asks.
    pub(crate) fn stop(&self) {
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = false;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        let _ = self.queue.send(Message::Stop);
        if thread.thread().id() != thread::current().id() && thread.join().is_err() {
            tracing::error!("the committer thread panicked");
        }
    }
}

/// Whom to tell that the store is closed, if it is.
#[must_use]
pub(crate) struct Refused(Option<Done>);

impl Refused {
    pub(crate) fn tell(self) {
        if let Some(done) = self.0 {
            done(Err(StoreError::Closed));
        }
    }
}

struct CommitterThread {
    disk: Arc<Disk>,
    mode: SyncMode,
    inbox: Receiver<Message>,
    /// Relaxed mode: when the oldest write that is not yet synced was made.
    unsynced_since: Option<Instant>,
    stopping: bool,
}

impl CommitterThread {
    fn run(mut self) {
        while !self.stopping {
            match self.next_round() {
                Some(round) => self.commit(round),
                None => self.sync_when_due(),
            }
        }
        let late = self.drain(Vec::new());
        self.commit(late);
        let _ = self.disk.sync();
    }

    /// Waits for work. Nothing if the interval's sync is due first.
    fn next_round(&mut self) -> Option<Vec<Job>> {
        let first = match self.sync_due_in() {
            None => self.inbox.recv().unwrap_or(Message::Stop),
            Some(wait) => match self.inbox.recv_timeout(wait) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => Message::Stop,
            },
        };
        match first {
            Message::Job(job) => Some(self.drain(vec![job])),
            Message::Stop => {
                self.stopping = true;
                Some(Vec::new())
            }
        }
    }

    fn drain(&mut self, mut round: Vec<Job>) -> Vec<Job> {
        while round.len() < ROUND_JOBS_MAX {
            match self.inbox.try_recv() {
                Ok(Message::Job(job)) => round.push(job),
                Ok(Message::Stop) => self.stopping = true,
                Err(_) => break,
            }
        }
        round
    }

    fn commit(&mut self, round: Vec<Job>) {
        if round.is_empty() {
            return;
        }
        let synced = round.iter().any(|job| job.durability == Durability::Synced);
        let mut told = Vec::with_capacity(round.len());
        let mut outcome = Ok(());
        for job in round {
            outcome = outcome.and_then(|()| self.disk.write(job.batch));
            if let (Ok(()), Some(written)) = (&outcome, job.written) {
                written.tell();
            }
            told.push(job.done);
        }
        let outcome = outcome.and_then(|()| self.make_durable(synced));
        metrics::histogram!("anyport_store_round_jobs").record(told.len() as f64);
        for done in told {
            done(outcome.clone());
        }
    }

    fn make_durable(&mut self, synced: bool) -> Result<(), StoreError> {
        match self.mode {
            SyncMode::Relaxed { .. } if !synced => {
                self.disk.hand_over()?;
                self.unsynced_since.get_or_insert_with(Instant::now);
                self.sync_when_due();
                self.disk.check()
            }
            _ => self.sync(),
        }
    }

    fn sync_due_in(&self) -> Option<Duration> {
        match (self.mode, self.unsynced_since) {
            (SyncMode::Relaxed { interval }, Some(since)) => Some(interval.saturating_sub(since.elapsed())),
            _ => None,
        }
    }

    fn sync_when_due(&mut self) {
        if self.sync_due_in().is_some_and(|wait| wait.is_zero()) {
            // A failure poisons the store, and every later job is told.
            let _ = self.sync();
        }
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        let started = Instant::now();
        self.disk.sync()?;
        metrics::histogram!("anyport_store_sync_seconds").record(started.elapsed().as_secs_f64());
        self.unsynced_since = None;
        Ok(())
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({} bytes, {:?})", self.batch.size_in_bytes(), self.durability)
    }
}
