//! How a group reaches its other members. A broker that is alone has none, so whoever is asked for is unreachable.

use anyport_protocol::ReplicaId;
use anyport_storage::GroupId;
use openraft::error::{Fatal, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{OptionalSend, Vote};

use super::types::{Snapshot, TypeConfig};
use crate::peer::Peers;

/// The way of all groups of this broker to their other members; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Network {
    peers: Option<Peers>,
}

impl Network {
    /// Of a broker that has no peers.
    pub fn alone() -> Self {
        Self::default()
    }

    pub fn new(peers: Peers) -> Self {
        Self { peers: Some(peers) }
    }

    pub(super) fn of_group(&self, group: GroupId) -> GroupNetwork {
        GroupNetwork { group, network: self.clone() }
    }
}

#[derive(Clone, Debug)]
pub(super) struct GroupNetwork {
    group: GroupId,
    network: Network,
}

/// The way to one member.
#[derive(Debug)]
pub(super) struct Member {
    group: GroupId,
    target: ReplicaId,
    network: Network,
}

#[derive(Debug, thiserror::Error)]
#[error("replica {target} is asked for, and this broker is alone")]
struct Alone {
    target: ReplicaId,
}

impl Member {
    fn unreachable(&self) -> Unreachable {
        Unreachable::new(&Alone { target: self.target })
    }
}

impl RaftNetworkFactory<TypeConfig> for GroupNetwork {
    type Network = Member;

    async fn new_client(&mut self, target: u64, (): &()) -> Member {
        Member { group: self.group, target: ReplicaId(target), network: self.network.clone() }
    }
}

impl RaftNetwork<TypeConfig> for Member {
    async fn append_entries(
        &mut self,
        _: AppendEntriesRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, (), RaftError<u64>>> {
        Err(self.unreachable().into())
    }

    async fn vote(
        &mut self,
        _: VoteRequest<u64>,
        _: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, (), RaftError<u64>>> {
        Err(self.unreachable().into())
    }

    async fn full_snapshot(
        &mut self,
        _: Vote<u64>,
        _: Snapshot,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<TypeConfig, Fatal<u64>>> {
        Err(self.unreachable().into())
    }
}
