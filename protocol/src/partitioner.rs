//! Which partition an event belongs to. Events with the same key are in one partition, and so in one order.
//!
//! The algorithm is a promise to SDKs in other languages and never changes while a cluster lives:
//!
//! ```text
//! key       = attribute `partitionkey`, else `subject`, else `source` (the first that is there; none of them is ever empty)
//! partition = XXH3_64bits(UTF-8 bytes of key, seed 0) modulo the cluster's partition count
//! ```

use xxhash_rust::xxh3::xxh3_64;

use crate::event::EncodedEvent;
use crate::ids::PartitionId;

/// How the hello names this algorithm.
pub const NAME: &str = "xxh3-64-mod";

/// What decides an event's partition.
#[inline]
pub fn partition_key<'a>(event: &EncodedEvent<'a>) -> &'a str {
    event.partitionkey().or_else(|| event.subject()).unwrap_or_else(|| event.source())
}

/// The partition of a key among `count`. A count of zero, which only a broken hello could name, is taken as one.
#[inline]
pub fn partition_of(key: &str, count: u16) -> PartitionId {
    let partition = xxh3_64(key.as_bytes()) % u64::from(count.max(1));
    PartitionId(u16::try_from(partition).expect("a remainder is below its divisor, a u16"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, EventBuilder};

    fn key_of(builder: EventBuilder) -> String {
        let bytes = builder.build().expect("valid").encode();
        partition_key(&EncodedEvent::check(&bytes).expect("own encoding")).to_owned()
    }

    #[test]
    fn an_event_goes_by_partitionkey_then_subject_then_source() {
        let event = Event::builder("1", "/source", "t");
        assert_eq!(key_of(event.clone()), "/source");
        assert_eq!(key_of(event.clone().subject("subject")), "subject");
        assert_eq!(key_of(event.subject("subject").extension("partitionkey", "key")), "key");
    }

    /// Golden, from the reference implementation of XXH3: a change here sends keys to other partitions and so breaks order in every cluster there is.
    #[test]
    fn event_keys_stay_in_their_partitions() {
        let vectors: [(&str, u64, [u16; 3]); 4] = [
            ("", 0x2d06_8005_38d3_94c2, [0, 2, 38]),
            ("a", 0xe6c6_32b6_1e96_4e1f, [0, 7, 19]),
            ("abc", 0x78af_5f94_892f_3950, [0, 0, 4]),
            ("Indonésie", 0x0f90_2b00_a251_4b18, [0, 0, 4]),
        ];
        for (key, hash, partitions) in vectors {
            assert_eq!(xxh3_64(key.as_bytes()), hash, "{key}");
            assert_eq!([1, 8, 100].map(|count| partition_of(key, count).0), partitions, "{key}");
        }
        assert_eq!(partition_of("a", 0), PartitionId(0));
    }
}
