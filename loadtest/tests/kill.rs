//! A broker that is killed outright, over and over, while its clients go on as if nothing had happened.

use std::time::Duration;

use anyhow::{Context, Result};
use anyport_client::{PublisherOptions, Start};
use anyport_loadtest::drive::{Ongoing, Pace, Stage};
use anyport_loadtest::runner::BrokerOptions;
use anyport_loadtest::workload::{Seed, Synthetic};
use rand::Rng;

const PATIENCE: Duration = Duration::from_secs(30);

/// So many events a second that batches are under way whenever the broker dies, and few enough to be judged one by one.
const PACE: Pace = Pace::PerSecond(3000.0);

fn kills() -> u32 {
    if std::env::var_os("ANYPORT_TORTURE").is_some() { 200 } else { 20 }
}

/// Publishes and listens while the broker is killed so many times, each time after some hundred acks; then judges.
async fn survives(stage: &mut Stage, kills: u32, seed: Seed) -> Result<()> {
    let mut random = seed.rng();
    let listener = stage.listener("listener", Start::Latest).await?;
    let events = Synthetic::new(seed.part(1), 256, 40);
    let publishing = Ongoing::begin(stage, events, PACE, PublisherOptions::default()).await?;
    for _ in 0..kills {
        publishing.acked_more(random.random_range(1..1500)).await?;
        stage.broker.restart().await?;
    }
    publishing.acked_more(1).await?;
    let report = publishing.end().await?;
    listener.has_everything(PATIENCE).await?;
    listener.leave().await?;

    stage.verdict().assert_clean();
    assert_eq!((report.unknown, report.refused), (0, 0), "every event is acked in the end");
    let log = stage.log().await?;
    log.assert_dense_and_unique();
    assert_eq!(log.len() as u64, report.acked, "the log holds what was acked and nothing else");
    Ok(())
}

/// Some kills fall between a sync and its acks, and the producer sends again what is stored: that must not double it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_over_and_over_while_publishing_loses_nothing_and_doubles_nothing() -> Result<()> {
    let mut stage = Stage::set(BrokerOptions::default()).await?;
    survives(&mut stage, kills(), Seed::announced()).await
}

/// Relaxed is about a crash of the machine: what a process has acked the system has, so it outlives the process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relaxed_broker_says_so_and_a_kill_loses_nothing_it_acked() -> Result<()> {
    let options = BrokerOptions { arguments: vec!["--fsync".into(), "interval=50".into()], ..BrokerOptions::default() };
    let mut stage = Stage::set(options).await?;
    let ready = stage.broker.ready_line().context("it runs")?;
    assert!(ready.contains("RELAXED") && ready.contains("50 ms"), "{ready}");
    let client = stage.client("somebody").await?;
    assert!(client.is_relaxed());
    client.close().await?;
    survives(&mut stage, 5, Seed::announced()).await
}
