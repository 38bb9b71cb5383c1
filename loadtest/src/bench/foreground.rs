//! How soon a phone that comes to the foreground has the first event it missed.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use anyport_client::{Client, ClientOptions, PublisherOptions, SubscribeOptions, Subscription};

use super::{connect, events, say, start};
use crate::fault_proxy::{FaultProxy, Faults};
use crate::runner::BrokerProcess;
use crate::workload::Seed;

/// One way.
const DELAYS_MS: [u64; 3] = [0, 50, 200];

const SAMPLES: usize = 5;
const PATIENCE: Duration = Duration::from_secs(30);

/// What the phone still has of its last visit.
#[derive(Clone, Copy, Debug)]
pub enum Memory {
    /// Its files: the process is new.
    Cold,
    /// A TLS session that saves proving who is who.
    Resumed,
    /// The same, and it may send with the very first packet.
    EarlyData,
}

impl Memory {
    pub const ALL: [Self; 3] = [Self::Cold, Self::Resumed, Self::EarlyData];

    fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold (new process)",
            Self::Resumed => "resumed, no early data",
            Self::EarlyData => "resumed, early data (0-RTT)",
        }
    }
}

/// A phone behind a slow line, and somebody who publishes beside it.
#[derive(Debug)]
pub struct Scene {
    broker: BrokerProcess,
    proxy: FaultProxy,
    event: Vec<u8>,
}

/// From coming to the foreground to the first event.
#[derive(Clone, Copy, Debug)]
pub struct Return {
    pub took: Duration,
    /// The longest chain of packets of which each waited for the one before; two are a round trip.
    pub hops: u32,
}

pub async fn run(folder: &Path) -> Result<()> {
    let scene = Scene::set(folder).await?;
    for delay_ms in DELAYS_MS {
        for memory in Memory::ALL {
            let mut returns = Vec::new();
            for _ in 0..SAMPLES {
                returns.push(scene.come_back(memory, delay_ms).await?);
            }
            returns.sort_by_key(|back| back.took);
            let median = returns[SAMPLES / 2].took.as_secs_f64() * 1e3;
            let hops = returns.iter().map(|back| back.hops).max().unwrap_or_default();
            // Without a delay packets that need not wait for each other do, and the chain says nothing.
            let round_trips = match delay_ms {
                0 => String::new(),
                _ => format!(", {:.1} round trips of {} ms", f64::from(hops) / 2.0, 2 * delay_ms),
            };
            say(&format!("foreground {:<27} first missed event after {median:>6.1} ms{round_trips}", memory.name()));
        }
    }
    Ok(())
}

impl Scene {
    pub async fn set(folder: &Path) -> Result<Self> {
        let broker = start(folder).await?;
        let proxy = FaultProxy::start(broker.address(), Seed::announced()).await?;
        Ok(Self { broker, proxy, event: events(1).remove(0) })
    }

    /// The phone leaves, one event is published, and it comes back with what it remembers.
    pub async fn come_back(&self, memory: Memory, delay_ms: u64) -> Result<Return> {
        let (phone, subscription) = Client::connect_subscribed(self.options(memory), all()).await?;
        subscription.wait_caught_up().await?;
        subscription.next_batch(1, Duration::ZERO).await.context("it goes on")?;
        match memory {
            Memory::Cold => {
                drop(subscription);
                phone.close().await?;
                self.publish_one().await?;
                self.slow_down(delay_ms).await?;
                let begun = Instant::now();
                let (phone, subscription) = Client::connect_subscribed(self.options(memory), all()).await?;
                self.first_event(phone, subscription, begun).await
            }
            Memory::Resumed | Memory::EarlyData => {
                phone.suspend().await?;
                self.publish_one().await?;
                self.slow_down(delay_ms).await?;
                let begun = Instant::now();
                phone.resume().await?;
                self.first_event(phone, subscription, begun).await
            }
        }
    }

    async fn slow_down(&self, delay_ms: u64) -> Result<()> {
        self.proxy.set(Faults { delay_ms, ..Faults::default() }).await?;
        self.proxy.count_hops().await
    }

    async fn first_event(&self, phone: Client, subscription: Subscription, begun: Instant) -> Result<Return> {
        loop {
            let batch = subscription.next_batch(1, PATIENCE).await.context("it goes on")?;
            if batch.is_empty() {
                anyhow::bail!("nothing came within {PATIENCE:?}");
            }
            if let [delivery] = batch.deliveries.as_slice() {
                let back = Return { took: begun.elapsed(), hops: self.proxy.hops().await?.at_client() };
                self.proxy.set(Faults::default()).await?;
                subscription.ack(delivery);
                subscription.acked().await?;
                phone.close().await?;
                return Ok(back);
            }
        }
    }

    fn options(&self, memory: Memory) -> ClientOptions {
        ClientOptions {
            servers: vec![self.proxy.address().to_string()],
            home: self.broker.home(),
            name: "phone".to_owned(),
            early_data: matches!(memory, Memory::EarlyData),
            ..ClientOptions::default()
        }
    }

    async fn publish_one(&self) -> Result<()> {
        let client = connect(&self.broker, "producer").await?;
        client.publisher(PublisherOptions::default()).publish_encoded(&self.event).await?.await?;
        client.close().await?;
        Ok(())
    }
}

fn all() -> SubscribeOptions {
    SubscribeOptions::new("all", "")
}
