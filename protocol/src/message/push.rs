use serde::{Deserialize, Serialize};

use crate::{Fault, Incarnation, Nonce, SessionEpoch, SubscriptionName};

/// A request that was not done, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    pub fault: Fault,
}

/// A newer session of the same client has begun. Final for this one, unless the nonce is the client's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TakenOver {
    pub epoch: SessionEpoch,
    pub nonce: Nonce,
}

/// A subscription of this client has ended, and why: never a silent fresh start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubscriptionEnded {
    pub name: SubscriptionName,
    pub incarnation: Incarnation,
    pub fault: Fault,
}

/// The broker is about to leave, makes no progress, or has more clients than others; open sessions elsewhere, or here again after the
/// time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GoAway {
    pub reconnect_after_ms: u32,
    /// Where to go; anywhere else if nothing is said.
    #[serde(default)]
    pub to: Option<String>,
    /// To go at a random moment of this time, and be served until then.
    #[serde(default)]
    pub spread_over_ms: u32,
}
