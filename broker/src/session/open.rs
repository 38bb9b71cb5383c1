//! Opening a session: one request resumes every subscription with its positions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::filter::Filter;
use anyport_protocol::message::{
    CloseSession, Credit, FeedState, GoAway, OpenSession, Reopen, ResumePoint, SessionClosed, SessionOpened,
    SubscriptionState, TakenOver,
};
use anyport_protocol::{ClientId, Code, Cursor, Fault, Incarnation, Nonce, Offset, SessionEpoch, SubscriptionName};
use anyport_storage::registry::{ClientRecord, Command, Reply, SubscriptionRecord};
use futures_util::future::BoxFuture;
use tokio::time::{sleep, timeout};

use super::Push;
use super::control::{Control, Next};
use crate::feed::{DeliveryHandle, DeliveryOptions};
use crate::serving::{Notice, Way};
use crate::spans::number;
use crate::{Broker, clock};

/// An opening that takes longer cannot commit for now: the session begins without.
const UNFENCED_AFTER: Duration = Duration::from_secs(1);

/// Between two attempts at an opening that did not commit.
const OPEN_PAUSE: Duration = Duration::from_millis(200);

/// The registry's answer to an opening, whenever it comes.
pub(super) type Opening = BoxFuture<'static, Result<(ClientRecord, u64), Fault>>;

/// The open session of a connection.
pub(super) struct Session {
    pub(super) client: ClientId,
    pub(super) epoch: SessionEpoch,
    nonce: Nonce,
    /// The registry has taken its opening.
    pub(super) is_fenced: bool,
    subscriptions: HashMap<Incarnation, Subscription>,
}

/// A subscription as this session knows it. Its deliveries begin with the first credit.
struct Subscription {
    name: SubscriptionName,
    filter: Filter,
    positions: Vec<Offset>,
    inactive_expiry_secs: u64,
    delivery: Option<DeliveryHandle>,
}

impl Session {
    /// Takes a subscription up, ending the deliveries of an earlier incarnation.
    pub(super) fn take_up(&mut self, state: &SubscriptionState, filter: Filter) {
        let positions = state.feeds.iter().map(|feed| feed.position.offset).collect();
        let inactive_expiry_secs = state.inactive_expiry_secs;
        self.subscriptions.retain(|_, earlier| earlier.name != state.name);
        let name = state.name.clone();
        let subscription = Subscription { name, filter, positions, inactive_expiry_secs, delivery: None };
        self.subscriptions.insert(state.incarnation, subscription);
    }

    pub(super) fn knows(&self, incarnation: Incarnation) -> bool {
        self.subscriptions.contains_key(&incarnation)
    }

    /// Whether these are its subscriptions.
    fn is_of(&self, record: &ClientRecord) -> bool {
        record.subscriptions.len() == self.subscriptions.len()
            && record.subscriptions.iter().all(|subscription| self.knows(subscription.incarnation))
    }

    pub(super) fn incarnations(&self) -> impl Iterator<Item = Incarnation> {
        self.subscriptions.keys().copied()
    }

    /// The shortest `inactive_expiry` among its subscriptions.
    pub(super) fn least_expiry_secs(&self) -> Option<u64> {
        self.subscriptions.values().map(|subscription| subscription.inactive_expiry_secs).min()
    }

    pub(super) fn forget(&mut self, incarnation: Incarnation) {
        self.subscriptions.remove(&incarnation);
    }
}

impl Control {
    pub(super) async fn on_open(&mut self, open: OpenSession) -> Result<Next, Fault> {
        let client = self.client()?;
        self.broker.not_stuck()?;
        self.opening = None;
        let mut opening = opening(Arc::clone(&self.broker), client, open.epoch, open.nonce);
        let opened = match timeout(UNFENCED_AFTER, &mut opening).await {
            Ok(opened) => {
                let (record, registry_index) = opened?;
                let opened = self.begin(client, &open, &record, registry_index, true).await?;
                self.announce();
                opened
            }
            Err(_) => {
                let opened = self.begin_unfenced(client, &open).await?;
                self.opening = Some(opening);
                self.announce();
                opened
            }
        };
        metrics::counter!("anyport_sessions_opened_total").increment(1);
        Ok(Next::Answer(opened.into()))
    }

    /// Serves from the record as far as it is committed, while the opening is tried on. Safe, because cursors alone are fenced, and
    /// none is moved: acks stay with the client.
    async fn begin_unfenced(&mut self, client: ClientId, open: &OpenSession) -> Result<SessionOpened, Fault> {
        let (record, registry_index) = self.broker.registry.record(client, open.registry_seen).await?;
        let record = record.ok_or_else(|| Fault::new(Code::UnknownClient, "no such client is registered here"))?;
        if record.epoch > open.epoch || (record.epoch == open.epoch && record.nonce != open.nonce) {
            let text = format!("a later session, of epoch {}, has taken over", record.epoch);
            return Err(Fault::new(Code::StaleEpoch, text).with_value(record.epoch.0));
        }
        tracing::debug!(%client, "the registry does not commit; the session is served unfenced");
        self.begin(client, open, &record, registry_index, false).await
    }

    async fn begin(
        &mut self,
        client: ClientId,
        open: &OpenSession,
        record: &ClientRecord,
        registry_index: u64,
        is_fenced: bool,
    ) -> Result<SessionOpened, Fault> {
        let OpenSession { epoch, nonce, resume, .. } = open;
        self.end_session();
        let tails = self.broker.partitions.tails().await;
        let mut session = Session { client, epoch: *epoch, nonce: *nonce, is_fenced, subscriptions: HashMap::new() };
        let mut subscriptions = Vec::with_capacity(record.subscriptions.len());
        for subscription in &record.subscriptions {
            let resume = resume.iter().find(|point| point.incarnation == subscription.incarnation);
            let state = subscription_state(&self.broker, subscription, resume, &tails);
            session.take_up(&state, compile_stored(&subscription.filter)?);
            subscriptions.push(state);
        }
        tracing::Span::current().record("subscriptions", number(subscriptions.len() as u64));
        self.session = Some(session);
        self.touched();
        Ok(SessionOpened { epoch: *epoch, registry_index, subscriptions, unfenced: !is_fenced })
    }

    /// The registry has answered the opening of a session that is served unfenced.
    pub(super) async fn on_fenced(&mut self, opened: Result<(ClientRecord, u64), Fault>) {
        self.opening = None;
        let Some(session) = &mut self.session else { return };
        match opened {
            Ok((record, _)) if session.is_of(&record) => {
                session.is_fenced = true;
                self.touched();
                self.announce();
            }
            Err(fault) if fault.is(Code::StaleEpoch) => {
                let epoch = SessionEpoch(fault.value.unwrap_or_default());
                self.on_push(Push::TakenOver(TakenOver { epoch, nonce: Nonce([0; 16]) })).await;
            }
            // Subscriptions have come or gone that this broker did not know of. A session that is opened anew is told of all.
            Ok(_) | Err(_) => self.on_push(Push::GoAway(GoAway::default())).await,
        }
    }

    /// Takes the place of an older live session. Not before the connection is confirmed: a recorded opening, played again by
    /// somebody else, would end the session of the one who sent it.
    fn announce(&self) {
        let Some(&Session { client, epoch, nonce, is_fenced, .. }) = self.session.as_ref() else { return };
        let (broker, connection, pushes) = (Arc::clone(&self.broker), self.connection.clone(), self.pushes.clone());
        tokio::spawn(async move {
            if connection.confirmed().await.is_none() || pushes.is_closed() {
                return;
            }
            if is_fenced {
                broker.sessions.opened(client, epoch, nonce, connection.id(), pushes);
                broker.notifier.tell(Notice::SessionOpened { client, epoch, nonce });
            } else {
                broker.sessions.opened_unfenced(client, epoch, nonce, connection.id(), pushes);
            }
        });
    }

    pub(super) async fn on_credit(&mut self, credit: &Credit) -> Result<Next, Fault> {
        let (broker, connection, troubles) = (self.broker.clone(), self.connection.clone(), self.troubles.clone());
        let subscription = self.subscription(credit.incarnation)?;
        let delivery = subscription.delivery.get_or_insert_with(|| {
            DeliveryHandle::start(DeliveryOptions {
                incarnation: credit.incarnation,
                filter: subscription.filter.clone(),
                positions: positions(&broker, &subscription.positions),
                connection,
                troubles,
            })
        });
        delivery.credit(credit.bytes_total).await;
        Ok(Next::Nothing)
    }

    pub(super) async fn on_reopen(&mut self, reopen: &Reopen) -> Result<Next, Fault> {
        let subscription = self.subscription(reopen.incarnation)?;
        match &subscription.delivery {
            Some(delivery) => delivery.reopen(reopen.partition, reopen.position.offset).await,
            // Its first credit is yet to come: then it begins there.
            None => {
                if let Some(position) = subscription.positions.get_mut(usize::from(reopen.partition.0)) {
                    *position = reopen.position.offset;
                }
            }
        }
        Ok(Next::Nothing)
    }

    pub(super) async fn on_close(&mut self, close: CloseSession) -> Result<Next, Fault> {
        let (client, epoch) = self.fenced_session().map(|session| (session.client, session.epoch))?;
        self.check_moves(&close.cursors)?;
        self.end_session();
        let now = clock::wall();
        self.broker.command(Command::Cursors { client, epoch, cursors: close.cursors, now }).await?;
        Ok(Next::Answer(SessionClosed {}.into()))
    }

    /// Ends deliveries; the record in the registry is not touched.
    pub(super) fn end_session(&mut self) {
        self.opening = None;
        if let Some(session) = self.session.take() {
            self.broker.sessions.closed(session.client, self.connection.id());
        }
    }

    fn subscription(&mut self, incarnation: Incarnation) -> Result<&mut Subscription, Fault> {
        let session = self.session.as_mut().ok_or_else(|| Fault::new(Code::NoSession, "open a session first"))?;
        session.subscriptions.get_mut(&incarnation).ok_or_else(|| {
            Fault::new(
                Code::UnknownSubscription,
                format!("this session has no subscription of incarnation {incarnation}"),
            )
            .with_value(incarnation.0)
        })
    }
}

/// Tries until the opening is committed or refused for good: the same epoch and nonce are answered alike however often they come.
fn opening(broker: Arc<Broker>, client: ClientId, epoch: SessionEpoch, nonce: Nonce) -> Opening {
    Box::pin(async move {
        loop {
            match broker.command(Command::Open { client, epoch, nonce, now: clock::wall() }).await {
                Ok((Reply::Opened { record }, index)) => return Ok((record, index)),
                Ok((reply, _)) => unreachable!("Open is answered by Opened or a refusal: {reply:?}"),
                Err(fault) if fault.is(Code::NotReady) || fault.is(Code::MaybeStored) => sleep(OPEN_PAUSE).await,
                Err(fault) => return Err(fault),
            }
        }
    })
}

pub(super) async fn opened(opening: &mut Option<Opening>) -> Result<(ClientRecord, u64), Fault> {
    match opening {
        Some(opening) => opening.await,
        None => std::future::pending().await,
    }
}

/// Where each feed of a delivery begins.
fn positions(broker: &Broker, positions: &[Offset]) -> Vec<(Way, Offset)> {
    broker.partitions.ids().map(|id| broker.partitions.way(id)).zip(positions.iter().copied()).collect()
}

/// What the registry has, and the client's own knowledge where that is further on.
pub(super) fn subscription_state(
    broker: &Broker,
    subscription: &SubscriptionRecord,
    resume: Option<&ResumePoint>,
    tails: &[Option<Offset>],
) -> SubscriptionState {
    let feeds = broker.partitions.ids().zip(tails).map(|(partition, tail)| {
        let index = usize::from(partition.0);
        let at = |cursors: &[Cursor]| cursors.get(index).copied().unwrap_or_default();
        let known_to_client = resume.map_or_else(Cursor::default, |point| at(&point.cursors));
        let known_to_registry = at(&subscription.cursors);
        let (position, lost) = broker.epochs.place(partition, known_to_registry.max(known_to_client));
        FeedState {
            partition,
            start: at(&subscription.starts),
            position,
            tail: tail.unwrap_or(FeedState::TAIL_UNKNOWN),
            acked: broker.epochs.place(partition, known_to_registry).0,
            lost,
        }
    });
    SubscriptionState {
        name: subscription.name.clone(),
        incarnation: subscription.incarnation,
        filter: subscription.filter.clone(),
        inactive_expiry_secs: subscription.inactive_expiry_secs,
        feeds: feeds.collect(),
    }
}

/// A filter of the registry was compiled before it was stored.
fn compile_stored(text: &str) -> Result<Filter, Fault> {
    Filter::compile(text)
        .map_err(|error| Fault::new(Code::BadFilter, format!("a stored filter does not compile: {error}")))
}
