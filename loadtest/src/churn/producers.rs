//! Producers at a steady rate, whose every ack has a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use anyport_client::{Client, Publisher, PublisherOptions, Receipt, Status};
use anyport_protocol::event::{EncodedEvent, Event};
use anyport_protocol::{Outcome, PartitionId};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use super::pauses::AckTimes;
use crate::drive::{Access, PublishReport};
use crate::oracle::{EventRef, Oracle, Position};
use crate::workload::{Seed, Synthetic};

/// A producer that gives up would be a defect; a cluster may take a while to find its leaders.
const PATIENCE: Duration = Duration::from_secs(60);

const EVENT_BYTES: usize = 256;
const KEYS: u32 = 200;

#[derive(Debug)]
pub struct Producers {
    clients: Vec<Arc<Client>>,
    stop: Arc<AtomicBool>,
    shared: Arc<Mutex<Told>>,
    tasks: JoinSet<Result<()>>,
}

/// What became of everything.
#[derive(Debug, Default)]
struct Told {
    report: PublishReport,
    acks: AckTimes,
}

impl Producers {
    pub async fn begin(access: &Access, count: usize, events_per_second: f64, seed: Seed) -> Result<Self> {
        let (mut tasks, mut clients) = (JoinSet::new(), Vec::new());
        let (stop, shared) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::default()));
        for number in 0..count {
            let client = Arc::new(access.beginning_at(number).client(&format!("producer-{number}")).await?);
            let producer = Producer {
                number: u32::try_from(number).context("a few producers")?,
                publisher: client.publisher(PublisherOptions::default()),
                oracle: Arc::clone(&access.oracle),
                shared: Arc::clone(&shared),
                every: Duration::from_secs_f64(count as f64 / events_per_second),
            };
            let events = Synthetic::new(seed.part(number as u64), EVENT_BYTES, KEYS);
            let stopping = Arc::clone(&stop);
            tasks.spawn(producer.run(events.take_while(move |_| !stopping.load(Ordering::Relaxed))));
            clients.push(client);
        }
        Ok(Self { clients, stop, shared, tasks })
    }

    /// The producers that are connected to this broker.
    pub fn connected_to(&self, address: &str) -> BTreeSet<u32> {
        let is_there = |client: &Client| matches!(client.status(), Status::Connected { server } if server == address);
        (0u32..).zip(&self.clients).filter(|(_, client)| is_there(client)).map(|(number, _)| number).collect()
    }

    /// Stops, and waits until the fate of everything is known.
    pub async fn end(mut self) -> Result<(PublishReport, AckTimes)> {
        self.stop.store(true, Ordering::Relaxed);
        let all_ended = async {
            while let Some(ended) = self.tasks.join_next().await {
                ended??;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, all_ended).await.context("some producers are still not acked")??;
        for client in &self.clients {
            client.close().await?;
        }
        let told = std::mem::take(&mut *self.shared.lock().unwrap_or_else(PoisonError::into_inner));
        Ok((told.report, told.acks))
    }
}

struct Producer {
    number: u32,
    publisher: Publisher,
    oracle: Arc<Oracle>,
    shared: Arc<Mutex<Told>>,
    every: Duration,
}

impl Producer {
    /// Acks come in order in each partition, so a task for each takes them as they come.
    async fn run(self, events: impl Iterator<Item = Value>) -> Result<()> {
        let mut lanes = BTreeMap::new();
        let mut settling = JoinSet::new();
        let begun = tokio::time::Instant::now();
        for (event, nth) in events.zip(1u32..) {
            sleep_until(begun + self.every * nth).await;
            let told = self.oracle.published(self.number, &event);
            let encoded = Event::from_json(event.to_string().as_bytes()).context("an event of the workload")?.encode();
            let partition = self.publisher.partition_of(&EncodedEvent::check(&encoded)?);
            let receipt = self.publisher.publish_encoded(&encoded).await?;
            let lane = lanes.entry(partition).or_insert_with(|| {
                // The publisher's buffer bounds how many wait.
                let (lane, receipts) = mpsc::unbounded_channel();
                let (oracle, shared) = (Arc::clone(&self.oracle), Arc::clone(&self.shared));
                settling.spawn(settle((self.number, partition), receipts, oracle, shared));
                lane
            });
            lane.send((told, receipt)).ok().context("its task ends when the lane does")?;
        }
        drop(lanes);
        while let Some(ended) = settling.join_next().await {
            ended?;
        }
        Ok(())
    }
}

async fn settle(
    lane: (u32, PartitionId),
    mut receipts: mpsc::UnboundedReceiver<(EventRef, Receipt)>,
    oracle: Arc<Oracle>,
    shared: Arc<Mutex<Told>>,
) {
    while let Some((event, receipt)) = receipts.recv().await {
        let fate = receipt.await;
        let mut told = shared.lock().unwrap_or_else(PoisonError::into_inner);
        match fate {
            Ok(acked) => {
                told.acks.add(lane, Instant::now());
                told.report.acked += 1;
                oracle.acked(event, acked.offset.map(|offset| Position { partition: acked.partition, offset }));
            }
            Err(error) if error.outcome() == Outcome::Maybe => {
                told.report.unknown += 1;
                oracle.unknown(event);
            }
            Err(_) => {
                told.report.refused += 1;
                oracle.surely_not(event);
            }
        }
    }
}
