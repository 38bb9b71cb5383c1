use serde::{Deserialize, Serialize};

use crate::WallMs;
use crate::map::{PointKey, ServiceId};

/// Asks for the Service Point Map. Needs no login, for it says where one can be had. Answered by [`MapAnswer`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GetMap {
    /// The revision that the client has, of what it asks for here; 0 for none.
    #[serde(default)]
    pub have: u64,
    /// What the client looks for, where it looks for one thing.
    #[serde(default)]
    pub service: Option<ServiceId>,
    /// Where the client is; empty where it does not know.
    #[serde(default)]
    pub zone: String,
    /// Whether to be told of changes from now on, as pushes. At most one question of a connection is followed, the last.
    #[serde(default)]
    pub follow: bool,
}

/// The map, or what has changed since the revision that the client has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MapAnswer {
    /// What validities in the map are measured from.
    pub server_time: WallMs,
    /// Whether `map` is a whole map ([`crate::map::Map`]) or a change ([`crate::map::MapDelta`]).
    pub is_whole: bool,
    #[serde(with = "serde_bytes")]
    pub map: Vec<u8>,
}

/// Puts somebody's service on the map for a time. Said again before that is over, it stays. Answered by [`Advertised`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Advertise {
    /// A map with this one row.
    #[serde(with = "serde_bytes")]
    pub row: Vec<u8>,
    pub lease_ms: u64,
}

/// Takes a row off the map that was advertised. Answered by [`Advertised`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Withdraw {
    pub key: PointKey,
}

/// It is on the map, or off it, as was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Advertised {}
