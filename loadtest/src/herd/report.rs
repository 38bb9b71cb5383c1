//! What a story came to, beside what it could not have beaten.

use std::time::Duration;

use serde_json::{Value, json};

use super::cause::{Cause, CauseId};
use super::scenario::Scenario;
use super::world::{Size, World};

#[derive(Clone, Debug)]
pub struct Report {
    pub scenario: Scenario,
    pub clients: u32,
    /// How many lost their broker, or left it; who was moved to fill a restarted broker is not among them.
    pub to_be_served: usize,
    /// That many, by what all brokers let in.
    pub floor: Duration,
    /// The same, had one queue stood before all brokers when they came.
    pub floor_as_they_came: Duration,
    pub took: Duration,
    pub refusals: u32,
    pub most_refusals: u32,
    pub spread: f64,
    pub moves: u32,
    pub moved_twice: usize,
    pub is_everybody_served: bool,
    pub curve: Vec<(Duration, u32)>,
}

impl Report {
    /// `healed` are the causes whose time counts: one after the other, each until all were served again.
    pub fn of(scenario: Scenario, size: Size, world: &World, healed: &[CauseId]) -> Self {
        let healed = || healed.iter().map(|cause| &world.causes[*cause]);
        let all = || world.causes.iter();
        Self {
            scenario,
            clients: size.clients,
            to_be_served: healed().map(Cause::left).sum(),
            floor: healed().map(Cause::floor).sum(),
            floor_as_they_came: healed().map(Cause::floor_as_they_came).sum(),
            took: healed().map(Cause::took).sum(),
            refusals: healed().map(Cause::refusals).sum(),
            most_refusals: healed().map(Cause::most_refusals).max().unwrap_or_default(),
            spread: world.spread(),
            moves: all().map(Cause::moves).sum(),
            moved_twice: all().map(Cause::moved_twice).sum(),
            is_everybody_served: world.is_everybody_served(),
            curve: world.curve.clone(),
        }
    }

    /// Against the floor that applies.
    pub fn times_floor(&self) -> f64 {
        let floor = if self.scenario.is_paced() { self.floor_as_they_came } else { self.floor };
        self.took.as_secs_f64() / floor.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    pub fn refusals_per_client(&self) -> f64 {
        f64::from(self.refusals) / self.to_be_served.max(1) as f64
    }

    /// Of those that had to go at all.
    pub fn moves_per_client(&self) -> f64 {
        f64::from(self.moves) / self.to_be_served.max(1) as f64
    }

    pub const TITLE: &str =
        "                                   to be  floor  as they   took  times  refusals     of     moves  moved
story                             served      s   came s      s  floor   /client   most  spread /client  twice";

    pub fn line(&self) -> String {
        format!(
            "{:30} {:9} {:6.1} {:8.1} {:6.1} {:6.2} {:9.2} {:6} {:7.3} {:7.2} {:6}",
            self.scenario.name(),
            self.to_be_served,
            self.floor.as_secs_f64(),
            self.floor_as_they_came.as_secs_f64(),
            self.took.as_secs_f64(),
            self.times_floor(),
            self.refusals_per_client(),
            self.most_refusals,
            self.spread,
            self.moves_per_client(),
            self.moved_twice
        )
    }

    pub fn json(&self) -> Value {
        json!({
            "story": self.scenario.name(),
            "to_be_served": self.to_be_served,
            "floor_s": self.floor.as_secs_f64(),
            "floor_as_they_came_s": self.floor_as_they_came.as_secs_f64(),
            "took_s": self.took.as_secs_f64(),
            "times_floor": self.times_floor(),
            "refusals_per_client": self.refusals_per_client(),
            "refusals_of_one_client_max": self.most_refusals,
            "spread": self.spread,
            "moves_per_client": self.moves_per_client(),
            "moved_twice": self.moved_twice,
            "everybody_served": self.is_everybody_served,
        })
    }
}
