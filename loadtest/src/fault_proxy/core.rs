//! What becomes of each packet: a function of the seed, the faults in force and the packet's place among those of its
//! direction.

use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;

use crate::workload::Seed;

/// Faults of the line, the same in both directions. Probabilities are between 0 and 1. Each does one thing: delay and
/// jitter keep the order, and only `reorder` changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    pub delay_ms: u64,
    /// Up to so much is added to the delay.
    pub jitter_ms: u64,
    pub loss: f64,
    pub duplicate: f64,
    /// Share of packets that are held back by `reorder_ms` more, while later ones pass them.
    pub reorder: f64,
    pub reorder_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToTarget,
    ToClient,
}

/// Where nothing passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cut {
    #[default]
    None,
    ToTarget,
    ToClient,
    Both,
}

impl Cut {
    pub fn blocks(self, direction: Direction) -> bool {
        match self {
            Self::None => false,
            Self::Both => true,
            Self::ToTarget => direction == Direction::ToTarget,
            Self::ToClient => direction == Direction::ToClient,
        }
    }
}

/// What was decided about the packets so far, each as it arrived. A doubled packet is passed once and doubled once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: u64,
    pub dropped: u64,
    pub doubled: u64,
    pub held_back: u64,
}

/// Decides. Inputs: [`FaultCore::set`], [`FaultCore::cut`] and, for each packet that arrives,
/// [`FaultCore::handle_packet`], which answers when it is to be delivered: never, once or twice.
#[derive(Debug)]
pub struct FaultCore {
    faults: Faults,
    cut: Cut,
    counts: Counts,
    to_target: Line,
    to_client: Line,
}

/// One direction, with random numbers of its own.
#[derive(Debug)]
struct Line {
    rng: SmallRng,
    /// When the last packet that was not held back arrives: none of the next may be earlier.
    latest: Duration,
}

/// The random part of one packet's fate. Always drawn whole, so that switching one fault on does not change what the
/// others do.
struct Draw {
    loss: f64,
    jitter: f64,
    reorder: f64,
    duplicate: f64,
}

impl Line {
    fn new(seed: Seed) -> Self {
        Self { rng: seed.rng(), latest: Duration::ZERO }
    }

    fn draw(&mut self) -> Draw {
        let mut one = || self.rng.random::<f64>();
        Draw { loss: one(), jitter: one(), reorder: one(), duplicate: one() }
    }
}

impl FaultCore {
    pub fn new(seed: Seed) -> Self {
        Self {
            faults: Faults::default(),
            cut: Cut::None,
            counts: Counts::default(),
            to_target: Line::new(seed.part(0)),
            to_client: Line::new(seed.part(1)),
        }
    }

    pub fn set(&mut self, faults: Faults) {
        self.faults = faults;
    }

    pub fn cut(&mut self, cut: Cut) {
        self.cut = cut;
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// When to deliver the packet that has arrived now. Times are since whatever start the caller counts from.
    pub fn handle_packet(&mut self, now: Duration, direction: Direction) -> impl Iterator<Item = Duration> + use<> {
        let Faults { delay_ms, jitter_ms, loss, duplicate, reorder, reorder_ms } = self.faults;
        let line = match direction {
            Direction::ToTarget => &mut self.to_target,
            Direction::ToClient => &mut self.to_client,
        };
        let draw = line.draw();
        if self.cut.blocks(direction) || draw.loss < loss {
            self.counts.dropped += 1;
            return [None, None].into_iter().flatten();
        }
        self.counts.passed += 1;
        let jitter = Duration::from_millis(jitter_ms).mul_f64(draw.jitter);
        let mut at = (now + Duration::from_millis(delay_ms) + jitter).max(line.latest);
        if draw.reorder < reorder {
            self.counts.held_back += 1;
            at += Duration::from_millis(reorder_ms);
        } else {
            line.latest = at;
        }
        let doubled = draw.duplicate < duplicate;
        self.counts.doubled += u64::from(doubled);
        [Some(at), doubled.then_some(at)].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{ToClient, ToTarget};

    const ALL: Faults = Faults { delay_ms: 20, jitter_ms: 30, loss: 0.2, duplicate: 0.1, reorder: 0.1, reorder_ms: 25 };

    /// A packet each millisecond, and when it is delivered.
    fn decide(seed: u64, faults: Faults, count: u64) -> Vec<Vec<Duration>> {
        let mut core = FaultCore::new(Seed(seed));
        core.set(faults);
        (0..count).map(|n| core.handle_packet(Duration::from_millis(n), ToTarget).collect()).collect()
    }

    #[test]
    fn the_same_seed_decides_the_same_and_another_seed_otherwise() {
        assert_eq!(decide(1, ALL, 1000), decide(1, ALL, 1000));
        assert_ne!(decide(1, ALL, 1000), decide(2, ALL, 1000));
    }

    #[test]
    fn one_direction_does_not_change_what_happens_in_the_other() {
        let mut core = FaultCore::new(Seed(1));
        core.set(ALL);
        let mixed: Vec<Vec<Duration>> = (0..1000)
            .map(|n| {
                let now = Duration::from_millis(n);
                let _ = core.handle_packet(now, ToClient);
                core.handle_packet(now, ToTarget).collect()
            })
            .collect();
        assert_eq!(mixed, decide(1, ALL, 1000));
    }

    #[test]
    fn a_line_without_faults_passes_everything_at_once() {
        let decided = decide(1, Faults::default(), 100);
        assert!(decided.iter().zip(0..).all(|(times, n)| *times == [Duration::from_millis(n)]));
    }

    #[test]
    fn each_fault_strikes_as_often_as_asked() {
        let share = |count: usize| count as f64 / 10_000.0;
        let lost = decide(1, Faults { loss: 0.3, ..Faults::default() }, 10_000);
        assert!((share(lost.iter().filter(|times| times.is_empty()).count()) - 0.3).abs() < 0.02);
        let doubled = decide(1, Faults { duplicate: 0.1, ..Faults::default() }, 10_000);
        assert!((share(doubled.iter().filter(|times| times.len() == 2).count()) - 0.1).abs() < 0.02);
    }

    #[test]
    fn only_reordering_changes_the_order() {
        let in_order = |faults| decide(1, faults, 1000).concat().is_sorted();
        assert!(in_order(Faults { reorder: 0.0, ..ALL }));
        assert!(!in_order(ALL));
    }

    #[test]
    fn a_cut_blocks_the_direction_it_names() {
        for (cut, passing) in [
            (Cut::None, [true, true]),
            (Cut::ToTarget, [false, true]),
            (Cut::ToClient, [true, false]),
            (Cut::Both, [false, false]),
        ] {
            let mut core = FaultCore::new(Seed(1));
            core.cut(cut);
            let passes =
                [ToTarget, ToClient].map(|direction| core.handle_packet(Duration::ZERO, direction).next().is_some());
            assert_eq!(passes, passing, "{cut:?}");
        }
    }
}
