//! The director's view in words, for an operator who asks why a client is where it is.

use std::time::{Duration, Instant};

use anyport_protocol::map::ServicePoint;

use super::Director;
use super::candidate::{Candidate, Why};

/// One candidate. What the map does not say of it is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    pub address: String,
    pub zone: Option<String>,
    pub load: Option<u16>,
    pub weight: Option<u16>,
    /// As it was measured by answers, lately.
    pub round_trip: Option<Duration>,
    /// In a row.
    pub failures: u32,
    /// For how long it is left alone because it failed.
    pub left_alone: Option<Duration>,
    pub reason: String,
}

impl Director {
    /// All candidates in the order in which they would be tried. Changes nothing: chance falls for a question as it will fall for the deed.
    pub fn explain(&self, now: Instant) -> Vec<Explained> {
        let mut random = self.random.clone();
        let begun;
        let round = match &self.round {
            Some(round) => round,
            None => {
                begun = self.begin_round(&mut random, now);
                &begun
            }
        };
        let (past, coming) = (round.passed(), round.coming());
        let present = past.iter().filter(|candidate| candidate.address == self.present);
        let past_others = past.iter().filter(|candidate| candidate.address != self.present);
        let order = present.chain(coming).chain(past_others);
        order.map(|candidate| self.explain_one(candidate, round.fault.as_deref(), now)).collect()
    }

    fn explain_one(&self, candidate: &Candidate, fault: Option<&str>, now: Instant) -> Explained {
        let address = candidate.address.clone();
        let point = self.chart.as_ref().and_then(|chart| chart.point(&address, now));
        let left_alone = self.met.open_until(&address, now).map(|until| until - now);
        let failures = self.met.failures(&address);
        let mut reason = self.reason(candidate, point, fault);
        if let Some(left_alone) = left_alone {
            reason = format!("{reason}; failed {failures} times, left alone for {:.1} s", left_alone.as_secs_f64());
        }
        Explained {
            zone: point.map(|point| point.zone.clone()),
            load: point.map(|point| point.load),
            weight: point.map(|point| point.weight),
            round_trip: self.met.answers_in(&address, now),
            failures,
            left_alone,
            reason,
            address,
        }
    }

    fn reason(&self, candidate: &Candidate, point: Option<&ServicePoint>, fault: Option<&str>) -> String {
        if candidate.address == self.present {
            let words = if self.is_served { "the client is served here, and stays" } else { "being tried now" };
            return words.to_owned();
        }
        let by_policy = || match (fault, point) {
            (Some(fault), _) => format!("by two-choices, because the score expression is bad: {fault}"),
            (None, Some(point)) => format!("by the policy {}", point.policy),
            (None, None) => "no longer in the map".to_owned(),
        };
        match candidate.why {
            Why::Present => "where this round began".to_owned(),
            Why::Preferred => format!("for this client by its bucket, then {}", by_policy()),
            Why::Ranked => by_policy(),
            Why::Backup => "a backup of a row that did not answer".to_owned(),
            Why::Seed => "a seed; tried when no row of the map is left".to_owned(),
            Why::Weightless => "weight 0: only if there is nothing else".to_owned(),
        }
    }
}
