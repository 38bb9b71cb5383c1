//! A task that takes what a subscription brings, tells the oracle, and acks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use anyport_client::{Batch, Delivery, Notice, Subscription};
use anyport_protocol::event::EncodedEvent;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::oracle::{self, Digest, EventRef, Oracle, Position, Reader, Via};

const BATCH_EVENTS: usize = 1024;

/// How often a listener with nothing to take looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// How long acks may take to be durable before more is taken meanwhile. Where no majority can be reached they wait, and events do not.
const ACK_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
pub struct ListenerOptions {
    /// Compare contents, not only identities: costs a JSON parse for each event.
    pub compare: bool,
    pub ack: bool,
    /// Wait after each batch, as a slow reader does.
    pub pause: Duration,
    pub batch_events: usize,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self { compare: true, ack: true, pause: Duration::ZERO, batch_events: BATCH_EVENTS }
    }
}

/// Counters to look at while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    live: AtomicU64,
    replayed: AtomicU64,
    resumed: AtomicU64,
    caught_up: AtomicBool,
}

impl Progress {
    pub fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    pub fn replayed(&self) -> u64 {
        self.replayed.load(Ordering::Relaxed)
    }

    /// Sessions opened so far.
    pub fn resumed(&self) -> u64 {
        self.resumed.load(Ordering::Relaxed)
    }

    pub fn total(&self) -> u64 {
        self.live() + self.replayed()
    }
}

/// What a listener leaves behind.
#[derive(Debug)]
pub struct Listened {
    pub subscription: Subscription,
    pub notices: Vec<Notice>,
}

#[derive(Debug)]
pub struct Listener {
    pub progress: Arc<Progress>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<Listened>>,
}

impl Listener {
    pub fn start(subscription: Subscription, oracle: Arc<Oracle>, reader: Reader, options: ListenerOptions) -> Self {
        let progress = Arc::new(Progress::default());
        let (stop, stopping) = watch::channel(false);
        let task = ListenerTask {
            subscription,
            oracle,
            reader,
            options,
            progress: Arc::clone(&progress),
            notices: Vec::new(),
            unconfirmed: Vec::new(),
        };
        Self { progress, stop, task: tokio::spawn(task.run(stopping)) }
    }

    /// Ends once nothing more is there to take, with every ack confirmed.
    pub async fn stop(self) -> Result<Listened> {
        self.stop.send_replace(true);
        self.task.await.context("the listener's task")?
    }

    /// Ends like a process that is killed: what it did not ack it may see again.
    pub fn crash(self) {
        self.task.abort();
    }

    /// Everything that was there when its feeds were opened has been taken.
    pub fn is_caught_up(&self) -> bool {
        self.progress.caught_up.load(Ordering::Relaxed)
    }

    /// Ended by itself: the subscription has nothing more to bring, ever.
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }
}

struct ListenerTask {
    subscription: Subscription,
    oracle: Arc<Oracle>,
    reader: Reader,
    options: ListenerOptions,
    progress: Arc<Progress>,
    notices: Vec<Notice>,
    /// Acked, and not known to be durable yet.
    unconfirmed: Vec<EventRef>,
}

impl ListenerTask {
    async fn run(mut self, stopping: watch::Receiver<bool>) -> Result<Listened> {
        while let Some(batch) = self.subscription.next_batch(self.options.batch_events, LOOK).await {
            let idle = batch.is_empty();
            self.take(batch).await?;
            self.progress.caught_up.store(idle && self.subscription.caught_up(), Ordering::Relaxed);
            if idle && *stopping.borrow() {
                break;
            }
        }
        self.confirm().await;
        Ok(Listened { subscription: self.subscription, notices: self.notices })
    }

    async fn take(&mut self, batch: Batch) -> Result<()> {
        for notice in &batch.notices {
            match notice {
                Notice::Gap { partition, range, .. } => self.oracle.gap(self.reader, *partition, *range),
                Notice::Omitted { partition, range, count } => {
                    self.oracle.omitted(self.reader, *partition, *range, u64::from(*count));
                }
                Notice::Resumed { .. } => {
                    self.progress.resumed.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            }
        }
        self.notices.extend(batch.notices);
        if batch.deliveries.is_empty() {
            return Ok(());
        }
        let seen = batch.deliveries.iter().map(|delivery| seen(delivery, self.options.compare));
        let seen = seen.collect::<Result<Vec<_>>>()?;
        self.oracle.delivered(self.reader, &seen);
        for delivery in &batch.deliveries {
            let counter = if delivery.replayed { &self.progress.replayed } else { &self.progress.live };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if self.options.ack {
            self.ack(&batch.deliveries, &seen).await;
        }
        tokio::time::sleep(self.options.pause).await;
        Ok(())
    }

    async fn ack(&mut self, deliveries: &[Delivery], seen: &[oracle::Delivery]) {
        seen.iter().for_each(|seen| self.oracle.ack_begun(self.reader, seen.event));
        self.unconfirmed.extend(seen.iter().map(|seen| seen.event));
        self.subscription.ack_batch(deliveries);
        // What is not confirmed by then is with a later batch, or at the end.
        let _ = tokio::time::timeout(ACK_PATIENCE, self.confirm()).await;
    }

    /// Waits until all acks are durable. Refused for good (taken over, say) they stay unconfirmed, and the oracle knows they may be.
    async fn confirm(&mut self) {
        if !self.unconfirmed.is_empty() && self.subscription.acked().await.is_ok() {
            self.unconfirmed.drain(..).for_each(|event| self.oracle.ack_confirmed(self.reader, event));
        }
    }
}

fn seen(delivery: &Delivery, compare: bool) -> Result<oracle::Delivery> {
    let event = EncodedEvent::check(&delivery.event).context("a delivered event")?;
    let digest = if compare {
        let mut json = Vec::new();
        event.to_json(&mut json);
        Some(Digest::of(&serde_json::from_slice(&json).context("a delivered event as JSON")?))
    } else {
        None
    };
    Ok(oracle::Delivery {
        event: EventRef::new(event.source(), event.id()),
        position: Position { partition: delivery.partition, offset: delivery.offset },
        via: if delivery.replayed { Via::Replay } else { Via::Live },
        digest,
    })
}
