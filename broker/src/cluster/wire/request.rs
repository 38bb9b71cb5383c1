//! What one replica asks another.

use anyport_protocol::ReplicaId;
use anyport_storage::{EntryData, GroupId, LogEntry, LogId, Payload};
use bytes::{BufMut, Bytes, BytesMut};
use openraft::raft::{AppendEntriesRequest, VoteRequest};

use super::fields::{BadMessage, Fields, put_id, put_meta, put_raft_id, put_vote};
use crate::cluster::types::{RaftEntry, RaftVote, SnapshotMeta, TypeConfig, from_raft_entry, to_raft_entry};

/// A request, and whom it is for.
#[derive(Debug)]
pub(in crate::cluster) struct Asked {
    pub(in crate::cluster) group: GroupId,
    pub(in crate::cluster) target: ReplicaId,
    pub(in crate::cluster) request: Request,
}

#[derive(Debug)]
pub(in crate::cluster) enum Request {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<u64>),
    Snapshot { vote: RaftVote, meta: SnapshotMeta, bytes: Bytes },
    Piece(Piece),
    Install(Install),
}

/// A piece of a snapshot that is a file. An empty one asks how much there is already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cluster) struct Piece {
    /// Names the snapshot: the entry it ends with.
    pub(in crate::cluster) of: LogId,
    /// Of the whole file, as in [`Install`].
    pub(in crate::cluster) file_bytes: u64,
    pub(in crate::cluster) at: u64,
    pub(in crate::cluster) bytes: Bytes,
}

/// All pieces of a file were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cluster) struct Install {
    pub(in crate::cluster) vote: RaftVote,
    pub(in crate::cluster) meta: SnapshotMeta,
    pub(in crate::cluster) file_bytes: u64,
    pub(in crate::cluster) file_crc: u32,
}

impl Asked {
    pub(in crate::cluster) fn encode(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(256 + self.request.len_bytes());
        bytes.put_slice(&self.group.code());
        bytes.put_u64_le(self.target.0);
        match self.request {
            Request::Append(append) => {
                bytes.put_u8(1);
                put_append(&mut bytes, append);
            }
            Request::Vote(VoteRequest { vote, last_log_id }) => {
                bytes.put_u8(2);
                put_vote(&mut bytes, &vote);
                put_raft_id(&mut bytes, last_log_id.as_ref());
            }
            Request::Snapshot { vote, meta, bytes: snapshot } => {
                bytes.put_u8(3);
                put_vote(&mut bytes, &vote);
                put_meta(&mut bytes, &meta);
                bytes.put_slice(&snapshot);
            }
            Request::Piece(Piece { of, file_bytes, at, bytes: piece }) => {
                bytes.put_u8(4);
                put_id(&mut bytes, &of);
                bytes.put_u64_le(file_bytes);
                bytes.put_u64_le(at);
                bytes.put_u32_le(crc32c::crc32c(&piece));
                bytes.put_slice(&piece);
            }
            Request::Install(Install { vote, meta, file_bytes, file_crc }) => {
                bytes.put_u8(5);
                put_vote(&mut bytes, &vote);
                put_meta(&mut bytes, &meta);
                bytes.put_u64_le(file_bytes);
                bytes.put_u32_le(file_crc);
            }
        }
        bytes.freeze()
    }

    pub(in crate::cluster) fn decode(bytes: Bytes) -> Result<Self, BadMessage> {
        let mut fields = Fields(bytes);
        let group = GroupId::from_code(fields.array()?).ok_or(BadMessage::Group)?;
        let target = ReplicaId(fields.u64()?);
        let request = match fields.u8()? {
            1 => Request::Append(append(&mut fields)?),
            2 => Request::Vote(VoteRequest { vote: fields.vote()?, last_log_id: fields.raft_id()? }),
            3 => Request::Snapshot { vote: fields.vote()?, meta: fields.meta()?, bytes: fields.rest() },
            4 => Request::Piece(piece(&mut fields)?),
            5 => Request::Install(Install {
                vote: fields.vote()?,
                meta: fields.meta()?,
                file_bytes: fields.u64()?,
                file_crc: fields.u32()?,
            }),
            found => return Err(BadMessage::Field { field: "kind of request", found }),
        };
        fields.end()?;
        Ok(Self { group, target, request })
    }
}

impl Request {
    /// Whose request it is: a leader's, or of who stands for election.
    pub(in crate::cluster) fn vote(&self) -> Option<RaftVote> {
        match self {
            Self::Append(append) => Some(append.vote),
            Self::Vote(request) => Some(request.vote),
            Self::Snapshot { vote, .. } | Self::Install(Install { vote, .. }) => Some(*vote),
            Self::Piece(_) => None,
        }
    }

    /// Of what is not of a fixed size.
    fn len_bytes(&self) -> usize {
        match self {
            Self::Append(append) => append.entries.iter().map(entry_len).sum(),
            Self::Snapshot { bytes, .. } => bytes.len(),
            Self::Piece(piece) => piece.bytes.len(),
            Self::Vote(_) | Self::Install(_) => 0,
        }
    }
}

/// Room for an entry: its bytes, and a head that lists its parts.
fn entry_len(entry: &RaftEntry) -> usize {
    match &entry.payload {
        openraft::EntryPayload::Normal(data) => 64 + data.len_bytes() + 4 * data.parts().len(),
        _ => 256,
    }
}

fn put_append(bytes: &mut BytesMut, append: AppendEntriesRequest<TypeConfig>) {
    let AppendEntriesRequest { vote, prev_log_id, leader_commit, entries } = append;
    put_vote(bytes, &vote);
    put_raft_id(bytes, prev_log_id.as_ref());
    put_raft_id(bytes, leader_commit.as_ref());
    bytes.put_u32_le(u32::try_from(entries.len()).expect("an append has few entries"));
    for entry in entries {
        put_entry(bytes, &from_raft_entry(entry));
    }
}

fn put_entry(bytes: &mut BytesMut, entry: &LogEntry) {
    put_id(bytes, &entry.id);
    let (kind, parts) = match &entry.payload {
        Payload::Blank => (0, [].as_slice()),
        Payload::Membership(members) => (1, std::slice::from_ref(members)),
        Payload::Data(data) => (2, data.parts()),
    };
    let count = |count: usize| u32::try_from(count).expect("an entry is bounded");
    bytes.put_u8(kind);
    bytes.put_u32_le(count(parts.len()));
    parts.iter().for_each(|part| bytes.put_u32_le(count(part.len())));
    parts.iter().for_each(|part| bytes.put_slice(part));
}

fn append(fields: &mut Fields) -> Result<AppendEntriesRequest<TypeConfig>, BadMessage> {
    let (vote, prev_log_id, leader_commit) = (fields.vote()?, fields.raft_id()?, fields.raft_id()?);
    let count = fields.u32()?;
    // Not reserved: a count that lies meets the end of the message first.
    let entries = (0..count).map(|_| entry(fields)).collect::<Result<_, _>>()?;
    Ok(AppendEntriesRequest { vote, prev_log_id, leader_commit, entries })
}

fn entry(fields: &mut Fields) -> Result<RaftEntry, BadMessage> {
    let (id, kind) = (fields.id()?, fields.u8()?);
    let count = fields.u32()?;
    let lengths = (0..count).map(|_| fields.u32()).collect::<Result<Vec<_>, _>>()?;
    let mut parts = lengths.into_iter().map(|length| fields.bytes(length as usize)).collect::<Result<Vec<_>, _>>()?;
    let payload = match (kind, parts.len()) {
        (0, 0) => Payload::Blank,
        (1, 1) => Payload::Membership(parts.remove(0)),
        (2, 1..) => Payload::Data(EntryData::from_parts(parts)),
        (found, _) => return Err(BadMessage::Field { field: "kind of entry", found }),
    };
    Ok(to_raft_entry(LogEntry { id, payload })?)
}

fn piece(fields: &mut Fields) -> Result<Piece, BadMessage> {
    let (of, file_bytes, at, crc) = (fields.id()?, fields.u64()?, fields.u64()?, fields.u32()?);
    let bytes = fields.rest();
    if crc32c::crc32c(&bytes) != crc {
        return Err(BadMessage::Sum);
    }
    Ok(Piece { of, file_bytes, at, bytes })
}
