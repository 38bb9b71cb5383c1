//! One round: everybody is tried at most once, in the order that was made when it began.

use std::time::{Duration, Instant};

use super::candidate::{Candidate, Candidates, Why};

/// A server that names a time has a queue, and has given us a place in it. Another may have a shorter one: with the best of three places
/// hardly anybody waits longer than the rest. Asking all of them would be a storm of its own.
const OFFERS_MAX: u32 = 3;

/// Asking another server takes a few round trips. A place in the queue that comes about as soon is taken.
const SOON: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Round {
    /// Begins with the server at which the round began.
    order: Vec<Candidate>,
    next: usize,
    is_begun: bool,
    offers: u32,
    /// The soonest time at which a server has told us to come, and which one.
    place: Option<(Instant, String)>,
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
        Self { order, next: 1, is_begun: false, offers: 0, place: None, longest_wait: Duration::ZERO, fault }
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
    pub(super) fn handle_failure(&mut self, server: &str, wait: Option<Duration>, was_served: bool, now: Instant) {
        self.is_begun = true;
        self.longest_wait = self.longest_wait.max(wait.unwrap_or_default());
        if let Some(wait) = wait.filter(|_| !was_served) {
            self.offers += 1;
            let place = (now + wait, server.to_owned());
            self.place = self.place.take().into_iter().chain([place]).min();
        }
    }

    pub(super) fn place(&self) -> Option<&(Instant, String)> {
        self.place.as_ref()
    }

    /// Whether to wait for the place that we have.
    pub(super) fn is_enough(&self, now: Instant) -> bool {
        self.offers >= OFFERS_MAX || self.place().is_some_and(|(at, _)| *at <= now + SOON)
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
