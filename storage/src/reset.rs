//! Wiping a group, so that another replica of it can begin where one was given up.
//!
//! ```text
//!  1  rows of the group go, and a mark comes      one batch, synced
//!  2  its column family is dropped and made anew  frees the disk at once, and needs to read nothing of what may be damaged
//!  3  the mark goes                               synced
//! ```
//! A crash before the first step is over leaves everything; after it the next start does the second and the third.

use std::sync::mpsc;

use rocksdb::{DB, WriteBatch};

use crate::column::{Column, Tuning};
use crate::committer::{Durability, Job};
use crate::engine::Engine;
use crate::error::StoreError;
use crate::group::GroupId;
use crate::keys::{self, Tag};
use crate::{registry, sealed};

/// Returns when the group is wiped for good.
pub(crate) fn reset(engine: &Engine, group: GroupId) -> Result<(), StoreError> {
    submit(engine, rows_to_mark(engine, group))?;
    engine.keeper().forget(group);
    engine.renew_log(group)?;
    let mut batch = WriteBatch::default();
    batch.delete_cf(&engine.column(Column::State), mark(group));
    submit(engine, batch)
}

fn submit(engine: &Engine, batch: WriteBatch) -> Result<(), StoreError> {
    let (told, outcome) = mpsc::sync_channel(1);
    // The receiver waits below, so it is there.
    let done = Box::new(move |result| drop(told.send(result)));
    engine.submit(Job { batch, durability: Durability::Synced, written: None, done }).tell();
    outcome.recv().unwrap_or(Err(StoreError::Closed))
}

fn mark(group: GroupId) -> [u8; 4] {
    keys::group_row(group, Tag::Reset)
}

fn rows_to_mark(engine: &Engine, group: GroupId) -> WriteBatch {
    let mut batch = WriteBatch::default();
    let (from, to) = keys::rows_of_group(group);
    batch.delete_range_cf(&engine.column(Column::State), from, to);
    match group {
        GroupId::Metadata => {}
        GroupId::Registry(shard) => {
            let (from, to) = registry::bounds(shard);
            batch.delete_range_cf(&engine.column(Column::Registry), from, to);
        }
        GroupId::Partition(id) => {
            let (from, to) = keys::of_partition(id);
            for column in [Column::Offsets, Column::Producers] {
                batch.delete_range_cf(&engine.column(column), &from, &to);
            }
        }
    }
    // After the range, so that it stands.
    engine.put(&mut batch, Column::State, &mark(group), &[]);
    batch
}

/// Drops the column family of a log, if it is there.
pub(crate) fn drop_log(db: &DB, group: GroupId) -> Result<(), rocksdb::Error> {
    let name = group.to_string();
    if db.cf_handle(&name).is_some() { db.drop_cf(&name) } else { Ok(()) }
}

pub(crate) fn create_log(db: &DB, tuning: &Tuning, group: GroupId) -> Result<(), rocksdb::Error> {
    let name = group.to_string();
    db.create_cf(&name, &tuning.of(&name))
}

/// Ends, when a store is opened, what a crash has cut short.
pub(crate) fn finish(db: &DB, tuning: &Tuning, groups: impl Iterator<Item = GroupId>) -> Result<(), rocksdb::Error> {
    for group in groups {
        let state = db.cf_handle(Column::State.name()).expect("the store was created whole");
        let Some(row) = db.get_cf(&state, mark(group))? else { continue };
        if sealed::unseal(&mark(group), &row).is_err() {
            // Whatever it is, nothing is deleted for it; the log is read, or found damaged.
            continue;
        }
        drop_log(db, group)?;
        create_log(db, tuning, group)?;
        db.delete_cf(&state, mark(group))?;
        db.flush_wal(true)?;
        tracing::info!(%group, "wiped what a crash had left of it");
    }
    Ok(())
}
