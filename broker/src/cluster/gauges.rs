//! What machines that watch are told of this broker's part of the cluster. It is what this broker sees: the whole is the sum of what all say.

use std::collections::BTreeSet;

use anyport_protocol::BrokerId;

use super::group::Group;
use super::leadership::Leadership;
use super::members::{LAG_ENTRIES_MAX, Members, Progress};

/// Counted anew each time: a replica more or less leaves nothing behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gauges {
    led: usize,
    under_replicated: usize,
    without_leader: usize,
    voters: usize,
    learners: usize,
}

impl Gauges {
    pub(super) fn of<'a>(groups: impl Iterator<Item = &'a Group>, reached: &BTreeSet<BrokerId>) -> Self {
        let mut gauges = Self::default();
        for group in groups {
            let progress = group.progress().unwrap_or_default();
            let (me, members) = (group.replica().broker(), group.members());
            let is_there = |broker| broker == me || reached.contains(&broker);
            let votes = members.voters.contains(&group.replica());
            let leadership = group.leadership().current();
            gauges.count(votes, &leadership, &is_there, || is_replicated(&members, &progress, &is_there));
        }
        gauges
    }

    fn count(
        &mut self,
        votes: bool,
        leadership: &Leadership,
        is_there: &dyn Fn(BrokerId) -> bool,
        is_replicated: impl FnOnce() -> bool,
    ) {
        *(if votes { &mut self.voters } else { &mut self.learners }) += 1;
        match leadership {
            Leadership::Leader { .. } => {
                self.led += 1;
                self.under_replicated += usize::from(!is_replicated());
            }
            // Where nobody can be elected, a replica follows whom it followed last, for ever.
            Leadership::Follower { leader: Some(leader) } if is_there(leader.broker()) => {}
            Leadership::Follower { .. } | Leadership::Isolated { .. } => self.without_leader += 1,
            // A dead one has a counter of its own.
            Leadership::Stopped { .. } => {}
        }
    }

    pub(super) fn show(self, lease_held: bool) {
        metrics::gauge!("anyport_groups_led").set(self.led as f64);
        metrics::gauge!("anyport_groups_under_replicated").set(self.under_replicated as f64);
        metrics::gauge!("anyport_groups_without_leader").set(self.without_leader as f64);
        metrics::gauge!("anyport_replicas", "role" => "voter").set(self.voters as f64);
        metrics::gauge!("anyport_replicas", "role" => "learner").set(self.learners as f64);
        metrics::gauge!("anyport_lease_held").set(f64::from(u8::from(lease_held)));
    }
}

/// Whether every voter is there and has what its leader has, give or take what is on the way. One that is away may have all there is.
fn is_replicated(members: &Members, progress: &Progress, is_there: &dyn Fn(BrokerId) -> bool) -> bool {
    let has_all = |lag: Option<u64>| lag.is_some_and(|lag| lag <= LAG_ENTRIES_MAX);
    members.voters.iter().all(|voter| is_there(voter.broker()) && has_all(progress.lag(*voter)))
}

#[cfg(test)]
mod tests {
    use anyport_protocol::ReplicaId;

    use super::*;

    fn of(broker: u32) -> ReplicaId {
        ReplicaId::new(BrokerId(broker), 1)
    }

    #[test]
    fn a_group_lacks_a_copy_when_a_voter_lags_or_is_away_and_not_when_a_learner_does() {
        let members = Members { voters: [of(0), of(1)].into(), learners: [of(2)].into(), settled: true };
        let progress = |at: u64| Progress {
            last: Some(500),
            matched: [(of(0), Some(500)), (of(1), Some(at)), (of(2), None)].into(),
        };
        let all = |_| true;
        assert!(is_replicated(&members, &progress(490), &all));
        assert!(!is_replicated(&members, &progress(100), &all), "it lags");
        assert!(!is_replicated(&members, &progress(500), &|broker| broker != BrokerId(1)), "it is away");
        assert!(!is_replicated(&members, &Progress::default(), &all), "nobody was heard yet");
    }

    #[test]
    fn each_replica_counts_once_by_its_vote_and_by_what_it_knows_of_a_leader() {
        let mut gauges = Gauges::default();
        let mut count = |votes, leadership| gauges.count(votes, &leadership, &|broker| broker != BrokerId(2), || false);
        count(true, Leadership::Leader { term: 3 });
        count(true, Leadership::Isolated { term: 3 });
        count(true, Leadership::Follower { leader: Some(of(1)) });
        count(false, Leadership::Follower { leader: None });
        count(true, Leadership::Follower { leader: Some(of(2)) });
        count(true, Leadership::Stopped { reason: String::new() });
        assert_eq!(gauges, Gauges { led: 1, under_replicated: 1, without_leader: 3, voters: 5, learners: 1 });
    }
}
