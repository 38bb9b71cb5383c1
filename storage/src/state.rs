//! Rows that every Raft group has in the `state` column family: how far it is applied, and who its members are.
//!
//! A row is written in the batch that makes it true, so after a crash it agrees with the rest of that batch.

use bytes::Bytes;
use rocksdb::WriteBatch;

use crate::column::Column;
use crate::engine::Engine;
use crate::error::StoreError;
use crate::group::GroupId;
use crate::keys::{self, Tag};
use crate::log::LogId;

/// The last entry applied by the group's state machine.
pub(crate) fn applied(engine: &Engine, group: GroupId) -> Result<Option<LogId>, StoreError> {
    log_id(engine, group, Tag::Applied)
}

pub(crate) fn put_applied(engine: &Engine, batch: &mut WriteBatch, group: GroupId, id: LogId) {
    put_log_id(engine, batch, group, Tag::Applied, id);
}

/// The last membership applied, and the entry it came with.
pub(crate) fn membership(engine: &Engine, group: GroupId) -> Result<Option<(LogId, Bytes)>, StoreError> {
    let key = keys::group_row(group, Tag::Membership);
    let Some(body) = engine.get(Column::State, &key)? else { return Ok(None) };
    parse_membership(&key, &body).map(Some)
}

pub(crate) fn put_membership(engine: &Engine, batch: &mut WriteBatch, group: GroupId, id: LogId, members: &[u8]) {
    engine.put(batch, Column::State, &keys::group_row(group, Tag::Membership), &[&id.to_bytes(), members]);
}

/// Body of a membership row: `log id 24 | members ...`.
pub(crate) fn parse_membership(key: &[u8], body: &[u8]) -> Result<(LogId, Bytes), StoreError> {
    let (id, members) = body
        .split_first_chunk::<{ LogId::BYTES }>()
        .ok_or_else(|| Engine::bad_row(Column::State, key, "shorter than a log id"))?;
    Ok((LogId::from_bytes(id), Bytes::copy_from_slice(members)))
}

pub(crate) fn log_id(engine: &Engine, group: GroupId, tag: Tag) -> Result<Option<LogId>, StoreError> {
    let key = keys::group_row(group, tag);
    let Some(body) = engine.get(Column::State, &key)? else { return Ok(None) };
    let id = body.as_slice().try_into().map_err(|_| Engine::bad_row(Column::State, &key, "not a log id"))?;
    Ok(Some(LogId::from_bytes(id)))
}

pub(crate) fn put_log_id(engine: &Engine, batch: &mut WriteBatch, group: GroupId, tag: Tag, id: LogId) {
    engine.put(batch, Column::State, &keys::group_row(group, tag), &[&id.to_bytes()]);
}
