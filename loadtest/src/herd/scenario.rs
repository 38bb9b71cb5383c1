//! The stories, each from a fleet at rest to a fleet at rest.

use std::time::Duration;

use super::broker::Broker;
use super::cause::CauseId;
use super::report::Report;
use super::world::{Size, World};

/// Long before this everybody is served, or something is broken.
const LIMIT: Duration = Duration::from_secs(3600);
const REST: Duration = Duration::from_secs(5);

const RESTART: Duration = Duration::from_secs(2);
const UPDATE_WITHIN: Duration = Duration::from_secs(10);
const UPDATE_AWAY: Duration = Duration::from_secs(1);
const BLACK_HOLE_DELAY: Duration = Duration::from_secs(5);
/// The time in which a client is sure to have lost its patience with a slow broker.
const BLACK_HOLE_WATCHED: Duration = Duration::from_secs(120);
const NEWCOMERS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    Death,
    RollingRestart,
    ZoneLoss,
    Update,
    BlackHole,
    Newcomers,
}

impl Scenario {
    pub const ALL: [Self; 6] =
        [Self::Death, Self::RollingRestart, Self::ZoneLoss, Self::Update, Self::BlackHole, Self::Newcomers];

    pub fn name(self) -> &'static str {
        match self {
            Self::Death => "a broker dies",
            Self::RollingRestart => "rolling restart of all",
            Self::ZoneLoss => "a zone is lost",
            Self::Update => "all clients restart within 10 s",
            Self::BlackHole => "a broker answers after 5 s",
            Self::Newcomers => "two brokers join",
        }
    }

    /// Whether the brokers decide how fast clients come, or the clients' patience does: then the floor counts from when they came.
    pub fn is_paced(self) -> bool {
        matches!(self, Self::BlackHole | Self::Newcomers)
    }

    pub fn run(self, size: Size) -> Report {
        let mut world = World::new(size);
        world.run_for(REST);
        let healed = match self {
            Self::Death => die(&mut world),
            Self::RollingRestart => restart_one_after_the_other(&mut world),
            Self::ZoneLoss => lose_zone(&mut world),
            Self::Update => update(&mut world),
            Self::BlackHole => become_slow(&mut world),
            Self::Newcomers => join(&mut world),
        };
        world.run_for(REST);
        Report::of(self, size, &world, &healed)
    }
}

fn die(world: &mut World) -> Vec<CauseId> {
    let cause = world.begin_cause(&[0]);
    world.kill(0, cause);
    world.run_until_served(LIMIT);
    vec![cause]
}

fn restart_one_after_the_other(world: &mut World) -> Vec<CauseId> {
    let mut restarts = Vec::new();
    for broker in 0..world.brokers.len() {
        let cause = world.begin_cause(&[broker]);
        restarts.push(cause);
        world.send_away(broker, cause);
        world.run_until_served(LIMIT);
        world.brokers[broker].is_up = false;
        world.run_for(RESTART);
        world.start_again(broker);
        world.run_for(REST);
    }
    fill_newcomers(world);
    restarts
}

fn lose_zone(world: &mut World) -> Vec<CauseId> {
    let lost: Vec<_> = (0..world.brokers.len()).filter(|at| world.brokers[*at].zone == 0).collect();
    let cause = world.begin_cause(&lost);
    lost.iter().for_each(|at| world.kill(*at, cause));
    world.run_until_served(LIMIT);
    vec![cause]
}

fn update(world: &mut World) -> Vec<CauseId> {
    let cause = world.begin_cause(&[]);
    world.plan_restarts(UPDATE_WITHIN, UPDATE_AWAY, cause);
    world.run_for(UPDATE_WITHIN);
    world.run_until_served(LIMIT);
    vec![cause]
}

fn become_slow(world: &mut World) -> Vec<CauseId> {
    world.begin_asking();
    world.run_for(REST);
    let cause = world.begin_cause(&[0]);
    world.brokers[0].delay = BLACK_HOLE_DELAY;
    world.run_for(BLACK_HOLE_WATCHED);
    vec![cause]
}

fn join(world: &mut World) -> Vec<CauseId> {
    let capacity = world.brokers[0].capacity;
    let old: Vec<_> = (0..world.brokers.len()).collect();
    for zone in 0..NEWCOMERS {
        let zone = u8::try_from(zone).expect("a few zones");
        let broker = Broker::new(world.brokers.len(), zone, capacity);
        world.add_broker(Broker { is_new: true, ..broker });
    }
    let filling = world.begin_cause(&old);
    world.brokers.iter_mut().for_each(|broker| broker.filling = filling);
    fill_newcomers(world);
    vec![filling]
}

fn fill_newcomers(world: &mut World) {
    let end = world.elapsed() + LIMIT;
    while world.brokers.iter().any(|broker| broker.is_new) && world.elapsed() < end {
        world.run_for(REST);
    }
    world.run_until_served(REST);
}
