//! What brokers say to each other about partitions and records: the bodies of calls.

use anyport_protocol::message::SubscriptionEnded;
use anyport_protocol::{ClientId, Incarnation, Nonce, Offset, OffsetRange, PartitionId, SessionEpoch, WallMs};
use anyport_storage::registry::{ClientRecord, Command, Reply};
use serde::{Deserialize, Serialize};

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
