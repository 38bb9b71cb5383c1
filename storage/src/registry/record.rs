//! The record of one client, as a value.

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
}

/// One subscription in its present incarnation. `starts` and `cursors` have one place per partition; the log epoch in a cursor
/// makes it belong to one log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionRecord {
    pub name: SubscriptionName,
    pub filter: String,
    pub incarnation: Incarnation,
    pub inactive_expiry_secs: u64,
    pub last_used: WallMs,
    /// From where on delivery is guaranteed. Never changes within an incarnation.
    pub starts: Vec<Cursor>,
    pub cursors: Vec<Cursor>,
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
        }
    }

    pub fn subscription(&self, name: &SubscriptionName) -> Option<&SubscriptionRecord> {
        self.subscriptions.iter().find(|subscription| subscription.name == *name)
    }

    /// `now` comes from whichever broker proposed, and their clocks differ: the time kept only grows.
    pub(super) fn seen(&mut self, now: WallMs) {
        self.last_seen = self.last_seen.max(now);
    }
}

impl SubscriptionRecord {
    pub(super) fn used(&mut self, now: WallMs) {
        self.last_used = self.last_used.max(now);
    }

    /// Whether nobody has used it for its whole `inactive_expiry`.
    pub fn is_expired(&self, now: WallMs) -> bool {
        let expiry_ms = self.inactive_expiry_secs.saturating_mul(1000);
        self.last_used.0.saturating_add(expiry_ms) <= now.0
    }
}
