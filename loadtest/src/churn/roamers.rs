//! Clients that go from broker to broker, leave for a while and come back, each by a will of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use anyport_client::{Client, Start};
use rand::Rng;
use rand::rngs::SmallRng;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::drive::{Access, Attending};
use crate::oracle::{FilterId, Oracle};
use crate::workload::Seed;

/// A filter, and the same in Rust for the oracle: written apart, so that the two check each other.
type Pair = (&'static str, fn(&Value) -> bool);

/// What roaming clients ask for.
const FILTERS: [Pair; 3] = [
    ("", |_| true),
    ("type = 'load.changed'", |event| event["type"] == "load.changed"),
    ("data.level < 20", |event| event["data"]["level"].as_i64().is_some_and(|level| level < 20)),
];

/// What they did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moves {
    pub moved: u64,
    pub away: u64,
    pub sessions: u64,
}

#[derive(Debug)]
pub struct Roamers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Result<(Attending, Moves)>>,
}

pub fn declare_filters(oracle: &Oracle) -> Vec<FilterId> {
    FILTERS.iter().map(|(_, matches)| oracle.filter(*matches)).collect()
}

impl Roamers {
    pub async fn enter(access: &Access, count: usize, filters: &[FilterId], seed: Seed) -> Result<Self> {
        let (stop, mut tasks) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        for number in 0..count {
            let (filter, known_as) = (FILTERS[number % FILTERS.len()].0, filters[number % FILTERS.len()]);
            let name = format!("roamer-{number}");
            let begins = access.beginning_at(number);
            let attending = begins.filtered_listener(&name, Start::Latest, filter, known_as).await?;
            let servers = access.servers.clone();
            tasks.spawn(roam(attending, servers, seed.part(number as u64).rng(), Arc::clone(&stop)));
        }
        Ok(Self { stop, tasks })
    }

    /// Waits until everybody has everything, and has left in good order.
    pub async fn leave(mut self, patience: Duration) -> Result<Moves> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Moves::default();
        while let Some(roamed) = timeout(patience, self.tasks.join_next()).await.context("a roaming client is stuck")? {
            let (attending, moves) = roamed??;
            all.moved += moves.moved;
            all.away += moves.away;
            all.sessions += attending.listener.progress.resumed();
            // What is outstanding after this is what the verdict calls lost.
            if let Err(error) = attending.has_everything(patience).await {
                tracing::error!("{error:#}");
            }
            attending.leave().await?;
        }
        Ok(all)
    }
}

async fn roam(
    attending: Attending,
    servers: Vec<String>,
    mut random: SmallRng,
    stop: Arc<AtomicBool>,
) -> Result<(Attending, Moves)> {
    let mut moves = Moves::default();
    while !stop.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(random.random_range(500..6000))).await;
        if random.random_bool(0.7) {
            let server = &servers[random.random_range(0..servers.len())];
            attending.client.move_to(server.as_str()).await?;
            moves.moved += 1;
        } else {
            be_away(&attending.client, Duration::from_millis(random.random_range(100..3000))).await?;
            moves.away += 1;
        }
    }
    Ok((attending, moves))
}

async fn be_away(client: &Client, time: Duration) -> Result<()> {
    client.suspend().await?;
    sleep(time).await;
    client.resume().await?;
    Ok(())
}
