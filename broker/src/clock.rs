//! The wall clock, read in shells only.

use std::time::{SystemTime, UNIX_EPOCH};

use anyport_protocol::WallMs;

pub fn wall() -> WallMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
