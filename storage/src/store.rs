//! The store: what is opened, shared out and closed.
//!
//! A folder holds `store/` (RocksDB) and beside it `synced.mark` (see `mark.rs`), and after a failed sync `distrusted.txt` (see
//! `distrust.rs`).
//!
//! For modules that keep their own rows: [`Store`] hands them an `Arc<Engine>`. `engine.column(Column::Registry)` is a column
//! family, `engine.get` and `engine.put` read and write sealed rows in it, `engine.db()` is the database for iterators;
//! `state::{applied, put_applied, membership, put_membership}` are the rows every group has; `engine.write(batch)` writes at once
//! and unsynced, and `engine.sync(done)` calls `done` when all that was written before is synced.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use anyport_protocol::{LogEpoch, PartitionId};
use rocksdb::WriteBatch;

use crate::column::Column;
use crate::committer::{Durability, Job};
use crate::engine::{self, Engine};
use crate::error::{OpenError, Poison, StoreError};
use crate::group::GroupId;
use crate::log::{GroupLog, LogShared};
use crate::mark::{Mark, MarkFile};
use crate::metadata::MetadataMachine;
use crate::open;
use crate::options::StoreOptions;
use crate::partition::{PartitionMachine, PartitionReader, PartitionShared};
use crate::registry::RegistryMachine;
use crate::reset;

/// A handle on an open store; clones share it. One RocksDB, one write-ahead log, one committer thread.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Arc<Engine>,
    folder: PathBuf,
    mark: Mark,
    epoch: LogEpoch,
    tail_cache_bytes: usize,
    /// Every group's log, or the damage that was found when it was opened.
    logs: Mutex<BTreeMap<GroupId, Result<Arc<LogShared>, StoreError>>>,
    partitions: Mutex<BTreeMap<PartitionId, Arc<PartitionShared>>>,
}

impl Store {
    /// Opens the store in this folder, and creates it if there is none. Refuses one of a newer format, one of another layout,
    /// one whose synced end is missing, and one that an earlier failure has left in doubt. One in which a group's log is damaged
    /// is refused too, unless the options say otherwise.
    pub fn open(path: &Path, options: StoreOptions) -> Result<Store, OpenError> {
        let groups = GroupId::all(options.registry_shards, options.partitions);
        let (cache_bytes, open_damaged) = (options.tail_cache_bytes, options.open_damaged);
        let opened = open::open(path, options)?;
        let mut logs = BTreeMap::new();
        for group in groups {
            let log = match LogShared::open(&opened.engine, group, cache_bytes) {
                Ok(log) => Ok(Arc::new(log)),
                Err(StoreError::Damaged(damage)) if open_damaged => {
                    tracing::error!(%group, %damage, "open a log");
                    Err(StoreError::Damaged(damage))
                }
                Err(error) => return Err(error.into()),
            };
            if let Some(purged) = log.as_ref().ok().and_then(|log| log.lock().purged) {
                opened.engine.keeper().broom(group).sweep(purged.index);
            }
            logs.insert(group, log);
        }
        let inner = Inner {
            engine: Arc::new(opened.engine),
            folder: path.to_owned(),
            mark: opened.mark,
            epoch: opened.epoch,
            tail_cache_bytes: cache_bytes,
            logs: Mutex::new(logs),
            partitions: Mutex::default(),
        };
        Ok(Store { inner: Arc::new(inner) })
    }

    /// The log of one of this store's groups. Panics for a group that the options the store was opened with do not count, and for a
    /// damaged one.
    pub fn log(&self, group: GroupId) -> GroupLog {
        self.checked_log(group)
            .expect("groups are counted by the options, and a damaged one is reset before it is used")
    }

    /// Groups whose log cannot be read. They can only be reset. None, unless the store was opened all the same.
    pub fn damaged(&self) -> Vec<GroupId> {
        self.logs().iter().filter(|(_, log)| log.is_err()).map(|(group, _)| *group).collect()
    }

    /// Wipes all that is stored of a group: log, vote, marks and rows. Synced when it returns; a crash before leaves everything.
    /// Its replica must be stopped; while some of it is still held here the group is [`StoreError::InUse`], which may be so for
    /// a moment after the stop. Then the log is an empty one, for a replica of another name.
    pub fn reset_group(&self, group: GroupId) -> Result<(), StoreError> {
        let mut logs = self.logs();
        let log = logs.get_mut(&group).ok_or(StoreError::NoSuchGroup { group })?;
        if log.as_ref().is_ok_and(|log| Arc::strong_count(log) > 1) {
            return Err(StoreError::InUse { group });
        }
        if let GroupId::Partition(id) = group {
            let mut partitions = self.partitions();
            if partitions.get(&id).is_some_and(|shared| Arc::strong_count(shared) > 1) {
                return Err(StoreError::InUse { group });
            }
            partitions.remove(&id);
        }
        reset::reset(&self.inner.engine, group)?;
        *log = Ok(Arc::new(LogShared::new(group, None, None, 0, self.inner.tail_cache_bytes)));
        Ok(())
    }

    fn logs(&self) -> MutexGuard<'_, BTreeMap<GroupId, Result<Arc<LogShared>, StoreError>>> {
        self.inner.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn partitions(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Arc<PartitionShared>>> {
        self.inner.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a partition's log means: the machine that applies it, which has one owner, and a reader, which is cloned. A machine
    /// that returned an error is dropped and asked for anew; readers go on.
    pub fn partition(&self, id: PartitionId) -> Result<(PartitionMachine, PartitionReader), StoreError> {
        let log = self.checked_log(GroupId::Partition(id))?;
        let shared = Arc::clone(self.partitions().entry(id).or_default());
        let engine = &self.inner.engine;
        let machine = PartitionMachine::open(id, Arc::clone(engine), log.clone(), Arc::clone(&shared))?;
        Ok((machine, PartitionReader::new(id, Arc::clone(engine), log, shared)))
    }

    /// What a registry shard's log means.
    pub fn registry(&self, shard: u16) -> Result<RegistryMachine, StoreError> {
        self.checked_log(GroupId::Registry(shard))?;
        RegistryMachine::open(shard, Arc::clone(&self.inner.engine))
    }

    /// What the metadata group's log means.
    pub fn metadata(&self) -> Result<MetadataMachine, StoreError> {
        self.checked_log(GroupId::Metadata)?;
        MetadataMachine::open(Arc::clone(&self.inner.engine))
    }

    fn checked_log(&self, group: GroupId) -> Result<GroupLog, StoreError> {
        let shared = self.logs().get(&group).cloned().ok_or(StoreError::NoSuchGroup { group })??;
        Ok(GroupLog::new(Arc::clone(&self.inner.engine), shared))
    }

    /// One of the broker's own facts.
    pub fn local(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.engine.get(Column::Local, key.as_bytes())
    }

    /// Keeps one of the broker's own facts, synced when this returns.
    pub fn put_local(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        self.inner.engine.put(&mut batch, Column::Local, key.as_bytes(), &[value]);
        let (told, outcome) = mpsc::sync_channel(1);
        // The receiver waits below, so it is there.
        let done = Box::new(move |result| told.send(result).unwrap_or_default());
        self.inner.engine.submit(Job { batch, durability: Durability::Synced, written: None, done }).tell();
        outcome.recv().unwrap_or(Err(StoreError::Closed))
    }

    /// The first write or sync that failed. After it the store takes no writes.
    pub fn poisoned(&self) -> Option<Poison> {
        self.inner.engine.disk.poisoned().cloned()
    }

    /// Whether that failure has been written down for the next start, as far as it can and has to be. A process that ends before
    /// may leave a store that is trusted though it should not be.
    pub fn failure_is_settled(&self) -> bool {
        self.inner.engine.disk.failure_is_settled()
    }

    /// Bytes that may still be written in the file system that holds the store.
    pub fn free_bytes(&self) -> Result<u64, StoreError> {
        engine::free_bytes(&self.inner.folder)
    }

    /// Grows when the end of the logs may have been lost: after an unclean stop of the *machine* in relaxed mode.
    pub fn log_epoch(&self) -> LogEpoch {
        self.inner.epoch
    }

    /// Writes and syncs what is queued, and marks the store as cleanly stopped. Other handles find it closed; the folder can be
    /// opened again when the last of them is dropped.
    pub fn close(self) -> Result<(), StoreError> {
        let engine = &self.inner.engine;
        engine.close()?;
        let mark = Mark { synced: engine.disk.synced(), clean: true, ..self.inner.mark };
        engine.disk.step(crate::options::Step::Mark, || MarkFile::in_folder(&self.inner.folder).write(&mark))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("folder", &self.inner.folder).field("engine", &self.inner.engine).finish()
    }
}
