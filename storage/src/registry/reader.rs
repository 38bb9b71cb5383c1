//! Reading a shard's applied state: one client, the subscriptions nobody uses any more, all of it as a snapshot.

use std::path::Path;
use std::sync::Arc;

use anyport_protocol::{ClientId, Incarnation, SubscriptionName, WallMs};
use rocksdb::{Direction, IteratorMode, Snapshot};

use super::record::ClientRecord;
use super::rows;
use super::snapshot_file::{SnapshotError, SnapshotMeta, SnapshotWriter};
use crate::column::Column;
use crate::engine::{Engine, row_error};
use crate::error::StoreError;
use crate::group::GroupId;
use crate::keys::{self, Tag};
use crate::{LogId, sealed, state};

/// Reads one shard, from any thread, while its machine goes on applying.
#[derive(Clone, Debug)]
pub struct RegistryReader {
    pub(super) engine: Arc<Engine>,
    pub(super) shard: u16,
}

/// One look at a bounded number of clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpiryScan {
    pub found: Vec<ExpiredSubscription>,
    /// The last client looked at: the next scan goes on after it. `None` once the shard's end was reached.
    pub scanned_to: Option<ClientId>,
}

/// A subscription that nobody has used for its `inactive_expiry`, as [`super::Command::Expire`] wants it named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpiredSubscription {
    pub client: ClientId,
    pub name: SubscriptionName,
    pub incarnation: Incarnation,
    pub last_used: WallMs,
}

impl RegistryReader {
    pub fn record(&self, client: ClientId) -> Result<Option<ClientRecord>, StoreError> {
        let key = rows::key(self.shard, client);
        let column = self.engine.column(Column::Registry);
        let row = self.engine.db().get_pinned_cf(&column, key).map_err(|e| row_error(Column::Registry, &key, &e))?;
        row.map(|row| rows::decode(self.shard, client, &row)).transpose()
    }

    /// Looks at up to `limit` clients after `after`, or from the first one on.
    pub fn expired(&self, now: WallMs, after: Option<ClientId>, limit: usize) -> Result<ExpiryScan, StoreError> {
        let start = after.map_or(self.shard.to_be_bytes().to_vec(), |client| rows::key(self.shard, client).to_vec());
        let column = self.engine.column(Column::Registry);
        let from = IteratorMode::From(&start, Direction::Forward);
        let mut clients = self.engine.db().iterator_cf_opt(&column, rows::scan_options(self.shard), from);
        let mut scan = ExpiryScan { found: Vec::new(), scanned_to: after };
        let mut looked_at = 0;
        while looked_at < limit {
            let Some((client, row)) = rows::next(self.shard, &mut clients)? else {
                scan.scanned_to = None;
                break;
            };
            if Some(client) != after {
                looked_at += 1;
                scan.scanned_to = Some(client);
                scan.found.extend(expired_of(client, rows::decode(self.shard, client, &row)?, now));
            }
        }
        Ok(scan)
    }

    /// Writes the shard as it now is, applied position included, to a new file. Applying may go on meanwhile.
    pub fn snapshot_to(&self, path: &Path) -> Result<SnapshotMeta, SnapshotError> {
        let snapshot = self.engine.db().snapshot();
        let mut file = SnapshotWriter::create(path, self.shard, self.meta_at(&snapshot)?)?;
        let column = self.engine.column(Column::Registry);
        let mut clients = snapshot.iterator_cf_opt(&column, rows::scan_options(self.shard), IteratorMode::Start);
        while let Some((client, row)) = rows::next(self.shard, &mut clients)? {
            // Damage must not be handed on under a fresh checksum.
            rows::decode(self.shard, client, &row)?;
            file.row(client, &row)?;
        }
        file.finish()
    }

    fn meta_at(&self, snapshot: &Snapshot<'_>) -> Result<SnapshotMeta, StoreError> {
        let applied = self.state_at(snapshot, Tag::Applied, |key, body| {
            let id = body.try_into().map_err(|_| Engine::bad_row(Column::State, key, "not a log id"))?;
            Ok(LogId::from_bytes(id))
        })?;
        let membership = self.state_at(snapshot, Tag::Membership, state::parse_membership)?;
        Ok(SnapshotMeta { applied, membership, clients: 0 })
    }

    fn state_at<T>(
        &self,
        snapshot: &Snapshot<'_>,
        tag: Tag,
        parse: impl FnOnce(&[u8], &[u8]) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let key = keys::group_row(GroupId::Registry(self.shard), tag);
        let column = self.engine.column(Column::State);
        let value = snapshot.get_cf(&column, key).map_err(|e| row_error(Column::State, &key, &e))?;
        let Some(value) = value else { return Ok(None) };
        let body = sealed::unseal(&key, &value).map_err(|found| Engine::bad_row(Column::State, &key, found))?;
        parse(&key, body).map(Some)
    }
}

fn expired_of(client: ClientId, record: ClientRecord, now: WallMs) -> impl Iterator<Item = ExpiredSubscription> {
    let expired = record.subscriptions.into_iter().filter(move |subscription| subscription.is_expired(now));
    expired.map(move |subscription| ExpiredSubscription {
        client,
        name: subscription.name,
        incarnation: subscription.incarnation,
        last_used: subscription.last_used,
    })
}
