//! Which broker to try next. Every broker serves every client, so after a failure the next of the list is as good, and better than
//! waiting for the same one.
//!
//! Ask [`Director::server`], try it, report by `handle_failure` or, once it has done what was asked of it, by `handle_success`.

use std::time::Duration;

/// A lost first packet is sent again after a third of a second; a phone's first round trip may take one.
const ATTEMPT_MIN: Duration = Duration::from_millis(1500);
const ATTEMPT_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Director {
    servers: Vec<Server>,
    current: usize,
    tried_in_round: usize,
    /// The longest that a server of this round has asked to be left alone.
    wait_in_round: Duration,
}

#[derive(Debug)]
struct Server {
    address: String,
    failures: u32,
}

impl Server {
    fn new(address: &str) -> Self {
        Self { address: address.to_owned(), failures: 0 }
    }

    /// Longer each time, for it may be far away.
    fn attempt_timeout(&self) -> Duration {
        ATTEMPT_MIN.saturating_mul(1 + self.failures).min(ATTEMPT_MAX)
    }
}

impl Director {
    /// None without servers.
    pub(crate) fn new(servers: &[String]) -> Option<Self> {
        let servers: Vec<_> = servers.iter().map(|address| Server::new(address)).collect();
        let wait_in_round = Duration::ZERO;
        (!servers.is_empty()).then_some(Self { servers, current: 0, tried_in_round: 0, wait_in_round })
    }

    pub(crate) fn server(&self) -> &str {
        &self.servers[self.current].address
    }

    /// Whether there is another server to go to.
    pub(crate) fn has_others(&self) -> bool {
        self.servers.len() > 1
    }

    /// The `nth` of the others, in the order in which they would be tried, and how long an attempt may take.
    pub(crate) fn other(&self, nth: usize) -> Option<(&str, Duration)> {
        let others = self.servers.len() - 1;
        let server = &self.servers[(self.current + 1 + nth.checked_rem(others)?) % self.servers.len()];
        Some((&server.address, server.attempt_timeout()))
    }

    /// How long an attempt at the present server may take.
    pub(crate) fn attempt_timeout(&self) -> Duration {
        self.servers[self.current].attempt_timeout()
    }

    /// Moves on from a server that did not answer, was lost, or sends us away, perhaps for a time that it names. Returns how long all
    /// are to be left alone, if every server has failed since the last wait: then it is time to wait.
    pub(crate) fn handle_failure(&mut self, wait: Option<Duration>) -> Option<Duration> {
        self.servers[self.current].failures = self.servers[self.current].failures.saturating_add(1);
        self.current = (self.current + 1) % self.servers.len();
        self.tried_in_round += 1;
        self.wait_in_round = self.wait_in_round.max(wait.unwrap_or_default());
        (self.tried_in_round >= self.servers.len()).then(|| self.begin_round())
    }

    fn begin_round(&mut self) -> Duration {
        self.tried_in_round = 0;
        std::mem::take(&mut self.wait_in_round)
    }

    pub(crate) fn handle_success(&mut self) {
        self.servers[self.current].failures = 0;
        self.begin_round();
    }

    /// The application wants this one, which may be new to us.
    pub(crate) fn prefer(&mut self, address: &str) {
        let known = self.servers.iter().position(|server| server.address == address);
        self.current = known.unwrap_or_else(|| {
            self.servers.push(Server::new(address));
            self.servers.len() - 1
        });
        self.begin_round();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Option<Duration> = None;

    fn director(servers: &[&str]) -> Director {
        let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
        Director::new(&servers).expect("there are servers")
    }

    #[test]
    fn every_server_is_tried_before_the_first_wait() {
        let mut director = director(&["a", "b", "c"]);
        assert_eq!(director.server(), "a");
        assert_eq!(director.handle_failure(None), AT_ONCE);
        assert_eq!(director.server(), "b");
        assert_eq!(director.handle_failure(None), AT_ONCE);
        assert_eq!(director.handle_failure(None), Some(Duration::ZERO));
        assert_eq!(director.server(), "a");
    }

    #[test]
    fn a_server_that_worked_and_was_lost_is_tried_last() {
        let mut director = director(&["a", "b", "c"]);
        director.handle_failure(None);
        director.handle_success();
        assert_eq!(director.server(), "b");
        assert_eq!(director.handle_failure(None), AT_ONCE);
        assert_eq!(director.server(), "c");
        assert_eq!(director.handle_failure(None), AT_ONCE);
        assert_eq!(director.server(), "a");
        assert_eq!(director.handle_failure(None), Some(Duration::ZERO));
    }

    #[test]
    fn a_wait_that_a_server_asks_for_begins_when_all_others_have_failed_too() {
        let wait = Duration::from_secs(1);
        let mut director = director(&["a", "b"]);
        assert_eq!(director.handle_failure(Some(wait)), AT_ONCE);
        assert_eq!(director.handle_failure(None), Some(wait));
        assert_eq!(director.handle_failure(None), AT_ONCE, "waited for, and forgotten");
        let mut alone = self::director(&["a"]);
        assert_eq!(alone.handle_failure(Some(wait)), Some(wait));
    }

    #[test]
    fn a_preferred_server_is_next_and_known_from_then_on() {
        let mut director = director(&["a", "b"]);
        director.prefer("b");
        assert_eq!(director.server(), "b");
        director.prefer("c");
        assert_eq!(director.server(), "c");
        director.handle_failure(None);
        assert_eq!(director.server(), "a");
        assert!(director.has_others());
    }

    #[test]
    fn the_others_are_named_in_the_order_in_which_they_would_be_tried() {
        let mut director = director(&["a", "b", "c"]);
        director.handle_failure(None);
        let others: Vec<&str> = (0..4).filter_map(|nth| director.other(nth)).map(|(server, _)| server).collect();
        assert_eq!(others, ["c", "a", "c", "a"]);
        assert_eq!(self::director(&["a"]).other(0), None);
    }

    #[test]
    fn attempts_at_a_silent_server_get_more_time_up_to_a_limit() {
        let mut director = director(&["a"]);
        assert_eq!(director.attempt_timeout(), ATTEMPT_MIN);
        for _ in 0..100 {
            assert!(director.handle_failure(None).is_some());
        }
        assert_eq!(director.attempt_timeout(), ATTEMPT_MAX);
        director.handle_success();
        assert_eq!(director.attempt_timeout(), ATTEMPT_MIN);
    }
}
