//! The set of a story: one broker, its clients, and the oracle that watches them all.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anyport_client::{Client, ClientOptions, Notice, Start, SubscribeOptions};
use anyport_protocol::event::EncodedEvent;
use anyport_protocol::{Offset, PartitionId};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::{Listener, ListenerOptions};
use crate::oracle::{self, FilterId, Oracle, SubscriptionId, Verdict};
use crate::runner::{BrokerOptions, BrokerProcess};

/// Between two looks at a condition that nothing announces.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until the condition holds; an error that names it if that takes too long.
pub async fn until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + within;
    while !holds() {
        ensure!(Instant::now() < deadline, "waited {within:?} for this: {what}");
        sleep(LOOK).await;
    }
    Ok(())
}

/// One broker in a folder of its own. The oracle knows one filter, which everything passes.
#[derive(Debug)]
pub struct Stage {
    // Before the folder, so that the process is gone when its files are removed.
    pub broker: BrokerProcess,
    pub oracle: Arc<Oracle>,
    everything: FilterId,
    folder: PathBuf,
    _removed_at_the_end: Option<TempDir>,
}

impl Stage {
    pub async fn set(options: BrokerOptions) -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder for a broker")?;
        let stage = Self::set_in(folder.path(), options).await?;
        Ok(Self { _removed_at_the_end: Some(folder), ..stage })
    }

    /// In a folder that has been prepared, and stays.
    pub async fn set_in(folder: &Path, options: BrokerOptions) -> Result<Self> {
        let broker = BrokerProcess::start(folder, options).await?;
        let oracle = Arc::new(Oracle::new());
        let everything = oracle.filter(|_| true);
        Ok(Self { broker, oracle, everything, folder: folder.to_owned(), _removed_at_the_end: None })
    }

    /// Another process over the same data, started otherwise, on other ports. The one before must have ended.
    pub async fn start_otherwise(&mut self, options: BrokerOptions) -> Result<()> {
        self.broker = BrokerProcess::start(&self.folder, options).await?;
        Ok(())
    }

    pub async fn client(&self, name: &str) -> Result<Client> {
        let options = ClientOptions {
            servers: vec![self.broker.address().to_string()],
            home: self.broker.home(),
            name: name.to_owned(),
            ..ClientOptions::default()
        };
        Client::connect(options).await.with_context(|| format!("connect {name}"))
    }

    /// A client that subscribes to everything and takes, tells the oracle and acks until it leaves.
    pub async fn listener(&self, name: &str, start: Start) -> Result<Attending> {
        let client = self.client(name).await?;
        let options = SubscribeOptions { start, ..SubscribeOptions::new("everything", "") };
        let subscription = client.subscribe(options).await.with_context(|| format!("subscribe {name}"))?;
        let starts = subscription.starts().into_iter().map(|(partition, start)| (partition, start.offset)).collect();
        let declared = self.oracle.subscribe(name, self.everything, oracle::Start::At(starts));
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

    pub fn verdict(&self) -> Verdict {
        self.oracle.verdict()
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
        for (partition, events) in &self.events {
            let offsets = events.iter().map(|(offset, _)| offset.0);
            let start = self.starts[partition].0;
            assert!(offsets.eq(start..start + events.len() as u64), "partition {partition} has holes or repeats");
        }
        let names: HashSet<_> = self.all().map(oracle::EventRef::of).collect();
        assert_eq!(names.len(), self.len(), "events are stored twice");
    }
}
