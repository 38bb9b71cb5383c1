//! Brokers' links on loopback, in one process.

mod bundles;
mod calls;
mod hostile;
mod identity;
mod links;
mod speed;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::message::push_frame;
use anyport_protocol::{BrokerId, ClusterId, Code, Fault};
use bytes::Bytes;
use futures_util::future::{self, BoxFuture, FutureExt};
use tokio::sync::watch;

use super::{
    Answers, Call, Directory, LinkProfile, PeerAddress, PeerEndpoint, PeerKey, PeerStream, PeerStreamKind, PeerTasks,
    Peers,
};
use crate::net::{ClusterIdentity, Congestion, FrameReader, FrameWriter};
use bundles::Authority;

const CLUSTER: ClusterId = ClusterId([1; 16]);

/// Quicker than real ones, so that stories of silence are short.
const TIMING: LinkProfile = LinkProfile {
    idle: Duration::from_millis(600),
    redial_max: Duration::from_millis(200),
    congestion: Congestion::Cubic,
};

/// Nothing here takes longer, however loaded the machine is.
const LONG: Duration = Duration::from_secs(30);

/// Answers as each call's comment in here says.
#[derive(Debug)]
struct TestAnswers;

impl Answers for TestAnswers {
    fn call(&self, from: BrokerId, call: Call, body: Bytes) -> BoxFuture<'static, Result<Bytes, Fault>> {
        match call {
            // The question itself.
            Call::Raft | Call::Status => future::ready(Ok(body)).boxed(),
            // So many bytes.
            Call::Read => future::ready(Ok(vec![7; body.len() * 1024].into())).boxed(),
            // Who asks.
            Call::Renew => future::ready(Ok(Bytes::copy_from_slice(&from.0.to_le_bytes()))).boxed(),
            // Nothing, ever.
            Call::Bounds => future::pending().boxed(),
            _ => future::ready(Err(Fault::new(Code::NotReady, format!("no {call:?} here")))).boxed(),
        }
    }

    /// The key, to who wants to join.
    fn newcomer(&self, key: PeerKey, call: Call, _: Bytes) -> BoxFuture<'static, Result<Bytes, Fault>> {
        future::ready(match call {
            Call::Join => Ok(Bytes::copy_from_slice(&key)),
            _ => Err(Fault::new(Code::Forbidden, "newcomers may only join")),
        })
        .boxed()
    }

    /// Frames come back on a stream for publishing; others are held and never read.
    fn stream(&self, _: BrokerId, kind: PeerStreamKind, mut stream: PeerStream) -> BoxFuture<'static, ()> {
        async move {
            if kind != PeerStreamKind::Publish {
                return future::pending().await;
            }
            echo(&mut stream.reader, &mut stream.writer).await;
        }
        .boxed()
    }

    fn operator(&self, mut reader: FrameReader, mut writer: FrameWriter) -> BoxFuture<'static, ()> {
        async move { echo(&mut reader, &mut writer).await }.boxed()
    }
}

async fn echo(reader: &mut FrameReader, writer: &mut FrameWriter) {
    while let Ok(Some((header, body))) = reader.next().await {
        if writer.write(&frame(header.message_type, &body)).await.is_err() {
            return;
        }
    }
}

fn frame(message_type: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    push_frame(&mut frame, message_type, 0, |out| out.extend_from_slice(body));
    frame
}

struct Node {
    own: BrokerId,
    endpoint: PeerEndpoint,
    key: PeerKey,
    directory: watch::Sender<Directory>,
    peers: Peers,
    tasks: PeerTasks,
}

impl Node {
    fn start(own: u32, identity: &ClusterIdentity, listen: SocketAddr, timing: LinkProfile) -> Self {
        Self::start_on(own, PeerEndpoint::bind(listen, identity).expect("bind"), identity, timing)
    }

    fn start_on(own: u32, endpoint: PeerEndpoint, identity: &ClusterIdentity, timing: LinkProfile) -> Self {
        let (directory, known) = watch::channel(Directory::new());
        let answers = Arc::new(TestAnswers);
        let (peers, tasks) = endpoint.start(BrokerId(own), CLUSTER, timing, known, answers);
        Self { own: BrokerId(own), endpoint, key: identity.key(), directory, peers, tasks }
    }

    fn address(&self) -> SocketAddr {
        self.endpoint.local_addr().expect("bound")
    }

    fn entry(&self) -> (BrokerId, PeerAddress) {
        (self.own, PeerAddress { address: self.address().to_string(), key: self.key })
    }

    fn know(&self, directory: &Directory) {
        self.directory.send_replace(directory.clone());
    }

    async fn reaches(&self, others: &[u32]) {
        let others: BTreeSet<_> = others.iter().map(|other| BrokerId(*other)).collect();
        let mut reached = self.peers.reached();
        let waiting = reached.wait_for(|reached| *reached == others);
        let found = tokio::time::timeout(LONG, waiting).await.map(drop);
        assert!(found.is_ok(), "broker {} reaches {:?}, not {others:?}", self.own, self.peers.reached().borrow());
    }
}

fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Brokers that know each other, all connections made.
async fn cluster(count: u32) -> (Authority, Vec<Node>) {
    let authority = Authority::new();
    let nodes: Vec<_> = (0..count).map(|own| Node::start(own, &authority.broker(), anywhere(), TIMING)).collect();
    let directory: Directory = nodes.iter().map(Node::entry).collect();
    for node in &nodes {
        node.know(&directory);
    }
    for node in &nodes {
        let others: Vec<_> = (0..count).filter(|other| *other != node.own.0).collect();
        node.reaches(&others).await;
        for other in others {
            answers(node, other, super::Link::Bulk).await;
        }
    }
    (authority, nodes)
}

/// Waits until a question gets through: `reached` says nothing of the bulk connection, nor of one whose other side is gone.
async fn answers(node: &Node, to: u32, link: super::Link) {
    let connected = async {
        while ask(node, to, link, b"").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, connected).await.expect("an answer");
}

async fn ask(node: &Node, to: u32, link: super::Link, body: &[u8]) -> Result<Bytes, super::PeerError> {
    node.peers.call(BrokerId(to), link, Call::Status, Bytes::copy_from_slice(body)).await
}
