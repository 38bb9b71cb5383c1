use serde::{Deserialize, Serialize};

use crate::{ClusterId, WallMs};

pub const PROTOCOL_VERSION: u16 = 1;

/// The first message: which versions the client speaks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    pub version_min: u16,
    pub version_max: u16,
    /// Free text naming the client library, for operators.
    #[serde(default)]
    pub agent: String,
}

impl Hello {
    pub fn of_this_version(agent: &str) -> Self {
        Self { version_min: PROTOCOL_VERSION, version_max: PROTOCOL_VERSION, agent: agent.to_owned() }
    }
}

/// What a client must know before it publishes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    pub version: u16,
    pub cluster: ClusterId,
    /// Fixed for the life of the cluster.
    pub partitions: u16,
    /// How keys map to partitions: see [`crate::partitioner`].
    pub partitioner: String,
    pub server_time: WallMs,
    pub event_bytes_max: u32,
    /// True where an ack may come before the sync (`--fsync interval`).
    #[serde(default)]
    pub relaxed: bool,
    /// Free text naming the broker's program, for people.
    #[serde(default)]
    pub agent: String,
}
