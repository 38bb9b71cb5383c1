//! The fields that messages are made of.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::VERSION;
use crate::cluster::encoding::{BadStored, decode_membership, encode_membership};
use crate::cluster::types::{
    RaftLogId, RaftVote, SnapshotMeta, StoredMembership, from_raft_id, snapshot_meta, to_raft_id,
};
use anyport_storage::LogId;

/// Why another broker's message cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::cluster) enum BadMessage {
    #[error("it has version {version}, and this program reads version {VERSION}")]
    UnknownVersion { version: u8 },
    #[error("it does not fit its length")]
    Length,
    #[error("its {field} is {found}")]
    Field { field: &'static str, found: u8 },
    #[error("its group is not known")]
    Group,
    #[error("its text is no UTF-8")]
    Text,
    #[error("its bytes do not have their checksum")]
    Sum,
    #[error(transparent)]
    Membership(#[from] BadStored),
}

/// Taken from the front. Bytes are slices of the message.
pub(super) struct Fields(pub(super) Bytes);

impl Fields {
    pub(super) fn bytes(&mut self, length: usize) -> Result<Bytes, BadMessage> {
        if length > self.0.len() { Err(BadMessage::Length) } else { Ok(self.0.split_to(length)) }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], BadMessage> {
        let array = *self.0.first_chunk().ok_or(BadMessage::Length)?;
        self.0.advance(N);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, BadMessage> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32, BadMessage> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, BadMessage> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool, BadMessage> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(BadMessage::Field { field, found }),
        }
    }

    pub(super) fn id(&mut self) -> Result<LogId, BadMessage> {
        Ok(LogId { term: self.u64()?, node: self.u64()?, index: self.u64()? })
    }

    pub(super) fn raft_id(&mut self) -> Result<Option<RaftLogId>, BadMessage> {
        if self.flag("presence of a log id")? { Ok(Some(to_raft_id(self.id()?))) } else { Ok(None) }
    }

    pub(super) fn vote(&mut self) -> Result<RaftVote, BadMessage> {
        let mut vote = RaftVote::new(self.u64()?, self.u64()?);
        vote.committed = self.flag("vote")?;
        Ok(vote)
    }

    pub(super) fn meta(&mut self) -> Result<SnapshotMeta, BadMessage> {
        let (last, at) = (self.raft_id()?, self.raft_id()?);
        let length = self.u32()?;
        let membership = decode_membership(&self.bytes(length as usize)?)?;
        Ok(snapshot_meta(last.as_ref().map(from_raft_id), StoredMembership::new(at, membership)))
    }

    pub(super) fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.0)
    }

    pub(super) fn end(self) -> Result<(), BadMessage> {
        if self.0.is_empty() { Ok(()) } else { Err(BadMessage::Length) }
    }
}

pub(super) fn put_id(bytes: &mut BytesMut, id: &LogId) {
    [id.term, id.node, id.index].into_iter().for_each(|field| bytes.put_u64_le(field));
}

pub(super) fn put_raft_id(bytes: &mut BytesMut, id: Option<&RaftLogId>) {
    bytes.put_u8(u8::from(id.is_some()));
    if let Some(id) = id {
        put_id(bytes, &from_raft_id(id));
    }
}

pub(super) fn put_vote(bytes: &mut BytesMut, vote: &RaftVote) {
    bytes.put_u64_le(vote.leader_id.term);
    bytes.put_u64_le(vote.leader_id.node_id);
    bytes.put_u8(u8::from(vote.committed));
}

pub(super) fn put_meta(bytes: &mut BytesMut, meta: &SnapshotMeta) {
    let membership = encode_membership(meta.last_membership.membership());
    put_raft_id(bytes, meta.last_log_id.as_ref());
    put_raft_id(bytes, meta.last_membership.log_id().as_ref());
    bytes.put_u32_le(u32::try_from(membership.len()).expect("a membership is a few hundred bytes"));
    bytes.put_slice(&membership);
}
