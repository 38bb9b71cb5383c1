//! Who reaches whom, and when that changes.

use anyport_protocol::BrokerId;

use super::super::{Directory, JoinError, Link, PeerAddress, PeerError};
use super::*;

#[tokio::test]
async fn every_pair_of_brokers_may_ask_both_ways_on_both_connections() {
    let (_, nodes) = cluster(3).await;
    for from in &nodes {
        for to in nodes.iter().filter(|to| to.own != from.own) {
            for link in [Link::Raft, Link::Bulk] {
                let who = from.peers.call(to.own, link, Call::Renew, Bytes::new()).await.expect("an answer");
                assert_eq!(who, from.own.0.to_le_bytes().as_slice());
            }
        }
    }
}

#[test]
fn a_broker_that_is_silent_is_noticed_and_reached_again_when_it_is_back() {
    let [here, there] = [0, 1].map(|_| tokio::runtime::Runtime::new().expect("a runtime"));
    let authority = Authority::new();
    let (lower, higher) = (authority.broker(), authority.broker());
    let first = here.block_on(async { Node::start(0, &lower, anywhere(), TIMING) });
    let second = there.block_on(async { Node::start(1, &higher, anywhere(), TIMING) });
    let directory: Directory = [first.entry(), second.entry()].into();
    let address = second.address();
    first.know(&directory);
    second.know(&directory);
    here.block_on(first.reaches(&[1]));
    // Nothing runs there any more that could say good-bye.
    there.shutdown_background();
    here.block_on(first.reaches(&[]));
    let error = here.block_on(ask(&first, 1, Link::Raft, b"")).expect_err("nobody is there");
    assert!(matches!(error, PeerError::Unreachable { to: BrokerId(1), .. }), "{error}");
    // The other connection is not waited for: left alone it would be silent for as long again before it is noticed.
    let begun = std::time::Instant::now();
    here.block_on(ask(&first, 1, Link::Bulk, b"")).expect_err("nobody is there");
    assert!(begun.elapsed() < TIMING.idle / 2, "it took {:?}", begun.elapsed());
    drop(second);
    here.block_on(async {
        let second = Node::start(1, &higher, address, TIMING);
        second.know(&directory);
        first.reaches(&[1]).await;
        second.reaches(&[0]).await;
    });
}

#[test]
fn a_broker_that_was_killed_tells_when_it_is_back_that_its_connections_are_gone() {
    // Silence alone would not show it before the story is over.
    let patient = LinkProfile { idle: 4 * LONG, ..TIMING };
    let [here, there] = [0, 1].map(|_| tokio::runtime::Runtime::new().expect("a runtime"));
    let authority = Authority::new();
    let (lower, higher) = (authority.broker(), authority.broker());
    let first = there.block_on(async { Node::start(0, &lower, anywhere(), TIMING) });
    let second = here.block_on(async { Node::start(1, &higher, anywhere(), patient) });
    let (address, directory) = (first.address(), Directory::from([first.entry(), second.entry()]));
    first.know(&directory);
    second.know(&directory);
    here.block_on(second.reaches(&[0]));
    there.shutdown_background();
    drop(first);
    here.block_on(async {
        let first = Node::start_on(0, bind_when_free(address, &lower).await, &lower, TIMING);
        first.know(&directory);
        // The first packet on an old connection, this question or one of QUIC's own, is answered with its end. Only the
        // second broker dials, so nobody is reached before it knows.
        answers(&second, 0, Link::Raft).await;
        first.reaches(&[1]).await;
        second.reaches(&[0]).await;
    });
}

#[tokio::test]
async fn a_broker_that_dials_before_the_directory_names_it_is_let_in_when_it_does() {
    let authority = Authority::new();
    let nodes: Vec<_> = (0..2).map(|own| Node::start(own, &authority.broker(), anywhere(), TIMING)).collect();
    let directory: Directory = nodes.iter().map(Node::entry).collect();
    nodes[1].know(&directory);
    nodes[0].know(&[nodes[0].entry()].into());
    assert!(ask(&nodes[1], 0, Link::Raft, b"").await.is_err());
    nodes[0].know(&directory);
    nodes[0].reaches(&[1]).await;
    nodes[1].reaches(&[0]).await;
}

#[tokio::test]
async fn who_comes_in_the_place_of_a_broker_that_has_stopped_is_not_taken_for_it() {
    let (authority, mut nodes) = cluster(2).await;
    let lower = nodes.remove(0);
    let (address, entry) = (lower.address(), lower.entry());
    let Node { tasks, endpoint, peers, .. } = lower;
    tasks.stop().await;
    drop((endpoint, peers));
    nodes[0].reaches(&[]).await;
    let identity = authority.broker();
    let endpoint = bind_when_free(address, &identity).await;
    let stranger = Node::start_on(0, endpoint, &identity, TIMING);
    stranger.know(&[entry, nodes[0].entry()].into());
    let error = ask(&nodes[0], 0, Link::Bulk, b"").await.expect_err("not the one that was meant");
    assert!(error.to_string().contains("cannot be reached"), "{error}");
    assert!(nodes[0].peers.reached().borrow().is_empty());
}

/// QUIC gives a port back a moment after its last connection.
async fn bind_when_free(address: SocketAddr, identity: &ClusterIdentity) -> PeerEndpoint {
    loop {
        match PeerEndpoint::bind(address, identity) {
            Ok(endpoint) => return endpoint,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn who_is_not_in_the_directory_any_more_is_hung_up_on() {
    let (_, nodes) = cluster(2).await;
    nodes[0].know(&[nodes[0].entry()].into());
    nodes[0].reaches(&[]).await;
    nodes[1].reaches(&[]).await;
    nodes[0].know(&nodes.iter().map(Node::entry).collect());
    nodes[0].reaches(&[1]).await;
}

#[tokio::test]
async fn a_broker_whose_key_the_directory_does_not_have_is_refused_on_both_sides() {
    for (wrong, right) in [(0, 1), (1, 0)] {
        let authority = Authority::new();
        let nodes: Vec<_> = (0..2).map(|own| Node::start(own, &authority.broker(), anywhere(), TIMING)).collect();
        let directory: Directory = nodes.iter().map(Node::entry).collect();
        let other_key = PeerAddress { key: [9; 32], ..directory[&BrokerId(wrong)].clone() };
        let mistaken: Directory = directory.clone().into_iter().chain([(BrokerId(wrong), other_key)]).collect();
        nodes[right as usize].know(&mistaken);
        nodes[wrong as usize].know(&directory);
        // Some attempts later the directory is put right, and until then nobody was reached.
        let mut reached = nodes[right as usize].peers.reached();
        let early = tokio::time::timeout(2 * TIMING.redial_max, reached.wait_for(|reached| !reached.is_empty())).await;
        assert!(early.is_err());
        nodes[right as usize].know(&directory);
        nodes[right as usize].reaches(&[wrong]).await;
    }
}

#[tokio::test]
async fn a_broker_that_has_no_number_asks_by_address_and_has_proved_its_key() {
    let (authority, nodes) = cluster(1).await;
    let identity = authority.broker();
    let newcomer = PeerEndpoint::bind(anywhere(), &identity).expect("bind");
    let there = nodes[0].address();
    let answer = newcomer.join_call(&there.to_string(), Call::Join, Bytes::new()).await.expect("an answer");
    assert_eq!(answer, identity.key().as_slice());
    // A name is looked up.
    let named = format!("localhost:{}", there.port());
    let refused = newcomer.join_call(&named, Call::Propose, Bytes::new()).await.expect_err("only to join");
    assert!(matches!(&refused, JoinError::Refused { fault, .. } if fault.is(Code::Forbidden)), "{refused}");
}

#[tokio::test]
async fn nobody_at_the_address_is_told_from_an_answer_that_was_lost() {
    let authority = Authority::new();
    let newcomer = PeerEndpoint::bind(anywhere(), &authority.broker()).expect("bind");
    // A socket that nobody reads.
    let nobody = std::net::UdpSocket::bind(anywhere()).expect("bind").local_addr().expect("bound");
    let error = newcomer.join_call(&nobody.to_string(), Call::Join, Bytes::new()).await.expect_err("nobody");
    assert!(matches!(error, JoinError::Unreachable { .. }), "{error}");
    let error = newcomer.join_call("no-such-host.invalid:1", Call::Join, Bytes::new()).await.expect_err("no name");
    assert!(error.to_string().contains("look up no-such-host.invalid:1"), "{error}");
}
