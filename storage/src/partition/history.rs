//! Which nonce and which membership were in force at each retained index: a snapshot is of an index that has long passed.
//!
//! ```text
//!  state: group 3 | 'o' | index u64 BE -> nonce 16          group 3 | 'h' | index u64 BE -> log id 24 | members ...
//! ```
//! Short: openings and membership changes since the last trim, and the ones in force there.

use anyport_protocol::Nonce;
use bytes::Bytes;
use rocksdb::{ReadOptions, WriteBatch};

use crate::column::Column;
use crate::engine::{Engine, row_error};
use crate::error::StoreError;
use crate::group::GroupId;
use crate::keys::{self, Tag};
use crate::log::LogId;
use crate::{sealed, state};

#[derive(Debug)]
pub(super) struct History {
    group: GroupId,
    opened: Vec<(u64, Nonce)>,
    members: Vec<(LogId, Bytes)>,
}

impl History {
    pub(super) fn load(engine: &Engine, group: GroupId) -> Result<Self, StoreError> {
        let opened = rows(engine, group, Tag::Opened, |key, index, body| {
            let nonce = body.try_into().map_err(|_| Engine::bad_row(Column::State, key, "not a nonce"))?;
            Ok((index, Nonce::from_bytes(nonce)))
        })?;
        let members = rows(engine, group, Tag::Members, |key, _, body| state::parse_membership(key, body))?;
        Ok(Self { group, opened, members })
    }

    /// The nonce in force after everything applied.
    pub(super) fn nonce(&self) -> Option<Nonce> {
        self.opened.last().map(|(_, nonce)| *nonce)
    }

    pub(super) fn membership(&self) -> Option<&(LogId, Bytes)> {
        self.members.last()
    }

    pub(super) fn nonce_at(&self, index: u64) -> Option<Nonce> {
        self.opened.iter().rev().find(|(at, _)| *at <= index).map(|(_, nonce)| *nonce)
    }

    pub(super) fn membership_at(&self, index: u64) -> Option<&(LogId, Bytes)> {
        self.members.iter().rev().find(|(id, _)| id.index <= index)
    }

    pub(super) fn open(&mut self, engine: &Engine, batch: &mut WriteBatch, index: u64, nonce: Nonce) {
        engine.put(batch, Column::State, &keys::history_row(self.group, Tag::Opened, index), &[nonce.as_bytes()]);
        self.opened.push((index, nonce));
    }

    pub(super) fn change_members(&mut self, engine: &Engine, batch: &mut WriteBatch, id: LogId, members: Bytes) {
        let key = keys::history_row(self.group, Tag::Members, id.index);
        engine.put(batch, Column::State, &key, &[&id.to_bytes(), &members]);
        self.members.push((id, members));
    }

    /// Forgets what is no longer in force at this index.
    pub(super) fn prune(&mut self, engine: &Engine, batch: &mut WriteBatch, upto: u64) {
        let opened = self.opened.iter().map(|(index, _)| *index).filter(|index| *index <= upto).count();
        let members = self.members.iter().filter(|(id, _)| id.index <= upto).count();
        self.drop_first(engine, batch, opened.saturating_sub(1), members.saturating_sub(1));
    }

    pub(super) fn clear(&mut self, engine: &Engine, batch: &mut WriteBatch) {
        self.drop_first(engine, batch, self.opened.len(), self.members.len());
    }

    fn drop_first(&mut self, engine: &Engine, batch: &mut WriteBatch, opened: usize, members: usize) {
        let column = engine.column(Column::State);
        for (index, _) in self.opened.drain(..opened) {
            batch.delete_cf(&column, keys::history_row(self.group, Tag::Opened, index));
        }
        for (id, _) in self.members.drain(..members) {
            batch.delete_cf(&column, keys::history_row(self.group, Tag::Members, id.index));
        }
    }
}

fn rows<T>(
    engine: &Engine,
    group: GroupId,
    tag: Tag,
    parse: impl Fn(&[u8], u64, &[u8]) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let first = keys::history_row(group, tag, 0);
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(first);
    options.set_iterate_upper_bound(keys::history_row(group, tag, u64::MAX));
    let mut iter = engine.db().raw_iterator_cf_opt(&engine.column(Column::State), options);
    let mut found = Vec::new();
    iter.seek_to_first();
    while let Some((key, value)) = iter.item() {
        let body = sealed::unseal(key, value).map_err(|found| Engine::bad_row(Column::State, key, found))?;
        let index = key.last_chunk::<8>().map_or(0, |index| u64::from_be_bytes(*index));
        found.push(parse(key, index, body)?);
        iter.next();
    }
    iter.status().map_err(|error| row_error(Column::State, &first, &error))?;
    Ok(found)
}
