//! Changing the metadata, wherever its group is led.

use std::collections::BTreeSet;

use anyport_protocol::{BrokerId, Code, Fault};
use anyport_storage::EntryData;
use anyport_storage::metadata::{Command, Reply};
use bytes::Bytes;

use super::group::Group;
use super::leadership::Leadership;
use super::types::Effect;
use crate::peer::{Call, Link, PeerError, Peers};

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
        match tokio::time::timeout(self.group.overdue(), asked).await {
            Ok(Ok(reply)) => decode(&reply),
            Ok(Err(PeerError::Refused { fault, .. })) => Err(fault),
            Ok(Err(error @ PeerError::Unreachable { .. })) => {
                Err(Fault::retry_after(Code::NotReady, RETRY_AFTER_MS, error.to_string()))
            }
            Ok(Err(error)) => Err(Fault::new(Code::MaybeStored, error.to_string())),
            Err(_) => Err(overdue()),
        }
    }

    /// As `propose`, for who can be told that the metadata has no majority: such a command is not even tried, for it might be carried
    /// out much later, when somebody has decided otherwise; and the log of a group that an operator is about to recover must not grow.
    pub async fn decide(&self, command: Command) -> Result<Reply, Fault> {
        if let Some(fault) = self.standstill() {
            return Err(fault);
        }
        self.propose(command).await.map_err(|fault| match fault.code() {
            Some(Code::NotReady) => self.no_majority().unwrap_or(fault),
            _ => fault,
        })
    }

    /// Why nothing can be decided now, if nothing can: neither is a lease seen to end.
    pub(super) fn standstill(&self) -> Option<Fault> {
        let (me, reached) = (self.group.replica().broker(), self.peers.reached().borrow().clone());
        // Whoever leads may reach more than this broker does.
        let has_leader = self.leader().is_some_and(|leader| leader != me && reached.contains(&leader));
        self.no_majority().filter(|_| !has_leader)
    }

    /// As far as this broker reaches.
    fn no_majority(&self) -> Option<Fault> {
        let me = self.group.replica().broker();
        let voters = self.group.members().voters.into_iter().map(|voter| voter.broker()).collect();
        let missing = missing(&voters, &self.peers.reached().borrow(), me)?;
        let named: Vec<_> = missing.iter().map(ToString::to_string).collect();
        let noun = if named.len() == 1 { "broker" } else { "brokers" };
        let text = format!("the metadata has no majority without {noun} {}", named.join(", "));
        Some(Fault::new(Code::NoMajority, text))
    }

    /// For who has nothing else to do with a refusal than to try again.
    pub(super) async fn propose_until_done(&self, command: Command) {
        while let Err(fault) = self.propose(command.clone()).await {
            tracing::debug!(%fault, "change the metadata");
            tokio::time::sleep(self.group.overdue() / 4).await;
        }
    }

    /// Proposes it if the group is led here, else says who may lead it.
    pub(super) async fn propose_here(&self, command: Command) -> Result<Reply, Fault> {
        let entry = EntryData::from_bytes(command.encode().into());
        match tokio::time::timeout(self.group.overdue(), self.group.propose(entry)).await {
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

/// The voters that are not reached, if the others are no majority.
fn missing(voters: &BTreeSet<BrokerId>, reached: &BTreeSet<BrokerId>, me: BrokerId) -> Option<Vec<BrokerId>> {
    let missing: Vec<_> = voters.iter().copied().filter(|voter| *voter != me && !reached.contains(voter)).collect();
    (missing.len() * 2 >= voters.len() && !missing.is_empty()).then_some(missing)
}

fn no_leader() -> Fault {
    Fault::retry_after(Code::NotReady, RETRY_AFTER_MS, "nobody is known here to lead the metadata")
}

fn overdue() -> Fault {
    Fault::new(Code::MaybeStored, "the metadata did not commit in time")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_voters_are_no_majority() {
        let brokers = |numbers: &[u32]| numbers.iter().copied().map(BrokerId).collect::<BTreeSet<_>>();
        let missing = |voters: &[u32], reached: &[u32], me| missing(&brokers(voters), &brokers(reached), BrokerId(me));
        assert_eq!(missing(&[0, 1, 2], &[1], 0), None);
        assert_eq!(missing(&[0, 1, 2], &[], 0), Some(vec![BrokerId(1), BrokerId(2)]));
        assert_eq!(missing(&[0, 1], &[], 0), Some(vec![BrokerId(1)]));
        assert_eq!(
            missing(&[0, 1, 2], &[1], 3),
            Some(vec![BrokerId(0), BrokerId(2)]),
            "who has no vote does not count"
        );
        assert_eq!(missing(&[0], &[], 0), None);
        assert_eq!(missing(&[], &[], 0), None, "nothing is known yet");
    }
}
