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

/// The broker is about to leave, or makes no progress; open sessions elsewhere, or here again after the time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GoAway {
    pub reconnect_after_ms: u32,
}
