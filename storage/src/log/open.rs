//! Finding a log again when the store is opened, and noticing what is missing of it.

use rocksdb::ReadOptions;

use super::entry::LogId;
use super::read::id_on_disk;
use super::tail::LogShared;
use crate::column::Column;
use crate::engine::Engine;
use crate::error::{DamageAt, StoreError};
use crate::group::GroupId;
use crate::keys::{self, Tag};
use crate::state;

impl LogShared {
    /// Reads the log's marks and its two ends. What lies between is checked when it is read.
    pub(crate) fn open(engine: &Engine, group: GroupId, cache_bytes: usize) -> Result<Self, StoreError> {
        let purged = state::log_id(engine, group, Tag::Purged)?;
        let start = match purged {
            Some(purged) => purged.index + 1,
            None => stored_start(engine, group)?,
        };
        let present = ends(engine, group, start)?;
        if present.is_some_and(|(first, _)| first != start) {
            return Err(DamageAt::Record { group, index: start, part: 0, found: "missing" }.into());
        }
        let last: Option<LogId> = match present {
            Some((_, last)) => Some(id_on_disk(engine, group, last)?),
            None => purged,
        };
        Ok(Self::new(group, purged, last, start, cache_bytes))
    }
}

fn stored_start(engine: &Engine, group: GroupId) -> Result<u64, StoreError> {
    let key = keys::group_row(group, Tag::Start);
    let Some(body) = engine.get(Column::State, &key)? else { return Ok(0) };
    let body = body.try_into().map_err(|_| Engine::bad_row(Column::State, &key, "not an index"))?;
    Ok(u64::from_le_bytes(body))
}

/// Indexes of the first and the last entry at or after `start`.
fn ends(engine: &Engine, group: GroupId, start: u64) -> Result<Option<(u64, u64)>, StoreError> {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(keys::record(start, 0));
    let mut iter = engine.db().raw_iterator_cf_opt(&engine.log_column(group), options);
    let mut found = [None; 2];
    for (seek_last, found) in [false, true].into_iter().zip(&mut found) {
        match seek_last {
            true => iter.seek_to_last(),
            false => iter.seek_to_first(),
        }
        *found = iter.key().map(keys::parse_record);
        iter.status().map_err(|error| super::read::read_error(group, start, 0, &error))?;
    }
    match found {
        [None, None] => Ok(None),
        [Some(Some((first, _))), Some(Some((last, _)))] => Ok(Some((first, last))),
        _ => Err(DamageAt::Record { group, index: start, part: 0, found: "a key that is no record's" }.into()),
    }
}
