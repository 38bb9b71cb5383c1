use std::time::Instant;

use anyhow::{Result, ensure};
use anyport_client::PublisherOptions;

use super::usage::CpuTime;
use super::{EVENT_BYTES, connect, events, say};
use crate::runner::BrokerProcess;

/// One producer publishes as fast as it is acked.
pub async fn run(broker: &BrokerProcess, count: u64) -> Result<()> {
    let client = connect(broker, "producer").await?;
    let publisher = client.publisher(PublisherOptions::default());
    let events = events(1000);
    let (broker_before, own_before) = (CpuTime::of(broker.pid())?, CpuTime::own()?);
    let begun = Instant::now();
    for event in events.iter().cycle().take(usize::try_from(count)?) {
        drop(publisher.publish_encoded(event).await?);
    }
    publisher.flush().await?;
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(publisher.counts().acked == count, "acked {:?} of {count}", publisher.counts());
    let rate = count as f64 / seconds;
    let broker_us = CpuTime::of(broker.pid())?.micros_since(broker_before) / count as f64;
    let own_us = CpuTime::own()?.micros_since(own_before) / count as f64;
    say(&format!(
        "publish   {count} events of {EVENT_BYTES} bytes, one producer, acked after fsync: {rate:.0} events/s, {:.1} MB/s; \
         processor per event: broker {broker_us:.2} us, client {own_us:.2} us",
        rate * EVENT_BYTES as f64 / 1e6
    ));
    client.close().await?;
    Ok(())
}
