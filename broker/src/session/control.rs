//! The control stream: requests in order, answers, pushes.

use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::message::{
    DecodeError, GoAway, Hello, PROTOCOL_VERSION, Pong, Refused, ToBroker, ToClient, Welcome,
};
use anyport_protocol::{ClientId, Code, Fault, SessionEpoch};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::Instrument;
use tracing::field::Empty;

use super::map::Following;
use super::open::{Opening, Session};
use super::table::{PUSHES, Push};
use super::{map, open, touch};
use crate::cluster::Health;
use crate::feed::Trouble;
use crate::net::{Connection, FrameReader, FrameWriter, ReadError};
use crate::shared::STUCK_RETRY_MS;
use crate::spans::number;
use crate::{Broker, clock};

/// Acks of one session being committed, and lists being read, at once. The client coalesces, so more than a few means it does not wait for answers.
const ACKS_WAITING_MAX: usize = 16;

/// Everything one connection's control stream knows.
pub(super) struct Control {
    pub(super) broker: Arc<Broker>,
    pub(super) connection: Connection,
    pub(super) greeted: bool,
    pub(super) client: Option<ClientId>,
    pub(super) session: Option<Session>,
    /// The session of this connection was ended by a newer one, with this epoch.
    taken_over_by: Option<SessionEpoch>,
    /// Told to the publish streams, which wait for it.
    pub(super) login: watch::Sender<Option<ClientId>>,
    pub(super) pushes: mpsc::Sender<Push>,
    pub(super) troubles: mpsc::UnboundedSender<Trouble>,
    /// The registry's answer to the opening of a session that is served without it meanwhile.
    pub(super) opening: Option<Opening>,
    /// When the registry is to hear that the session's subscriptions are in use.
    pub(super) touch_at: Option<Instant>,
    /// Told of changes of the map, if the client wants to be.
    pub(super) following: Option<Following>,
    writer: FrameWriter,
    pushes_in: mpsc::Receiver<Push>,
    health: watch::Receiver<Health>,
    troubles_in: mpsc::UnboundedReceiver<Trouble>,
    acks: FuturesUnordered<BoxFuture<'static, (u32, ToClient)>>,
}

/// Who has not said who it is after so long will not, and must not hold a connection by keeping it alive.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(20);

/// What needs the registry waits for its quorum, which takes an election or more.
const UNFENCED_RETRY_MS: u32 = 500;

/// Above every feed stream: an answer must not wait behind a replay.
const CONTROL_PRIORITY: i32 = 2;

const AGENT: &str = concat!("anyportd/", env!("CARGO_PKG_VERSION"));

/// What to do after a request.
pub(super) enum Next {
    Answer(ToClient),
    /// Answered later, out of turn.
    Later(BoxFuture<'static, ToClient>),
    Nothing,
}

impl Control {
    pub(super) fn new(
        broker: Arc<Broker>,
        connection: Connection,
        writer: FrameWriter,
        login: watch::Sender<Option<ClientId>>,
    ) -> Self {
        writer.set_priority(CONTROL_PRIORITY);
        let (pushes, pushes_in) = mpsc::channel(PUSHES);
        let (troubles, troubles_in) = mpsc::unbounded_channel();
        let mut health = broker.health.clone();
        // Who comes to a broker that is stuck already is sent on like those that are there.
        health.mark_changed();
        Self {
            broker,
            connection,
            greeted: false,
            client: None,
            session: None,
            taken_over_by: None,
            login,
            pushes,
            troubles,
            opening: None,
            touch_at: None,
            following: None,
            writer,
            pushes_in,
            health,
            troubles_in,
            acks: FuturesUnordered::new(),
        }
    }

    pub(super) async fn run(mut self, mut reader: FrameReader) -> Result<(), ReadError> {
        let login_by = Instant::now() + LOGIN_TIMEOUT;
        loop {
            tokio::select! {
                biased;
                Some(push) = self.pushes_in.recv() => self.on_push(push).await,
                Ok(()) = self.health.changed(), if self.client.is_some() => self.on_health().await,
                Some(trouble) = self.troubles_in.recv() => self.on_trouble(trouble).await,
                () = tokio::time::sleep_until(login_by), if self.client.is_none() => {
                    self.connection.close(Code::NotLoggedIn, "nobody logged in in time");
                    return Ok(());
                }
                opened = open::opened(&mut self.opening), if self.opening.is_some() => self.on_fenced(opened).await,
                () = touch::due(self.touch_at) => self.touch().await,
                () = map::changed(&mut self.following) => self.on_map_changed().await,
                Some((request, answer)) = self.acks.next(), if !self.acks.is_empty() => self.send(request, &answer).await,
                frame = reader.next(), if self.acks.len() < ACKS_WAITING_MAX => match frame? {
                    Some((header, body)) => self.on_frame(header.message_type, header.request, &body).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    async fn on_frame(&mut self, message_type: u16, request: u32, body: &[u8]) -> Result<(), ReadError> {
        let message = match ToBroker::decode(message_type, body) {
            Ok(message) => message,
            Err(unknown @ DecodeError::UnknownType(_)) => {
                // Refused by name, so that a newer client can go on without it.
                self.send(request, &refused(Fault::new(Code::UnknownMessage, unknown.to_string()))).await;
                return Ok(());
            }
            Err(malformed) => return Err(malformed.into()),
        };
        let name = message.name();
        match self.handle(message).await {
            Ok(Next::Answer(answer)) => self.send(request, &answer).await,
            Ok(Next::Later(answer)) => self.acks.push(Box::pin(async move { (request, answer.await) })),
            Ok(Next::Nothing) => {}
            Err(fault) => {
                tracing::debug!(%fault, name, "refused");
                self.send(request, &refused(fault)).await;
            }
        }
        Ok(())
    }

    async fn handle(&mut self, message: ToBroker) -> Result<Next, Fault> {
        if !self.greeted && !matches!(message, ToBroker::Hello(_)) {
            return Err(Fault::new(Code::OutOfTurn, "the first message is a hello"));
        }
        match message {
            ToBroker::Hello(hello) => self.on_hello(&hello),
            ToBroker::Register(_) => self.on_register().await,
            ToBroker::Login(login) => self.on_login(&login),
            ToBroker::OpenSession(open) => {
                self.taken_over_by = None;
                let span = tracing::debug_span!("open session", epoch = number(open.epoch.0), subscriptions = Empty);
                self.on_open(open).instrument(span).await
            }
            ToBroker::Subscribe(subscribe) => self.on_subscribe(subscribe).await,
            ToBroker::Unsubscribe(unsubscribe) => self.on_unsubscribe(unsubscribe).await,
            ToBroker::Ack(ack) => self.on_ack(ack),
            ToBroker::Credit(credit) => self.on_credit(&credit).await,
            ToBroker::Reopen(reopen) => self.on_reopen(&reopen).await,
            ToBroker::CloseSession(close) => self.on_close(close).await,
            ToBroker::Ping(_) => Ok(Next::Answer(Pong { server_time: clock::wall() }.into())),
            ToBroker::ListSubscriptions(list) => self.on_list(list),
            ToBroker::GetMap(question) => self.on_get_map(&question),
            ToBroker::Advertise(wish) => self.on_advertise(wish),
            ToBroker::Withdraw(wish) => self.on_withdraw(wish),
            ToBroker::EndSubscription(end) => self.on_end_subscription(end).await,
        }
    }

    fn on_hello(&mut self, hello: &Hello) -> Result<Next, Fault> {
        if !(hello.version_min..=hello.version_max).contains(&PROTOCOL_VERSION) {
            let (least, most) = (hello.version_min, hello.version_max);
            let text = format!("this broker speaks version {PROTOCOL_VERSION}, the client {least} to {most}");
            return Err(Fault::new(Code::VersionMismatch, text).with_value(u64::from(PROTOCOL_VERSION)));
        }
        self.greeted = true;
        let broker = &self.broker;
        Ok(Next::Answer(
            Welcome {
                version: PROTOCOL_VERSION,
                cluster: broker.cluster,
                partitions: broker.partitions.count(),
                partitioner: anyport_protocol::partitioner::NAME.to_owned(),
                server_time: clock::wall(),
                event_bytes_max: anyport_protocol::limits::EVENT_BYTES_MAX as u32,
                relaxed: broker.relaxed,
                agent: AGENT.to_owned(),
            }
            .into(),
        ))
    }

    pub(super) async fn send(&mut self, request: u32, message: &ToClient) {
        let mut frame = Vec::new();
        message.encode(request, &mut frame);
        // A client that is gone is noticed by the next read.
        let _ = self.writer.write(&frame).await;
    }

    pub(super) async fn on_push(&mut self, push: Push) {
        match push {
            Push::TakenOver(taken) => {
                // Ended first, so that nothing is delivered after the notice.
                self.session = None;
                self.taken_over_by = Some(taken.epoch);
                self.send(0, &taken.into()).await;
            }
            Push::SubscriptionEnded(ended) => {
                if let Some(session) = &mut self.session {
                    session.forget(ended.incarnation);
                }
                self.send(0, &ended.into()).await;
            }
            Push::GoAway(away) => self.send(0, &away.into()).await,
        }
    }

    /// Whoever knows another broker leaves at once; whoever does not stays, and is served again when this one makes progress.
    async fn on_health(&mut self) {
        let is_stuck = self.health.borrow_and_update().is_stuck();
        if is_stuck {
            self.on_push(Push::GoAway(GoAway { reconnect_after_ms: STUCK_RETRY_MS, ..GoAway::default() })).await;
        }
    }

    async fn on_trouble(&mut self, trouble: Trouble) {
        let Trouble { incarnation, partition, fault } = trouble;
        if fault.is(Code::StoreFailed) {
            tracing::error!(%partition, %fault, "read for a feed");
        }
        let text = format!("subscription {incarnation} waits at partition {partition}: {}", fault.text);
        self.send(0, &refused(Fault { text, ..fault })).await;
    }

    /// The client, once it has said who it is.
    pub(super) fn client(&self) -> Result<ClientId, Fault> {
        self.client.ok_or_else(|| Fault::new(Code::NotLoggedIn, "log in first"))
    }

    pub(super) fn session(&self) -> Result<&Session, Fault> {
        self.session.as_ref().ok_or_else(|| match self.taken_over_by {
            // As the registry would answer: what is late is refused alike, whether the notice or the request was faster.
            Some(epoch) => Fault::new(Code::StaleEpoch, "a newer session of this client has begun").with_value(epoch.0),
            None => Fault::new(Code::NoSession, "open a session first"),
        })
    }

    /// A session whose opening the registry has taken: only that keeps an older one from acting.
    pub(super) fn fenced_session(&self) -> Result<&Session, Fault> {
        let session = self.session()?;
        if session.is_fenced {
            return Ok(session);
        }
        let text = "the registry has no quorum to take this now; events are delivered meanwhile";
        Err(Fault::retry_after(Code::NotReady, UNFENCED_RETRY_MS, text))
    }

    /// Early data may be a replay by somebody who recorded it; what is not idempotent waits until it cannot be.
    pub(super) async fn not_replayed(&mut self) -> Result<(), Fault> {
        let gone = || Fault::new(Code::NoSession, "the connection is gone");
        self.connection.confirmed().await.ok_or_else(gone)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Some(client) = self.client {
            self.broker.sessions.closed(client, self.connection.id());
        }
    }
}

pub(super) fn refused(fault: Fault) -> ToClient {
    Refused { fault }.into()
}
