//! Which brokers have shown lately that they make progress, as the leader of the metadata counts it.
//!
//! On the leader's monotonic clock alone. Whoever comes to lead grants every lease anew: it cannot know what an earlier leader
//! heard. A plain state machine: it reads no clock.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyport_protocol::{BrokerId, ReplicaId};
use anyport_storage::GroupId;
use anyport_storage::metadata::ClusterState;

/// What is to be said of brokers by an entry of the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    Ended(BrokerId),
    Begun(BrokerId),
    /// Away for so long that its replicas are to be rebuilt elsewhere.
    Replace(BrokerId),
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    start: u64,
    at: Instant,
    has_renewed: bool,
}

#[derive(Debug)]
pub(super) struct Leases {
    /// How long a lease lasts after the last renewal.
    length: Duration,
    /// Each broker's last renewal; before its first, when its present process was first seen in the records.
    heard: BTreeMap<BrokerId, Heard>,
}

impl Leases {
    /// This broker comes to lead the metadata.
    pub(super) fn granted(length: Duration) -> Self {
        Self { length, heard: BTreeMap::new() }
    }

    /// A broker says that it has made progress.
    pub(super) fn renew(&mut self, broker: BrokerId, start: u64, now: Instant) {
        self.heard.insert(broker, Heard { start, at: now, has_renewed: true });
    }

    /// To be asked from the first moment on, and often: who joins or starts again is given a lease when it is first seen here.
    pub(super) fn verdicts(&mut self, state: &ClusterState, replace_after: Duration, now: Instant) -> Vec<Verdict> {
        let of_one = |(id, record): (&BrokerId, &anyport_storage::metadata::BrokerRecord)| {
            let fresh = Heard { start: record.start, at: now, has_renewed: false };
            let heard = self.heard.entry(*id).or_insert(fresh);
            if heard.start != record.start {
                // What an earlier process of this broker said does not count, neither for it nor against it.
                *heard = fresh;
            }
            let silent = now.saturating_duration_since(heard.at);
            match record.away_since {
                None if silent >= self.length => Some(Verdict::Ended(*id)),
                Some(_) if heard.has_renewed && silent < self.length => Some(Verdict::Begun(*id)),
                Some(_) if record.draining && holds_nothing(state, *id) => Some(Verdict::Replace(*id)),
                Some(_) if silent >= replace_after.max(self.length) => Some(Verdict::Replace(*id)),
                _ => None,
            }
        };
        state.brokers.iter().filter_map(of_one).collect()
    }
}

/// Whether a broker has no replica that counts; of the metadata every broker has one.
pub(super) fn holds_nothing(state: &ClusterState, broker: BrokerId) -> bool {
    let is_its = |replica: &ReplicaId| replica.broker() == broker;
    state.assignments.iter().all(|(group, assignment)| match group {
        GroupId::Metadata => !assignment.voters.iter().any(is_its),
        _ => !assignment.replicas().chain(assignment.settled.iter().copied()).any(|replica| is_its(&replica)),
    })
}

#[cfg(test)]
mod tests {
    use anyport_protocol::WallMs;
    use anyport_storage::metadata::BrokerRecord;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(3);
    const REPLACE_AFTER: Duration = Duration::from_secs(60);
    const BROKER: BrokerId = BrokerId(1);

    fn state(away: bool, draining: bool) -> ClusterState {
        let record = BrokerRecord {
            load: 0,
            leaving: false,
            id: BROKER,
            key: [0; 32],
            peer_address: String::new(),
            client_address: String::new(),
            zone: String::new(),
            edge: false,
            start: 7,
            away_since: away.then_some(WallMs(1)),
            draining,
            joined: WallMs(1),
        };
        ClusterState { brokers: BTreeMap::from([(BROKER, record)]), ..ClusterState::default() }
    }

    fn verdicts(leases: &mut Leases, state: &ClusterState, now: Instant) -> Vec<Verdict> {
        leases.verdicts(state, REPLACE_AFTER, now)
    }

    /// Granted to a broker that is in the records.
    fn granted(state: &ClusterState, now: Instant) -> Leases {
        let mut leases = Leases::granted(LENGTH);
        assert_eq!(verdicts(&mut leases, state, now), []);
        leases
    }

    #[test]
    fn a_lease_ends_when_it_is_not_renewed_and_begins_again_when_it_is() {
        let start = Instant::now();
        let mut leases = granted(&state(false, false), start);
        leases.renew(BROKER, 7, start + LENGTH / 2);
        assert_eq!(verdicts(&mut leases, &state(false, false), start + LENGTH), []);
        let late = start + 2 * LENGTH;
        assert_eq!(verdicts(&mut leases, &state(false, false), late), [Verdict::Ended(BROKER)]);
        leases.renew(BROKER, 7, late);
        assert_eq!(verdicts(&mut leases, &state(true, false), late), [Verdict::Begun(BROKER)]);
    }

    #[test]
    fn whoever_comes_to_lead_grants_all_leases_anew() {
        let now = Instant::now();
        let mut leases = granted(&state(true, false), now);
        assert_eq!(verdicts(&mut leases, &state(true, false), now + LENGTH), []);
    }

    #[test]
    fn what_an_earlier_process_said_does_not_count() {
        let start = Instant::now();
        let mut leases = granted(&state(false, false), start);
        leases.renew(BROKER, 6, start + LENGTH);
        assert_eq!(verdicts(&mut leases, &state(false, false), start + LENGTH), [], "a process that is new to us");
        assert_eq!(verdicts(&mut leases, &state(false, false), start + 2 * LENGTH), [Verdict::Ended(BROKER)]);
    }

    /// However long this broker has led the metadata by then.
    #[test]
    fn who_joins_or_starts_again_gets_all_the_time_there_is() {
        let start = Instant::now();
        let mut leases = Leases::granted(LENGTH);
        assert_eq!(verdicts(&mut leases, &ClusterState::default(), start), []);
        let joined = start + 10 * REPLACE_AFTER;
        assert_eq!(verdicts(&mut leases, &state(false, false), joined), []);
        assert_eq!(verdicts(&mut leases, &state(false, false), joined + LENGTH), [Verdict::Ended(BROKER)]);
        let mut again = state(true, false);
        again.brokers.get_mut(&BROKER).expect("it is there").start = 8;
        let restarted = joined + 10 * REPLACE_AFTER;
        assert_eq!(verdicts(&mut leases, &again, restarted), [], "it is not given up for its earlier process");
        assert_eq!(verdicts(&mut leases, &again, restarted + REPLACE_AFTER), [Verdict::Replace(BROKER)]);
    }

    #[test]
    fn who_is_away_for_long_is_replaced_and_who_is_drained_at_once() {
        let start = Instant::now();
        let mut leases = granted(&state(true, false), start);
        assert_eq!(verdicts(&mut leases, &state(true, false), start + REPLACE_AFTER / 2), []);
        assert_eq!(verdicts(&mut leases, &state(true, false), start + REPLACE_AFTER), [Verdict::Replace(BROKER)]);
        assert_eq!(verdicts(&mut leases, &state(true, true), start), [Verdict::Replace(BROKER)]);
    }
}
