//! How clients are to see the brokers' services.

use serde::{Deserialize, Serialize};

use crate::map::{MapCommand, Policy, Selection, ServiceId};

/// Asks to change how clients see a service of the brokers. What is not named stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShapeQuestion {
    pub service: ServiceId,
    #[serde(default)]
    pub policy: Option<Policy>,
    /// Whether a broker is preferred for the clients whose registry shards it is to lead.
    #[serde(default)]
    pub by_shard: Option<bool>,
    /// Begins an epoch: clients that believe in an earlier one do this, in order.
    #[serde(default)]
    pub new_epoch: Option<Vec<MapCommand>>,
}

/// Asks to tell clients another part of the map from now on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SelectQuestion {
    pub selection: Selection,
}
