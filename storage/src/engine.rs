//! RocksDB with its column families, its poison, and the way to the committer. What every other module writes through.
//!
//! Invariant: after the first failed write or sync nothing is written any more, and everybody who waits is told so.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, mpsc};

use rocksdb::{BoundColumnFamily, DB, ErrorKind, WriteBatch, WriteOptions};

use crate::Done;
use crate::column::{Column, Tuning};
use crate::committer::{Committer, Durability, Job, Refused};
use crate::distrust::{Distrust, Failure};
use crate::error::{DamageAt, Poison, StoreError};
use crate::group::GroupId;
use crate::keeper::Keeper;
use crate::options::{Inject, Step};
use crate::{reset, sealed};

/// The database and whether it may still be written: what the threads of the store share.
pub(crate) struct Disk {
    pub(crate) db: DB,
    poison: OnceLock<Poison>,
    distrust: Distrust,
    /// Whether what the first failure means for the next start has been written, or cannot be.
    failure_is_settled: AtomicBool,
    inject: Option<Inject>,
    /// Everything up to this sequence number is synced.
    synced: AtomicU64,
}

impl Disk {
    pub(crate) fn new(db: DB, distrust: Distrust, inject: Option<Inject>) -> Self {
        let (poison, failure_is_settled) = (OnceLock::new(), AtomicBool::new(false));
        Self { db, poison, distrust, failure_is_settled, inject, synced: AtomicU64::new(0) }
    }

    pub(crate) fn poisoned(&self) -> Option<&Poison> {
        self.poison.get()
    }

    pub(crate) fn failure_is_settled(&self) -> bool {
        self.failure_is_settled.load(Ordering::Acquire)
    }

    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.poisoned().map_or(Ok(()), |poison| Err(StoreError::Poisoned(poison.clone())))
    }

    /// Takes a step that must not fail; if it does, the store is poisoned.
    pub(crate) fn step<E: Into<Failure>>(
        &self,
        step: Step,
        act: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), StoreError> {
        self.check()?;
        let injected = self.inject.as_ref().map_or(Ok(()), |inject| inject(step));
        let outcome = injected.map_err(|cause| Failure::injected(step, &cause)).and_then(|()| act().map_err(E::into));
        outcome.map_err(|failure| self.fail(step, failure))
    }

    /// Poisons first, so that nothing is acknowledged any more, and then remembers, which may take the failing disk a while.
    fn fail(&self, step: Step, failure: Failure) -> StoreError {
        let Failure { cause, leaves_doubt, is_second_hand } = failure;
        tracing::error!(%step, cause, "the store is poisoned");
        let first = self.poison.get_or_init(|| Poison { step, cause: cause.as_str().into() });
        if leaves_doubt {
            self.distrust.remember(step, &cause);
        }
        if !is_second_hand {
            self.failure_is_settled.store(true, Ordering::Release);
        }
        StoreError::Poisoned(first.clone())
    }

    /// Writes to the log's buffer and to the memtable. Durable only after [`Disk::sync`].
    pub(crate) fn write(&self, batch: WriteBatch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return self.check();
        }
        self.step(Step::Write, || self.db.write_opt(batch, &WriteOptions::default()))
    }

    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        // Read first: what is written while the sync runs may not be part of it.
        let reached = self.db.latest_sequence_number();
        self.step(Step::Sync, || self.db.flush_wal(true))?;
        self.synced.fetch_max(reached, Ordering::Release);
        self.step(Step::AfterSync, || Ok::<(), Failure>(()))
    }

    /// Hands the write-ahead log to the operating system: safe from a killed process, not from a power cut.
    pub(crate) fn hand_over(&self) -> Result<(), StoreError> {
        self.step(Step::Write, || self.db.flush_wal(false))
    }

    pub(crate) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }
}

/// Shared by every handle of a store. The last one dropped stops the threads.
pub(crate) struct Engine {
    pub(crate) disk: Arc<Disk>,
    committer: Committer,
    keeper: Keeper,
    tuning: Tuning,
}

impl Engine {
    pub(crate) fn new(disk: Arc<Disk>, committer: Committer, keeper: Keeper, tuning: Tuning) -> Self {
        Self { disk, committer, keeper, tuning }
    }

    pub(crate) fn db(&self) -> &DB {
        &self.disk.db
    }

    pub(crate) fn column(&self, column: Column) -> Arc<BoundColumnFamily<'_>> {
        self.db().cf_handle(column.name()).expect("every shared column family is opened with the store")
    }

    pub(crate) fn log_column(&self, group: GroupId) -> Arc<BoundColumnFamily<'_>> {
        self.db().cf_handle(&group.to_string()).expect("handles are given only to groups whose log was opened")
    }

    /// Puts an empty column family in the place of a log's.
    pub(crate) fn renew_log(&self, group: GroupId) -> Result<(), StoreError> {
        self.disk.step(Step::Write, || reset::drop_log(&self.disk.db, group))?;
        self.disk.step(Step::Write, || reset::create_log(&self.disk.db, &self.tuning, group))
    }

    /// Writes at once, unsynced: for what is recomputed from the log after a crash.
    pub(crate) fn write(&self, batch: WriteBatch) -> Result<(), StoreError> {
        self.committer.check_open()?;
        self.disk.write(batch)
    }

    /// Whether writes are taken.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.committer.check_open()?;
        self.disk.check()
    }

    /// Queues for the committer, which reports in the order of submission.
    pub(crate) fn submit(&self, job: Job) -> Refused {
        self.committer.submit(job)
    }

    /// Calls `done` when everything written before is synced.
    pub(crate) fn sync(&self, done: Done) {
        self.submit(Job { batch: WriteBatch::default(), durability: Durability::Synced, written: None, done }).tell();
    }

    /// Waits until everything written before is synced.
    pub(crate) fn wait_synced(&self) -> Result<(), StoreError> {
        let (told, outcome) = mpsc::sync_channel(1);
        // The receiver waits below, so it is there.
        self.sync(Box::new(move |result| drop(told.send(result))));
        outcome.recv().unwrap_or(Err(StoreError::Closed))
    }

    pub(crate) fn keeper(&self) -> &Keeper {
        &self.keeper
    }

    /// Stops taking writes, writes and syncs what is queued, and ends the threads. Says whether all of it succeeded.
    pub(crate) fn close(&self) -> Result<(), StoreError> {
        self.committer.stop();
        self.keeper.stop();
        self.disk.check()
    }

    /// The body of a sealed row.
    pub(crate) fn get(&self, column: Column, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.db().get_pinned_cf(&self.column(column), key).map_err(|e| row_error(column, key, &e))?;
        let Some(value) = value else { return Ok(None) };
        match sealed::unseal(key, &value) {
            Ok(body) => Ok(Some(body.to_vec())),
            Err(found) => Err(Self::bad_row(column, key, found)),
        }
    }

    /// Adds a sealed row to a batch.
    pub(crate) fn put(&self, batch: &mut WriteBatch, column: Column, key: &[u8], body: &[&[u8]]) {
        let mut value = Vec::with_capacity(sealed::SEAL_BYTES + body.iter().map(|piece| piece.len()).sum::<usize>());
        sealed::seal(key, body, &mut value);
        batch.put_cf(&self.column(column), key, value);
    }

    pub(crate) fn bad_row(column: Column, key: &[u8], found: &'static str) -> StoreError {
        let key = key.iter().map(|byte| format!("{byte:02x}")).collect();
        DamageAt::Row { column: column.name(), key, found }.into()
    }
}

/// What a failed read of a row means.
pub(crate) fn row_error(column: Column, key: &[u8], error: &rocksdb::Error) -> StoreError {
    match error.kind() {
        ErrorKind::Corruption => Engine::bad_row(column, key, "RocksDB finds its file corrupt"),
        _ => StoreError::Read { what: column.name(), cause: error.to_string().into() },
    }
}

/// Bytes that an unprivileged process may still write in the file system of this folder.
pub(crate) fn free_bytes(path: &Path) -> Result<u64, StoreError> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|cause| StoreError::Read { what: "free space", cause: cause.to_string().into() })?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Without it the threads would outlive the store and hold its lock file.
        let _ = self.close();
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("synced", &self.disk.synced()).field("poison", &self.disk.poisoned()).finish()
    }
}
