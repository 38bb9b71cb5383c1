//! The column families and how RocksDB is tuned for each.

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, LogLevel, Options};

use crate::options::StoreOptions;

/// A column family that groups share. Each log has one of its own, named as its group: its keys only grow, so compaction finds
/// nothing to rewrite, and retention drops whole files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    State,
    Offsets,
    Producers,
    Registry,
    Local,
}

impl Column {
    pub(crate) const ALL: [Column; 5] =
        [Column::State, Column::Offsets, Column::Producers, Column::Registry, Column::Local];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Column::State => "state",
            Column::Offsets => "offsets",
            Column::Producers => "producers",
            Column::Registry => "registry",
            Column::Local => "local",
        }
    }
}

/// Read by everything but replay, which goes around it: the index rows and the registry fit.
const BLOCK_CACHE_BYTES: usize = 64 << 20;

/// Makes the options of every column family of one store.
pub(crate) struct Tuning {
    cache: Cache,
    memtable_bytes: usize,
}

impl Tuning {
    pub(crate) fn new(options: &StoreOptions) -> Self {
        // Half of the whole at most, so that one busy group flushes while it goes on writing.
        Self {
            cache: Cache::new_lru_cache(BLOCK_CACHE_BYTES),
            memtable_bytes: (options.write_buffer_bytes / 2).max(1 << 20),
        }
    }

    pub(crate) fn of(&self, name: &str) -> Options {
        match Column::ALL.iter().find(|column| column.name() == name) {
            Some(column) => self.shared(*column),
            None => self.log(),
        }
    }

    fn log(&self) -> Options {
        let mut blocks = self.blocks();
        blocks.set_block_size(16 << 10);
        let mut options = Options::default();
        // Events are often compressed already, and replay is to cost a copy, not a decompression.
        options.set_compression_type(DBCompressionType::None);
        options.set_block_based_table_factory(&blocks);
        options.set_write_buffer_size(self.memtable_bytes);
        options
    }

    fn shared(&self, column: Column) -> Options {
        let mut blocks = self.blocks();
        if matches!(column, Column::Producers | Column::Registry | Column::Local) {
            blocks.set_bloom_filter(10.0, false);
        }
        let mut options = Options::default();
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_block_based_table_factory(&blocks);
        options.set_write_buffer_size(self.memtable_bytes.min(16 << 20));
        options
    }

    fn blocks(&self) -> BlockBasedOptions {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&self.cache);
        // Index blocks count as cache, so that a week of retained log has a bound in memory too.
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        blocks
    }
}

/// Options of the whole database.
pub(crate) fn database(options: &StoreOptions) -> Options {
    let mut db = Options::default();
    db.set_max_background_jobs(2);
    db.set_db_write_buffer_size(options.write_buffer_bytes);
    // Without it an idle group's memtable would keep every later write-ahead log alive.
    db.set_max_total_wal_size(256 << 20);
    // The committer decides when the log goes to the system and when it is synced: once per round, not once per write.
    db.set_manual_wal_flush(true);
    // A torn end is a normal end after a power cut, and what follows damage is never replayed. What was synced and is missing
    // all the same is noticed by the mark file. Logs are not recycled: a damaged recycled log looks like its normal end, and
    // replay would go on in the next one, across the hole; nor does recycling make syncs any faster that we could measure.
    db.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    db.set_paranoid_checks(true);
    db.set_log_level(LogLevel::Warn);
    db.set_keep_log_file_num(4);
    db.set_max_log_file_size(16 << 20);
    db.set_stats_dump_period_sec(0);
    db
}
