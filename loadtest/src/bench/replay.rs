use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use anyport_client::{Start, SubscribeOptions};

use super::usage::CpuTime;
use super::{connect, say};
use crate::runner::BrokerProcess;

const PATIENCE: Duration = Duration::from_secs(60);

/// A client that was away gets everything: once with a filter that lets all pass, once with one that looks and lets a tenth pass.
pub async fn run(broker: &BrokerProcess, count: u64) -> Result<()> {
    one(broker, "all", "", count, count).await?;
    // Subjects run from s0000 to s0999, over and over.
    let matching = count / 1000 * 100 + (count % 1000).min(100);
    one(broker, "tenth", "subject LIKE 's00%'", count, matching).await
}

async fn one(broker: &BrokerProcess, name: &str, filter: &str, stored: u64, matching: u64) -> Result<()> {
    let client = connect(broker, name).await?;
    let (broker_before, own_before) = (CpuTime::of(broker.pid())?, CpuTime::own()?);
    let begun = Instant::now();
    let options = SubscribeOptions { start: Start::Earliest, ..SubscribeOptions::new(name, filter) };
    let subscription = client.subscribe(options).await?;
    let (mut received, mut bytes) = (0u64, 0u64);
    while received < matching {
        let batch = subscription.next_batch(4096, PATIENCE).await.context("the subscription ended")?;
        received += batch.deliveries.len() as u64;
        bytes += batch.deliveries.iter().map(|delivery| delivery.event.len() as u64).sum::<u64>();
        anyhow::ensure!(!batch.is_empty(), "nothing came in {PATIENCE:?}: {received} of {matching}");
    }
    let seconds = begun.elapsed().as_secs_f64();
    let broker_us = CpuTime::of(broker.pid())?.micros_since(broker_before) / stored as f64;
    let own_us = CpuTime::own()?.micros_since(own_before) / stored as f64;
    say(&format!(
        "replay    filter {filter:?}: {stored} events read, {received} delivered: {:.0} events/s read, {:.1} MB/s delivered; \
         processor per event read: broker {broker_us:.2} us, client {own_us:.2} us",
        stored as f64 / seconds,
        bytes as f64 / seconds / 1e6
    ));
    drop(subscription);
    client.close().await?;
    Ok(())
}
