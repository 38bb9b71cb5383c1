//! Where a client may go, in order, and why there.

use std::time::Instant;

use anyport_protocol::map::ServicePoint;
use rand::rngs::SmallRng;

use super::acquaintance::Acquaintances;
use super::chart::Chart;
use super::rank::{Chooser, Row};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) address: String,
    pub(super) why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The client is there, or on the way.
    Present,
    /// A row of the map that is for this client.
    Preferred,
    /// A row of the map, by its policy.
    Ranked,
    /// Named by a row that did not answer.
    Backup,
    /// Not in the map, but the application named it.
    Seed,
    /// A row that nobody is to go to who has somewhere else to go.
    Weightless,
}

/// Who could be tried, and what is wrong with a score expression.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    pub(super) list: Vec<Candidate>,
    pub(super) fault: Option<String>,
}

impl Candidates {
    /// Rows, then seeds, then rows of weight 0: a seed that is such a row is no better for being a seed.
    pub(super) fn of_map(
        chart: &Chart,
        seeds: &[String],
        chooser: Chooser<'_>,
        met: &Acquaintances,
        random: &mut SmallRng,
        now: Instant,
    ) -> Self {
        let (mut weightless, mut rows): (Vec<_>, Vec<_>) =
            rows(&chart.points(now), met, now).into_iter().partition(|row| row.point.weight == 0);
        let fault = chooser.rank(&mut rows, random);
        let fault = fault.or(chooser.rank(&mut weightless, random));
        let why = |point: &ServicePoint| if chooser.is_preferred_by(point) { Why::Preferred } else { Why::Ranked };
        let mut candidates = Self { list: Vec::new(), fault };
        rows.into_iter().for_each(|row| candidates.add(row.address, why(row.point)));
        let is_weightless = |seed: &&String| weightless.iter().any(|row| row.address == **seed);
        seeds.iter().filter(|seed| !is_weightless(seed)).for_each(|seed| candidates.add(seed.clone(), Why::Seed));
        weightless.into_iter().for_each(|row| candidates.add(row.address, Why::Weightless));
        candidates
    }

    /// The seeds in their order, from the one after the present server on.
    pub(super) fn of_seeds(seeds: &[String], present: &str) -> Self {
        let next = seeds.iter().position(|seed| seed == present).map_or(0, |at| at + 1);
        let (before, after) = seeds.split_at(next);
        let mut candidates = Self::default();
        after.iter().chain(before).for_each(|seed| candidates.add(seed.clone(), Why::Seed));
        candidates
    }

    fn add(&mut self, address: String, why: Why) {
        if self.list.iter().all(|known| known.address != address) {
            self.list.push(Candidate { address, why });
        }
    }
}

/// With what is known of each.
fn rows<'p>(points: &[&'p ServicePoint], met: &Acquaintances, now: Instant) -> Vec<Row<'p>> {
    let row = |point: &&'p ServicePoint| {
        let address = point.host.address();
        let (round_trip, failures) = (met.answers_in(&address, now), met.failures(&address));
        Row { point, address, round_trip, failures }
    };
    points.iter().map(row).collect()
}
