//! The client: an identity, connected.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_protocol::map::{Map, PointKey, ServicePoint};
use anyport_protocol::message::{
    Advertise, EndSubscription, ListSubscriptions, SubscriptionList, ToBroker, ToClient, Withdraw,
};
use anyport_protocol::{ClientId, Incarnation, SubscriptionName};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::Error;
use crate::director::{Director, DirectorOptions, Explained};
use crate::driver::{Command, Driver, Guide, Link, Status, Told};
use crate::home::{Home, SavedMap};
use crate::net::{Dialer, check_server};
use crate::outbox::Outbox;
use crate::publisher::{Publisher, PublisherOptions};
use crate::subscription::{SubscribeOptions, Subscription};

/// Commands waiting for the driver; more wait with their callers.
const INBOX: usize = 64;

/// Who connects where.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Addresses (`host:port`) of brokers; every one serves every client.
    pub servers: Vec<String>,
    /// Holds trusted authorities, identities and positions.
    pub home: PathBuf,
    /// Which identity of the home folder.
    pub name: String,
    /// Where the client is, as the brokers' zones are named: what the policy `nearest` goes by before round trips are known.
    pub zone: Option<String>,
    /// Whether to go to brokers that the Service Point Map names. Without it the client knows `servers` and nothing else: where these are the
    /// only way there is.
    pub roam: bool,
    /// Whether an identity that is not there is registered. Otherwise connecting fails with [`Error::NotRegistered`], so that a
    /// mistyped name makes nobody new.
    pub register: bool,
    /// How long the first connection may take. Later ones are sought for ever.
    pub connect_timeout: Duration,
    /// Send what resumes a session with the very first packet (TLS 1.3 early data), which saves a round trip. Who records the packet
    /// can send it again: that harms nobody, since a session's opening counts once.
    pub early_data: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            servers: vec!["127.0.0.1:7400".to_owned()],
            home: std::env::home_dir().unwrap_or_default().join(".anyport"),
            name: "default".to_owned(),
            zone: None,
            roam: true,
            register: true,
            connect_timeout: Duration::from_secs(30),
            early_data: true,
        }
    }
}

impl ClientOptions {
    /// The defaults, but for what the environment names as it does for the `anyport` command: ANYPORT_SERVER (several are separated by
    /// commas), ANYPORT_HOME, ANYPORT_CLIENT, ANYPORT_ZONE.
    pub fn from_env() -> Self {
        let named = |variable| std::env::var(variable).ok().filter(|value| !value.is_empty());
        let default = Self::default();
        Self {
            servers: named("ANYPORT_SERVER")
                .map_or(default.servers, |servers| servers.split(',').map(str::to_owned).collect()),
            home: named("ANYPORT_HOME").map_or(default.home, PathBuf::from),
            name: named("ANYPORT_CLIENT").unwrap_or(default.name),
            zone: named("ANYPORT_ZONE"),
            ..default
        }
    }
}

/// A connected client. All its work is done by a background task that reconnects by itself, so futures of this type may be
/// dropped at any time. Dropping the client ends it without waiting; [`Client::close`] ends it in good order.
#[derive(Debug)]
pub struct Client {
    id: ClientId,
    partitions: u16,
    told: Arc<Told>,
    commands: mpsc::Sender<Command>,
    home: Home,
    driver: JoinHandle<()>,
}

impl Client {
    /// Connects, registering the identity if it is new and may be. A client that only publishes opens no session and may run beside others of
    /// the same identity; the first subscription opens the session, which one process at a time can have.
    pub async fn connect(options: ClientOptions) -> Result<Self, Error> {
        Self::start(options, None).await
    }

    /// Connects and subscribes in one flight. A subscription that an earlier process has left is resumed with it, so that what was
    /// missed is here two round trips after a cold start.
    pub async fn connect_subscribed(
        options: ClientOptions,
        subscribe: SubscribeOptions,
    ) -> Result<(Self, Subscription), Error> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Subscribe { options: Box::new(subscribe), reply };
        let client = Self::start(options, Some(command)).await?;
        let subscription = answer.await.unwrap_or(Err(Error::Closed))?;
        Ok((client, subscription))
    }

    async fn start(options: ClientOptions, first: Option<Command>) -> Result<Self, Error> {
        options.servers.iter().try_for_each(|server| check_server(server))?;
        let home = Home::new(options.home.clone(), &options.name)?;
        let guide = find_guide(&options, home.clone()).await?;
        let told = Arc::new(Told::new());
        let (commands, inbox) = mpsc::channel(INBOX);
        if let Some(first) = first {
            commands.try_send(first).expect("an empty inbox has room");
        }
        let dialer = Dialer::new(options.early_data);
        let driver = Driver::new(home.clone(), options.register, dialer, guide, Arc::clone(&told), inbox).run();
        let driver = AbortOnDrop(Some(tokio::spawn(driver)));

        let mut link = told.link.subscribe();
        let first = timeout(options.connect_timeout, link.wait_for(|link| !matches!(link, Link::Waiting))).await;
        match first.map(|link| link.map(|link| link.clone())) {
            Ok(Ok(Link::Up(_))) => {}
            Ok(Ok(Link::Over(error))) => return Err(error),
            Ok(Ok(Link::Waiting) | Err(_)) => return Err(Error::Closed),
            Err(_) => return Err(unreachable(&options.servers, options.connect_timeout, &told)),
        }
        let id = *told.client.get().expect("told before the link is up");
        let partitions = *told.partitions.get().expect("told before the link is up");
        Ok(Self { id, partitions, told, commands, home, driver: driver.defuse() })
    }

    pub fn id(&self) -> ClientId {
        self.id
    }

    /// How many partitions the cluster has, for as long as it lives.
    pub fn partitions(&self) -> u16 {
        self.partitions
    }

    /// Whether the broker acks before it has synced: a crash of its machine may lose what it acked.
    pub fn is_relaxed(&self) -> bool {
        self.told.relaxed.get().copied().unwrap_or_default()
    }

    pub fn status(&self) -> Status {
        self.told.status.borrow().clone()
    }

    /// Follows the status from now on.
    pub fn watch_status(&self) -> StatusWatch {
        StatusWatch(self.told.status.subscribe())
    }

    pub fn publisher(&self, options: PublisherOptions) -> Publisher {
        Publisher::start(self.partitions, options, self.told.link.subscribe())
    }

    /// Sends what is in the outbox, and what is put there later, for as long as this client lives.
    pub async fn send_outbox(&self, outbox: &Outbox) -> Result<(), Error> {
        outbox.attach(self.partitions, self.told.link.subscribe()).await
    }

    /// The Service Point Map as the client last heard of it. None before the first one, and of brokers that have none.
    pub fn map(&self) -> Option<Arc<Map>> {
        self.told.map.borrow().clone()
    }

    /// Follows the map from now on.
    pub fn watch_map(&self) -> MapWatch {
        MapWatch(self.told.map.subscribe())
    }

    /// The brokers in the order in which the client would try them now, and why.
    pub async fn explain(&self) -> Result<Vec<Explained>, Error> {
        self.ask(|reply| Command::Explain { reply }).await
    }

    /// Puts somebody's service on the map for this long. Said again before that is over it stays.
    pub async fn advertise(&self, point: ServicePoint, lease: Duration) -> Result<(), Error> {
        let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        self.advertised(Advertise { row: Map::new(0, [point]).encode(), lease_ms }).await
    }

    /// Takes off the map what was advertised.
    pub async fn withdraw(&self, key: PointKey) -> Result<(), Error> {
        self.advertised(Withdraw { key }).await
    }

    async fn advertised(&self, wish: impl Into<ToBroker>) -> Result<(), Error> {
        match self.inquire(wish).await? {
            ToClient::Advertised(_) => Ok(()),
            other => Err(Error::unexpected(&other)),
        }
    }

    /// Opens a subscription: a new one, or the one of that name where it was left. Waits for as long as there is no connection.
    pub async fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription, Error> {
        let options = Box::new(options);
        self.ask(|reply| Command::Subscribe { options, reply }).await?
    }

    /// How this client's subscriptions stand, by name. Opens no session, so it may be asked while another process has it, and does
    /// not count as use of them.
    pub async fn subscriptions(&self) -> Result<SubscriptionList, Error> {
        let mut whole = self.list_after(None).await?;
        while whole.more {
            let after = whole.subscriptions.last().map(|last| last.name.clone());
            let page = self.list_after(after).await?;
            whole.more = page.more && !page.subscriptions.is_empty();
            whole.subscriptions.extend(page.subscriptions);
        }
        Ok(whole)
    }

    async fn list_after(&self, after: Option<SubscriptionName>) -> Result<SubscriptionList, Error> {
        match self.inquire(ListSubscriptions { after, registry_seen: 0 }).await? {
            ToClient::SubscriptionList(list) => Ok(list),
            other => Err(Error::unexpected(&other)),
        }
    }

    /// Ends one life of a subscription, as [`Client::subscriptions`] named it. Opens no session: whoever uses the subscription is
    /// told that it has ended.
    pub async fn remove_subscription(&self, name: SubscriptionName, incarnation: Incarnation) -> Result<(), Error> {
        match self.inquire(EndSubscription { name: name.clone(), incarnation }).await? {
            ToClient::Unsubscribed(_) => {}
            other => return Err(Error::unexpected(&other)),
        }
        let home = self.home.clone();
        let forgotten = tokio::task::spawn_blocking(move || home.forget_subscription(&name, incarnation)).await;
        forgotten.unwrap_or(Err(Error::Closed))
    }

    async fn inquire(&self, question: impl Into<ToBroker>) -> Result<ToClient, Error> {
        let question = question.into();
        self.ask(|reply| Command::Inquire { question, reply }).await?
    }

    /// Ends a subscription and forgets its position. Needs the session, which it opens if there is none; see
    /// [`Client::remove_subscription`] for one that may be in use elsewhere.
    pub async fn unsubscribe(&self, name: impl Into<String>) -> Result<(), Error> {
        let name = name.into();
        self.ask(|reply| Command::Unsubscribe { name, reply }).await?
    }

    /// Leaves for a while: acks are made durable, the connection is closed. Costs nobody anything until [`Client::resume`].
    pub async fn suspend(&self) -> Result<(), Error> {
        self.ask(|reply| Command::Suspend { reply }).await
    }

    /// Comes back after [`Client::suspend`], and waits until it is connected: one flight resumes every subscription.
    pub async fn resume(&self) -> Result<(), Error> {
        self.ask(|reply| Command::Resume { reply }).await?;
        self.connected().await
    }

    /// Waits until it is connected, unless it is suspended: then it is when it resumes.
    async fn connected(&self) -> Result<(), Error> {
        let mut status = self.told.status.subscribe();
        match status.wait_for(|status| !matches!(status, Status::Connecting { .. })).await.map(|status| status.clone())
        {
            Ok(Status::Over(error)) => Err(error),
            Ok(_) => Ok(()),
            Err(_) => Err(self.ended()),
        }
    }

    /// The network has changed: goes on from a new socket, without a new connection. If the broker is not heard there soon, a new
    /// connection is made; if there is none, one is tried at once.
    pub async fn network_changed(&self) -> Result<(), Error> {
        self.ask(|reply| Command::NetworkChanged { reply }).await
    }

    /// Goes to this broker, which need not be one of [`ClientOptions::servers`], and waits until the client is connected again: there or,
    /// if there is no answer, at another; [`Client::status`] says where. Nothing is lost or delivered twice by it. A suspended client goes
    /// there when it resumes.
    pub async fn move_to(&self, server: impl Into<String>) -> Result<(), Error> {
        let server = server.into();
        check_server(&server)?;
        self.ask(|reply| Command::Move { server, reply }).await?;
        self.connected().await
    }

    /// Ends in good order: acks are made durable, the session is closed. Publishers must be flushed before.
    pub async fn close(&self) -> Result<(), Error> {
        self.ask(|reply| Command::Close { reply }).await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| self.ended())?;
        answer.await.map_err(|_| self.ended())
    }

    fn ended(&self) -> Error {
        match self.status() {
            Status::Over(error) => error,
            _ => Error::Closed,
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Changes of the map.
#[derive(Debug)]
pub struct MapWatch(watch::Receiver<Option<Arc<Map>>>);

impl MapWatch {
    /// The next map; None once the client is gone.
    pub async fn next(&mut self) -> Option<Arc<Map>> {
        loop {
            self.0.changed().await.ok()?;
            let map = self.0.borrow_and_update().clone();
            if map.is_some() {
                return map;
            }
        }
    }
}

/// Changes of a client's status.
#[derive(Debug)]
pub struct StatusWatch(watch::Receiver<Status>);

impl StatusWatch {
    /// The next status; None once the client is gone.
    pub async fn next(&mut self) -> Option<Status> {
        self.0.changed().await.ok()?;
        Some(self.0.borrow_and_update().clone())
    }
}

/// Where to begin: by the map that an earlier process of this identity has saved, else with the servers that are given.
async fn find_guide(options: &ClientOptions, home: Home) -> Result<Guide, Error> {
    let read = tokio::task::spawn_blocking(move || Ok((home.load_identity()?, home.load_map()?))).await;
    let (identity, saved) = read.unwrap_or(Err(Error::Closed))?;
    let (seeds, zone) = (options.servers.clone(), options.zone.clone());
    let client = identity.as_ref().map(|identity| identity.client);
    let wish = DirectorOptions { seeds, client, zone: zone.clone() };
    let mut director = Director::new(wish, rand::random()).ok_or(Error::NoServer)?;
    // The map of another cluster, whose identity had this name before, leads to brokers that do not know the client.
    let is_ours = |saved: &SavedMap| {
        let cluster = identity.as_ref().map(|identity| identity.cluster.to_string());
        saved.map.points().iter().any(|point| Some(point.sphere.provider.as_str()) == cluster.as_deref())
    };
    let mut orders = Vec::new();
    if let Some(saved) = saved.filter(|saved| options.roam && is_ours(saved)) {
        director.handle_saved_map(saved.map, Instant::now());
        orders = saved.orders;
    }
    Ok(Guide { director, zone, roam: options.roam, orders })
}

fn unreachable(servers: &[String], waited: Duration, told: &Told) -> Error {
    let last = match &*told.status.borrow() {
        Status::Connecting { trouble: Some(trouble) } => trouble.clone(),
        _ => "no answer".to_owned(),
    };
    Error::Unreachable { servers: servers.join(", "), waited_secs: waited.as_secs(), last }
}

struct AbortOnDrop(Option<JoinHandle<()>>);

impl AbortOnDrop {
    fn defuse(mut self) -> JoinHandle<()> {
        self.0.take().expect("taken once, here")
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}
