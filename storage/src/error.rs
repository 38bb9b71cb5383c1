//! What can go wrong, as facts.

use std::path::PathBuf;
use std::sync::Arc;

use anyport_protocol::ClientId;

use crate::group::GroupId;
use crate::metadata::FormatError;
use crate::options::Step;
use crate::registry::{BatchError, RecordError};

/// Where damage was found. Damage is reported, never skipped and never served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DamageAt {
    #[error("log of {group}, entry {index}, part {part}: {found}")]
    Record { group: GroupId, index: u64, part: u16, found: &'static str },
    #[error("row {key} of column family {column}: {found}")]
    Row { column: &'static str, key: String, found: &'static str },
    #[error("row of client {client} in registry-{shard}: {why}")]
    Client { shard: u16, client: ClientId, why: RecordError },
    #[error("row of the cluster's facts: {why}")]
    Facts { why: FormatError },
    #[error("row of the cluster's brokers and assignments: {why}")]
    Cluster { why: FormatError },
}

/// The first write or sync that failed. Nothing is written after it: what a failed sync left behind is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step} failed: {cause}")]
pub struct Poison {
    pub step: Step,
    pub cause: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("the store is damaged: {0}")]
    Damaged(#[from] DamageAt),
    #[error("the store takes no more writes: {0}")]
    Poisoned(Poison),
    #[error("the store is closed")]
    Closed,
    #[error("read of {what}: {cause}")]
    Read { what: &'static str, cause: Arc<str> },
    #[error("{group} is not one of this store's groups")]
    NoSuchGroup { group: GroupId },
    #[error("{group} is still in use")]
    InUse { group: GroupId },
    #[error("entry {index} of {group} has {parts} parts; at most {limit} fit")]
    TooManyParts { group: GroupId, index: u64, parts: usize, limit: usize },
    #[error("entry {index} was appended to {group} where {expected} comes next")]
    NotNext { group: GroupId, index: u64, expected: u64 },
    #[error("committed entry {index} of {group} cannot be understood: {why}")]
    BadEntry { group: GroupId, index: u64, why: crate::partition::BadEntry },
    #[error("committed entry {index} of registry-{shard} cannot be understood: {why}")]
    BadCommands { shard: u16, index: u64, why: BatchError },
    #[error("committed entry {index} of metadata cannot be understood: {why}")]
    BadMetadata { index: u64, why: FormatError },
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("create folder {path}: {cause}")]
    Folder { path: PathBuf, cause: std::io::Error },
    #[error("open RocksDB in {path}: {cause}")]
    Engine { path: PathBuf, cause: String },
    #[error("{path} was written in format {found}; this program knows up to {known}")]
    NewerFormat { path: PathBuf, found: u8, known: u8 },
    #[error("{path} was created with {stored} {what}; {asked} are asked for")]
    Layout { path: PathBuf, what: &'static str, stored: u16, asked: u16 },
    #[error("{path} holds a store but its mark file is missing, so nobody can tell whether its end is")]
    MarkMissing { path: PathBuf },
    #[error("the mark file {path} cannot be read: {why}")]
    MarkDamaged { path: PathBuf, why: &'static str },
    #[error("mark file {path}: {cause}")]
    Mark { path: PathBuf, cause: std::io::Error },
    #[error("the store ends at sequence number {store}, but {mark} was synced: its end is lost")]
    ShortOfMark { store: u64, mark: u64 },
    /// An earlier run ended by a failure that leaves its writes in doubt.
    #[error(
        "the store is not trusted, because {cause}. What was written after the last good sync may be lost although the system \
         still shows it; nothing acknowledged is among it, unless the broker ran relaxed. Check the disk, restart the machine \
         so that only what is on the disk is read, then remove {path}"
    )]
    Distrusted { path: PathBuf, cause: String },
    #[error("start thread {name}: {cause}")]
    Thread { name: &'static str, cause: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}
