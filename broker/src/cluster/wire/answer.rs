//! What a replica answers.

use bytes::{BufMut, Bytes, BytesMut};
use openraft::raft::{AppendEntriesResponse, VoteResponse};

use super::fields::{BadMessage, Fields, put_raft_id, put_vote};
use crate::cluster::types::RaftVote;

#[derive(Debug, PartialEq, Eq)]
pub(in crate::cluster) enum Answer {
    /// The group has no replica there, or another generation.
    NoSuchReplica,
    Append(AppendEntriesResponse<u64>),
    Vote(VoteResponse<u64>),
    /// With the vote that the replica holds, which may be higher than the sender's: then nothing was installed.
    Installed(RaftVote),
    /// How many bytes of a snapshot's file there are.
    Has(u64),
    /// It was heard, and the answer did not come while other answers waited for it.
    Late,
    Failed(String),
}

impl Answer {
    pub(in crate::cluster) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(64);
        match self {
            Self::NoSuchReplica => bytes.put_u8(0),
            Self::Append(AppendEntriesResponse::Success) => bytes.put_u8(1),
            Self::Append(AppendEntriesResponse::PartialSuccess(upto)) => {
                bytes.put_u8(2);
                put_raft_id(&mut bytes, upto.as_ref());
            }
            Self::Append(AppendEntriesResponse::Conflict) => bytes.put_u8(3),
            Self::Append(AppendEntriesResponse::HigherVote(vote)) => {
                bytes.put_u8(4);
                put_vote(&mut bytes, vote);
            }
            Self::Vote(VoteResponse { vote, vote_granted, last_log_id }) => {
                bytes.put_u8(5);
                put_vote(&mut bytes, vote);
                bytes.put_u8(u8::from(*vote_granted));
                put_raft_id(&mut bytes, last_log_id.as_ref());
            }
            Self::Installed(vote) => {
                bytes.put_u8(6);
                put_vote(&mut bytes, vote);
            }
            Self::Has(has) => {
                bytes.put_u8(7);
                bytes.put_u64_le(*has);
            }
            Self::Late => bytes.put_u8(8),
            Self::Failed(why) => {
                bytes.put_u8(9);
                bytes.put_slice(why.as_bytes());
            }
        }
        bytes.freeze()
    }

    pub(in crate::cluster) fn decode(bytes: Bytes) -> Result<Self, BadMessage> {
        let mut fields = Fields(bytes);
        let answer = match fields.u8()? {
            0 => Self::NoSuchReplica,
            1 => Self::Append(AppendEntriesResponse::Success),
            2 => Self::Append(AppendEntriesResponse::PartialSuccess(fields.raft_id()?)),
            3 => Self::Append(AppendEntriesResponse::Conflict),
            4 => Self::Append(AppendEntriesResponse::HigherVote(fields.vote()?)),
            5 => {
                let (vote, vote_granted) = (fields.vote()?, fields.flag("vote granted")?);
                Self::Vote(VoteResponse { vote, vote_granted, last_log_id: fields.raft_id()? })
            }
            6 => Self::Installed(fields.vote()?),
            7 => Self::Has(fields.u64()?),
            8 => Self::Late,
            9 => Self::Failed(String::from_utf8(fields.rest().into()).map_err(|_| BadMessage::Text)?),
            found => return Err(BadMessage::Field { field: "kind of answer", found }),
        };
        fields.end()?;
        Ok(answer)
    }
}
