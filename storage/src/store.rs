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
use std::sync::{Arc, Mutex, PoisonError, mpsc};

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
    logs: BTreeMap<GroupId, Arc<LogShared>>,
    partitions: Mutex<BTreeMap<PartitionId, Arc<PartitionShared>>>,
}

impl Store {
    /// Opens the store in this folder, and creates it if there is none. Refuses one of a newer format, one of another layout,
    /// one whose synced end is missing, and one that an earlier failure has left in doubt.
    pub fn open(path: &Path, options: StoreOptions) -> Result<Store, OpenError> {
        let groups = GroupId::all(options.registry_shards, options.partitions);
        let cache_bytes = options.tail_cache_bytes;
        let opened = open::open(path, options)?;
        let mut logs = BTreeMap::new();
        for group in groups {
            let log = LogShared::open(&opened.engine, group, cache_bytes)?;
            if let Some(purged) = log.lock().purged {
                opened.engine.keeper().broom(group).sweep(purged.index);
            }
            logs.insert(group, Arc::new(log));
        }
        let inner = Inner {
            engine: Arc::new(opened.engine),
            folder: path.to_owned(),
            mark: opened.mark,
            epoch: opened.epoch,
            logs,
            partitions: Mutex::default(),
        };
        Ok(Store { inner: Arc::new(inner) })
    }

    /// The log of one of this store's groups. Panics for a group that the options the store was opened with do not count.
    pub fn log(&self, group: GroupId) -> GroupLog {
        let shared = self.inner.logs.get(&group).expect("groups are counted by the options the store was opened with");
        GroupLog::new(Arc::clone(&self.inner.engine), Arc::clone(shared))
    }

    /// What a partition's log means: the machine that applies it, which has one owner, and a reader, which is cloned. A machine
    /// that returned an error is dropped and asked for anew; readers go on.
    pub fn partition(&self, id: PartitionId) -> Result<(PartitionMachine, PartitionReader), StoreError> {
        let log = self.checked_log(GroupId::Partition(id))?;
        let shared = {
            let mut partitions = self.inner.partitions.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(partitions.entry(id).or_default())
        };
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
        MetadataMachine::open(Arc::clone(&self.inner.engine))
    }

    fn checked_log(&self, group: GroupId) -> Result<GroupLog, StoreError> {
        if self.inner.logs.contains_key(&group) { Ok(self.log(group)) } else { Err(StoreError::NoSuchGroup { group }) }
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
