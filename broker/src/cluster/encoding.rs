//! Votes and memberships as the store keeps them: our own bytes, so that another version of the engine reads them too.
//!
//! ```text
//!  vote         version u8 = 1 | term u64 | node u64 | committed u8
//!  membership   version u8 = 1 | configs u8 | (voters u16 | node u64 * voters) * configs | nodes u16 | node u64 * nodes
//! ```
//! Integers are little endian. A membership has two configs while it changes from one to the other, else one; `nodes` are all
//! voters and learners. Nodes are in ascending order.

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};
use openraft::Membership;

use super::types::RaftVote;

const VERSION: u8 = 1;

/// Why stored bytes of the engine's are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadStored {
    #[error("a stored {what} has version {version}, and this program reads version {VERSION}")]
    UnknownVersion { what: &'static str, version: u8 },
    #[error("a stored {what} does not fit its length")]
    Length { what: &'static str },
    #[error("a stored membership names a voter, {node}, that is no node")]
    VoterIsNoNode { node: u64 },
}

pub(super) fn encode_vote(vote: &RaftVote) -> [u8; 18] {
    let mut bytes = [VERSION; 18];
    bytes[1..9].copy_from_slice(&vote.leader_id.term.to_le_bytes());
    bytes[9..17].copy_from_slice(&vote.leader_id.node_id.to_le_bytes());
    bytes[17] = u8::from(vote.committed);
    bytes
}

pub(super) fn decode_vote(bytes: &[u8]) -> Result<RaftVote, BadStored> {
    let mut fields = Fields::begin("vote", bytes)?;
    let mut vote = RaftVote::new(fields.u64()?, fields.u64()?);
    vote.committed = fields.u8()? == 1;
    fields.end()?;
    Ok(vote)
}

pub(super) fn encode_membership(membership: &Membership<u64, ()>) -> Bytes {
    let count = |nodes: usize| u16::try_from(nodes).expect("a group has a handful of members");
    let configs = membership.get_joint_config();
    let nodes = membership.nodes().map(|(node, ())| *node).collect::<BTreeSet<_>>();
    let mut bytes = BytesMut::new();
    bytes.put_u8(VERSION);
    bytes.put_u8(u8::try_from(configs.len()).expect("a membership has one config, or two while it changes"));
    for set in configs.iter().chain([&nodes]) {
        bytes.put_u16_le(count(set.len()));
        set.iter().for_each(|node| bytes.put_u64_le(*node));
    }
    bytes.freeze()
}

pub(super) fn decode_membership(bytes: &[u8]) -> Result<Membership<u64, ()>, BadStored> {
    let mut fields = Fields::begin("membership", bytes)?;
    let configs = fields.u8()?;
    let configs = (0..configs).map(|_| fields.nodes()).collect::<Result<Vec<_>, _>>()?;
    let nodes = fields.nodes()?;
    fields.end()?;
    if let Some(node) = configs.iter().flatten().find(|node| !nodes.contains(node)) {
        return Err(BadStored::VoterIsNoNode { node: *node });
    }
    Ok(Membership::new(configs, nodes))
}

/// Fixed fields, taken from the front.
struct Fields<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn begin(what: &'static str, bytes: &'a [u8]) -> Result<Self, BadStored> {
        let mut fields = Self { what, rest: bytes };
        match fields.u8()? {
            VERSION => Ok(fields),
            version => Err(BadStored::UnknownVersion { what, version }),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], BadStored> {
        let (field, rest) = self.rest.split_first_chunk().ok_or(BadStored::Length { what: self.what })?;
        self.rest = rest;
        Ok(*field)
    }

    fn u8(&mut self) -> Result<u8, BadStored> {
        self.take().map(|[byte]| byte)
    }

    fn u64(&mut self) -> Result<u64, BadStored> {
        self.take().map(u64::from_le_bytes)
    }

    fn nodes(&mut self) -> Result<BTreeSet<u64>, BadStored> {
        let count = self.take().map(u16::from_le_bytes)?;
        (0..count).map(|_| self.u64()).collect()
    }

    fn end(self) -> Result<(), BadStored> {
        if self.rest.is_empty() { Ok(()) } else { Err(BadStored::Length { what: self.what }) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_vote_is_as_it_was_first_published() {
        let mut vote = RaftVote::new(7, 0x0100_0000_0002);
        vote.committed = true;
        let golden = include_bytes!("../../tests/golden/raft-vote-1.bin");
        assert_eq!(encode_vote(&vote), *golden);
        assert_eq!(decode_vote(golden), Ok(vote));
    }

    #[test]
    fn a_membership_is_as_it_was_first_published() {
        let nodes = BTreeMap::from([(1, ()), (2, ()), (3, ()), (4, ())]);
        let changing = Membership::new(vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([1, 2, 4])], nodes);
        let golden = include_bytes!("../../tests/golden/raft-membership-1.bin");
        assert_eq!(encode_membership(&changing), golden.as_slice());
        assert_eq!(decode_membership(golden), Ok(changing));
    }

    #[test]
    fn a_voter_that_is_no_node_is_refused() {
        let mut bytes = encode_membership(&Membership::new(vec![BTreeSet::from([1])], ())).to_vec();
        let last = bytes.len() - 8;
        bytes[last] = 9;
        assert_eq!(decode_membership(&bytes), Err(BadStored::VoterIsNoNode { node: 1 }));
    }

    proptest! {
        #[test]
        fn memberships_survive_their_bytes(voters: BTreeSet<u64>, learners: BTreeSet<u64>) {
            let nodes = voters.union(&learners).copied().collect::<BTreeSet<_>>();
            let membership = Membership::new(vec![voters], nodes);
            prop_assert_eq!(decode_membership(&encode_membership(&membership)), Ok(membership));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            let _ = decode_vote(&bytes);
            let _ = decode_membership(&bytes);
            let versioned = [&[VERSION][..], &bytes].concat();
            let _ = decode_vote(&versioned);
            let _ = decode_membership(&versioned);
        }
    }
}
