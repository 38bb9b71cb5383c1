//! How fast a group notices that its leader is gone: two profiles, of which a cluster has one for ever.

use std::time::Duration;

use anyport_storage::metadata::Timing;

/// What a profile means for the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// Between two heartbeats. It is also all that the engine waits for an answer to an append.
    pub(super) heartbeat: Duration,
    /// A replica waits this long for a leader, drawn between the two; a leader is believed in for the longer one.
    pub(super) election_min: Duration,
    pub(super) election_max: Duration,
    /// A proposal that takes longer is given up: without a quorum it would never be answered. Far longer than a commit over lines
    /// that lose some of the packets.
    pub(super) overdue: Duration,
}

impl From<Timing> for Pace {
    fn from(timing: Timing) -> Self {
        let (heartbeat, election_min, election_max, overdue) = match timing {
            Timing::Lan => (150, 450, 750, 2000),
            Timing::Wan => (1000, 3000, 5000, 8000),
        };
        let [heartbeat, election_min, election_max, overdue] =
            [heartbeat, election_min, election_max, overdue].map(Duration::from_millis);
        Self { heartbeat, election_min, election_max, overdue }
    }
}

/// How long a broker counts as alive after it last showed progress.
pub(super) fn lease_length(timing: Timing) -> Duration {
    match timing {
        Timing::Lan => Duration::from_secs(3),
        Timing::Wan => Duration::from_secs(12),
    }
}
