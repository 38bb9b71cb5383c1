use std::path::Path;

use anyhow::{Context, Result, bail};
use anyport_protocol::message::{Hello, OpenSession, Register, Start, StreamKind, Subscribe, ToBroker, ToClient};
use anyport_protocol::{Nonce, SessionEpoch};
use tokio::task::JoinSet;

use super::disk::folder_bytes;
use super::usage::anonymous_bytes;
use super::{say, start};
use crate::raw::{RawClient, RawStream};
use crate::runner::BrokerProcess;

/// Connections that register clients, one after the other on each.
const CONNECTIONS: u64 = 32;

/// Rounds of as many clients each. The first one also brings what does not grow with clients.
const ROUNDS: u64 = 3;

/// What one broker takes.
#[derive(Clone, Copy)]
struct Taken {
    memory_bytes: u64,
    disk_bytes: u64,
}

/// Registers clients with one subscription each, all of which then stay away.
///
/// While they come, the store's write buffers and caches fill, and go up and down by far more than what is looked for here. So
/// memory is compared after restarts: what the broker then holds is what it must hold for clients that are away.
pub async fn run(folder: &Path, clients: u64) -> Result<()> {
    let mut broker = start(folder).await?;
    let mut restarted = vec![measure(&broker)?];
    let mut busiest = 0;
    for _ in 0..ROUNDS {
        register(&broker, clients).await?;
        busiest = busiest.max(measure(&broker)?.memory_bytes);
        broker.terminate().await?;
        broker.start_again().await?;
        restarted.push(measure(&broker)?);
    }
    let (first, last) = (restarted[1], restarted[ROUNDS as usize]);
    let later = (ROUNDS - 1) * clients;
    let each = |after: u64, before: u64| (after as f64 - before as f64) / later as f64;
    say(&format!(
        "offline   clients with a subscription each, all away; broker memory after a restart with 0, {clients}, ... of them: {} MB, so \
         {:.1} bytes for each of the last {later}; {:.0} MB at most while they registered (write buffers and caches, bounded); disk \
         {:.1} MB, {:.0} bytes for each of those",
        restarted.iter().map(|taken| format!("{:.1}", taken.memory_bytes as f64 / 1e6)).collect::<Vec<_>>().join(", "),
        each(last.memory_bytes, first.memory_bytes),
        busiest as f64 / 1e6,
        last.disk_bytes as f64 / 1e6,
        each(last.disk_bytes, first.disk_bytes),
    ));
    Ok(())
}

fn measure(broker: &BrokerProcess) -> Result<Taken> {
    Ok(Taken { memory_bytes: anonymous_bytes(broker.pid())?, disk_bytes: folder_bytes(&broker.data())? })
}

async fn register(broker: &BrokerProcess, clients: u64) -> Result<()> {
    let mut connections = JoinSet::new();
    for nth in 0..CONNECTIONS {
        let share = clients / CONNECTIONS + u64::from(nth < clients % CONNECTIONS);
        let client = RawClient::connect(broker).await?;
        connections.spawn(async move { register_share(&client, share).await });
    }
    while let Some(done) = connections.join_next().await {
        done??;
    }
    Ok(())
}

/// Every client registers on the same connection, opens its session, subscribes, and is never seen again.
async fn register_share(client: &RawClient, share: u64) -> Result<()> {
    let mut control = client.open(StreamKind::Control).await?;
    ask(&mut control, Hello::of_this_version("bench").into()).await?;
    for _ in 0..share {
        ask(&mut control, Register {}.into()).await?;
        let open = OpenSession { epoch: SessionEpoch(1), nonce: Nonce([1; 16]), resume: vec![], registry_seen: 0 };
        ask(&mut control, open.into()).await?;
        let name = "quakes".parse().context("a good name")?;
        let subscribe = Subscribe::new(name, "type = 'gov.usgs.quake' AND data.mag >= 4.5", Start::Latest);
        ask(&mut control, subscribe.into()).await?;
    }
    Ok(())
}

async fn ask(control: &mut RawStream, request: ToBroker) -> Result<()> {
    match control.ask(request).await? {
        ToClient::Refused(refused) => bail!("refused: {}", refused.fault),
        _ => Ok(()),
    }
}
