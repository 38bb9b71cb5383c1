//! Who is not one of us, and what somebody may say who is.

use super::super::Link;
use super::super::frames::{FrameType, Greeting};
use super::super::greeting::{CommonStream, greet};
use super::*;
use crate::net::{Goodbye, HandshakeError, PeerConnection, PeerSocket, Purpose};

struct Attacker {
    socket: PeerSocket,
    to: SocketAddr,
}

impl Attacker {
    fn new(identity: &ClusterIdentity, to: &Node) -> Self {
        Self { socket: PeerSocket::bind(anywhere(), identity).expect("bind"), to: to.address() }
    }

    async fn dial(&self, purpose: Purpose) -> Result<PeerConnection, HandshakeError> {
        self.socket.dial(self.to, purpose, LONG).await
    }

    /// As broker 1, which the directory names.
    async fn greet(&self, purpose: Purpose) -> (PeerConnection, CommonStream) {
        let wire = self.dial(purpose).await.expect("a connection");
        let greeting = Greeting::of(Some(BrokerId(1)), Some(CLUSTER));
        let (_, common) = greet(&wire, &greeting, LONG).await.expect("welcome");
        (wire, common)
    }
}

/// A broker, and somebody with the certificate of another one that it knows.
async fn broker_and_known() -> (Authority, Node, Attacker) {
    let authority = Authority::new();
    let (node, identity) = (Node::start(0, &authority.broker(), anywhere(), TIMING), authority.broker());
    let known = PeerAddress { address: "127.0.0.1:1".into(), key: identity.key() };
    node.know(&[node.entry(), (BrokerId(1), known)].into());
    let attacker = Attacker::new(&identity, &node);
    (authority, node, attacker)
}

async fn ended(wire: &PeerConnection) -> String {
    tokio::time::timeout(LONG, wire.closed()).await.expect("hung up on").to_string()
}

fn says(text: &str, why: Goodbye) -> bool {
    text.contains(&format!("code {}", why as u32)) || text.contains(&format!("({})", why as u32))
}

async fn still_serves(known: &Attacker) {
    let (_wire, (mut reader, mut writer)) = known.greet(Purpose::Raft).await;
    let question = FrameType::Question(Call::Status as u16).number();
    writer.write(&frame(question, b"still there?")).await.expect("written");
    let (header, body) = reader.next().await.expect("read").expect("an answer");
    assert_eq!((header.message_type, &body[..]), (FrameType::Given.number(), &b"still there?"[..]));
}

#[tokio::test]
async fn who_has_no_certificate_or_one_of_another_authority_is_not_let_in() {
    let (authority, node, known) = broker_and_known().await;
    let mut stranger = Attacker::new(&authority.broker(), &node);
    stranger.socket.show(None, &authority.broker());
    let foreign = Authority::new();
    // Believes this cluster, but shows a certificate of another one.
    let mut other = Attacker::new(&authority.broker(), &node);
    other.socket.show(Some(&foreign.broker()), &authority.broker());
    for attacker in [stranger, other] {
        for purpose in [Purpose::Raft, Purpose::Peer, Purpose::Operator] {
            // The handshake is over for this side before the other has seen the certificate.
            let why = match attacker.dial(purpose).await {
                Ok(wire) => ended(&wire).await,
                Err(error) => error.to_string(),
            };
            assert!(why.contains("aborted by peer"), "{why}");
        }
    }
    still_serves(&known).await;
}

#[tokio::test]
async fn an_operator_is_no_broker_and_a_broker_no_operator() {
    let (authority, node, known) = broker_and_known().await;
    let operator = Attacker::new(&authority.operator(), &node);
    for (attacker, purpose) in [(&operator, Purpose::Raft), (&operator, Purpose::Peer), (&known, Purpose::Operator)] {
        let wire = attacker.dial(purpose).await.expect("the handshake is over for this side");
        let why = ended(&wire).await;
        assert!(says(&why, Goodbye::WrongCertificate), "{why}");
    }
    still_serves(&known).await;
}

#[tokio::test]
async fn an_operator_is_served_on_streams_of_its_own() {
    let (authority, node, _) = broker_and_known().await;
    let wire = Attacker::new(&authority.operator(), &node).dial(Purpose::Operator).await.expect("a connection");
    let (mut reader, _writer) = wire.open(1, Bytes::from_static(b"how are you"), 1024).await.expect("a stream");
    let (_, body) = reader.next().await.expect("read").expect("an answer");
    assert_eq!(&body[..], b"how are you");
}

#[tokio::test]
async fn who_connects_and_says_nothing_is_hung_up_on() {
    let (_, _node, known) = broker_and_known().await;
    let wire = known.dial(Purpose::Raft).await.expect("a connection");
    let why = ended(&wire).await;
    assert!(says(&why, Goodbye::Silent), "{why}");
    still_serves(&known).await;
}

#[tokio::test]
async fn bytes_that_are_no_greeting_are_hung_up_on() {
    let (_, _node, known) = broker_and_known().await;
    let hello = FrameType::Hello.number();
    let too_long = vec![0; 5000];
    for (message_type, body, goodbye) in [
        (0xffff, &b"x"[..], Goodbye::Malformed),
        (hello, &b"\xc1"[..], Goodbye::Malformed),
        (FrameType::Question(1).number(), b"not yet", Goodbye::Malformed),
        (hello, &too_long, Goodbye::FrameTooLarge),
    ] {
        let wire = known.dial(Purpose::Peer).await.expect("a connection");
        let _stream = wire.open(message_type, Bytes::copy_from_slice(body), 1024).await.expect("a stream");
        let why = ended(&wire).await;
        assert!(says(&why, goodbye), "{why}, not {goodbye:?}");
    }
    still_serves(&known).await;
}

#[tokio::test]
async fn who_is_of_another_cluster_or_not_in_the_directory_hears_why() {
    let (_, _node, known) = broker_and_known().await;
    for (broker, cluster, goodbye) in [
        (1, ClusterId([2; 16]), Goodbye::OtherCluster),
        (7, CLUSTER, Goodbye::UnknownBroker),
        (0, CLUSTER, Goodbye::OtherBroker),
    ] {
        let wire = known.dial(Purpose::Raft).await.expect("a connection");
        let greeted = greet(&wire, &Greeting::of(Some(BrokerId(broker)), Some(cluster)), LONG).await;
        let why = greeted.expect_err("refused").to_string();
        assert!(says(&why, goodbye), "{why}, not {goodbye:?}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_frame_end_the_connection_with_a_code() {
    let (_, _node, known) = broker_and_known().await;
    let too_long = anyport_protocol::message::FrameHeader { body_bytes: 1 << 20, message_type: 0x1001, request: 0 };
    for (bytes, goodbye) in [
        (frame(0xffff, b"of no class"), Goodbye::Malformed),
        (frame(FrameType::Hello.number(), b"again"), Goodbye::Malformed),
        (frame(FrameType::Refused.number(), b"\xc1"), Goodbye::Malformed),
        (too_long.encode().to_vec(), Goodbye::FrameTooLarge),
    ] {
        let (wire, (_reader, mut writer)) = known.greet(Purpose::Peer).await;
        writer.write(&bytes).await.expect("written");
        let why = ended(&wire).await;
        assert!(says(&why, goodbye), "{why}, not {goodbye:?}");
    }
    // On streams of their own, too.
    for (message_type, goodbye) in [(0xffff, Goodbye::Malformed), (FrameType::Given.number(), Goodbye::Malformed)] {
        let (wire, _common) = known.greet(Purpose::Peer).await;
        let _stream = wire.open(message_type, Bytes::new(), 1024).await.expect("a stream");
        let why = ended(&wire).await;
        assert!(says(&why, goodbye), "{why}, not {goodbye:?}");
    }
    let (wire, _common) = known.greet(Purpose::Peer).await;
    wire.tell(FrameType::Question(1).number(), 0, Bytes::new()).await.expect("written");
    let why = ended(&wire).await;
    assert!(says(&why, Goodbye::Malformed), "{why}");
    still_serves(&known).await;
}

#[tokio::test]
async fn a_question_of_a_later_version_is_refused_and_the_connection_goes_on() {
    let (_, _node, known) = broker_and_known().await;
    let (_wire, (mut reader, mut writer)) = known.greet(Purpose::Peer).await;
    writer.write(&frame(FrameType::Question(999).number(), b"")).await.expect("written");
    let (header, _) = reader.next().await.expect("read").expect("a refusal");
    assert_eq!(header.message_type, FrameType::Refused.number());
    writer.write(&frame(FrameType::Question(Call::Status as u16).number(), b"x")).await.expect("written");
    let (_, body) = reader.next().await.expect("read").expect("an answer");
    assert_eq!(&body[..], b"x");
}

#[tokio::test]
async fn a_newer_connection_takes_the_place_of_the_older() {
    let (_, node, known) = broker_and_known().await;
    let (older, _common) = known.greet(Purpose::Raft).await;
    node.reaches(&[1]).await;
    let (newer, (mut reader, mut writer)) = known.greet(Purpose::Raft).await;
    let why = ended(&older).await;
    assert!(says(&why, Goodbye::Replaced), "{why}");
    assert!(node.peers.reached().borrow().contains(&BrokerId(1)));
    // What is asked goes to the newer one.
    let asked = tokio::spawn(node.peers.call(BrokerId(1), Link::Raft, Call::Raft, Bytes::from_static(b"append")));
    let (header, _) = reader.next().await.expect("read").expect("a question");
    let mut answer = Vec::new();
    push_frame(&mut answer, FrameType::Given.number(), header.request, |body| body.extend_from_slice(b"done"));
    writer.write(&answer).await.expect("written");
    assert_eq!(asked.await.expect("ends").expect("an answer"), &b"done"[..]);
    newer.close(Goodbye::Done, "");
    node.reaches(&[]).await;
}

#[tokio::test]
async fn who_asks_and_reads_no_answer_is_hung_up_on() {
    let (_, _node, known) = broker_and_known().await;
    let (wire, (_reader, mut writer)) = known.greet(Purpose::Peer).await;
    let question = FrameType::Question(Call::Bounds as u16).number();
    let many: Vec<u8> = (0..1000).flat_map(|_| frame(question, b"")).collect();
    let asking = async { while writer.write(&many).await.is_ok() {} };
    tokio::time::timeout(2 * LONG, asking).await.expect("hung up on");
    let why = ended(&wire).await;
    assert!(says(&why, Goodbye::Overfull), "{why}");
}
