//! The numbers: each beside a bare limit of the same machine, taken in the same run, at the same durability.
//!
//! Figures on a busy machine wander; ratios of one run hold. Every line printed says what was measured, over how much.

mod cluster;
mod disk;
pub mod foreground;
mod latency;
mod limits;
mod offline;
mod publish;
mod replay;
mod usage;

use std::path::Path;

use anyhow::Result;
use anyport_client::{Client, ClientOptions};
use anyport_protocol::event::Event;
use clap::{Args, ValueEnum};

use crate::runner::{BrokerOptions, BrokerProcess};

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Acked, fsynced publishing of 256-byte events by one producer.
    Publish,
    /// Publish to ack at 1,000 events a second, beside the bare QUIC ping-pong and fdatasync.
    Latency,
    /// A full replay.
    Replay,
    /// What offline clients cost in memory and disk.
    Offline,
    /// How soon a phone that comes to the foreground has the first event it missed.
    Foreground,
    /// What copies cost: publishing, lag, making a lost broker good, and idling.
    Cluster,
}

#[derive(Clone, Debug, Args)]
pub struct BenchArguments {
    /// Only these parts; all of them if none is named.
    #[arg(value_enum)]
    pub parts: Vec<Part>,
    /// Events to publish and to replay.
    #[arg(long, default_value_t = 1_000_000)]
    pub events: u64,
    /// Offline clients to register.
    #[arg(long, default_value_t = 100_000)]
    pub clients: u64,
    /// Where the broker keeps its data: durability is that of this folder's disk. The default is the system's temporary folder.
    #[arg(long)]
    pub folder: Option<std::path::PathBuf>,
}

/// Bytes of one event, encoded: what the store keeps of it.
const EVENT_BYTES: usize = 256;

pub async fn run(arguments: BenchArguments) -> Result<()> {
    let wanted = |part| arguments.parts.is_empty() || arguments.parts.contains(&part);
    let folder = match &arguments.folder {
        Some(parent) => tempfile::tempdir_in(parent)?,
        None => tempfile::tempdir()?,
    };
    if wanted(Part::Latency) {
        latency::run(&folder.path().join("latency")).await?;
    }
    if wanted(Part::Publish) || wanted(Part::Replay) {
        let broker = start(&folder.path().join("log")).await?;
        publish::run(&broker, arguments.events).await?;
        if wanted(Part::Replay) {
            replay::run(&broker, arguments.events).await?;
        }
    }
    if wanted(Part::Offline) {
        offline::run(&folder.path().join("offline"), arguments.clients).await?;
    }
    if wanted(Part::Cluster) {
        cluster::run(&folder.path().join("cluster"), arguments.events).await?;
    }
    if wanted(Part::Foreground) {
        foreground::run(&folder.path().join("foreground")).await?;
    }
    Ok(())
}

async fn start(folder: &Path) -> Result<BrokerProcess> {
    std::fs::create_dir_all(folder)?;
    BrokerProcess::start(folder, BrokerOptions::default()).await
}

async fn connect(broker: &BrokerProcess, name: &str) -> Result<Client> {
    let options = ClientOptions {
        servers: vec![broker.address().to_string()],
        home: broker.home(),
        name: name.to_owned(),
        ..ClientOptions::default()
    };
    Ok(Client::connect(options).await?)
}

/// Events of exactly [`EVENT_BYTES`] with distinct subjects, so that they spread over all partitions.
fn events(count: usize) -> Vec<Vec<u8>> {
    let build = |n: usize, fill: usize| {
        let event = Event::builder(format!("{n:08}"), "/bench", "bench.event").subject(format!("s{n:04}"));
        let filled = event.json(format!("{{\"fill\":\"{}\"}}", "x".repeat(fill)));
        filled.build().expect("a small valid event").encode().to_vec()
    };
    let overhead = build(0, 0).len();
    (0..count).map(|n| build(n, EVENT_BYTES - overhead)).collect()
}

#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
fn say(line: &str) {
    println!("{line}");
}
