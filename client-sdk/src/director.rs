//! Which broker to try next. Every broker serves every client, so after a failure the next of the list is as good.
//!
//! Ask [`Director::server`], try it, report by `handle_failure` or `handle_connected`. A connection that worked is tried first
//! again, because a broker that restarts is usually back soon and still knows how to resume.

use std::time::Duration;

/// A lost first packet is sent again after a third of a second; a phone's first round trip may take one.
const ATTEMPT_MIN: Duration = Duration::from_millis(1500);
const ATTEMPT_MAX: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Director {
    servers: Vec<Server>,
    current: usize,
    tried_in_round: usize,
}

#[derive(Debug)]
struct Server {
    address: String,
    failures: u32,
}

impl Director {
    /// None without servers.
    pub(crate) fn new(servers: &[String]) -> Option<Self> {
        let servers: Vec<_> = servers.iter().map(|address| Server { address: address.clone(), failures: 0 }).collect();
        (!servers.is_empty()).then_some(Self { servers, current: 0, tried_in_round: 0 })
    }

    pub(crate) fn server(&self) -> &str {
        &self.servers[self.current].address
    }

    /// How long an attempt at the present server may take: longer each time, for it may be far away.
    pub(crate) fn attempt_timeout(&self) -> Duration {
        ATTEMPT_MIN.saturating_mul(1 + self.servers[self.current].failures).min(ATTEMPT_MAX)
    }

    /// Moves on. Returns whether every server has failed since the last wait, so that it is time to wait.
    pub(crate) fn handle_failure(&mut self) -> bool {
        self.servers[self.current].failures = self.servers[self.current].failures.saturating_add(1);
        self.current = (self.current + 1) % self.servers.len();
        self.tried_in_round += 1;
        let round_over = self.tried_in_round >= self.servers.len();
        if round_over {
            self.tried_in_round = 0;
        }
        round_over
    }

    pub(crate) fn handle_connected(&mut self) {
        self.servers[self.current].failures = 0;
        self.tried_in_round = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn director(servers: &[&str]) -> Director {
        let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
        Director::new(&servers).expect("there are servers")
    }

    #[test]
    fn every_server_is_tried_before_the_first_wait() {
        let mut director = director(&["a", "b", "c"]);
        assert_eq!(director.server(), "a");
        assert!(!director.handle_failure());
        assert_eq!(director.server(), "b");
        assert!(!director.handle_failure());
        assert!(director.handle_failure());
        assert_eq!(director.server(), "a");
    }

    #[test]
    fn the_server_that_worked_is_tried_first_again() {
        let mut director = director(&["a", "b"]);
        director.handle_failure();
        director.handle_connected();
        assert_eq!(director.server(), "b");
    }

    #[test]
    fn attempts_at_a_silent_server_get_more_time_up_to_a_limit() {
        let mut director = director(&["a"]);
        assert_eq!(director.attempt_timeout(), ATTEMPT_MIN);
        for _ in 0..100 {
            assert!(director.handle_failure());
        }
        assert_eq!(director.attempt_timeout(), ATTEMPT_MAX);
        director.handle_connected();
        assert_eq!(director.attempt_timeout(), ATTEMPT_MIN);
    }
}
