//! Which brokers are to have a replica of each group, and which of them is to lead it: from the metadata to the changes that are
//! due, by values alone.
//!
//! A replica that stands well stays where it is. It moves only to mend something:
//!
//! 1. its broker is removed, draining or an edge, or the group has too few replicas ([`Plan::refill`]);
//! 2. a zone has two more replicas of the group than another one could have (`Plan::best_move`);
//! 3. its broker holds two more replicas than another one that could have this one (`Plan::best_move`).
//!
//! Replicas go to the zone with the fewest of the group, there to the broker with the fewest of all, and among equals by rendezvous
//! hashing. The moves of 2 and 3 are single ones. Each lowers the crowding of zones, or keeps it and lowers the unevenness of
//! loads, so they come to an end, and a plan made of a plan is empty.
//!
//! A broker that is away keeps what it has until it is removed, and gets nothing. A group whose last change is not done is left
//! alone, unless that change needs a broker that was removed and can never be done.

mod draft;
mod leaders;
#[cfg(test)]
mod model;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod stories;

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use anyport_protocol::BrokerId;
use anyport_storage::GroupId;
use anyport_storage::metadata::{ClusterState, Command};
use xxhash_rust::xxh3::xxh3_64;

use draft::{Draft, Size};

/// The changes that are due: assignments, at most one for each group.
pub fn plan(state: &ClusterState) -> Vec<Command> {
    let mut plan = Plan::of(state);
    if plan.keepers == 0 {
        return Vec::new();
    }
    plan.refill();
    while let Some(due) = plan.best_move() {
        plan.drafts[due.draft].replace(due.from, due.to);
    }
    plan.choose_voters();
    plan.choose_leaders();
    plan.drafts.iter().filter_map(|draft| draft.command(state)).collect()
}

#[derive(Debug)]
struct Plan<'a> {
    state: &'a ClusterState,
    drafts: Vec<Draft<'a>>,
    /// Brokers that may be given a replica.
    hosts: Vec<BrokerId>,
    /// How many brokers may have one.
    keepers: usize,
}

/// What a broker may have. What is less comes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Host,
    /// It keeps what it has.
    Away,
    /// Draining, or an edge: it is to have nothing.
    Leaving,
    /// Removed.
    Lost,
}

fn standing(state: &ClusterState, broker: BrokerId) -> Standing {
    match state.brokers.get(&broker) {
        None if state.removed.contains_key(&broker) => Standing::Lost,
        // The first broker, which has yet to announce itself.
        None => Standing::Away,
        Some(record) if record.edge || record.draining => Standing::Leaving,
        Some(record) if record.away_since.is_some() => Standing::Away,
        Some(_) => Standing::Host,
    }
}

/// One replica that could be elsewhere.
struct Move {
    draft: usize,
    from: BrokerId,
    to: BrokerId,
}

impl<'a> Plan<'a> {
    fn of(state: &'a ClusterState) -> Self {
        let is = |broker: &BrokerId, upto: Standing| standing(state, *broker) <= upto;
        let hosts = state.brokers.keys().copied().filter(|broker| is(broker, Standing::Host)).collect();
        let keepers = state.brokers.keys().filter(|broker| is(broker, Standing::Away)).count();
        let drafts = state.assignments.iter().map(|(group, present)| Draft::of(state, *group, present)).collect();
        Self { state, drafts, hosts, keepers }
    }

    fn is_host(&self, broker: BrokerId) -> bool {
        standing(self.state, broker) == Standing::Host
    }

    /// Has every group be of its size again, as far as there are hosts.
    fn refill(&mut self) {
        for at in 0..self.drafts.len() {
            if self.drafts[at].free {
                self.drafts[at].members = self.refilled(&self.drafts[at]);
            }
        }
    }

    fn refilled(&self, draft: &Draft) -> Vec<BrokerId> {
        let Size { voters, learners } = self.size(draft.group);
        let size = voters + learners;
        let keeps = |broker: &BrokerId| standing(self.state, *broker) <= Standing::Away;
        let (mut members, mut rest): (Vec<_>, Vec<_>) = draft.members.iter().copied().partition(keeps);
        while members.len() > size {
            let worst = (0..members.len()).max_by_key(|&at| {
                (self.crowd(&members, members[at]), self.load(members[at]), Reverse(weight(draft.group, members[at])))
            });
            members.remove(worst.expect("there are more than enough"));
        }
        while members.len() < size {
            let best =
                self.hosts.iter().copied().filter(|host| !members.contains(host)).min_by_key(|&host| {
                    (self.crowd(&members, host), self.load(host), Reverse(weight(draft.group, host)))
                });
            let Some(best) = best else { break };
            members.push(best);
        }
        // For want of a place, a vote stays where it is.
        rest.retain(|broker| draft.votes_now(*broker));
        rest.sort_by_key(|broker| standing(self.state, *broker));
        rest.truncate(size - members.len());
        members.extend(rest);
        members
    }

    /// The replica that gains most by moving, if one gains at all.
    fn best_move(&self) -> Option<Move> {
        let loads: BTreeMap<_, _> = self.hosts.iter().map(|host| (*host, self.load(*host))).collect();
        let gains = self.moves().filter_map(|due| Some((self.gain(&loads, &due)?, due)));
        gains.max_by_key(|(gain, _)| *gain).map(|(_, due)| due)
    }

    /// Whatever could move. The voters of the metadata stay: that every broker has a replica makes them no load.
    fn moves(&self) -> impl Iterator<Item = Move> {
        let free = self.drafts.iter().enumerate().filter(|(_, draft)| draft.free && draft.is_load());
        free.flat_map(move |(at, draft)| {
            let from = draft.members.iter().copied().filter(|from| self.is_host(*from));
            let to = move || self.hosts.iter().copied().filter(|to| !draft.members.contains(to));
            from.flat_map(move |from| to().map(move |to| Move { draft: at, from, to }))
        })
    }

    /// A zone becomes less crowded, or zones stay as they are and loads become more even. A replica that is only planned moves for
    /// nothing, so it goes first.
    fn gain(
        &self,
        loads: &BTreeMap<BrokerId, usize>,
        due: &Move,
    ) -> Option<(Ordering, bool, usize, Reverse<usize>, u64)> {
        let draft = &self.drafts[due.draft];
        let (zones, load, other) = (self.compare_zones(draft, due.from, due.to), loads[&due.from], loads[&due.to]);
        let gains = zones == Ordering::Greater || (zones == Ordering::Equal && load >= other + 2);
        gains.then(|| (zones, !draft.has_now(due.from), load, Reverse(other), weight(draft.group, due.to)))
    }

    /// How crowded the zone of one is, compared with what the zone of the other would become.
    fn compare_zones(&self, draft: &Draft, from: BrokerId, to: BrokerId) -> Ordering {
        if self.zone(from) == self.zone(to) {
            return Ordering::Equal;
        }
        self.crowd(&draft.members, from).cmp(&(self.crowd(&draft.members, to) + 1))
    }

    /// How many of them are in the zone of this broker.
    fn crowd(&self, members: &[BrokerId], broker: BrokerId) -> usize {
        members.iter().filter(|member| self.zone(**member) == self.zone(broker)).count()
    }

    fn zone(&self, broker: BrokerId) -> Option<&str> {
        self.state.brokers.get(&broker).map(|record| record.zone.as_str())
    }

    /// How many replicas a broker is to have.
    fn load(&self, broker: BrokerId) -> usize {
        self.drafts.iter().filter(|draft| draft.is_load() && draft.members.contains(&broker)).count()
    }

    fn choose_voters(&mut self) {
        for at in 0..self.drafts.len() {
            if self.drafts[at].free {
                let target = self.size(self.drafts[at].group).voters;
                self.drafts[at].choose_voters(self.state, target);
            }
        }
    }

    /// Two brokers are no majority when one fails, so there is one voter until there are three.
    fn size(&self, group: GroupId) -> Size {
        let replication = self.state.facts.as_ref().map_or(1, |facts| usize::from(facts.replication));
        let wanted = if group == GroupId::Metadata { METADATA_VOTERS } else { replication.max(1) };
        let odd = |count: usize| count - (1 - count % 2);
        let voters = match self.keepers {
            0..3 => 1,
            some if some < wanted => odd(some),
            _ => wanted,
        };
        let learners = usize::from(self.keepers == 2 && wanted > 1 && group != GroupId::Metadata);
        Size { voters, learners }
    }
}

/// More would make each change of the metadata slower and hardly safer.
const METADATA_VOTERS: usize = 5;

/// Rendezvous hashing: how much a broker is made for a group.
fn weight(group: GroupId, broker: BrokerId) -> u64 {
    xxh3_64(format!("{group} {broker}").as_bytes())
}
