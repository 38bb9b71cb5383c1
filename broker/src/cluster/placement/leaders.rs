//! Who is to lead: the work of a group is where its leader is, so leads are spread over those who can.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use anyport_protocol::BrokerId;

use super::draft::Draft;
use super::{Plan, weight};

impl Plan<'_> {
    /// Gives every group a leader that is there, then hands leads on from brokers with many to those with few.
    pub(super) fn choose_leaders(&mut self) {
        for at in 0..self.drafts.len() {
            if self.drafts[at].free {
                self.drafts[at].leader = self.leader(&self.drafts[at]);
            }
        }
        while let Some(hand_overs) = self.hosts.iter().find_map(|host| self.hand_overs(*host)) {
            for (draft, leader) in hand_overs {
                self.drafts[draft].leader = leader;
            }
        }
    }

    /// The one that leads, as long as it can.
    fn leader(&self, draft: &Draft) -> BrokerId {
        let able = || draft.voters().iter().copied().filter(|voter| self.is_host(*voter));
        if able().any(|voter| voter == draft.leader) {
            return draft.leader;
        }
        let best = able().min_by_key(|voter| (self.leads(*voter), Reverse(weight(draft.group, *voter))));
        let stays = || draft.voters().iter().copied().find(|voter| *voter == draft.leader);
        best.or_else(stays).or(draft.voters().first().copied()).unwrap_or(draft.leader)
    }

    /// The fewest changes of leaders by which this broker leads one group less, and one that leads at least two fewer leads one more.
    /// Those in between hand on what they are given. Where there are none for any broker, leads are as even as voters allow.
    fn hand_overs(&self, from: BrokerId) -> Option<Vec<(usize, BrokerId)>> {
        let leads = self.leads(from);
        let mut given: BTreeMap<BrokerId, (usize, BrokerId)> = BTreeMap::new();
        let mut next = VecDeque::from([from]);
        while let Some(giver) = next.pop_front() {
            if self.leads(giver) + 2 <= leads {
                let back = |(_, taker): &(usize, BrokerId)| {
                    let (_, giver) = given[taker];
                    given.get(&giver).map(|(draft, _)| (*draft, giver))
                };
                return Some(std::iter::successors(Some((given[&giver].0, giver)), back).collect());
            }
            for (at, draft) in self.drafts.iter().enumerate().filter(|(_, draft)| draft.free && draft.is_load()) {
                for taker in
                    draft.voters().iter().copied().filter(|taker| draft.leader == giver && self.is_host(*taker))
                {
                    if taker != from && !given.contains_key(&taker) {
                        given.insert(taker, (at, giver));
                        next.push_back(taker);
                    }
                }
            }
        }
        None
    }

    fn leads(&self, broker: BrokerId) -> usize {
        self.drafts.iter().filter(|draft| draft.is_load() && draft.leader == broker).count()
    }
}
