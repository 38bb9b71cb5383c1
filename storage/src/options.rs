//! How a store is opened.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::LogEpoch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// Acked after the write-ahead log is synced.
    Always,
    /// Acked after the write-ahead log is handed to the operating system, synced on the interval: a killed process loses
    /// nothing, a machine that loses power loses up to the interval. Votes and the broker's own facts are always synced.
    Relaxed { interval: Duration },
}

/// A step of the committer, named in [`crate::Poison`] and offered to fault injection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Before a batch goes to the write-ahead log's buffer and the memtable.
    Write,
    /// Before the write-ahead log is synced.
    Sync,
    /// After the sync and before anybody is told of it.
    AfterSync,
    /// Writing the mark file.
    Mark,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Write => "a write",
            Step::Sync => "a sync",
            Step::AfterSync => "the step after a sync",
            Step::Mark => "writing the mark file",
        })
    }
}

pub type Inject = Arc<dyn Fn(Step) -> io::Result<()> + Send + Sync>;

#[derive(Clone)]
pub struct StoreOptions {
    pub sync: SyncMode,
    /// Fixed when the store is created.
    pub partitions: u16,
    /// Fixed when the store is created.
    pub registry_shards: u16,
    /// Entries just written that are kept in memory, per group.
    pub tail_cache_bytes: usize,
    /// Written data that RocksDB may hold in memory before it flushes, all groups together.
    pub write_buffer_bytes: usize,
    /// The logs have lost their end in a way that the store cannot know of: they begin this epoch, or a later one. None is every
    /// start but that after an older copy of the store was put back.
    pub new_epoch: Option<LogEpoch>,
    /// Opens a store in which a group's log is damaged, too, and says which: where there are other replicas it is rebuilt from
    /// them.
    pub open_damaged: bool,
    /// Lets a test fail a step.
    #[doc(hidden)]
    pub inject: Option<Inject>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            sync: SyncMode::Always,
            partitions: 8,
            registry_shards: 4,
            tail_cache_bytes: 8 << 20,
            write_buffer_bytes: 128 << 20,
            new_epoch: None,
            open_damaged: false,
            inject: None,
        }
    }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("sync", &self.sync)
            .field("partitions", &self.partitions)
            .field("registry_shards", &self.registry_shards)
            .field("tail_cache_bytes", &self.tail_cache_bytes)
            .field("write_buffer_bytes", &self.write_buffer_bytes)
            .field("new_epoch", &self.new_epoch)
            .field("open_damaged", &self.open_damaged)
            .field("inject", &self.inject.is_some())
            .finish()
    }
}
