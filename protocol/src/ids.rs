//! Every id, offset, epoch and name, each a type of its own: parsed once at the edge, trusted afterwards.
//!
//! ```text
//!  offsets of one partition        head                  cursor          tail
//!                                   |                      |               |
//!   0 1 2 3 ... (trimmed, gone) ... [ retained, all done ) [ not yet done ) (next event goes here)
//! ```
//! Ranges are half-open everywhere: `[start, end)`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::limits::NAME_BYTES_MAX;

/// Unit of order and of replication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartitionId(pub u16);

/// Dense position of an event in its partition, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

impl Offset {
    pub const ZERO: Self = Self(0);

    /// The offset `count` events further on. Offsets are given by a sequencer and cannot reach 2^64.
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        Self(
            self.0
                .checked_add(count)
                .expect("offsets are dense from 0, so 2^64 events would be needed to pass the end"),
        )
    }
}

/// A half-open range of offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Bounds")]
pub struct OffsetRange {
    pub start: Offset,
    pub end: Offset,
}

/// A range as somebody else wrote it, who may have written anything.
#[derive(Deserialize)]
struct Bounds {
    start: Offset,
    end: Offset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a range of offsets that begins at {start} and ends before it, at {end}")]
pub struct BackwardRange {
    pub start: Offset,
    pub end: Offset,
}

impl TryFrom<Bounds> for OffsetRange {
    type Error = BackwardRange;

    fn try_from(Bounds { start, end }: Bounds) -> Result<Self, BackwardRange> {
        if start <= end { Ok(Self { start, end }) } else { Err(BackwardRange { start, end }) }
    }
}

impl OffsetRange {
    pub fn new(start: Offset, end: Offset) -> Self {
        assert!(start <= end, "a range ends at or after its start");
        Self { start, end }
    }

    pub fn len(self) -> u64 {
        self.end.0 - self.start.0
    }

    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    pub fn contains(self, offset: Offset) -> bool {
        self.start <= offset && offset < self.end
    }
}

impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

/// Names one life of a subscription: a new one begins with create, seek and filter change. Unique within a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

/// Fences an older session of the same client: the higher one wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionEpoch(pub u64);

/// Grows when a log may have lost its end, so that a cursor from before is not taken for one of today.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogEpoch(pub u32);

/// Place of an event among those of one producer in one partition, from 0, without holes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Number(pub u64);

impl Number {
    #[must_use]
    pub fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

/// A place in a log: everything below `offset` is meant. The higher log epoch wins, then the higher offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cursor {
    pub epoch: LogEpoch,
    pub offset: Offset,
}

/// Numbers a broker within its cluster, from 0 in the order of joining. Never reused, whatever became of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BrokerId(pub u32);

impl BrokerId {
    /// The broker that created the cluster.
    pub const FIRST: Self = Self(0);
}

/// Names one replica of a group: the broker that has it, and a generation that is never used twice by one broker for one group.
/// So a replica that has lost its data never votes again under its old name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplicaId(pub u64);

impl ReplicaId {
    /// The one that a group is created with.
    pub const FIRST: Self = Self::new(BrokerId::FIRST, 1);

    pub const fn new(broker: BrokerId, generation: u32) -> Self {
        Self((broker.0 as u64) << 32 | generation as u64)
    }

    pub const fn broker(self) -> BrokerId {
        BrokerId((self.0 >> 32) as u32)
    }

    pub const fn generation(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.broker(), self.generation())
    }
}

macro_rules! shown_as_number {
    ($($id:ident),*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
shown_as_number!(PartitionId, Offset, Incarnation, SessionEpoch, LogEpoch, Number, BrokerId);

macro_rules! sixteen_random_bytes {
    ($(#[$doc:meta])* $id:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $id(#[serde(with = "serde_bytes")] pub [u8; 16]);

        impl $id {
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            pub fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Uuid::from_bytes(self.0).as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($id), "({})"), self)
            }
        }

        impl FromStr for $id {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Ok(Self(Uuid::parse_str(text)?.into_bytes()))
            }
        }
    };
}
sixteen_random_bytes!(
    /// Names a client. A UUIDv7: unique in space and time with no shared state.
    ClientId
);
sixteen_random_bytes!(
    /// Names a publisher, or a source that numbers its own events.
    ProducerId
);
sixteen_random_bytes!(
    /// Names a cluster; one cluster is one sphere.
    ClusterId
);
sixteen_random_bytes!(
    /// Random, never reused: what tells one opening (of a session, of a sequencer) from every other.
    Nonce
);

/// The name a client gives its subscription: 1 to 128 bytes of printable text without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SubscriptionName(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a subscription name has 1 to {NAME_BYTES_MAX} bytes and no control characters; this one has {bytes} bytes")]
pub struct BadName {
    pub bytes: usize,
}

impl SubscriptionName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SubscriptionName {
    type Error = BadName;

    fn try_from(name: String) -> Result<Self, BadName> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(BadName { bytes: name.len() });
        }
        Ok(Self(name))
    }
}

impl FromStr for SubscriptionName {
    type Err = BadName;

    fn from_str(name: &str) -> Result<Self, BadName> {
        name.to_owned().try_into()
    }
}

impl From<SubscriptionName> for String {
    fn from(name: SubscriptionName) -> Self {
        name.0
    }
}

impl fmt::Display for SubscriptionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Milliseconds since the Unix epoch, by whoever's clock the field names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WallMs(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscription_names_are_bounded_and_printable() {
        assert!("quakes".parse::<SubscriptionName>().is_ok());
        assert!("ünïcode name".parse::<SubscriptionName>().is_ok());
        assert_eq!("".parse::<SubscriptionName>(), Err(BadName { bytes: 0 }));
        assert_eq!("a\nb".parse::<SubscriptionName>(), Err(BadName { bytes: 3 }));
        assert!("x".repeat(NAME_BYTES_MAX + 1).parse::<SubscriptionName>().is_err());
    }

    #[test]
    fn a_range_that_ends_before_its_start_is_refused_when_it_is_read() {
        let bytes = |start, end| {
            rmp_serde::to_vec_named(&OffsetRange { start: Offset(start), end: Offset(end) }).expect("encode")
        };
        let read = |start, end| rmp_serde::from_slice::<OffsetRange>(&bytes(start, end));
        assert_eq!(read(4, 4).expect("an empty range"), OffsetRange::new(Offset(4), Offset(4)));
        let refused = read(5, 4).expect_err("backward");
        assert!(refused.to_string().contains("begins at 5 and ends before it, at 4"), "{refused}");
    }

    #[test]
    fn a_replica_is_named_by_its_broker_and_generation() {
        let replica = ReplicaId::new(BrokerId(3), 7);
        assert_eq!((replica.broker(), replica.generation(), replica.to_string()), (BrokerId(3), 7, "3.7".to_owned()));
        // What every store of a broker alone has on disk.
        assert_eq!(ReplicaId::FIRST, ReplicaId(1));
    }

    #[test]
    fn a_client_id_survives_its_text_form() {
        let id = ClientId::from_bytes(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse::<ClientId>().expect("own text"), id);
    }
}
