//! How long acks paused, from when each of them came.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use anyport_protocol::PartitionId;

/// When a dead leader is replaced, with the timing `lan`: no follower stands before the election maximum of 750 ms has passed since it
/// last heard, and then each waits for a time of its own between 450 and 750 ms.
pub const ELECTION: [Duration; 2] = [Duration::from_millis(750 + 450), Duration::from_millis(750 + 750)];

/// After which the SDK tries another broker, and leaves for it if it answers: a second, the look at which it was noticed, and the time
/// for a last word.
pub const SILENCE: Duration = Duration::from_millis(1000 + 250 + 200);

/// A producer and a partition: in between acks come in order.
pub type Lane = (u32, PartitionId);

/// When each event of each lane was acked.
#[derive(Clone, Debug, Default)]
pub struct AckTimes {
    lanes: BTreeMap<Lane, Vec<Instant>>,
}

/// A broker was killed.
#[derive(Clone, Debug)]
pub struct Kill {
    pub at: Instant,
    /// The producers that were connected to it.
    pub connected: BTreeSet<u32>,
}

/// The longest that followed a kill, in any one lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pauses {
    /// At producers that were connected to the killed broker, if there were any.
    pub there: Option<Duration>,
    /// At all others.
    pub elsewhere: Option<Duration>,
}

impl AckTimes {
    pub fn add(&mut self, lane: Lane, at: Instant) {
        self.lanes.entry(lane).or_default().push(at);
    }

    /// Between this kill and the next.
    pub fn pauses_at(&self, kill: &Kill, next: Option<&Kill>) -> Pauses {
        let mut pauses = Pauses::default();
        for ((producer, _), acks) in &self.lanes {
            let pause = longest_pause(acks, kill.at, next.map(|next| next.at));
            let of = if kill.connected.contains(producer) { &mut pauses.there } else { &mut pauses.elsewhere };
            *of = (*of).max(pause);
        }
        pauses
    }
}

/// The longest time without an ack that ends after `from` and begins before `until`.
fn longest_pause(acks: &[Instant], from: Instant, until: Option<Instant>) -> Option<Duration> {
    let pairs = acks.windows(2).filter(|pair| pair[1] > from && until.is_none_or(|until| pair[0] < until));
    pairs.map(|pair| pair[1] - pair[0]).max()
}

/// Of the pauses of all kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    of: Option<(Duration, Duration)>,
}

impl Summary {
    pub fn of(pauses: impl Iterator<Item = Duration>) -> Self {
        let mut pauses: Vec<_> = pauses.collect();
        pauses.sort();
        Self { of: pauses.last().map(|longest| (pauses[pauses.len() / 2], *longest)) }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.of {
            Some((median, longest)) => {
                write!(f, "median {:.2} s, longest {:.2} s", median.as_secs_f64(), longest.as_secs_f64())
            }
            None => f.write_str("none was there"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(begun: Instant, millis: u64) -> Instant {
        begun + Duration::from_millis(millis)
    }

    #[test]
    fn each_kill_has_the_pauses_up_to_the_next_one() {
        let begun = Instant::now();
        let mut acks = AckTimes::default();
        for millis in [0, 100, 1600, 1700, 1900, 2900] {
            acks.add((0, PartitionId(0)), at(begun, millis));
        }
        for millis in [0, 150, 300, 5000] {
            acks.add((1, PartitionId(3)), at(begun, millis));
        }
        let kills = [(120, BTreeSet::from([1])), (1800, BTreeSet::new())];
        let kills = kills.map(|(millis, connected)| Kill { at: at(begun, millis), connected });
        let millis = |pause: Option<Duration>| pause.map(|pause| pause.as_millis());
        let first = acks.pauses_at(&kills[0], Some(&kills[1]));
        assert_eq!((millis(first.elsewhere), millis(first.there)), (Some(1500), Some(4700)));
        let second = acks.pauses_at(&kills[1], None);
        assert_eq!((millis(second.elsewhere), second.there), (Some(4700), None));
    }

    #[test]
    fn a_summary_names_the_median_and_the_longest() {
        let summary = Summary::of([3, 1, 2].map(Duration::from_secs).into_iter());
        assert_eq!(summary.to_string(), "median 2.00 s, longest 3.00 s");
        assert_eq!(Summary::of(std::iter::empty()).to_string(), "none was there");
    }
}
