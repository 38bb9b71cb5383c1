//! What can be asked of a client's record, and what is answered. All values: a command is replicated, a reply may have to
//! travel back to the broker that proposed it.

use anyport_protocol::message::SubscribeOutcome;
use anyport_protocol::{ClientId, Cursor, Incarnation, Nonce, PartitionId, SessionEpoch, SubscriptionName, WallMs};
use serde::{Deserialize, Serialize};

use super::record::{ClientRecord, SubscriptionRecord};

/// A change of one client's record. `now` is the proposer's clock: applying reads none, so replicas cannot disagree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Makes the record. Repeated, it changes nothing.
    Register { client: ClientId, now: WallMs },
    /// Begins a session, fencing every older one, and marks all subscriptions as used.
    Open { client: ClientId, epoch: SessionEpoch, nonce: Nonce, now: WallMs },
    /// Creates a subscription or attaches to it; with another filter, or with `seek`, begins a new incarnation of it.
    Subscribe {
        client: ClientId,
        epoch: SessionEpoch,
        name: SubscriptionName,
        filter: String,
        /// One per partition. Used where the subscription has no position yet, and everywhere with `seek`.
        starts: Vec<Cursor>,
        seek: bool,
        inactive_expiry_secs: u64,
        /// The incarnation of this name that the client knows to have expired. Another tombstone stands in its way.
        #[serde(default)]
        expired: Option<Incarnation>,
        #[serde(default)]
        temporary: bool,
        now: WallMs,
    },
    /// Ends a subscription, or takes away the tombstone of one: who wants it gone need not be told that it is.
    Unsubscribe { client: ClientId, epoch: SessionEpoch, name: SubscriptionName },
    /// Moves cursors of any number of subscriptions, each named by its incarnation, to which they belong. A
    /// subscription named here counts as used, even if nothing moves: that is how a long idle session keeps its subscriptions.
    Cursors {
        client: ClientId,
        epoch: SessionEpoch,
        cursors: Vec<(Incarnation, Vec<(PartitionId, Cursor)>)>,
        now: WallMs,
    },
    /// Ends one life of a subscription as its client asks, whichever session is open: so the incarnation stands in for the epoch,
    /// and a late or repeated copy does nothing to what has begun since.
    End { client: ClientId, name: SubscriptionName, incarnation: Incarnation, now: WallMs },
    /// Ends a subscription that was found unused, unless it has been used since it was looked at, and leaves a tombstone.
    Expire {
        client: ClientId,
        name: SubscriptionName,
        incarnation: Incarnation,
        unused_since: WallMs,
        /// Not in entries of the first versions.
        #[serde(default)]
        now: WallMs,
    },
}

impl Command {
    pub fn client(&self) -> ClientId {
        match self {
            Self::Register { client, .. }
            | Self::Open { client, .. }
            | Self::Subscribe { client, .. }
            | Self::Unsubscribe { client, .. }
            | Self::Cursors { client, .. }
            | Self::End { client, .. }
            | Self::Expire { client, .. } => *client,
        }
    }
}

/// The answer to one [`Command`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Registered {
        created: WallMs,
    },
    Opened {
        record: ClientRecord,
    },
    /// The subscription as it now stands. `FilterChanged` takes effect from the positions reached under the old filter: they are
    /// the new `starts`.
    Subscribed {
        outcome: SubscribeOutcome,
        subscription: SubscriptionRecord,
    },
    Unsubscribed {
        incarnation: Incarnation,
    },
    CursorsApplied {
        ignored: Vec<IgnoredMove>,
    },
    Ended {
        incarnation: Incarnation,
    },
    Expired {
        incarnation: Incarnation,
    },
    Refused(Refusal),
}

/// A cursor move that had no effect because of what it names. (One below the present cursor is no such case: it is done.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IgnoredMove {
    /// The subscription has ended, or lives on in a later incarnation.
    NotCurrent { incarnation: Incarnation },
    /// The subscription has no start there, so nothing is guaranteed there and nothing can be done with.
    UnknownPartition { incarnation: Incarnation, partition: PartitionId },
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    #[error("no such client is registered here")]
    UnknownClient,
    #[error("a later session, of epoch {current}, has taken over")]
    StaleEpoch { current: SessionEpoch },
    /// The command is ahead of its session's `Open`. Accepting it would let a session act that may yet lose its epoch to
    /// another nonce.
    #[error("no session of this epoch is open; the newest one has epoch {current}")]
    NotOpen { current: SessionEpoch },
    #[error("the client has {subscriptions} subscriptions, and {limit} are allowed")]
    LimitReached { subscriptions: usize, limit: usize },
    #[error("the client has no subscription named {name}")]
    UnknownSubscription { name: SubscriptionName },
    /// Told until the client names the incarnation: an answer may be lost.
    #[error("subscription {name} has expired: nobody used it for its inactive_expiry")]
    Expired { name: SubscriptionName, incarnation: Incarnation },
    #[error("subscription {name} has begun anew since, by a seek or another filter: it is in incarnation {current}")]
    OtherIncarnation { name: SubscriptionName, current: Incarnation },
    #[error("the subscription is in use: it is in incarnation {incarnation}, last used at {} ms", last_used.0)]
    TooEarly { incarnation: Incarnation, last_used: WallMs },
}
