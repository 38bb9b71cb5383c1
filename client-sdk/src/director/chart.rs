//! The map as the director has it, with the time by which its rows are valid.
//!
//! That time is the server's, carried on by this machine's monotonic clock. What this machine takes for the time of day is never asked, so
//! a clock that is wrong by an hour changes nothing.

use std::sync::Arc;
use std::time::Instant;

use anyport_protocol::WallMs;
use anyport_protocol::map::{Map, MapDelta, ServiceId, ServicePoint, UnknownRevision};

#[derive(Debug)]
pub(super) struct Chart {
    map: Arc<Map>,
    /// What the server's clock showed, and when. None for a map of an earlier process: nobody knows how old it is.
    shown: Option<(WallMs, Instant)>,
}

impl Chart {
    pub(super) fn saved(map: Arc<Map>) -> Self {
        Self { map, shown: None }
    }

    pub(super) fn fresh(map: Arc<Map>, server_time: WallMs, now: Instant) -> Self {
        Self { map, shown: Some((server_time, now)) }
    }

    pub(super) fn map(&self) -> &Arc<Map> {
        &self.map
    }

    pub(super) fn apply(&mut self, delta: MapDelta, server_time: WallMs, now: Instant) -> Result<(), UnknownRevision> {
        Arc::make_mut(&mut self.map).apply(delta)?;
        self.shown = Some((server_time, now));
        Ok(())
    }

    /// The points of sessions: those valid now. Where that is none, or the age of the map is not known, all: the last known is better than
    /// nothing.
    pub(super) fn points(&self, now: Instant) -> Vec<&ServicePoint> {
        let of_sessions = |point: &&ServicePoint| point.service.as_str() == ServiceId::SESSION && !point.redirects;
        let all = || self.map.points().iter().filter(of_sessions);
        let Some(time) = self.time(now) else { return all().collect() };
        let valid: Vec<_> = all().filter(|point| point.valid.contains(time)).collect();
        if valid.is_empty() { all().collect() } else { valid }
    }

    /// The row of that place, the one that is valid now before others.
    pub(super) fn point(&self, address: &str, now: Instant) -> Option<&ServicePoint> {
        self.points(now).into_iter().find(|point| point.host.address() == address)
    }

    fn time(&self, now: Instant) -> Option<WallMs> {
        let (server_time, at) = self.shown?;
        let since = u64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX);
        Some(WallMs(server_time.0.saturating_add(since)))
    }
}
