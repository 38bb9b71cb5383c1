//! Endless events of one size over a number of keys, the same for the same seed.

use rand::Rng;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

use super::Seed;

const TYPES: [&str; 4] = ["load.created", "load.changed", "load.removed", "load.measured"];
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// An iterator without end. Its events differ in type, key, `data.level` (0 to 99, evenly spread, so that a filter of
/// any selectivity can be written) and padding, which does not compress below three quarters.
#[derive(Clone, Debug)]
pub struct Synthetic {
    rng: SmallRng,
    prefix: String,
    size_bytes: usize,
    keys: u32,
    next: u64,
}

impl Synthetic {
    /// Events of `size_bytes` as JSON text without line end; where the attributes alone need more (about 200), it is
    /// that.
    pub fn new(seed: Seed, size_bytes: usize, keys: u32) -> Self {
        assert!(keys > 0, "an event needs a key to choose");
        Self { rng: seed.rng(), prefix: seed.to_string(), size_bytes, keys, next: 0 }
    }

    fn padding(&mut self, bytes: usize) -> String {
        (0..bytes).map(|_| char::from(ALPHABET[self.rng.random_range(0..ALPHABET.len())])).collect()
    }
}

impl Iterator for Synthetic {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        let n = self.next;
        self.next += 1;
        let key = self.rng.random_range(0..self.keys);
        let mut event = json!({
            "specversion": "1.0",
            "id": format!("{}-{n}", self.prefix),
            "source": "/load",
            "type": TYPES[self.rng.random_range(0..TYPES.len())],
            "partitionkey": format!("k{key}"),
            "data": {"n": n, "level": self.rng.random_range(0..100), "pad": ""},
        });
        let missing = self.size_bytes.saturating_sub(event.to_string().len());
        event["data"]["pad"] = self.padding(missing).into();
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::super::partition_key;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn events_have_the_size_asked_for() {
        for size_bytes in [256, 1024, 100_000] {
            assert!(
                Synthetic::new(Seed(1), size_bytes, 10).take(20).all(|event| event.to_string().len() == size_bytes)
            );
        }
        assert!(Synthetic::new(Seed(1), 0, 10).take(20).all(|event| event.to_string().len() < 220));
    }

    #[test]
    fn the_same_seed_makes_the_same_events_and_another_seed_others() {
        let made = |seed| Synthetic::new(Seed(seed), 256, 10).take(50).collect::<Vec<_>>();
        assert_eq!(made(7), made(7));
        assert_ne!(made(7), made(8));
    }

    #[test]
    fn all_keys_are_used() {
        let events: Vec<Value> = Synthetic::new(Seed(3), 0, 4).take(200).collect();
        assert_eq!(events.iter().map(partition_key).collect::<BTreeSet<_>>(), ["k0", "k1", "k2", "k3"].into());
    }
}
