//! Which clients a point is for, where not every point is as good for each.
//!
//! A client belongs to one of `of` buckets for life. A cluster's registry has as many shards, cut the same way, so the broker that leads a
//! client's shard can be found by the map.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::ClientId;

/// A predicate on clients: those in the listed buckets. Others may come all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    pub of: u16,
    /// Ascending.
    pub buckets: Vec<u16>,
}

impl Bucket {
    pub fn prefers(&self, client: ClientId) -> bool {
        self.buckets.contains(&bucket_of(client, self.of))
    }
}

/// Never changes for a client while the count does not. A count of zero, which only a broken map could name, is taken as one.
pub fn bucket_of(client: ClientId, of: u16) -> u16 {
    let bucket = xxh3_64(client.as_bytes()) % u64::from(of.max(1));
    u16::try_from(bucket).expect("a remainder is below its divisor, a u16")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_in_one_bucket_of_so_many() {
        let client = ClientId(*b"sixteen bytes id");
        let all = |of: u16| (0..of).map(move |bucket| Bucket { of, buckets: vec![bucket] });
        assert_eq!(all(4).filter(|bucket| bucket.prefers(client)).count(), 1);
        assert!(Bucket { of: 0, buckets: vec![0] }.prefers(client), "hostile, and no panic");
    }
}
