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

/// Rounds of as many clients that fill the store's buffers and caches, 250 MB in all, before any are counted.
const WARM_UP_ROUNDS: u64 = 2;

/// Registers clients with one subscription each, all of which then stay away.
pub async fn run(folder: &Path, clients: u64) -> Result<()> {
    let mut broker = start(folder).await?;
    let empty = measure(&broker)?;
    // The first ones also fill the store's write buffers and caches, which are bounded and not per client.
    for _ in 0..WARM_UP_ROUNDS {
        register(&broker, clients).await?;
    }
    let warm = measure(&broker)?;
    register(&broker, clients).await?;
    let after = measure(&broker)?;
    broker.terminate().await?;
    broker.start_again().await?;
    let restarted = measure(&broker)?;
    let each = |after: u64, before: u64| (after as f64 - before as f64) / clients as f64;
    say(&format!(
        "offline   {} clients with a subscription each, all away: broker memory {:.1} MB empty, {:.1} MB before the \
         last {clients}, {:.1} MB after: {:.1} bytes for each of those; {:.1} MB after a restart: {:.1} bytes for each of all; disk {:.1} MB: {:.0} bytes each, its log included",
        (WARM_UP_ROUNDS + 1) * clients,
        empty.0 as f64 / 1e6,
        warm.0 as f64 / 1e6,
        after.0 as f64 / 1e6,
        each(after.0, warm.0),
        restarted.0 as f64 / 1e6,
        (restarted.0 as f64 - empty.0 as f64) / ((WARM_UP_ROUNDS + 1) * clients) as f64,
        after.1 as f64 / 1e6,
        each(after.1, warm.1),
    ));
    Ok(())
}

fn measure(broker: &BrokerProcess) -> Result<(u64, u64)> {
    Ok((anonymous_bytes(broker.pid())?, folder_bytes(&broker.data())?))
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
        let filter = "type = 'gov.usgs.quake' AND data.mag >= 4.5".to_owned();
        let name = "quakes".parse().context("a good name")?;
        let subscribe = Subscribe { name, filter, start: Start::Latest, seek: false, inactive_expiry_secs: 0 };
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
