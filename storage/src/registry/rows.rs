//! A shard's rows in the `registry` column family.
//!
//! ```text
//!  key    shard u16 BE | client id 16 B        a shard's rows lie together, in the order of client ids
//!  value  the client's record                  see `codec`
//! ```

use anyport_protocol::ClientId;
use rocksdb::{DBAccess, DBIteratorWithThreadMode, ReadOptions};

use super::record::ClientRecord;
use crate::column::Column;
use crate::engine::{Engine, row_error};
use crate::error::{DamageAt, StoreError};

const KEY_BYTES: usize = 18;

pub(super) fn key(shard: u16, client: ClientId) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..2].copy_from_slice(&shard.to_be_bytes());
    key[2..].copy_from_slice(client.as_bytes());
    key
}

/// The half-open range of all keys of a shard. A key beyond its last one ends it, so that the last shard has an end too.
pub(crate) fn bounds(shard: u16) -> (Vec<u8>, Vec<u8>) {
    let start = shard.to_be_bytes().to_vec();
    let end = [&start[..], &[0xFF; KEY_BYTES]].concat();
    (start, end)
}

/// For reading a shard from end to end without driving what is in use out of the block cache.
pub(super) fn scan_options(shard: u16) -> ReadOptions {
    let (start, end) = bounds(shard);
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(start);
    options.set_iterate_upper_bound(end);
    options.fill_cache(false);
    options
}

pub(super) fn decode(shard: u16, client: ClientId, row: &[u8]) -> Result<ClientRecord, StoreError> {
    ClientRecord::decode(client, row).map_err(|why| DamageAt::Client { shard, client, why }.into())
}

/// A client and its record, undecoded.
pub(super) type Row = (ClientId, Box<[u8]>);

/// The next row of an iterator made with [`scan_options`].
pub(super) fn next<D: DBAccess>(
    shard: u16,
    rows: &mut DBIteratorWithThreadMode<'_, D>,
) -> Result<Option<Row>, StoreError> {
    let Some(row) = rows.next() else { return Ok(None) };
    let (key, record) = row.map_err(|e| row_error(Column::Registry, &shard.to_be_bytes(), &e))?;
    let client = key.get(2..).and_then(|id| id.try_into().ok()).map(ClientId::from_bytes);
    let client = client.ok_or_else(|| Engine::bad_row(Column::Registry, &key, "its key names no client"))?;
    Ok(Some((client, record)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_a_shard_lies_within_its_bounds_and_no_other() {
        for shard in [0, 1, 255, 256, u16::MAX] {
            let (start, end) = bounds(shard);
            for client in [[0; 16], [0xFF; 16]] {
                let own = key(shard, ClientId::from_bytes(client)).to_vec();
                assert!(start <= own && own < end, "{shard}");
                let next = key(shard.wrapping_add(1), ClientId::from_bytes(client)).to_vec();
                assert!(next < start || end <= next, "{shard}");
            }
        }
    }
}
