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

/// Registers clients with one subscription each, all of which then stay away.
pub async fn run(folder: &Path, clients: u64) -> Result<()> {
    let broker = start(folder).await?;
    register(&broker, clients / 10).await?;
    let (memory, disk) = measure(&broker)?;
    let counted = clients - clients / 10;
    register(&broker, counted).await?;
    let (memory_after, disk_after) = measure(&broker)?;
    say(&format!(
        "offline   {clients} clients with a subscription each, all away: broker memory {:.1} MB before the last {counted}, \
         {:.1} MB after ({:.1} bytes each); disk {:.1} MB ({:.0} bytes each)",
        memory as f64 / 1e6,
        memory_after as f64 / 1e6,
        (memory_after as f64 - memory as f64) / counted as f64,
        disk_after as f64 / 1e6,
        (disk_after as f64 - disk as f64) / counted as f64,
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
