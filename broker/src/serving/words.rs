//! What brokers say to each other about partitions and records: the bodies of calls.
//!
//! ```text
//!   body | version u8 = 1 | length of head u32 LE | head: MessagePack, a map with named fields | raw bytes, to the end |
//! ```
//! Events are raw bytes: nobody on the way re-encodes them. A field that is not known is passed over, one that is missing has its
//! default; what cannot be said like that takes another version.

use anyport_protocol::message::SubscriptionEnded;
use anyport_protocol::{
    ClientId, Code, Fault, Incarnation, Nonce, Offset, OffsetRange, PartitionId, SessionEpoch, WallMs,
};
use anyport_storage::registry::{ClientRecord, Command, Reply};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const VERSION: u8 = 1;
const PREFIX_BYTES: usize = 5;

/// Asks for a piece of a log through a filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ReadRequest {
    pub(super) partition: PartitionId,
    /// Whose frames the answer has.
    pub(super) incarnation: Incarnation,
    pub(super) filter: String,
    pub(super) from: Offset,
    /// Of the log, to be read.
    pub(super) bytes_max: u32,
}

/// The frames of the feed are the raw bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ReadAnswer {
    pub(super) covers: OffsetRange,
    pub(super) credit_bytes: u64,
    pub(super) events: u64,
    /// Of the replica that was read.
    pub(super) tail: Offset,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct BoundsRequest {
    pub(super) partitions: Vec<PartitionId>,
}

/// Of those that were asked about and have a replica there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct BoundsAnswer {
    pub(super) bounds: Vec<(PartitionId, OffsetRange)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Sought {
    /// The first offset appended at or after it.
    OffsetAt(WallMs),
    /// When the first retained event at or after it was appended.
    AppendedAt(Offset),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct FindRequest {
    pub(super) partition: PartitionId,
    pub(super) sought: Sought,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum FindAnswer {
    OffsetAt(Offset),
    AppendedAt(Option<WallMs>),
}

/// The first frame of a tail's stream the other way: what is stored from here on follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TailOpened {
    pub(super) tail: Offset,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TailRequest {
    pub(super) partition: PartitionId,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CommandRequest {
    pub(crate) command: Command,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CommandAnswer {
    pub(crate) reply: Reply,
    pub(crate) index: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RecordRequest {
    pub(crate) client: ClientId,
    /// An older answer is none.
    pub(crate) seen: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RecordAnswer {
    pub(crate) record: Option<ClientRecord>,
    pub(crate) index: u64,
}

/// What happened to a client, for whoever has a session of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Notice {
    SessionOpened { client: ClientId, epoch: SessionEpoch, nonce: Nonce },
    SubscriptionEnded { client: ClientId, ended: SubscriptionEnded },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Notices {
    pub(super) notices: Vec<Notice>,
}

pub(crate) fn encode<T: Serialize>(head: &T) -> Bytes {
    encode_with(head, &[])
}

pub(crate) fn encode_with<T: Serialize>(head: &T, raw: &[u8]) -> Bytes {
    let head = rmp_serde::to_vec_named(head).expect("writing to a Vec does not fail and these have no other part");
    let length = u32::try_from(head.len()).expect("a head has no events");
    let mut body = Vec::with_capacity(PREFIX_BYTES + head.len() + raw.len());
    body.push(VERSION);
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(&head);
    body.extend_from_slice(raw);
    body.into()
}

/// The head and the raw bytes.
pub(crate) fn decode<T: DeserializeOwned>(body: &Bytes) -> Result<(T, Bytes), Fault> {
    let malformed = |why: &str| Fault::new(Code::MalformedFrame, format!("what a broker said: {why}"));
    let Some(&[version, a, b, c, d]) = body.first_chunk::<PREFIX_BYTES>() else { return Err(malformed("too short")) };
    if version != VERSION {
        return Err(Fault::new(
            Code::VersionMismatch,
            format!("version {version} of what brokers say is not known here"),
        ));
    }
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let end = PREFIX_BYTES.checked_add(length).filter(|end| *end <= body.len());
    let end = end.ok_or_else(|| malformed("it ends within its head"))?;
    let head = rmp_serde::from_slice(&body[PREFIX_BYTES..end]).map_err(|error| malformed(&error.to_string()))?;
    Ok((head, body.slice(end..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_and_raw_bytes_survive_the_way() {
        let answer = ReadAnswer {
            covers: OffsetRange::new(Offset(3), Offset(9)),
            credit_bytes: 7,
            events: 2,
            tail: Offset(u64::MAX),
        };
        let body = encode_with(&answer, b"frames");
        assert_eq!(decode::<ReadAnswer>(&body), Ok((answer, Bytes::from_static(b"frames"))));
        for length in 0..body.len() - 6 {
            assert!(decode::<ReadAnswer>(&body.slice(..length)).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let mut body = encode(&TailOpened { tail: Offset(1) }).to_vec();
        body[0] = 2;
        let refused = decode::<TailOpened>(&body.into()).expect_err("not known");
        assert!(refused.is(Code::VersionMismatch), "{refused}");
    }
}
