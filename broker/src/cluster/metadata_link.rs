//! Changing the metadata, wherever its group is led.

use std::time::Duration;

use anyport_protocol::{BrokerId, Code, Fault};
use anyport_storage::EntryData;
use anyport_storage::metadata::{Command, Reply};
use bytes::Bytes;

use super::group::Group;
use super::leadership::Leadership;
use super::types::Effect;
use crate::peer::{Call, Link, PeerError, Peers};

/// A proposal that takes longer is given up: without a quorum it would never be answered.
const OVERDUE: Duration = Duration::from_secs(2);

const RETRY_AFTER_MS: u32 = 200;

#[derive(Clone, Debug)]
pub struct MetadataLink {
    group: Group,
    peers: Peers,
}

impl MetadataLink {
    pub(super) fn new(group: Group, peers: Peers) -> Self {
        Self { group, peers }
    }

    pub(super) fn group(&self) -> &Group {
        &self.group
    }

    pub(super) fn peers(&self) -> Peers {
        Peers::clone(&self.peers)
    }

    /// The broker that leads, as far as is known here.
    pub fn leader(&self) -> Option<BrokerId> {
        match self.group.leadership().current() {
            Leadership::Leader { .. } => Some(self.group.replica().broker()),
            Leadership::Follower { leader } => leader.map(|leader| leader.broker()),
            Leadership::Isolated { .. } | Leadership::Stopped { .. } => None,
        }
    }

    pub fn is_led_here(&self) -> bool {
        self.group.leadership().is_leader()
    }

    /// Proposes the command where the group is led. A command whose fate is not known is `MaybeStored`; all may be repeated.
    pub async fn propose(&self, command: Command) -> Result<Reply, Fault> {
        if self.is_led_here() {
            return self.propose_here(command).await;
        }
        let Some(leader) = self.leader() else { return Err(no_leader()) };
        let asked = self.peers.call(leader, Link::Bulk, Call::Propose, command.encode().into());
        match tokio::time::timeout(OVERDUE, asked).await {
            Ok(Ok(reply)) => decode(&reply),
            Ok(Err(PeerError::Refused { fault, .. })) => Err(fault),
            Ok(Err(error @ PeerError::Unreachable { .. })) => {
                Err(Fault::retry_after(Code::NotReady, RETRY_AFTER_MS, error.to_string()))
            }
            Ok(Err(error)) => Err(Fault::new(Code::MaybeStored, error.to_string())),
            Err(_) => Err(overdue()),
        }
    }

    /// For who has nothing else to do with a refusal than to try again.
    pub(super) async fn propose_until_done(&self, command: Command) {
        while let Err(fault) = self.propose(command.clone()).await {
            tracing::debug!(%fault, "change the metadata");
            tokio::time::sleep(OVERDUE / 4).await;
        }
    }

    /// Proposes it if the group is led here, else says who may lead it.
    pub(super) async fn propose_here(&self, command: Command) -> Result<Reply, Fault> {
        let entry = EntryData::from_bytes(command.encode().into());
        match tokio::time::timeout(OVERDUE, self.group.propose(entry)).await {
            Ok(Ok((_, Effect::Metadata(Some(reply))))) => Ok(reply),
            Ok(Ok((_, effect))) => unreachable!("the metadata group answers a command, and not with {effect:?}"),
            Ok(Err(error)) => Err(Fault::retry_after(Code::NotReady, RETRY_AFTER_MS, error.to_string())),
            Err(_) => Err(overdue()),
        }
    }

    /// Answers a proposal of another broker.
    pub(super) async fn answer(&self, body: &[u8]) -> Result<Bytes, Fault> {
        let command = Command::decode(body).map_err(|bad| Fault::new(Code::UnknownMessage, bad.to_string()))?;
        Ok(self.propose_here(command).await?.encode().into())
    }
}

fn decode(reply: &[u8]) -> Result<Reply, Fault> {
    Reply::decode(reply).map_err(|bad| Fault::new(Code::UnknownMessage, bad.to_string()))
}

fn no_leader() -> Fault {
    Fault::retry_after(Code::NotReady, RETRY_AFTER_MS, "nobody is known here to lead the metadata")
}

fn overdue() -> Fault {
    Fault::new(Code::MaybeStored, "the metadata did not commit in time")
}
