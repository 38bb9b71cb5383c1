//! The key space on one page. Integers in keys are big endian, so that byte order is number order.
//!
//! ```text
//!  column family     key                                         value (sealed, see sealed.rs)
//!  one per group     index u64 | part u16                        one record of an entry          log/record.rs
//!  state             group 3 | tag u8                            one row of a group              state.rs
//!  state             group 3 | tag u8 | index u64                history of a partition          partition/history.rs
//!  state             0xFF | tag u8                               facts of the store              store/open.rs
//!  offsets           partition u16 | first offset u64            where a record begins           partition/offsets.rs
//!  producers         partition u16 | producer 16                 a producer's row                partition/producers.rs
//!  registry          its own                                     clients                         registry/
//!  local             a name                                      the broker's own facts          store.rs
//! ```

use anyport_protocol::{Offset, PartitionId, ProducerId};

use crate::group::GroupId;

/// Bytes of a key of a log.
pub(crate) const RECORD_KEY_BYTES: usize = 10;

pub(crate) fn record(index: u64, part: u16) -> [u8; RECORD_KEY_BYTES] {
    let mut key = [0; RECORD_KEY_BYTES];
    key[..8].copy_from_slice(&index.to_be_bytes());
    key[8..].copy_from_slice(&part.to_be_bytes());
    key
}

pub(crate) fn parse_record(key: &[u8]) -> Option<(u64, u16)> {
    let (index, part) = key.split_first_chunk::<8>()?;
    let part: &[u8; 2] = part.try_into().ok()?;
    Some((u64::from_be_bytes(*index), u16::from_be_bytes(*part)))
}

/// What a row of a group is. Tags are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tag {
    Vote = b'v',
    Purged = b'p',
    /// Where a log that was never purged begins.
    Start = b's',
    Committed = b'c',
    Applied = b'a',
    Membership = b'm',
    /// What the cluster was created with; of the metadata group.
    Facts = b'f',
    /// What has become of the cluster since; of the metadata group.
    Cluster = b'k',
    /// A partition's applied position.
    Position = b't',
    /// A partition's openings, by index.
    Opened = b'o',
    /// A partition's memberships, by index.
    Members = b'h',
    /// The group is being wiped.
    Reset = b'r',
}

pub(crate) fn group_row(group: GroupId, tag: Tag) -> [u8; 4] {
    let [kind, high, low] = group.code();
    [kind, high, low, tag as u8]
}

pub(crate) fn history_row(group: GroupId, tag: Tag, index: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&group_row(group, tag));
    key[4..].copy_from_slice(&index.to_be_bytes());
    key
}

/// The half-open range of all rows of a group in `state`.
pub(crate) fn rows_of_group(group: GroupId) -> ([u8; 3], [u8; 3]) {
    let [kind, high, low] = group.code();
    // The last group of a kind is followed by the next kind, and no kind is the last.
    let [_, next @ ..] = (u32::from_be_bytes([0, kind, high, low]) + 1).to_be_bytes();
    (group.code(), next)
}

/// A fact of the whole store: no group's code begins with 0xFF.
pub(crate) fn store_row(tag: u8) -> [u8; 2] {
    [0xFF, tag]
}

pub(crate) fn offset(partition: PartitionId, first: Offset) -> [u8; 10] {
    let mut key = [0; 10];
    key[..2].copy_from_slice(&partition.0.to_be_bytes());
    key[2..].copy_from_slice(&first.0.to_be_bytes());
    key
}

pub(crate) fn parse_offset(key: &[u8]) -> Option<Offset> {
    let first: &[u8; 8] = key.get(2..)?.try_into().ok()?;
    Some(Offset(u64::from_be_bytes(*first)))
}

pub(crate) fn producer(partition: PartitionId, producer: &ProducerId) -> [u8; 18] {
    let mut key = [0; 18];
    key[..2].copy_from_slice(&partition.0.to_be_bytes());
    key[2..].copy_from_slice(producer.as_bytes());
    key
}

/// The half-open range of all keys that begin with this partition's number.
pub(crate) fn of_partition(partition: PartitionId) -> (Vec<u8>, Vec<u8>) {
    // Numbers go up to 256, so the next one always exists.
    (partition.0.to_be_bytes().to_vec(), (partition.0 + 1).to_be_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_of_a_log_sort_as_its_records_do(a: (u64, u16), b: (u64, u16)) {
            prop_assert_eq!(record(a.0, a.1).cmp(&record(b.0, b.1)), a.cmp(&b));
            prop_assert_eq!(parse_record(&record(a.0, a.1)), Some(a));
        }

        #[test]
        fn offset_rows_sort_by_partition_then_offset(a: (u16, u64), b: (u16, u64)) {
            let key = |(partition, first)| offset(PartitionId(partition), Offset(first));
            prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
            prop_assert_eq!(parse_offset(&key(a)), Some(Offset(a.1)));
        }
    }

    #[test]
    fn all_rows_of_a_group_lie_within_its_range_and_no_others() {
        let groups: Vec<GroupId> = GroupId::all(300, 300).chain([GroupId::Registry(u16::MAX)]).collect();
        for group in &groups {
            let (start, end) = rows_of_group(*group);
            for other in &groups {
                let row = history_row(*other, Tag::Members, u64::MAX);
                assert_eq!(start.as_slice() <= row.as_slice() && row.as_slice() < end.as_slice(), other == group);
            }
            assert!(end.as_slice() <= store_row(0).as_slice());
        }
    }

    proptest! {
        #[test]
        fn rows_of_a_history_sort_by_index_and_lie_with_their_group(tag in prop::sample::select(vec![Tag::Opened, Tag::Members]), partition: u16, a: u64, b: u64) {
            let group = GroupId::Partition(PartitionId(partition));
            let key = |index| history_row(group, tag, index);
            prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
            prop_assert!(key(a).starts_with(&group_row(group, tag)));
        }

        #[test]
        fn rows_of_a_partition_lie_within_its_range_and_no_other(partition in 0..256_u16, other in 0..256_u16, id: [u8; 16], first: u64) {
            let (start, end) = of_partition(PartitionId(partition));
            let keys = [producer(PartitionId(other), &ProducerId::from_bytes(id)).to_vec(), offset(PartitionId(other), Offset(first)).to_vec()];
            for key in keys {
                prop_assert_eq!(start <= key && key < end, partition == other);
            }
        }
    }

    #[test]
    fn foreign_keys_are_refused() {
        assert_eq!(parse_record(b"short"), None);
        assert_eq!(parse_record(&[0; 11]), None);
        assert_eq!(parse_offset(&[0; 9]), None);
    }
}
