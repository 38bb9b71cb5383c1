//! The order of a map's rows, by their policy.

use std::time::Duration;

use anyport_protocol::ClientId;
use anyport_protocol::filter::{Filter, Number};
use anyport_protocol::map::{Policy, ServicePoint};
use rand::Rng;
use rand::rngs::SmallRng;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::score::{self, Scored};

/// The difference of loads at which the less loaded of two is surely taken; at smaller ones it is taken the more often the larger they are.
/// A load is seconds old, and everybody reads the same one. Were every difference decisive, a whole fleet that has lost its broker would
/// queue before the few that had a handful of clients less.
const LOAD_DECISIVE: u16 = 1000;

/// A row, and what this client knows of it.
#[derive(Clone, Debug)]
pub(super) struct Row<'p> {
    pub(super) point: &'p ServicePoint,
    pub(super) address: String,
    pub(super) round_trip: Option<Duration>,
    pub(super) failures: u32,
}

/// Who chooses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chooser<'c> {
    pub(super) client: Option<ClientId>,
    pub(super) zone: Option<&'c str>,
}

impl Chooser<'_> {
    fn is_own_zone(&self, point: &ServicePoint) -> bool {
        self.zone.is_some_and(|zone| zone == point.zone)
    }

    pub(super) fn is_preferred_by(&self, point: &ServicePoint) -> bool {
        matches!((&point.bucket, self.client), (Some(bucket), Some(client)) if bucket.prefers(client))
    }

    /// The best row first. The first row's policy counts for all: where rows differ an operator is changing them one after the other.
    /// Returns what is wrong with a score expression; the order is then that of two choices.
    pub(super) fn rank(&self, rows: &mut Vec<Row<'_>>, random: &mut SmallRng) -> Option<String> {
        let policy = rows.first()?.point.policy.clone();
        let mut fault = None;
        shuffle_by_weight(rows, random);
        match policy {
            Policy::WeightedRandom => {}
            Policy::TwoChoices => take_less_loaded_of_two(rows, random),
            Policy::Nearest => self.sort_by_nearness(rows),
            Policy::Sticky => self.sort_by_rendezvous(rows),
            Policy::Score { expression } => {
                fault = self.sort_by_score(rows, &expression).err();
                if fault.is_some() {
                    take_less_loaded_of_two(rows, random);
                }
            }
        }
        // Stable, so that the policy decides among those that prefer this client, and among the rest.
        rows.sort_by_key(|row| !self.is_preferred_by(row.point));
        fault
    }

    fn sort_by_nearness(&self, rows: &mut [Row<'_>]) {
        let middle = middle_round_trip(rows);
        rows.sort_by_key(|row| (!self.is_own_zone(row.point), row.round_trip.unwrap_or(middle)));
    }

    /// A client without an id has nothing to be sticky by, and keeps the weighted order.
    fn sort_by_rendezvous(&self, rows: &mut [Row<'_>]) {
        let Some(client) = self.client else { return };
        let seed = xxh3_64(client.as_bytes());
        let place = |row: &Row<'_>| {
            // The upper 53 bits are what a double holds.
            let unit = (xxh3_64_with_seed(row.address.as_bytes(), seed) >> 11) as f64 / (1u64 << 53) as f64;
            weighted(unit, row.point.weight)
        };
        sort_by_value(rows, place);
    }

    fn sort_by_score(&self, rows: &mut Vec<Row<'_>>, expression: &str) -> Result<(), String> {
        let expression = Filter::compile(expression).map_err(|error| error.to_string())?;
        let middle = middle_round_trip(rows);
        let score = |row: &Row<'_>| {
            let round_trip = row.round_trip.unwrap_or(middle);
            let is_own_zone = self.is_own_zone(row.point);
            score::evaluate(&expression, &Scored { point: row.point, round_trip, is_own_zone, failures: row.failures })
        };
        let scores: Result<Vec<Number>, String> = rows.iter().map(score).collect();
        let mut scored: Vec<_> = scores?.into_iter().zip(std::mem::take(rows)).collect();
        scored.sort_by(|(one, _), (other, _)| other.compare(*one));
        rows.extend(scored.into_iter().map(|(_, row)| row));
        Ok(())
    }
}

/// Small for large weights, at random: whoever is smallest was drawn with a chance in proportion to its weight. `unit` lies in [0, 1).
fn weighted(unit: f64, weight: u16) -> f64 {
    -(1.0 - unit).ln() / f64::from(weight.max(1))
}

fn shuffle_by_weight(rows: &mut Vec<Row<'_>>, random: &mut SmallRng) {
    let drawn = std::mem::take(rows).into_iter().map(|row| (weighted(random.random(), row.point.weight), row));
    let mut drawn: Vec<_> = drawn.collect();
    drawn.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    rows.extend(drawn.into_iter().map(|(_, row)| row));
}

fn sort_by_value(rows: &mut [Row<'_>], value: impl Fn(&Row<'_>) -> f64) {
    rows.sort_by(|one, other| value(one).total_cmp(&value(other)));
}

/// The first place goes to one of the first two that were drawn, rather to the less loaded. The rest stay as drawn: who is sent on by a busy
/// broker needs one with a short queue, and that is none that draws everybody.
fn take_less_loaded_of_two(rows: &mut [Row<'_>], random: &mut SmallRng) {
    if let [first, second, ..] = rows
        && random.random_range(0..LOAD_DECISIVE) < first.point.load.saturating_sub(second.point.load)
    {
        std::mem::swap(first, second);
    }
}

/// Who was never measured is taken to be neither the nearest nor the farthest.
fn middle_round_trip(rows: &[Row<'_>]) -> Duration {
    let mut measured: Vec<_> = rows.iter().filter_map(|row| row.round_trip).collect();
    measured.sort();
    measured.get(measured.len() / 2).copied().unwrap_or_default()
}
