//! One round: everybody is tried at most once, in the order that was made when it began.

use std::time::Duration;

use super::candidate::{Candidate, Candidates, Why};

/// A server that names a time has a queue, and has given us a place in it. A second one may have a shorter queue; asking all of them
/// would only make every queue longer.
const OFFERS_MAX: u32 = 2;

#[derive(Debug)]
pub(super) struct Round {
    /// Begins with the server at which the round began.
    order: Vec<Candidate>,
    next: usize,
    is_begun: bool,
    offers: u32,
    /// The longest that a server has asked to be left alone.
    longest_wait: Duration,
    /// What was wrong with a score expression.
    pub(super) fault: Option<String>,
}

impl Round {
    pub(super) fn new(present: &str, others: Candidates) -> Self {
        let Candidates { list, fault } = others;
        let present = Candidate { address: present.to_owned(), why: Why::Present };
        let mut order = list;
        order.retain(|other| other.address != present.address);
        order.insert(0, present);
        Self { order, next: 1, is_begun: false, offers: 0, longest_wait: Duration::ZERO, fault }
    }

    /// All, in the order in which they are tried.
    pub(super) fn order(&self) -> &[Candidate] {
        &self.order
    }

    /// Those that were not tried yet.
    pub(super) fn coming(&self) -> &[Candidate] {
        &self.order[self.next..]
    }

    /// Those that were tried or passed over.
    pub(super) fn passed(&self) -> &[Candidate] {
        &self.order[..self.next]
    }

    pub(super) fn longest_wait(&self) -> Duration {
        self.longest_wait
    }

    /// Whether anybody has failed in it.
    pub(super) fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// A server that has served us and names a time says when it is back, and nothing of a queue.
    pub(super) fn handle_failure(&mut self, wait: Option<Duration>, was_served: bool) {
        self.is_begun = true;
        self.longest_wait = self.longest_wait.max(wait.unwrap_or_default());
        self.offers += u32::from(wait.is_some() && !was_served);
    }

    pub(super) fn has_offers_enough(&self) -> bool {
        self.offers >= OFFERS_MAX
    }

    /// These are tried next, unless they were tried already.
    pub(super) fn put_first(&mut self, backups: impl DoubleEndedIterator<Item = String>) {
        for address in backups.rev() {
            if self.passed().iter().any(|past| past.address == address) {
                continue;
            }
            self.order.retain(|other| other.address != address);
            self.order.insert(self.next, Candidate { address, why: Why::Backup });
        }
    }

    /// The next that may be tried; those before it are passed over.
    pub(super) fn take_next(&mut self, may_try: impl Fn(&str) -> bool) -> Option<String> {
        while let Some(candidate) = self.order.get(self.next) {
            self.next += 1;
            if may_try(&candidate.address) {
                return Some(candidate.address.clone());
            }
        }
        None
    }
}
