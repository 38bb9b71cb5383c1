//! The way to brokers, for clients that the oracle watches; and what they find there.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anyport_client::{Client, ClientOptions, Notice, Start, SubscribeOptions};
use anyport_protocol::event::EncodedEvent;
use anyport_protocol::{Offset, PartitionId};
use serde_json::Value;
use tokio::time::Instant;

use super::{Listener, ListenerOptions, until};
use crate::oracle::{self, FilterId, Oracle, SubscriptionId};

/// How long a reader of the log waits for more.
const LOOK: Duration = Duration::from_millis(10);

/// Where brokers are, in the order in which they are tried, and who watches. The oracle knows a filter that everything passes.
#[derive(Clone, Debug)]
pub struct Access {
    pub servers: Vec<String>,
    pub home: PathBuf,
    pub oracle: Arc<Oracle>,
    pub everything: FilterId,
}

impl Access {
    /// The same brokers, this one first.
    #[must_use]
    pub fn beginning_at(&self, at: usize) -> Self {
        let mut access = self.clone();
        let servers = access.servers.len();
        access.servers.rotate_left(at % servers);
        access
    }

    pub async fn client(&self, name: &str) -> Result<Client> {
        let options = ClientOptions {
            servers: self.servers.clone(),
            home: self.home.clone(),
            name: name.to_owned(),
            ..ClientOptions::default()
        };
        Client::connect(options).await.with_context(|| format!("connect {name}"))
    }

    /// A client that subscribes to everything and takes, tells the oracle and acks until it leaves.
    pub async fn listener(&self, name: &str, start: Start) -> Result<Attending> {
        self.filtered_listener(name, start, "", self.everything).await
    }

    /// The same of what passes a filter, which the oracle knows too.
    pub async fn filtered_listener(
        &self,
        name: &str,
        start: Start,
        filter: &str,
        known_as: FilterId,
    ) -> Result<Attending> {
        let client = self.client(name).await?;
        let options = SubscribeOptions { start, ..SubscribeOptions::new("everything", filter) };
        let subscription = client.subscribe(options).await.with_context(|| format!("subscribe {name}"))?;
        let starts = subscription.starts().into_iter().map(|(partition, start)| (partition, start.offset)).collect();
        let declared = self.oracle.subscribe(name, known_as, oracle::Start::At(starts));
        let reader = self.oracle.reader(declared);
        let listener = Listener::start(subscription, Arc::clone(&self.oracle), reader, ListenerOptions::default());
        Ok(Attending { name: name.to_owned(), client, listener, declared, oracle: Arc::clone(&self.oracle) })
    }

    /// Everything that the log has now, read by a client that nobody has seen before.
    pub async fn log(&self) -> Result<Log> {
        let client = self.client("reader-of-the-log").await?;
        let options = SubscribeOptions {
            start: Start::Earliest,
            seek: true,
            temporary: true,
            ..SubscribeOptions::new("log", "")
        };
        let subscription = client.subscribe(options).await?;
        let mut log = Log::default();
        for (partition, start) in subscription.starts() {
            log.starts.insert(partition, start.offset);
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            ensure!(Instant::now() < deadline, "the log is not read to its end within a minute");
            let batch = subscription.next_batch(4096, LOOK).await.context("the reading subscription has ended")?;
            ensure!(
                batch.notices.iter().all(|notice| matches!(notice, Notice::Resumed { .. })),
                "while the log is read: {:?}",
                batch.notices
            );
            let idle = batch.deliveries.is_empty();
            for delivery in &batch.deliveries {
                log.take(delivery.partition, delivery.offset, &delivery.event)?;
            }
            if idle && subscription.caught_up() {
                break;
            }
        }
        drop(subscription);
        client.close().await?;
        Ok(log)
    }
}

/// A client whose listener runs.
#[derive(Debug)]
pub struct Attending {
    pub name: String,
    pub client: Client,
    pub listener: Listener,
    pub declared: SubscriptionId,
    oracle: Arc<Oracle>,
}

impl Attending {
    /// Waits until this listener is owed nothing any more.
    pub async fn has_everything(&self, within: Duration) -> Result<()> {
        let owed = || self.oracle.outstanding(self.declared);
        let waited = until("a listener has everything", within, || owed() == 0).await;
        waited.with_context(|| format!("{} is owed {} events", self.name, owed()))
    }

    /// Ends in good order, with every ack confirmed. Returns what the listener was told beside events.
    pub async fn leave(self) -> Result<Vec<Notice>> {
        let listened = self.listener.stop().await?;
        drop(listened.subscription);
        self.client.close().await.with_context(|| format!("close {}", self.name))?;
        Ok(listened.notices)
    }
}

/// What a log holds, as a client sees it.
#[derive(Debug, Default)]
pub struct Log {
    pub starts: BTreeMap<PartitionId, Offset>,
    /// By partition, in the order of delivery.
    pub events: BTreeMap<PartitionId, Vec<(Offset, Value)>>,
}

impl Log {
    fn take(&mut self, partition: PartitionId, offset: Offset, event: &[u8]) -> Result<()> {
        let mut json = Vec::new();
        EncodedEvent::check(event).context("an event of the log")?.to_json(&mut json);
        let event = serde_json::from_slice(&json).context("an event of the log as JSON")?;
        self.events.entry(partition).or_default().push((offset, event));
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.events.values().map(Vec::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn all(&self) -> impl Iterator<Item = &Value> {
        self.events.values().flatten().map(|(_, event)| event)
    }

    /// # Panics
    /// Unless every partition's offsets follow each other without a hole from where it begins, and no event is there twice.
    pub fn assert_dense_and_unique(&self) {
        assert!(self.is_dense_and_unique(), "the log has holes or repeats");
    }

    /// Whether every partition's offsets follow each other without a hole from where it begins, and no event is there twice.
    pub fn is_dense_and_unique(&self) -> bool {
        let is_dense = |(partition, events): (&PartitionId, &Vec<(Offset, Value)>)| {
            let start = self.starts[partition].0;
            events.iter().map(|(offset, _)| offset.0).eq(start..start + events.len() as u64)
        };
        let names: HashSet<_> = self.all().map(oracle::EventRef::of).collect();
        self.events.iter().all(is_dense) && names.len() == self.len()
    }
}
