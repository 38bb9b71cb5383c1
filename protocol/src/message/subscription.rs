use serde::{Deserialize, Serialize};

use super::session::SubscriptionState;
use crate::{Cursor, Incarnation, PartitionId, SubscriptionName, WallMs};

/// Where a new subscription begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    Earliest,
    #[default]
    Latest,
    /// The first event the broker appended at or after this time.
    Time(WallMs),
}

/// Creates the subscription, or attaches to the one of that name.
///
/// With the same filter nothing changes, and `start` is not looked at. With another filter a new incarnation takes effect from
/// where the old one had got to. With `seek` a new incarnation begins at `start` in any case.
///
/// A name whose subscription has expired is refused with `SubscriptionExpired` until a request names what expired: it is told as
/// often as it is asked, so that no lost answer makes for a silent fresh start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subscribe {
    pub name: SubscriptionName,
    pub filter: String,
    #[serde(default)]
    pub start: Start,
    #[serde(default)]
    pub seek: bool,
    /// Seconds nobody may use it before it ends; 0 asks for the default.
    #[serde(default)]
    pub inactive_expiry_secs: u64,
    /// The incarnation that the client has been told to have expired, or knows to.
    #[serde(default)]
    pub expired: Option<Incarnation>,
    /// Nobody will ask for this name again: that it expired need not be remembered.
    #[serde(default)]
    pub temporary: bool,
}

impl Subscribe {
    /// With the default of everything else.
    pub fn new(name: SubscriptionName, filter: impl Into<String>, start: Start) -> Self {
        Self {
            name,
            filter: filter.into(),
            start,
            seek: false,
            inactive_expiry_secs: 0,
            expired: None,
            temporary: false,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subscribed {
    pub outcome: SubscribeOutcome,
    pub state: SubscriptionState,
    pub registry_index: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubscribeOutcome {
    Created,
    Attached,
    FilterChanged,
    Sought,
}

/// Ends the subscription and forgets its cursors. One that has expired is forgotten to have been there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unsubscribe {
    pub name: SubscriptionName,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unsubscribed {
    pub registry_index: u64,
}

/// Allows the broker to have sent `bytes_total` bytes of events of this subscription since the session began. The first credit
/// opens its feeds; without credit they fall behind, and cost the broker nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Credit {
    pub incarnation: Incarnation,
    pub bytes_total: u64,
}

/// Begins a feed anew at `position`, after a hole in its chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reopen {
    pub incarnation: Incarnation,
    pub partition: PartitionId,
    pub position: Cursor,
}
