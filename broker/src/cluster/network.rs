//! How a group reaches its other members: as questions to the brokers that have them.
//!
//! The engine asks a member one thing at a time, and waits for an append as long as a heartbeat takes. What it must know of that:
//! - An append that outlives its time is not sent again: the engine asks for the same, and is given the first one's answer. So
//!   a disk that is slow for a moment is not sent the same half megabyte over and over, and a slow link still carries a group.
//! - A heartbeat that says nothing new waits a moment for those of other groups to the same broker, and goes with them in one
//!   message. Everything else goes at once.
//! - Whoever does not answer is unreachable, whatever the reason: then the engine pauses before it asks again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyport_protocol::{BrokerId, ReplicaId};
use anyport_storage::GroupId;
use bytes::Bytes;
use openraft::error::{Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{OptionalSend, Vote};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::sending::Throttle;
use super::types::{RaftLogId, RaftVote, Snapshot, TypeConfig};
use super::wire::{self, Answer, Asked, BadMessage, Request};
use crate::peer::{Call, Link, PeerError, Peers};

/// How long a heartbeat waits for others. Those of one broker begin at the same moment, so this is the time that the engines of all
/// its groups need to get to it.
const HEARTBEAT_WAIT: Duration = Duration::from_millis(10);

/// Between two questions to a member that cannot be reached.
const BACKOFF: Duration = Duration::from_millis(100);

/// An append without an answer for so long is sent again.
const APPEND_LOST: Duration = Duration::from_secs(5);

/// The way of all groups of this broker to their other members; clones share it.
#[derive(Clone, Debug)]
pub struct Network {
    pub(super) links: Option<Arc<Links>>,
}

#[derive(Debug)]
pub(super) struct Links {
    peers: Peers,
    pub(super) throttle: Throttle,
    /// Heartbeats that are about to go, by broker. A group has one for a broker at most.
    heartbeats: Mutex<HashMap<BrokerId, Vec<Waiting>>>,
}

/// A question, and who waits for its answer.
type Waiting = (Bytes, oneshot::Sender<Result<Answer, Unanswered>>);

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Unanswered {
    #[error("this broker is alone")]
    Alone,
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("the answer cannot be read: {0}")]
    Unreadable(#[from] BadMessage),
    #[error("the answer is none to what was asked")]
    Other,
    #[error("there is no such replica")]
    NoSuchReplica,
    #[error("the replica failed: {0}")]
    Failed(String),
    #[error("the replica did not answer in time")]
    Late,
    #[error("the snapshot cannot be read: {0}")]
    Snapshot(Arc<std::io::Error>),
    #[error("the snapshot does not arrive whole")]
    Damaged,
}

impl Network {
    /// Of a broker that has no peers.
    pub fn alone() -> Self {
        Self { links: None }
    }

    /// Snapshots that are files are sent no faster than `snapshot_bytes_per_second`, all together.
    pub fn new(peers: Peers, snapshot_bytes_per_second: u64) -> Self {
        let throttle = Throttle::new(snapshot_bytes_per_second);
        Self { links: Some(Arc::new(Links { peers, throttle, heartbeats: Mutex::default() })) }
    }

    pub(super) fn of_group(&self, group: GroupId) -> GroupNetwork {
        GroupNetwork { group, network: self.clone() }
    }
}

impl Links {
    /// Asks at once.
    pub(super) async fn ask(&self, link: Link, asked: Asked) -> Result<Answer, Unanswered> {
        let broker = asked.target.broker();
        let answers = self.peers.call(broker, link, Call::Raft, wire::join(&[asked.encode()])).await?;
        let [answer] = <[Bytes; 1]>::try_from(wire::split(answers)?).map_err(|_| Unanswered::Other)?;
        read(answer)
    }

    /// Asks together with other groups.
    async fn ask_in_company(self: Arc<Self>, asked: Asked) -> Result<Answer, Unanswered> {
        let (broker, (told, answer)) = (asked.target.broker(), oneshot::channel());
        let is_first = {
            let mut heartbeats = self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner);
            let waiting = heartbeats.entry(broker).or_default();
            waiting.push((asked.encode(), told));
            waiting.len() == 1
        };
        if is_first {
            // Ends by itself: it waits a moment, and for one answer.
            tokio::spawn(self.send_heartbeats(broker));
        }
        answer.await.unwrap_or(Err(Unanswered::Late))
    }

    async fn send_heartbeats(self: Arc<Self>, broker: BrokerId) {
        tokio::time::sleep(HEARTBEAT_WAIT).await;
        let waiting = self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner).remove(&broker);
        let (asked, waiting): (Vec<_>, Vec<_>) = waiting.unwrap_or_default().into_iter().unzip();
        let answers = self.peers.call(broker, Link::Raft, Call::Raft, wire::join(&asked)).await;
        let answers = answers.map_err(Unanswered::from).and_then(|answers| Ok(wire::split(answers)?));
        match answers {
            Ok(answers) if answers.len() == waiting.len() => {
                // Who no longer waits has gone on to ask something else.
                waiting.into_iter().zip(answers).for_each(|(told, answer)| drop(told.send(read(answer))));
            }
            Ok(_) => waiting.into_iter().for_each(|told| drop(told.send(Err(Unanswered::Other)))),
            Err(error) => waiting.into_iter().for_each(|told| drop(told.send(Err(error.clone())))),
        }
    }
}

fn read(answer: Bytes) -> Result<Answer, Unanswered> {
    match Answer::decode(answer)? {
        Answer::NoSuchReplica => Err(Unanswered::NoSuchReplica),
        Answer::Failed(why) => Err(Unanswered::Failed(why)),
        Answer::Late => Err(Unanswered::Late),
        answer => Ok(answer),
    }
}

#[derive(Clone, Debug)]
pub(super) struct GroupNetwork {
    group: GroupId,
    network: Network,
}

impl RaftNetworkFactory<TypeConfig> for GroupNetwork {
    type Network = Member;

    async fn new_client(&mut self, target: u64, (): &()) -> Member {
        let (group, target, links) = (self.group, ReplicaId(target), self.network.links.clone());
        Member { group, target, links, told: None, pending: [None, None] }
    }
}

/// The way to one member of a group.
pub(super) struct Member {
    group: GroupId,
    target: ReplicaId,
    links: Option<Arc<Links>>,
    /// What the member has heard last.
    told: Option<Told>,
    /// What has outlived its time: an append of entries, and a heartbeat.
    pending: [Option<Pending>; 2],
}

/// What an append says beside its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    vote: RaftVote,
    prev: Option<RaftLogId>,
    commit: Option<RaftLogId>,
}

struct Pending {
    told: Told,
    /// The last of its entries.
    last: Option<RaftLogId>,
    since: Instant,
    /// One task, which ends with this.
    answer: JoinSet<Result<Answer, Unanswered>>,
}

impl Member {
    fn links(&self) -> Result<Arc<Links>, Unanswered> {
        self.links.clone().ok_or(Unanswered::Alone)
    }

    pub(super) fn asked(&self, request: Request) -> Asked {
        Asked { group: self.group, target: self.target, request }
    }

    async fn ask(&self, request: Request) -> Result<Answer, Unanswered> {
        self.links()?.ask(Link::Raft, self.asked(request)).await
    }

    async fn append(&mut self, append: AppendEntriesRequest<TypeConfig>) -> Result<Answer, Unanswered> {
        let told = Told { vote: append.vote, prev: append.prev_log_id, commit: append.leader_commit };
        let last = append.entries.last().map(|entry| entry.log_id);
        let slot = usize::from(last.is_none());
        if !self.pending[slot].as_ref().is_some_and(|pending| pending.answers(told, last)) {
            self.pending[slot] = Some(self.send(told, last, append)?);
        }
        let pending = self.pending[slot].as_mut().expect("set above");
        // Here the engine may give up waiting; what was sent stays on its way.
        let answer = pending.answer.join_next().await.and_then(Result::ok).unwrap_or(Err(Unanswered::Late));
        let sent = self.pending[slot].take().and_then(|pending| pending.last);
        let answer = answer?;
        self.told = Some(told);
        match answer {
            Answer::Append(AppendEntriesResponse::Success) if sent < last => {
                Ok(Answer::Append(AppendEntriesResponse::PartialSuccess(sent)))
            }
            answer => Ok(answer),
        }
    }

    fn send(
        &self,
        told: Told,
        last: Option<RaftLogId>,
        append: AppendEntriesRequest<TypeConfig>,
    ) -> Result<Pending, Unanswered> {
        let (links, asked) = (self.links()?, self.asked(Request::Append(append)));
        let is_news = last.is_some() || self.told != Some(told);
        let answer = JoinSet::from_iter([async move {
            if is_news { links.ask(Link::Raft, asked).await } else { links.ask_in_company(asked).await }
        }]);
        Ok(Pending { told, last, since: Instant::now(), answer })
    }
}

impl Pending {
    /// Whether its answer will do for such an append: it says the same, except that it may have fewer entries.
    fn answers(&self, told: Told, last: Option<RaftLogId>) -> bool {
        let same = match last {
            None => self.told == told,
            Some(_) => Told { commit: None, ..self.told } == Told { commit: None, ..told } && self.last <= last,
        };
        same && self.since.elapsed() < APPEND_LOST
    }
}

type Rpc<T> = Result<T, RPCError<u64, (), RaftError<u64>>>;

impl RaftNetwork<TypeConfig> for Member {
    async fn append_entries(
        &mut self,
        append: AppendEntriesRequest<TypeConfig>,
        _: RPCOption,
    ) -> Rpc<AppendEntriesResponse<u64>> {
        match self.append(append).await {
            Ok(Answer::Append(response)) => Ok(response),
            Ok(_) => Err(RPCError::Unreachable(Unreachable::new(&Unanswered::Other))),
            // It is there, and its next heartbeat need not wait.
            Err(Unanswered::Late) => Err(RPCError::Network(NetworkError::new(&Unanswered::Late))),
            Err(error) => Err(RPCError::Unreachable(Unreachable::new(&error))),
        }
    }

    async fn vote(&mut self, vote: VoteRequest<u64>, _: RPCOption) -> Rpc<VoteResponse<u64>> {
        match self.ask(Request::Vote(vote)).await {
            Ok(Answer::Vote(response)) => Ok(response),
            Ok(_) => Err(RPCError::Unreachable(Unreachable::new(&Unanswered::Other))),
            Err(error) => Err(RPCError::Unreachable(Unreachable::new(&error))),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<u64>,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<TypeConfig, Fatal<u64>>> {
        let sent = async {
            let links = self.links()?;
            links.send_snapshot(|request| self.asked(request), vote, snapshot).await
        };
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = sent => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(error) => Err(StreamingError::Unreachable(Unreachable::new(&error))),
            },
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(BACKOFF))
    }
}
