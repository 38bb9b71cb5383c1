//! A publisher that goes on until it is told to stop, whatever happens to its broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use anyport_client::{Client, Publisher, PublisherOptions};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Access, Pace, PublishReport, Stage, publish, until};

/// A publisher that gives up would be a defect; a busy machine may be slow.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Ongoing {
    pub publisher: Arc<Publisher>,
    pub client: Client,
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<PublishReport>>,
}

impl Ongoing {
    /// Publishes these events as the oracle's producer 0, as long as they last.
    pub async fn begin(
        stage: &Stage,
        events: impl Iterator<Item = Value> + Send + 'static,
        pace: Pace,
        options: PublisherOptions,
    ) -> Result<Self> {
        Self::begin_at(&stage.access(), events, pace, options).await
    }

    pub async fn begin_at(
        access: &Access,
        events: impl Iterator<Item = Value> + Send + 'static,
        pace: Pace,
        options: PublisherOptions,
    ) -> Result<Self> {
        let client = access.client("producer").await?;
        let publisher = Arc::new(client.publisher(options));
        let stop = Arc::new(AtomicBool::new(false));
        let (handed_over, oracle, stopping) = (Arc::clone(&publisher), Arc::clone(&access.oracle), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            let events = events.take_while(move |_| !stopping.load(Ordering::Relaxed));
            publish(&handed_over, &oracle, 0, events, pace, |_| {}).await
        });
        Ok(Self { publisher, client, stop, task })
    }

    /// Waits until so many more events than now are acked.
    pub async fn acked_more(&self, more: u64) -> Result<()> {
        let wanted = self.publisher.counts().acked + more;
        until("more events are acked", PATIENCE, || self.publisher.counts().acked >= wanted).await
    }

    /// Stops, and waits until the fate of everything is known.
    pub async fn end(self) -> Result<PublishReport> {
        self.stop.store(true, Ordering::Relaxed);
        self.finish().await
    }

    /// Waits until there are no more events, and the fate of everything is known.
    pub async fn finish(self) -> Result<PublishReport> {
        let report = timeout(PATIENCE, self.task).await.context("the publisher does not end")???;
        self.client.close().await?;
        Ok(report)
    }
}
