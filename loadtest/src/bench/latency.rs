use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use anyport_client::PublisherOptions;
use hdrhistogram::Histogram;

use super::{EVENT_BYTES, connect, events, limits, say, start};

const ROUNDS: u32 = 5000;
const EVERY: Duration = Duration::from_millis(1);

/// How long each of many operations took.
#[derive(Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new(3).expect("three digits are allowed"))
    }
}

impl Latencies {
    pub fn record(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0.record(nanos).expect("the histogram grows as needed");
    }

    pub fn micros(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }

    fn shown(&self) -> String {
        format!("p50 {:.0} us, p99 {:.0} us", self.micros(0.5), self.micros(0.99))
    }
}

/// Publish to ack, one event each millisecond, beside what the network and the disk take alone, in turns.
pub async fn run(folder: &Path) -> Result<()> {
    let broker = start(folder).await?;
    let client = connect(&broker, "producer").await?;
    let publisher = client.publisher(PublisherOptions::default());
    let events = events(1000);
    let mut acks = Latencies::default();
    let mut next = tokio::time::Instant::now();
    for event in events.iter().cycle().take(ROUNDS as usize) {
        next += EVERY;
        tokio::time::sleep_until(next).await;
        let begun = Instant::now();
        publisher.publish_encoded(event).await?.await?;
        acks.record(begun.elapsed());
    }
    let ping_pong = limits::ping_pong(ROUNDS, EVERY).await?;
    let synced = limits::synced_writes(folder, ROUNDS, EVERY)?;
    let bare = ping_pong.micros(0.5) + synced.micros(0.5);
    say(&format!("latency   publish to ack at 1000/s of {EVENT_BYTES} bytes: {}", acks.shown()));
    say(&format!("          bare QUIC ping-pong: {}; bare write + fdatasync: {}", ping_pong.shown(), synced.shown()));
    say(&format!("          ack p50 is {:.2} x (ping-pong + fdatasync)", acks.micros(0.5) / bare));
    client.close().await?;
    Ok(())
}
