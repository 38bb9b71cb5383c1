//! Events to publish: made from a seed at any size, or recorded from the real world.
//!
//! Both kinds are iterators of CloudEvents as JSON values, so that a load can be longer than memory and be made again,
//! the same, from its seed. One event on one line of text is [`line()`].

mod recorded;
mod synthetic;

use std::fmt;
use std::str::FromStr;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::Value;

pub use recorded::Recorded;
pub use synthetic::Synthetic;

/// What a run was made from. Whoever starts a run shows it, so that the same run can be had again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// From ANYPORT_SEED if that is set, else at random.
    ///
    /// Told on stderr, which the test harness shows exactly when a test fails.
    ///
    /// # Panics
    /// If ANYPORT_SEED holds no seed: running another one than was asked for would mislead.
    pub fn announced() -> Self {
        let seed = match std::env::var("ANYPORT_SEED") {
            Ok(text) => text.parse().expect("ANYPORT_SEED holds up to 16 hexadecimal digits"),
            Err(_) => Self(rand::random()),
        };
        eprintln!("seed {seed} (run again with ANYPORT_SEED={seed})");
        seed
    }

    pub fn rng(self) -> SmallRng {
        SmallRng::seed_from_u64(self.0)
    }

    /// A seed for one part of a run, so that parts do not draw from each other's numbers.
    #[must_use]
    pub fn part(self, part: u64) -> Self {
        Self(self.0 ^ part.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Seed {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// What decides the event's partition: its `partitionkey`, else its `subject`, else its `source`.
pub fn partition_key(event: &Value) -> &str {
    let attribute = |name| event.get(name).and_then(Value::as_str);
    attribute("partitionkey").or_else(|| attribute("subject")).or_else(|| attribute("source")).unwrap_or_default()
}

/// The event as one line of NDJSON, with its line end.
pub fn line(event: &Value) -> String {
    let mut text = event.to_string();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_seed_survives_its_text_form_and_its_parts_differ() {
        let seed = Seed(0x0123_4567_89ab_cdef);
        assert_eq!(seed.to_string().parse(), Ok(seed));
        assert_ne!(seed.part(0), seed.part(1));
    }

    #[test]
    fn the_partition_key_is_the_most_specific_attribute_there_is() {
        let mut event = json!({"source": "/s", "subject": "sub", "partitionkey": "key"});
        for (expected, name) in [("key", "partitionkey"), ("sub", "subject"), ("/s", "source")] {
            assert_eq!(partition_key(&event), expected);
            event.as_object_mut().expect("an object").remove(name);
        }
    }
}
