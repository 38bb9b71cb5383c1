//! Bad lines: between brokers, and between clients and brokers.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use anyport_client::Start;
use anyport_loadtest::fault_proxy::{Cut, FaultProxy, Faults};
use anyport_loadtest::runner::{ClusterOptions, ClusterProcesses, free_loopback_port};
use anyport_loadtest::workload::Seed;
use tokio::time::sleep;

use super::scene::Scene;

const BAD: Faults = Faults { delay_ms: 20, jitter_ms: 20, loss: 0.03, duplicate: 0.01, reorder: 0.03, reorder_ms: 10 };

/// With the timing `wan`.
const FAR: Faults = Faults { delay_ms: 200, jitter_ms: 20, loss: 0.05, duplicate: 0.01, reorder: 0.03, reorder_ms: 20 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_bad_lines_that_are_cut_in_turn_clients_get_everything_from_one_broker_or_another() -> Result<()> {
    let scene = Scene::set(3).await?;
    let (mut access, mut lines) = (scene.access(), Vec::new());
    for (at, server) in access.servers.iter_mut().enumerate() {
        let line = FaultProxy::start(scene.cluster.broker(at).address(), scene.seed.part(at as u64)).await?;
        line.set(BAD).await?;
        *server = line.address().to_string();
        lines.push(line);
    }
    let listener = access.listener("listener", Start::Latest).await?;
    let publishing = scene.publishing(&access).await?;
    for line in &lines {
        publishing.acked_more(100).await?;
        line.cut(Cut::Both).await?;
        publishing.acked_more(100).await?;
        line.heal().await?;
    }
    scene.end(publishing, vec![listener]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_bad_lines_between_brokers_events_are_acked_and_none_is_lost() -> Result<()> {
    nothing_is_lost_over(BAD, &[]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "does not pass always: see \"Not yet\" in README.md"]
async fn over_lines_between_continents_events_are_acked_and_none_is_lost() -> Result<()> {
    nothing_is_lost_over(FAR, &["--timing", "wan"]).await
}

async fn nothing_is_lost_over(faults: Faults, arguments: &[&str]) -> Result<()> {
    let mut folder = tempfile::tempdir()?;
    folder.disable_cleanup(std::env::var_os("ANYPORT_KEEP").is_some());
    let mut cluster = ClusterProcesses::prepare(folder.path(), ClusterOptions::of(3).with(arguments)).await?;
    // Brokers connect to those that were there before them: to the first one over a bad line.
    let peer = (Ipv4Addr::LOCALHOST, free_loopback_port()?).into();
    let line = FaultProxy::start(peer, Seed::announced()).await?;
    line.set(faults).await?;
    cluster.add_on(peer, &["--advertise-peer", &line.address().to_string()]).await?;
    cluster.add(&[]).await?;
    cluster.add(&[]).await?;
    cluster.settle().await?;
    let scene = Scene::of(cluster);
    let listener = scene.access_to(&[0]).listener("listener", Start::Latest).await?;
    let publishing = scene.publishing(&scene.access_to(&[0, 1])).await?;
    publishing.acked_more(400).await?;
    line.cut(Cut::Both).await?;
    sleep(Duration::from_secs(1)).await;
    line.heal().await?;
    publishing.acked_more(400).await?;
    scene.end(publishing, vec![listener]).await
}
