//! What brokers say to each other, and who says it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use anyport_protocol::{BrokerId, Fault};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::net::{FrameReader, FrameWriter};

/// SHA-256 of the public key of a broker's certificate: how it proves who it is.
pub type PeerKey = [u8; 32];

/// Where a broker is, and what it must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// Host and port; the host may be a name.
    pub address: String,
    pub key: PeerKey,
}

/// The brokers of the cluster, as far as this one knows; it may be among them itself.
pub type Directory = BTreeMap<BrokerId, PeerAddress>;

/// Which of the two connections with a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    /// Raft alone.
    Raft,
    /// All the rest.
    Bulk,
}

macro_rules! numbered {
    ($(#[$doc:meta])* $set:ident { $($(#[$what:meta])* $number:literal $name:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum $set { $($(#[$what])* $name = $number,)* }

        impl $set {
            pub fn from_number(number: u16) -> Option<Self> {
                [$(Self::$name,)*].into_iter().find(|known| *known as u16 == number)
            }
        }
    };
}

numbered! {
    /// What is asked in one question and answered in one answer. Numbers are never reused.
    Call {
        /// Appends, votes and pieces of snapshots, for replicas.
        1 Raft,
        /// Whether this replica should stand for election now, because its leader steps back for it.
        2 Elect,
        /// A broker that has no number yet asks for one.
        10 Join,
        /// A broker has started, and says where it is.
        11 Announce,
        /// A broker has made progress.
        12 Renew,
        /// A change of the metadata, for whoever leads its group.
        13 Propose,
        /// How the cluster is, as the broker that is asked sees it.
        14 Status,
        /// What a broker has of each group, for who plans a recovery.
        15 Survey,
        /// Replicas that are to be all of their group from the next start on.
        16 Recover,
        /// A change of a client's record, for whoever leads its shard.
        20 RegistryCommand,
        /// A client's record.
        21 RegistryRecord,
        /// A piece of a partition's log through a filter.
        30 Read,
        /// Where a partition's log begins and ends.
        31 Bounds,
        /// Which offset was the first at a time, or when an offset was appended.
        32 Find,
        /// A session was opened: whoever has an older one of the client tells it so.
        40 SessionOpened,
    }
}

numbered! {
    /// What a stream is for: the type of its first frame. Numbers are never reused.
    PeerStreamKind {
        /// Batches for partitions that are led where they go, and their outcomes.
        1 Publish,
        /// What is stored in one partition, as it is stored.
        2 Tail,
    }
}

/// A stream between two brokers; its first frame was read, or written, already.
#[derive(Debug)]
pub struct PeerStream {
    pub reader: FrameReader,
    pub writer: FrameWriter,
    /// The body of the first frame.
    pub opening: Bytes,
}

/// Why a broker did not answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PeerError {
    /// Nothing was sent.
    #[error("broker {to} cannot be reached: {why}")]
    Unreachable { to: BrokerId, why: Arc<str> },
    /// It may have been heard.
    #[error("broker {to} did not answer: {why}")]
    Lost { to: BrokerId, why: Arc<str> },
    #[error("broker {to} refuses: {fault}")]
    Refused { to: BrokerId, fault: Fault },
}

/// The way to the other brokers. One implementation is over QUIC; tests bring their own.
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Asks one question. The caller decides how long to wait.
    fn call(&self, to: BrokerId, link: Link, call: Call, body: Bytes) -> BoxFuture<'static, Result<Bytes, PeerError>>;

    /// Opens a stream on the bulk connection whose first frame has this body.
    fn open(
        &self,
        to: BrokerId,
        kind: PeerStreamKind,
        opening: Bytes,
    ) -> BoxFuture<'static, Result<PeerStream, PeerError>>;

    /// The brokers with a live Raft connection. This broker itself is not among them.
    fn reached(&self) -> watch::Receiver<BTreeSet<BrokerId>>;
}

/// A handle on the way to the other brokers; clones share it.
pub type Peers = Arc<dyn Transport>;

/// What answers the other brokers, and operators.
pub trait Answers: fmt::Debug + Send + Sync + 'static {
    fn call(&self, from: BrokerId, call: Call, body: Bytes) -> BoxFuture<'static, Result<Bytes, Fault>>;

    /// Asked by somebody of whom no more is known than a broker's certificate of this cluster. `key` is that certificate's, and proved:
    /// a body that names another key is a lie.
    fn newcomer(&self, key: PeerKey, call: Call, body: Bytes) -> BoxFuture<'static, Result<Bytes, Fault>>;

    /// Serves a stream until it ends. `opening` of the stream is the body of its first frame.
    fn stream(&self, from: BrokerId, kind: PeerStreamKind, stream: PeerStream) -> BoxFuture<'static, ()>;

    /// Serves a stream that an operator has opened, of which nothing has been read.
    fn operator(&self, reader: FrameReader, writer: FrameWriter) -> BoxFuture<'static, ()>;
}
