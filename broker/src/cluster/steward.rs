//! What the leader of a group does next so that the group's members become those of its assignment.
//!
//! A plain function of what the leader sees; [`super::stewards`] does what it says, one step of a group at a time, and asks again.
//! The order is what keeps a majority throughout: new members learn first, vote once they have caught up, and only then do old
//! ones go. A leader that is to go hands over before it does.

use std::collections::{BTreeMap, BTreeSet};

use anyport_protocol::{BrokerId, ReplicaId};
use anyport_storage::metadata::Assignment;

use super::members::LAG_ENTRIES_MAX;

/// What the leader of a group sees of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// All that vote: while voters change, both the old ones and the new.
    pub(super) voters: BTreeSet<ReplicaId>,
    pub(super) learners: BTreeSet<ReplicaId>,
    /// The voters are being changed.
    pub(super) is_joint: bool,
    pub(super) last_index: u64,
    /// Up to where each member's log is known to agree with the leader's.
    pub(super) matched: BTreeMap<ReplicaId, u64>,
    /// Brokers that can be reached from here.
    pub(super) reached: BTreeSet<BrokerId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Members are as assigned: the metadata is to know.
    Report {
        members: Vec<ReplicaId>,
    },
    AddLearner(ReplicaId),
    /// Who votes no more becomes a learner.
    ChangeVoters(BTreeSet<ReplicaId>),
    RemoveLearners(BTreeSet<ReplicaId>),
    /// This broker leads and another one should.
    HandOver(ReplicaId),
    /// It is as it should be, or has to wait.
    Nothing,
}

/// The next step of the group that `me` leads.
pub(super) fn next_step(me: ReplicaId, assignment: &Assignment, seen: &Seen) -> Step {
    let voters: BTreeSet<_> = assignment.voters.iter().copied().collect();
    let learners: BTreeSet<_> = assignment.learners.iter().copied().collect();
    let is_member = |replica: &ReplicaId| seen.voters.contains(replica) || seen.learners.contains(replica);
    let reached = |replica: &ReplicaId| *replica == me || seen.reached.contains(&replica.broker());

    // A change that an earlier leader began is finished first: nothing else is allowed meanwhile.
    if !seen.is_joint
        && let Some(missing) = voters.union(&learners).find(|replica| !is_member(replica) && reached(replica))
    {
        return Step::AddLearner(*missing);
    }
    if seen.voters != voters || seen.is_joint {
        return change_voters(me, assignment, &voters, seen);
    }
    let surplus: BTreeSet<_> = seen.learners.difference(&learners).copied().collect();
    if !surplus.is_empty() {
        return Step::RemoveLearners(surplus);
    }
    if seen.learners != learners {
        return Step::Nothing;
    }
    let members: Vec<_> = voters.union(&learners).copied().collect();
    let settled: BTreeSet<_> = assignment.settled.iter().copied().collect();
    if !settled.iter().eq(members.iter()) {
        return Step::Report { members };
    }
    hand_over(me, assignment, &voters, seen)
}

fn change_voters(me: ReplicaId, assignment: &Assignment, voters: &BTreeSet<ReplicaId>, seen: &Seen) -> Step {
    let may_vote = |replica: &ReplicaId| seen.voters.contains(replica) || is_caught_up(*replica, seen);
    if !voters.iter().all(may_vote) {
        return Step::Nothing;
    }
    if voters.contains(&me) || voters.is_empty() {
        return Step::ChangeVoters(voters.clone());
    }
    // This leader is to go: it stays a voter until another one leads.
    let with_me: BTreeSet<_> = voters.iter().copied().chain([me]).collect();
    if seen.voters != with_me || seen.is_joint {
        return Step::ChangeVoters(with_me);
    }
    hand_over(me, assignment, voters, seen)
}

/// To the preferred leader if it can take over, and when this broker has to go to any that can.
fn hand_over(me: ReplicaId, assignment: &Assignment, voters: &BTreeSet<ReplicaId>, seen: &Seen) -> Step {
    if me.broker() == assignment.leader && voters.contains(&me) {
        return Step::Nothing;
    }
    let can_lead = |replica: &&ReplicaId| {
        **replica != me && seen.reached.contains(&replica.broker()) && is_caught_up(**replica, seen)
    };
    let preferred = voters.iter().filter(can_lead).find(|replica| replica.broker() == assignment.leader);
    let any = || if voters.contains(&me) { None } else { voters.iter().find(can_lead) };
    preferred.or_else(any).map_or(Step::Nothing, |replica| Step::HandOver(*replica))
}

/// Whom to hand over to when this broker stops: a voter that lacks nothing, if there is one.
pub(super) fn successor(me: ReplicaId, preferred: BrokerId, seen: &Seen) -> Option<ReplicaId> {
    let can_lead = |replica: &&ReplicaId| {
        **replica != me && seen.reached.contains(&replica.broker()) && is_caught_up(**replica, seen)
    };
    let able = || seen.voters.iter().filter(can_lead);
    able().find(|replica| replica.broker() == preferred).or_else(|| able().next()).copied()
}

fn is_caught_up(replica: ReplicaId, seen: &Seen) -> bool {
    seen.matched.get(&replica).is_some_and(|matched| matched + LAG_ENTRIES_MAX >= seen.last_index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(broker: u32) -> ReplicaId {
        ReplicaId::new(BrokerId(broker), 1)
    }

    fn set(brokers: &[u32]) -> BTreeSet<ReplicaId> {
        brokers.iter().map(|broker| replica(*broker)).collect()
    }

    fn list(brokers: &[u32]) -> Vec<ReplicaId> {
        set(brokers).into_iter().collect()
    }

    fn assignment(voters: &[u32], learners: &[u32], leader: u32) -> Assignment {
        Assignment {
            version: 1,
            voters: list(voters),
            learners: list(learners),
            leader: BrokerId(leader),
            settled: Vec::new(),
            damaged: Vec::new(),
        }
    }

    /// Everybody is reached and has everything.
    fn seen(voters: &[u32], learners: &[u32]) -> Seen {
        let (voters, learners) = (set(voters), set(learners));
        let matched = voters.union(&learners).map(|replica| (*replica, 100)).collect();
        Seen { voters, learners, is_joint: false, last_index: 100, matched, reached: (0..9).map(BrokerId).collect() }
    }

    #[test]
    fn a_group_grows_by_learners_that_vote_once_they_have_caught_up() {
        let (me, target) = (replica(0), assignment(&[0, 1, 2], &[], 0));
        assert_eq!(next_step(me, &target, &seen(&[0], &[])), Step::AddLearner(replica(1)));
        assert_eq!(next_step(me, &target, &seen(&[0], &[1])), Step::AddLearner(replica(2)));
        let mut learning = seen(&[0], &[1, 2]);
        learning.matched.insert(replica(2), 35);
        assert_eq!(next_step(me, &target, &learning), Step::Nothing);
        learning.matched.insert(replica(2), 36);
        assert_eq!(next_step(me, &target, &learning), Step::ChangeVoters(set(&[0, 1, 2])));
        assert_eq!(next_step(me, &target, &seen(&[0, 1, 2], &[])), Step::Report { members: list(&[0, 1, 2]) });
        let settled = Assignment { settled: list(&[0, 1, 2]), ..target };
        assert_eq!(next_step(me, &settled, &seen(&[0, 1, 2], &[])), Step::Nothing);
    }

    #[test]
    fn who_cannot_be_reached_is_not_added() {
        let mut alone = seen(&[0], &[]);
        alone.reached.clear();
        assert_eq!(next_step(replica(0), &assignment(&[0, 1, 2], &[], 0), &alone), Step::Nothing);
    }

    #[test]
    fn a_lost_voter_is_replaced_before_it_goes() {
        let (me, target) = (replica(0), assignment(&[0, 1, 3], &[], 0));
        assert_eq!(next_step(me, &target, &seen(&[0, 1, 2], &[])), Step::AddLearner(replica(3)));
        assert_eq!(next_step(me, &target, &seen(&[0, 1, 2], &[3])), Step::ChangeVoters(set(&[0, 1, 3])));
        assert_eq!(next_step(me, &target, &seen(&[0, 1, 3], &[2])), Step::RemoveLearners(set(&[2])));
    }

    #[test]
    fn a_change_that_another_leader_began_is_finished_first() {
        let joint = Seen { is_joint: true, ..seen(&[0, 1, 2, 3], &[]) };
        let target = assignment(&[0, 1, 3], &[4], 0);
        assert_eq!(next_step(replica(0), &target, &joint), Step::ChangeVoters(set(&[0, 1, 3])));
    }

    #[test]
    fn a_leader_that_is_to_go_hands_over_first() {
        let (me, target) = (replica(0), assignment(&[1, 2, 3], &[], 2));
        assert_eq!(next_step(me, &target, &seen(&[0, 1, 2], &[3])), Step::ChangeVoters(set(&[0, 1, 2, 3])));
        assert_eq!(next_step(me, &target, &seen(&[0, 1, 2, 3], &[])), Step::HandOver(replica(2)));
        let mut unreached = seen(&[0, 1, 2, 3], &[]);
        unreached.reached.remove(&BrokerId(2));
        assert_eq!(next_step(me, &target, &unreached), Step::HandOver(replica(1)), "to anybody who can");
        assert_eq!(next_step(replica(2), &target, &seen(&[0, 1, 2, 3], &[])), Step::ChangeVoters(set(&[1, 2, 3])));
    }

    #[test]
    fn leadership_goes_to_the_preferred_broker_only_when_it_can_take_it() {
        let target = Assignment { settled: list(&[0, 1, 2]), ..assignment(&[0, 1, 2], &[], 1) };
        let all = seen(&[0, 1, 2], &[]);
        assert_eq!(next_step(replica(0), &target, &all), Step::HandOver(replica(1)));
        assert_eq!(next_step(replica(1), &target, &all), Step::Nothing);
        let mut behind = all;
        behind.matched.insert(replica(1), 3);
        assert_eq!(next_step(replica(0), &target, &behind), Step::Nothing);
    }

    #[test]
    fn a_broker_that_stops_prefers_the_preferred_and_takes_any_that_can() {
        let mut all = seen(&[0, 1, 2], &[3]);
        assert_eq!(successor(replica(0), BrokerId(2), &all), Some(replica(2)));
        all.reached.remove(&BrokerId(2));
        assert_eq!(successor(replica(0), BrokerId(2), &all), Some(replica(1)));
        all.matched.remove(&replica(1));
        assert_eq!(successor(replica(0), BrokerId(2), &all), None);
    }
}
