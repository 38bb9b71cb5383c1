//! The record of one client, as a value.

use anyport_protocol::limits::{TOMBSTONE_SECS_MAX, TOMBSTONES_PER_CLIENT_MAX};
use anyport_protocol::{Cursor, Incarnation, Nonce, SessionEpoch, SubscriptionName, WallMs};
use serde::{Deserialize, Serialize};

/// Everything kept of one client. Its id is the key of its row, not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRecord {
    pub created: WallMs,
    pub last_seen: WallMs,
    /// The newest session opened; 0 while there has been none.
    pub epoch: SessionEpoch,
    pub nonce: Nonce,
    /// Kept here, not derived from the subscriptions, so that no number returns after an unsubscribe.
    pub next_incarnation: Incarnation,
    pub subscriptions: Vec<SubscriptionRecord>,
    /// Oldest first; at most one of a name, and none of a name that is subscribed to.
    #[serde(default)]
    pub tombstones: Vec<Tombstone>,
}

/// One subscription in its present incarnation. `starts` and `cursors` have one place per partition; the log epoch in a cursor
/// makes it belong to one log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionRecord {
    pub name: SubscriptionName,
    pub filter: String,
    pub incarnation: Incarnation,
    pub inactive_expiry_secs: u64,
    /// Leaves no tombstone: nobody will ask for its name again.
    #[serde(default)]
    pub temporary: bool,
    pub last_used: WallMs,
    /// From where on delivery is guaranteed. Never changes within an incarnation.
    pub starts: Vec<Cursor>,
    pub cursors: Vec<Cursor>,
}

/// A subscription that nobody used for its `inactive_expiry`. It stands until the client shows that it knows, or for
/// [`TOMBSTONE_SECS_MAX`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    pub name: SubscriptionName,
    pub incarnation: Incarnation,
    pub expired: WallMs,
}

impl ClientRecord {
    pub(super) fn new(now: WallMs) -> Self {
        Self {
            created: now,
            last_seen: now,
            epoch: SessionEpoch(0),
            nonce: Nonce::from_bytes([0; 16]),
            next_incarnation: Incarnation(1),
            subscriptions: Vec::new(),
            tombstones: Vec::new(),
        }
    }

    pub fn subscription(&self, name: &SubscriptionName) -> Option<&SubscriptionRecord> {
        self.subscriptions.iter().find(|subscription| subscription.name == *name)
    }

    /// `now` comes from whichever broker proposed, and their clocks differ: the time kept only grows.
    pub(super) fn seen(&mut self, now: WallMs) {
        self.last_seen = self.last_seen.max(now);
        self.tombstones.retain(|tombstone| !tombstone.is_outlived(now));
    }

    /// Remembers that this subscription has expired, at the expense of the oldest that did if they are too many.
    pub(super) fn bury(&mut self, subscription: SubscriptionRecord, now: WallMs) {
        if subscription.temporary {
            return;
        }
        let expired = now.max(subscription.expires());
        let SubscriptionRecord { name, incarnation, .. } = subscription;
        self.tombstones.push(Tombstone { name, incarnation, expired });
        let over = self.tombstones.len().saturating_sub(TOMBSTONES_PER_CLIENT_MAX);
        self.tombstones.drain(..over);
    }

    pub(super) fn tombstone(&self, name: &SubscriptionName) -> Option<&Tombstone> {
        self.tombstones.iter().find(|tombstone| tombstone.name == *name)
    }

    pub(super) fn take_tombstone(&mut self, name: &SubscriptionName) -> Option<Tombstone> {
        let at = self.tombstones.iter().position(|tombstone| tombstone.name == *name)?;
        Some(self.tombstones.remove(at))
    }
}

impl Tombstone {
    fn is_outlived(&self, now: WallMs) -> bool {
        now.0.saturating_sub(self.expired.0) > TOMBSTONE_SECS_MAX * 1000
    }
}

impl SubscriptionRecord {
    pub(super) fn used(&mut self, now: WallMs) {
        self.last_used = self.last_used.max(now);
    }

    /// Whether nobody has used it for its whole `inactive_expiry`.
    pub fn is_expired(&self, now: WallMs) -> bool {
        self.expires() <= now
    }

    fn expires(&self) -> WallMs {
        WallMs(self.last_used.0.saturating_add(self.inactive_expiry_secs.saturating_mul(1000)))
    }
}
