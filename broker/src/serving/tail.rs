//! Following a partition of which no replica is placed here: one stream from a broker that has one, however many follow.
//!
//! [`TailTask`] owns followers and tail as a partition's own task does, so the rule of the hand-over holds here as there: only it says
//! who is at the tail. What arrives begins at the tail, or the stream is given up. A stream ends when the link does, when its broker
//! loses its replica, or when this broker was too slow to take what is stored; then all followers leave, read what they have missed
//! through their filters, and the next of them that asks to follow opens another.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyport_protocol::message::feed::{DELIVERY, FeedContent, FeedFrame};
use anyport_protocol::{Offset, OffsetRange, PartitionId};
use anyport_storage::GroupId;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::words::{TailOpened, TailRequest};
use super::{Links, Task};
use crate::partition::followers::Followers;
use crate::partition::{FollowAnswer, FollowRequest, FollowerId};
use crate::peer::body::{decode, encode};
use crate::peer::{PeerStream, PeerStreamKind};

/// The type of the first frame that the replica's broker sends.
pub(super) const OPENED: u16 = 1;

/// A stream that is not open by then is tried elsewhere.
const OPEN_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a stream is kept that nobody follows: a client that is gone for a moment comes back to it.
const LINGER: Duration = Duration::from_secs(10);

/// How often quiet followers are told how far they have come.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// How long a feed that has read beyond the tail as known here waits for what is on its way.
const EARLY: Duration = Duration::from_millis(500);

/// Of one partition. Its task is started by the first who asks to follow.
#[derive(Debug)]
pub(super) struct Tail {
    partition: PartitionId,
    task: Mutex<Option<TailHandle>>,
}

#[derive(Clone, Debug)]
struct TailHandle {
    requests: mpsc::UnboundedSender<Request>,
    known: watch::Receiver<Option<Offset>>,
    _task: std::sync::Arc<Task>,
}

/// Few: one at a time for each feed.
#[derive(Debug)]
enum Request {
    Follow(FollowRequest, oneshot::Sender<FollowAnswer>),
    Unfollow(FollowerId),
    Close,
}

impl Tail {
    pub(super) fn new(partition: PartitionId) -> Self {
        Self { partition, task: Mutex::default() }
    }

    /// The tail while the stream is open.
    pub(super) fn known(&self) -> Option<Offset> {
        self.handle().and_then(|handle| *handle.known.borrow())
    }

    pub(super) async fn follow(&self, links: &Links, request: FollowRequest) -> FollowAnswer {
        let (told, answer) = oneshot::channel();
        let handle = self.lock().get_or_insert_with(|| TailTask::start(self.partition, links.clone())).clone();
        if handle.requests.send(Request::Follow(request, told)).is_err() {
            return FollowAnswer::Gone;
        }
        answer.await.unwrap_or(FollowAnswer::Gone)
    }

    pub(super) fn unfollow(&self, follower: FollowerId) {
        self.tell(Request::Unfollow(follower));
    }

    /// A replica is placed here now: whoever follows is to go there.
    pub(super) fn close(&self) {
        self.tell(Request::Close);
    }

    fn tell(&self, request: Request) {
        if let Some(handle) = self.handle() {
            // It runs for as long as this has a handle.
            let _ = handle.requests.send(request);
        }
    }

    fn handle(&self) -> Option<TailHandle> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<TailHandle>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Waiter = (FollowRequest, oneshot::Sender<FollowAnswer>);

enum Link {
    Closed,
    Opening(BoxFuture<'static, Option<(PeerStream, Offset)>>),
    Open(Box<PeerStream>),
}

struct TailTask {
    partition: PartitionId,
    links: Links,
    requests: mpsc::UnboundedReceiver<Request>,
    link: Link,
    followers: Followers,
    known: watch::Sender<Option<Offset>>,
    /// Who asked to follow before the stream was open, or from beyond the tail, and until when the latter may wait.
    early: Vec<(Waiter, Instant)>,
    /// Since when nobody follows.
    idle_since: Instant,
    progress_at: Instant,
}

impl TailTask {
    fn start(partition: PartitionId, links: Links) -> TailHandle {
        let (requests, inbox) = mpsc::unbounded_channel();
        let (known, seen) = watch::channel(None);
        let now = Instant::now();
        let task = Self {
            partition,
            links,
            requests: inbox,
            link: Link::Closed,
            followers: Followers::new(Offset::ZERO),
            known,
            early: Vec::new(),
            idle_since: now,
            progress_at: now + PROGRESS_EVERY,
        };
        TailHandle { requests, known: seen, _task: std::sync::Arc::new(Task::spawn(task.run())) }
    }

    async fn run(mut self) {
        loop {
            if !self.is_idle() {
                self.idle_since = Instant::now();
            }
            let wake_at = self.wake_at();
            tokio::select! {
                biased;
                request = self.requests.recv() => match request {
                    Some(request) => self.on_request(request),
                    None => return,
                },
                frame = next(&mut self.link) => match frame {
                    Heard::Opened(opened) => self.on_opened(opened),
                    Heard::Frame(message_type, body) => self.on_frame(message_type, body),
                    Heard::End => self.close(),
                },
                () = tokio::time::sleep_until(wake_at) => self.on_time(Instant::now()),
            }
        }
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Follow(request, answer) => {
                if matches!(self.link, Link::Closed) {
                    self.link = Link::Opening(Box::pin(open(self.partition, self.links.clone())));
                }
                self.on_follow((request, answer), Instant::now() + EARLY);
            }
            Request::Unfollow(follower) => self.followers.unfollow(follower),
            Request::Close => self.close(),
        }
    }

    fn on_follow(&mut self, (request, answer): Waiter, until: Instant) {
        let is_early = request.position > self.followers.tail() && Instant::now() < until;
        if matches!(self.link, Link::Opening(_)) || is_early {
            return self.early.push(((request, answer), until));
        }
        // Who asked may have gone meanwhile, and then would never dismiss it.
        if let Err(FollowAnswer::Following(follower)) = answer.send(self.followers.follow(request)) {
            self.followers.unfollow(follower);
        }
    }

    fn on_opened(&mut self, opened: Option<(PeerStream, Offset)>) {
        let Some((stream, tail)) = opened else { return self.close() };
        self.link = Link::Open(Box::new(stream));
        self.followers.move_tail(tail);
        self.known.send_replace(Some(tail));
        self.retry_early();
    }

    fn on_frame(&mut self, message_type: u16, body: Bytes) {
        match FeedFrame::decode(message_type, body) {
            Ok(FeedFrame { feed, covers, content: FeedContent::Events(events) })
                if message_type == DELIVERY
                    && feed.partition == self.partition
                    && covers.start == self.followers.tail() =>
            {
                self.on_stored(covers, events);
            }
            other => {
                tracing::warn!(partition = %self.partition, ?other, "a broker sent what does not follow");
                self.close();
            }
        }
    }

    fn on_stored(&mut self, covers: OffsetRange, events: Vec<(Offset, Bytes)>) {
        if self.followers.is_empty() {
            self.followers.move_tail(covers.end);
        } else {
            self.followers.stored(covers, events.into_iter());
        }
        self.known.send_replace(Some(covers.end));
        self.retry_early();
    }

    fn retry_early(&mut self) {
        for (waiter, until) in std::mem::take(&mut self.early) {
            self.on_follow(waiter, until);
        }
    }

    fn on_time(&mut self, now: Instant) {
        if now >= self.progress_at {
            self.progress_at = now + PROGRESS_EVERY;
            self.followers.tell_progress();
        }
        self.retry_early();
        if matches!(self.link, Link::Open(_)) && self.is_idle() && now >= self.idle_since + LINGER {
            self.close();
        }
    }

    fn is_idle(&self) -> bool {
        self.followers.is_empty() && self.early.is_empty()
    }

    fn wake_at(&self) -> Instant {
        let linger = (matches!(self.link, Link::Open(_)) && self.is_idle()).then(|| self.idle_since + LINGER);
        // While a stream is being opened that has a time of its own.
        let early = self.early.iter().map(|(_, until)| *until).filter(|_| matches!(self.link, Link::Open(_)));
        early.chain(linger).fold(self.progress_at, Instant::min)
    }

    /// All leave. Dropping the stream tells its broker.
    fn close(&mut self) {
        self.link = Link::Closed;
        self.known.send_replace(None);
        self.followers.dismiss_all();
        for ((_, answer), _) in self.early.drain(..) {
            let _ = answer.send(FollowAnswer::Gone);
        }
    }
}

enum Heard {
    Opened(Option<(PeerStream, Offset)>),
    Frame(u16, Bytes),
    End,
}

/// Cancel-safe.
async fn next(link: &mut Link) -> Heard {
    match link {
        Link::Closed => std::future::pending().await,
        Link::Opening(opening) => Heard::Opened(opening.await),
        Link::Open(stream) => match stream.reader.next().await {
            Ok(Some((header, body))) => Heard::Frame(header.message_type, body),
            Ok(None) | Err(_) => Heard::End,
        },
    }
}

/// Opens a stream from the nearest broker that has a replica.
async fn open(partition: PartitionId, links: Links) -> Option<(PeerStream, Offset)> {
    for broker in links.candidates(GroupId::Partition(partition)) {
        let opening = async {
            let request = encode(&TailRequest { partition });
            let mut stream = links.peers.open(broker, PeerStreamKind::Tail, request).await.ok()?;
            let (header, body) = stream.reader.next().await.ok()??;
            let (TailOpened { tail }, _) = decode(&body).ok().filter(|_| header.message_type == OPENED)?;
            Some((stream, tail))
        };
        if let Ok(Some(opened)) = tokio::time::timeout(OPEN_TIMEOUT, opening).await {
            return Some(opened);
        }
        tracing::debug!(%partition, %broker, "no stream of the tail");
    }
    None
}
