//! How long it takes there and back.

use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;

pub const ZONES: u8 = 3;

/// Three regions of a continent, in milliseconds.
const ROUND_TRIPS: [[u64; ZONES as usize]; ZONES as usize] = [[10, 30, 60], [30, 10, 40], [60, 40, 10]];

/// No two are alike.
pub fn round_trip(one: u8, other: u8, random: &mut SmallRng) -> Duration {
    let base = Duration::from_millis(ROUND_TRIPS[usize::from(one)][usize::from(other)]);
    base.mul_f64(random.random_range(0.9..1.3))
}
