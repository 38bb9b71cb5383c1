use std::collections::BTreeSet;

use anyport_protocol::{PartitionId, ReplicaId};
use anyport_storage::{EntryData, GroupId, LogId};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use openraft::{EntryPayload, Membership};
use proptest::prelude::*;

use super::*;
use crate::cluster::types::{RaftEntry, RaftVote, StoredMembership, TypeConfig, snapshot_meta, to_raft_id};

const NODE: u64 = 0x0100_0000_0002;

fn id(index: u64) -> LogId {
    LogId { term: 7, node: NODE, index }
}

fn vote(committed: bool) -> RaftVote {
    RaftVote { committed, ..RaftVote::new(7, NODE) }
}

fn entry(index: u64, payload: EntryPayload<TypeConfig>) -> RaftEntry {
    RaftEntry { log_id: to_raft_id(id(index)), payload }
}

fn asked(request: Request) -> Asked {
    Asked { group: GroupId::Partition(PartitionId(513)), target: ReplicaId(NODE), request }
}

fn append(parts: Vec<Bytes>) -> Request {
    let members = Membership::new(vec![BTreeSet::from([1, NODE])], ());
    Request::Append(AppendEntriesRequest {
        vote: vote(true),
        prev_log_id: Some(to_raft_id(id(40))),
        leader_commit: None,
        entries: vec![
            entry(41, EntryPayload::Blank),
            entry(42, EntryPayload::Membership(members)),
            entry(43, EntryPayload::Normal(EntryData::from_parts(parts))),
        ],
    })
}

fn requests() -> Vec<Request> {
    let membership = StoredMembership::new(Some(to_raft_id(id(3))), Membership::new(vec![BTreeSet::from([1])], ()));
    let meta = snapshot_meta(Some(id(40)), membership);
    let bytes = Bytes::from_static(b"snapshot");
    vec![
        append(vec![Bytes::from_static(b"head"), Bytes::new(), Bytes::from_static(b"event")]),
        Request::Vote(VoteRequest { vote: vote(false), last_log_id: Some(to_raft_id(id(9))) }),
        Request::Snapshot { vote: vote(true), meta: meta.clone(), bytes: bytes.clone() },
        Request::Piece(Piece { of: id(40), file_bytes: 1 << 33, at: 12, bytes }),
        Request::Install(Install { vote: vote(true), meta, file_bytes: 1 << 33, file_crc: 5 }),
    ]
}

fn answers() -> Vec<Answer> {
    vec![
        Answer::NoSuchReplica,
        Answer::Append(AppendEntriesResponse::Success),
        Answer::Append(AppendEntriesResponse::PartialSuccess(Some(to_raft_id(id(9))))),
        Answer::Append(AppendEntriesResponse::Conflict),
        Answer::Append(AppendEntriesResponse::HigherVote(vote(false))),
        Answer::Vote(VoteResponse { vote: vote(false), vote_granted: true, last_log_id: None }),
        Answer::Installed(vote(true)),
        Answer::Has(77),
        Answer::Late,
        Answer::Failed("the disk is full".to_owned()),
    ]
}

#[test]
fn messages_are_as_they_were_first_published() {
    let requests: Vec<Bytes> = requests().into_iter().map(|request| asked(request).encode()).collect();
    let answers: Vec<Bytes> = answers().iter().map(Answer::encode).collect();
    let (golden_requests, golden_answers) = (
        include_bytes!("../../../tests/golden/raft-requests-1.bin").as_slice(),
        include_bytes!("../../../tests/golden/raft-answers-1.bin").as_slice(),
    );
    assert_eq!(join(&requests), golden_requests);
    assert_eq!(join(&answers), golden_answers);
}

#[test]
fn every_message_survives_its_bytes_and_no_cut_is_taken_for_one() {
    for request in requests() {
        let shown = format!("{request:?}");
        let bytes = asked(request).encode();
        let read = Asked::decode(bytes.clone()).expect("whole");
        assert_eq!((read.group, read.target), (GroupId::Partition(PartitionId(513)), ReplicaId(NODE)));
        assert_eq!(format!("{:?}", read.request), shown);
        // What is bytes to the end is cut unnoticed here; the lengths around it notice.
        let fixed = if shown.starts_with("Snapshot") { bytes.len() - 8 } else { bytes.len() };
        for end in 0..fixed {
            assert!(Asked::decode(bytes.slice(..end)).is_err(), "{shown} cut at {end}");
        }
    }
    for answer in answers() {
        assert_eq!(Answer::decode(answer.encode()), Ok(answer));
    }
}

#[test]
fn a_flipped_bit_in_a_piece_is_noticed() {
    let piece = Request::Piece(Piece { of: id(40), file_bytes: 8, at: 0, bytes: Bytes::from_static(b"snapshot") });
    let mut bytes = asked(piece).encode().to_vec();
    *bytes.last_mut().expect("some") ^= 4;
    assert_eq!(Asked::decode(bytes.into()).err(), Some(BadMessage::Sum));
}

#[test]
fn a_message_of_another_version_is_refused_by_its_number() {
    assert_eq!(split(Bytes::from_static(&[2])), Err(BadMessage::UnknownVersion { version: 2 }));
}

proptest! {
    #[test]
    fn parts_of_entries_are_what_they_were(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 1..5)) {
        let parts: Vec<Bytes> = parts.into_iter().map(Bytes::from).collect();
        let body = join(&[asked(append(parts.clone())).encode()]);
        let only = split(body).expect("own body").remove(0);
        let Request::Append(append) = Asked::decode(only).expect("own request").request else { panic!("an append") };
        let EntryPayload::Normal(data) = &append.entries[2].payload else { panic!("data") };
        prop_assert_eq!(data.parts(), parts);
    }

    #[test]
    fn hostile_bytes_are_an_error_and_no_panic(bytes: Vec<u8>, kind in 0..12u8) {
        let _ = split(bytes.clone().into());
        let _ = Answer::decode(bytes.clone().into());
        let _ = Asked::decode(bytes.clone().into());
        let framed = [&GroupId::Metadata.code()[..], &1u64.to_le_bytes(), &[kind], &bytes].concat();
        let _ = Asked::decode(framed.into());
    }
}
