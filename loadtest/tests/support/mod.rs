//! What the stories about leaving, sessions and networks share: one broker, clients that tell the oracle everything, and a
//! supply of numbered events.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use anyport_client::{Client, ClientOptions, Publisher, PublisherOptions, Start, SubscribeOptions, Subscription};
use anyport_loadtest::drive::{Listened, Listener, ListenerOptions, Pace, publish, until};
use anyport_loadtest::oracle::{self, FilterId, Oracle, Positions, SubscriptionId};
use anyport_loadtest::runner::{BrokerOptions, BrokerProcess};
use serde_json::{Value, json};

/// Far more than anything here takes on a busy machine; who waits longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One event of three is wanted.
pub const WANTED: &str = "type = 'wanted'";
pub const OTHER: &str = "type = 'other'";

/// Events number `range` of an endless supply: one in three is wanted, over forty keys and so over all partitions.
pub fn events(range: Range<u64>) -> impl Iterator<Item = Value> {
    range.map(|n| {
        let kind = if n % 3 == 0 { "wanted" } else { "other" };
        json!({
            "specversion": "1.0", "id": n.to_string(), "source": "/story", "type": kind,
            "subject": format!("k{}", n % 40), "data": {"n": n, "fill": "0123456789".repeat(8)},
        })
    })
}

/// One broker in a folder of its own, and the oracle that watches.
#[derive(Debug)]
pub struct Scene {
    // Before the folder, so that the process is gone when its files are removed.
    pub broker: BrokerProcess,
    pub oracle: Arc<Oracle>,
    pub everything: FilterId,
    pub wanted: FilterId,
    pub other: FilterId,
    folder: tempfile::TempDir,
}

impl Scene {
    pub async fn set() -> Result<Self> {
        Self::set_with(BrokerOptions::default()).await
    }

    pub async fn set_with(options: BrokerOptions) -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder for a broker")?;
        let broker = BrokerProcess::start(folder.path(), options).await?;
        let oracle = Arc::new(Oracle::new());
        let everything = oracle.filter(|_| true);
        let wanted = oracle.filter(|event| event["type"] == "wanted");
        let other = oracle.filter(|event| event["type"] == "other");
        Ok(Self { broker, oracle, everything, wanted, other, folder })
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The authority that the broker's clients trust.
    pub fn authority(&self) -> PathBuf {
        self.broker.home().join("ca").join(format!("dev-{}.pem", self.broker.address().port()))
    }

    pub async fn client(&self, name: &str) -> Result<Client> {
        self.client_at(self.broker.address(), name).await
    }

    /// At an address that leads to the broker, perhaps through a proxy.
    pub async fn client_at(&self, address: SocketAddr, name: &str) -> Result<Client> {
        connect(address, self.broker.home(), name).await
    }

    pub async fn producer(&self) -> Result<Producer> {
        Ok(Producer::of(self.client("producer").await?, &self.oracle))
    }

    /// A client with one subscription, taken and acked from now on.
    pub async fn attend(&self, client: Client, options: SubscribeOptions, filter: FilterId) -> Result<Attending> {
        let (subscription, declared) = self.subscribe(&client, options, filter).await?;
        Ok(Attending::begin(client, subscription, declared, &self.oracle, ListenerOptions::default()))
    }

    /// A new subscription, declared from where the broker says it begins.
    pub async fn subscribe(
        &self,
        client: &Client,
        options: SubscribeOptions,
        filter: FilterId,
    ) -> Result<(Subscription, SubscriptionId)> {
        let name = options.name.clone();
        let subscription = client.subscribe(options).await.with_context(|| format!("subscribe {name}"))?;
        let declared = self.oracle.subscribe(&name, filter, oracle::Start::At(starts(&subscription)));
        Ok((subscription, declared))
    }

    /// Where each partition ends now: from where a subscription to what is to come is owed it.
    pub async fn tails(&self) -> Result<Positions> {
        let client = self.client("surveyor").await?;
        let options = SubscribeOptions { temporary: true, seek: true, ..SubscribeOptions::new("tails", "") };
        let tails = starts(&client.subscribe(options).await?);
        client.close().await?;
        Ok(tails)
    }

    /// Waits until nothing is owed to a subscription any more.
    pub async fn settled(&self, declared: SubscriptionId) -> Result<()> {
        let settled = until("nothing is owed", PATIENCE, || self.oracle.outstanding(declared) == 0).await;
        settled.with_context(|| format!("still owed: {}\n{}", self.oracle.outstanding(declared), self.oracle.verdict()))
    }

    pub fn assert_clean(&self) {
        self.oracle.verdict().assert_clean();
    }

    /// What the broker serves to Prometheus.
    pub async fn metrics(&self) -> Result<String> {
        self.broker.metrics().await
    }

    /// A counter or gauge of the broker; 0 where it has never been touched.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        self.broker.metric(name).await
    }

    pub async fn sessions_opened(&self) -> Result<f64> {
        self.metric("anyport_sessions_opened_total").await
    }

    /// What the broker's process holds in memory.
    pub fn resident_bytes(&self) -> Result<u64> {
        let pid = self.broker.pid().context("the broker runs")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("read the process's status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("a number of KiB")?;
        Ok(kib << 10)
    }
}

pub async fn connect(address: SocketAddr, home: PathBuf, name: &str) -> Result<Client> {
    // Where a story puts something between client and broker there is no way around it.
    let (servers, name) = (vec![address.to_string()], name.to_owned());
    let options = ClientOptions { servers, home, name: name.clone(), roam: false, ..ClientOptions::default() };
    Client::connect(options).await.with_context(|| format!("connect {name}"))
}

pub fn starts(subscription: &Subscription) -> Positions {
    subscription.starts().into_iter().map(|(partition, start)| (partition, start.offset)).collect()
}

pub fn earliest(name: &str, filter: &str) -> SubscribeOptions {
    SubscribeOptions { start: Start::Earliest, ..SubscribeOptions::new(name, filter) }
}

/// A client that publishes and tells the oracle.
#[derive(Debug)]
pub struct Producer {
    client: Client,
    publisher: Publisher,
    oracle: Arc<Oracle>,
}

impl Producer {
    pub fn of(client: Client, oracle: &Arc<Oracle>) -> Self {
        let publisher = client.publisher(PublisherOptions::default());
        Self { client, publisher, oracle: Arc::clone(oracle) }
    }

    /// Publishes these, all of them acked.
    pub async fn publish(&self, range: Range<u64>) -> Result<()> {
        self.publish_at(range, Pace::AsFastAsAcked).await
    }

    pub async fn publish_at(&self, range: Range<u64>, pace: Pace) -> Result<()> {
        let count = range.end - range.start;
        let report = publish(&self.publisher, &self.oracle, 0, events(range), pace, |_| {}).await?;
        if report.acked != count {
            bail!("{count} events were published: {report:?}");
        }
        Ok(())
    }
}

/// A client whose one subscription is taken and acked.
#[derive(Debug)]
pub struct Attending {
    pub client: Client,
    pub listener: Listener,
    pub declared: SubscriptionId,
}

impl Attending {
    /// Another process takes the subscription from here on, as far as the oracle is concerned.
    pub fn begin(
        client: Client,
        subscription: Subscription,
        declared: SubscriptionId,
        oracle: &Arc<Oracle>,
        options: ListenerOptions,
    ) -> Self {
        let listener = Listener::start(subscription, Arc::clone(oracle), oracle.reader(declared), options);
        Self { client, listener, declared }
    }

    pub fn received(&self) -> u64 {
        self.listener.progress.total()
    }

    /// Waits until so many events have come.
    pub async fn has_received(&self, count: u64) -> Result<()> {
        until("events come", PATIENCE, || self.received() >= count)
            .await
            .with_context(|| format!("{} of {count} came", self.received()))
    }

    /// Takes what is still there, acks it, and closes the session.
    pub async fn leave(self) -> Result<Listened> {
        let listened = self.listener.stop().await?;
        self.client.close().await?;
        Ok(listened)
    }
}

/// The bare wire, for stories in which the SDK would be too well behaved.
pub mod wire {
    use std::time::Duration;

    use anyhow::{Context, Result, bail};
    use anyport_loadtest::raw::RawStream;
    use anyport_protocol::message::{LoggedIn, Login, OpenSession, Register, Registered, SessionOpened, ToClient};
    use anyport_protocol::{Fault, Nonce, SessionEpoch};
    use tokio::time::timeout;

    pub fn opening(epoch: u64, nonce: u8) -> OpenSession {
        OpenSession { epoch: SessionEpoch(epoch), nonce: Nonce([nonce; 16]), resume: vec![], registry_seen: 0 }
    }

    pub async fn register(control: &mut RawStream) -> Result<Registered> {
        match control.ask(Register {}.into()).await? {
            ToClient::Registered(registered) => Ok(registered),
            other => bail!("not registered but {other:?}"),
        }
    }

    pub async fn log_in(control: &mut RawStream, token: &str) -> Result<LoggedIn> {
        match control.ask(Login { token: token.to_owned() }.into()).await? {
            ToClient::LoggedIn(logged_in) => Ok(logged_in),
            other => bail!("not logged in but {other:?}"),
        }
    }

    pub async fn open(control: &mut RawStream, epoch: u64, nonce: u8) -> Result<SessionOpened> {
        match control.ask(opening(epoch, nonce).into()).await? {
            ToClient::SessionOpened(opened) => Ok(opened),
            other => bail!("no session but {other:?}"),
        }
    }

    /// Why an opening is refused.
    pub async fn open_refused(control: &mut RawStream, epoch: u64, nonce: u8) -> Result<Fault> {
        control.refused(opening(epoch, nonce).into()).await
    }

    /// What the broker says next without being asked.
    pub async fn pushed(control: &mut RawStream) -> Result<ToClient> {
        loop {
            let (header, body) =
                timeout(Duration::from_secs(10), control.receive()).await.context("nothing is pushed")??;
            if header.request == 0 {
                return Ok(ToClient::decode(header.message_type, &body)?);
            }
        }
    }
}
