//! Which broker to try next, and when to leave one that serves: from the Service Point Map where there is one, else from a list of seeds.
//!
//! A plain state machine: it reads no clock, and draws chance from a seed that it is given.
//!
//! - Ask [`Director::server`], try it, and report by `handle_failure`, or, once it has done what was asked of it, by `handle_success`.
//! - While it serves, tell `handle_answer` how long answers take, and ask `poll_leave` now and then.
//! - Whatever comes of the map goes to `handle_map`, `handle_delta`, or, from an earlier process, to `handle_saved_map`. No map moves a client
//!   that is served. It is moved by `prefer` alone (the application, a command of the map, a broker that sends it away and says where to), by
//!   its own `poll_leave`, or when its server fails.
//!
//! Without a map, the seeds are tried in their order: every one is as good as the next, and better than waiting for the same one. With a map
//! there is a round of candidates (`candidate`), ranked by the rows' policy (`rank`), each tried once (`round`), none while its
//! circuit breaker is open (`acquaintance`).

mod acquaintance;
mod candidate;
mod chart;
mod explain;
mod rank;
mod round;
mod satisfaction;
mod score;
#[cfg(test)]
mod stories;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_protocol::map::{Map, MapDelta, UnknownRevision};
use anyport_protocol::{ClientId, WallMs};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use acquaintance::Acquaintances;
use candidate::Candidates;
use chart::Chart;
use rank::Chooser;
use round::Round;
use satisfaction::Satisfaction;

pub use explain::Explained;

/// A client that is sent hither and thither for years remembers no more than so many places that its map does not name.
const SEEDS_MAX: usize = 64;

/// Less is no attempt.
const ATTEMPT_MIN: Duration = Duration::from_millis(300);

#[derive(Clone, Debug, Default)]
pub struct DirectorOptions {
    /// In the order in which they are tried by a client that has no map.
    pub seeds: Vec<String>,
    /// Unknown before the client is registered.
    pub client: Option<ClientId>,
    /// Where the client is, as far as the application knows.
    pub zone: Option<String>,
}

#[derive(Debug)]
pub struct Director {
    options: DirectorOptions,
    chart: Option<Chart>,
    met: Acquaintances,
    satisfaction: Satisfaction,
    random: SmallRng,
    /// Where the client is, or tries to be.
    present: String,
    is_served: bool,
    /// Whether any server was tried, or wished for. Before, a map may still say where to begin.
    is_begun: bool,
    /// None until somebody asks who is next.
    round: Option<Round>,
}

impl Director {
    /// None without seeds.
    pub fn new(options: DirectorOptions, seed: u64) -> Option<Self> {
        let present = options.seeds.first()?.clone();
        Some(Self {
            options,
            chart: None,
            met: Acquaintances::default(),
            satisfaction: Satisfaction::new(),
            random: SmallRng::seed_from_u64(seed),
            present,
            is_served: false,
            is_begun: false,
            round: None,
        })
    }

    pub fn server(&self) -> &str {
        &self.present
    }

    /// Whether the present server is one that the application named.
    pub fn is_seed(&self) -> bool {
        self.options.seeds.contains(&self.present)
    }

    /// As if there had never been a map.
    pub fn forget_map(&mut self) {
        self.chart = None;
        self.round = None;
    }

    pub fn map(&self) -> Option<&Arc<Map>> {
        self.chart.as_ref().map(Chart::map)
    }

    /// Whether there is another server to go to.
    pub fn has_others(&self, now: Instant) -> bool {
        let is_other = |address: &str| address != self.present;
        self.options.seeds.iter().any(|seed| is_other(seed))
            || self
                .chart
                .as_ref()
                .is_some_and(|chart| chart.points(now).iter().any(|point| is_other(&point.host.address())))
    }

    /// The `nth` of the others, in the order in which they would be tried, and how long an attempt may take.
    pub fn other(&mut self, nth: usize, now: Instant) -> Option<(&str, Duration)> {
        let round = match self.round.take() {
            Some(round) => round,
            None => self.begin_round_here(now),
        };
        let round = self.round.insert(round);
        // Those that were tried already are the last that would be tried again.
        let (coming, passed) = (round.coming(), round.passed());
        let others = || coming.iter().chain(passed).filter(|candidate| candidate.address != self.present);
        let other = others().nth(nth.checked_rem(others().count())?)?;
        Some((&other.address, self.met.attempt_timeout(&other.address)))
    }

    /// How long an attempt at the present server may take: no longer than until another server expects us.
    pub fn attempt_timeout(&self, now: Instant) -> Duration {
        let patience = self.met.attempt_timeout(&self.present);
        // A place that has passed is none.
        self.place_elsewhere(now).map_or(patience, |place| patience.min(place.max(ATTEMPT_MIN)))
    }

    /// The client has been registered, or has logged in as this one.
    pub fn handle_client(&mut self, client: ClientId) {
        self.options.client = Some(client);
    }

    /// A whole map, as the server that answers has it, with what that server's clock shows.
    pub fn handle_map(&mut self, map: impl Into<Arc<Map>>, server_time: WallMs, now: Instant) {
        self.chart = Some(Chart::fresh(map.into(), server_time, now));
        self.forget_order();
    }

    /// What has changed since the map that it has.
    pub fn handle_delta(&mut self, delta: MapDelta, server_time: WallMs, now: Instant) -> Result<(), UnknownRevision> {
        let unknown = UnknownRevision { have: 0, from: delta.from };
        self.chart.as_mut().ok_or(unknown)?.apply(delta, server_time, now)?;
        self.forget_order();
        Ok(())
    }

    /// A map of an earlier process, of whatever age: all its rows are candidates until a fresh one comes. A client that has not begun begins
    /// by it.
    pub fn handle_saved_map(&mut self, map: impl Into<Arc<Map>>, now: Instant) {
        self.chart = Some(Chart::saved(map.into()));
        self.forget_order();
        if !self.is_begun {
            let mut random = self.random.clone();
            let best = self.candidates(&mut random, now).list.into_iter().next();
            self.random = random;
            self.present = best.map_or_else(|| self.present.clone(), |best| best.address);
        }
    }

    /// An order by the last map is not to be kept; but a round in which somebody has failed goes on to its end.
    fn forget_order(&mut self) {
        self.round.take_if(|round| !round.is_begun());
    }

    /// Moves on from a server that did not answer, was lost, or sends us away, perhaps for a time that it names. Returns how long all
    /// are to be left alone, if it is time to wait: if every server has failed since the last wait; with a map also if enough have named a
    /// time for us to come, or one a time that is near. The server is then the one to try after the wait.
    pub fn handle_failure(&mut self, wait: Option<Duration>, now: Instant) -> Option<Duration> {
        let chance = self.random.random();
        self.met.handle_failure(&self.present, wait, now, chance);
        self.satisfaction.handle_left();
        self.is_begun = true;
        let was_served = std::mem::take(&mut self.is_served);
        let mut round = match self.round.take().filter(Round::is_begun) {
            Some(round) => round,
            None => self.begin_round_here(now),
        };
        round.handle_failure(&self.present, wait, was_served, now);
        if self.chart.is_none() {
            return self.go_on_by_seeds(round);
        }
        if wait.is_none() {
            round.put_first(self.backups(now).into_iter());
        }
        self.go_on_by_map(round, now)
    }

    fn go_on_by_seeds(&mut self, mut round: Round) -> Option<Duration> {
        if let Some(next) = round.take_next(|_| true) {
            self.present = next;
            self.round = Some(round);
            return None;
        }
        // Where the round began.
        self.present.clone_from(&round.order()[0].address);
        Some(round.longest_wait())
    }

    fn go_on_by_map(&mut self, mut round: Round, now: Instant) -> Option<Duration> {
        if !round.is_enough(now)
            && let Some(next) = round.take_next(|address| self.met.open_until(address, now).is_none())
        {
            self.present = next;
            self.round = Some(round);
            return None;
        }
        let (until, address) = match round.place() {
            // There somebody answers; who does not answer may be tried another time.
            Some(place) => place.clone(),
            None => self.first_to_close(&round, now),
        };
        let wait = until.saturating_duration_since(now);
        self.present = address;
        Some(wait)
    }

    fn first_to_close(&self, round: &Round, now: Instant) -> (Instant, String) {
        let open_until = |address: &str| self.met.open_until(address, now).unwrap_or(now);
        let passed = round.passed().iter().map(|candidate| (open_until(&candidate.address), &candidate.address));
        let first = passed.min_by_key(|(until, _)| *until);
        first.map_or_else(|| (now, self.present.clone()), |(until, address)| (until, address.clone()))
    }

    /// In what time another server has told us to come. Say so to the present one: a queue in which we would stand longer should not keep
    /// a place for us.
    pub fn place_elsewhere(&self, now: Instant) -> Option<Duration> {
        let (place, _) = self.round.as_ref()?.place()?;
        Some(place.saturating_duration_since(now))
    }

    /// The server has done what was asked of it.
    pub fn handle_success(&mut self, now: Instant) {
        self.met.handle_success(&self.present, now);
        (self.is_served, self.is_begun) = (true, true);
        self.round = None;
    }

    /// How long the present server took to answer.
    pub fn handle_answer(&mut self, took: Duration, now: Instant) {
        self.met.handle_answer(&self.present, took, now);
        let here = self.met.answers_in(&self.present, now).unwrap_or(took);
        let elsewhere = self.fastest_other(now).map(|(_, took)| took);
        self.satisfaction.handle_answer(here, elsewhere, now);
    }

    /// How long another server took to answer, who was asked for whatever reason.
    pub fn handle_answer_of(&mut self, server: &str, took: Duration, now: Instant) {
        self.met.handle_answer(server, took, now);
    }

    /// Where to go, if the present server has become too slow to stay. Said once; `prefer` it.
    pub fn poll_leave(&mut self, now: Instant) -> Option<String> {
        if !self.is_served || !self.has_others(now) || !self.satisfaction.poll_leave(now) {
            return None;
        }
        if let Some((fastest, _)) = self.fastest_other(now) {
            return Some(fastest.to_owned());
        }
        self.other(0, now).map(|(other, _)| other.to_owned())
    }

    /// Go there next: the application, or the broker, wants it so. It may be new to us.
    pub fn prefer(&mut self, address: &str) {
        let seeds = &mut self.options.seeds;
        let is_new = seeds.iter().all(|seed| seed != address);
        if is_new && self.chart.is_none() && seeds.len() < SEEDS_MAX {
            seeds.push(address.to_owned());
        }
        if address != self.present {
            self.present = address.to_owned();
            self.is_served = false;
            self.satisfaction.handle_left();
        }
        self.is_begun = true;
        self.round = None;
    }

    /// Of those that a client may go to, the one whose answers were the fastest when it asked.
    fn fastest_other(&self, now: Instant) -> Option<(&str, Duration)> {
        let points = self.chart.as_ref().map(|chart| chart.points(now));
        self.met.fastest(now, |address| {
            let is_listed = match &points {
                Some(points) => points.iter().any(|point| point.weight > 0 && point.host.address() == address),
                None => self.options.seeds.iter().any(|seed| seed == address),
            };
            is_listed && address != self.present && self.met.open_until(address, now).is_none()
        })
    }

    /// Where to go instead of the present server.
    fn backups(&self, now: Instant) -> Vec<String> {
        let point = self.chart.as_ref().and_then(|chart| chart.point(&self.present, now));
        point.map_or_else(Vec::new, |point| point.backups.iter().map(|backup| backup.address()).collect())
    }

    fn begin_round_here(&mut self, now: Instant) -> Round {
        let mut random = self.random.clone();
        let round = self.begin_round(&mut random, now);
        self.random = random;
        round
    }

    fn begin_round(&self, random: &mut SmallRng, now: Instant) -> Round {
        Round::new(&self.present, self.candidates(random, now))
    }

    fn candidates(&self, random: &mut SmallRng, now: Instant) -> Candidates {
        let DirectorOptions { seeds, client, zone } = &self.options;
        match &self.chart {
            Some(chart) => {
                let chooser = Chooser { client: *client, zone: zone.as_deref() };
                Candidates::of_map(chart, seeds, chooser, &self.met, random, now)
            }
            None => Candidates::of_seeds(seeds, &self.present),
        }
    }
}
