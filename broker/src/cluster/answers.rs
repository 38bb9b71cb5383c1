//! What this broker answers other brokers: each question goes to the part that knows.

use std::fmt;
use std::sync::{Arc, OnceLock};

use anyport_protocol::{BrokerId, Code, Fault, ReplicaId};
use anyport_storage::GroupId;
use anyport_storage::metadata::{ClusterState, Command};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::controller::Controller;
use super::inbox::RaftInbox;
use super::metadata_link::MetadataLink;
use super::operator::Operator;
use crate::admin;
use crate::net::{FrameReader, FrameWriter};
use crate::peer::{Answers, Call, PeerKey, PeerStream, PeerStreamKind, body};
use crate::serving::Serving;

/// What a newcomer is told: the metadata's reply, and whom it will have to do with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Welcome {
    #[serde(with = "serde_bytes")]
    pub(super) reply: Vec<u8>,
    pub(super) brokers: Vec<Known>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) broker: BrokerId,
    pub(super) address: String,
    #[serde(with = "serde_bytes")]
    pub(super) key: PeerKey,
}

/// Asks a replica to stand for election, because its leader steps back for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Elect {
    pub(super) group: GroupId,
    pub(super) replica: ReplicaId,
}

/// The parts that answer; those that start later are put in when they do.
pub(crate) struct ClusterAnswers {
    inbox: RaftInbox,
    state: watch::Receiver<Arc<ClusterState>>,
    started: OnceLock<Started>,
    serving: OnceLock<Serving>,
}

struct Started {
    operator: Operator,
    controller: Controller,
}

impl Started {
    fn metadata(&self) -> &MetadataLink {
        &self.operator.metadata
    }
}

impl fmt::Debug for ClusterAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterAnswers").field("inbox", &self.inbox).finish_non_exhaustive()
    }
}

fn starting() -> Fault {
    Fault::retry_after(Code::NotReady, 200, "this broker is starting")
}

impl ClusterAnswers {
    pub(super) fn new(inbox: RaftInbox, state: watch::Receiver<Arc<ClusterState>>) -> Self {
        Self { inbox, state, started: OnceLock::new(), serving: OnceLock::new() }
    }

    pub(super) fn start(&self, operator: Operator, controller: Controller) {
        let first = self.started.set(Started { operator, controller });
        assert!(first.is_ok(), "a broker starts once");
    }

    pub(super) fn serve(&self, serving: Serving) {
        let first = self.serving.set(serving);
        assert!(first.is_ok(), "a broker serves once");
    }

    fn started(&self) -> Result<&Started, Fault> {
        self.started.get().ok_or_else(starting)
    }

    async fn elect(&self, body: &Bytes) -> Result<Bytes, Fault> {
        let Elect { group, replica } = body::decode::<Elect>(body)?.0;
        match self.inbox.get(group).filter(|running| running.replica() == replica) {
            Some(running) => running.elect().await,
            None => return Err(Fault::new(Code::NotReady, format!("{group} has no replica {replica} here"))),
        }
        Ok(Bytes::new())
    }

    async fn ask(&self, from: BrokerId, call: Call, body: Bytes) -> Result<Bytes, Fault> {
        match call {
            Call::Raft => self.inbox.call(from, body).await,
            Call::Elect => self.elect(&body).await,
            Call::Renew => self.started()?.controller.answer_renewal(from, &body),
            Call::Propose => self.started()?.metadata().answer(&body).await,
            Call::Join | Call::Announce => Err(malformed("a broker that is known does not ask to join")),
            Call::Status => Ok(body::encode(&self.started()?.operator.report())),
            Call::Survey => Ok(body::encode(&self.started()?.operator.survey().await)),
            Call::Recover => self.started()?.operator.take_part(&body),
            Call::RegistryCommand
            | Call::RegistryRecord
            | Call::Read
            | Call::Bounds
            | Call::Find
            | Call::SessionOpened => match self.serving.get() {
                Some(serving) => serving.call(from, call, body).await,
                None => Err(starting()),
            },
        }
    }

    /// A newcomer joins, or one that is known says where it is now: both with the key that its connection has proved.
    async fn welcome(&self, key: PeerKey, call: Call, body: &[u8]) -> Result<Bytes, Fault> {
        let command = Command::decode(body).map_err(|bad| malformed(&bad.to_string()))?;
        let named = match (&command, call) {
            (Command::Join { key, .. }, Call::Join) | (Command::Announce { key, .. }, Call::Announce) => *key,
            _ => return Err(malformed("a newcomer asks to join, or announces itself")),
        };
        if named != key {
            return Err(Fault::new(Code::BadToken, "the certificate shown is not the one named"));
        }
        let reply = self.started()?.metadata().propose(command).await?.encode();
        let state = Arc::clone(&self.state.borrow());
        let known = |(broker, record): (&BrokerId, &anyport_storage::metadata::BrokerRecord)| Known {
            broker: *broker,
            address: record.peer_address.clone(),
            key: record.key,
        };
        Ok(body::encode(&Welcome { reply, brokers: state.brokers.iter().map(known).collect() }))
    }
}

fn malformed(why: &str) -> Fault {
    Fault::new(Code::MalformedFrame, why)
}

/// What the peer endpoint is given: a handle that it can clone into its tasks.
#[derive(Clone, Debug)]
pub(crate) struct Answering(pub(crate) Arc<ClusterAnswers>);

impl Answers for Answering {
    fn call(&self, from: BrokerId, call: Call, body: Bytes) -> BoxFuture<'static, Result<Bytes, Fault>> {
        let answers = Arc::clone(&self.0);
        Box::pin(async move { answers.ask(from, call, body).await })
    }

    fn newcomer(&self, key: PeerKey, call: Call, body: Bytes) -> BoxFuture<'static, Result<Bytes, Fault>> {
        let answers = Arc::clone(&self.0);
        Box::pin(async move { answers.welcome(key, call, &body).await })
    }

    fn stream(&self, from: BrokerId, kind: PeerStreamKind, stream: PeerStream) -> BoxFuture<'static, ()> {
        let answers = Arc::clone(&self.0);
        Box::pin(async move {
            // Dropped while this broker starts: whoever opened it sees it end, and tries again.
            if let Some(serving) = answers.serving.get() {
                serving.stream(from, kind, stream).await;
            }
        })
    }

    fn operator(&self, reader: FrameReader, writer: FrameWriter) -> BoxFuture<'static, ()> {
        let answers = Arc::clone(&self.0);
        Box::pin(async move {
            // Dropped while this broker starts: the operator sees the stream end, and asks again.
            if let Some(started) = answers.started.get() {
                admin::cluster::serve(&started.operator, reader, writer).await;
            }
        })
    }
}
