//! Brokers that are killed one after the other while producers publish at a steady rate and clients roam between them, by wish and
//! because their broker is gone. The oracle judges every client; how long acks paused at each kill is measured, and stands beside what
//! follows from the settings of the elections.

mod pauses;
mod producers;
mod roamers;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use tokio::time::{Instant, sleep};

use self::pauses::{AckTimes, Kill};
use self::producers::Producers;
use self::roamers::Roamers;
use crate::drive::Access;
use crate::oracle::Oracle;
use crate::runner::{ClusterOptions, ClusterProcesses};
use crate::workload::Seed;

/// After the last kill everything must have arrived within this.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// Some 45 seconds.
    Quick,
    /// Ten minutes.
    Full,
}

#[derive(Clone, Debug, Args)]
pub struct ChurnArguments {
    #[arg(long, value_enum, default_value_t = Preset::Quick)]
    pub preset: Preset,
    /// What the run is made from, as an earlier run has shown it [default: a new one].
    #[arg(long)]
    pub seed: Option<Seed>,
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
struct Size {
    duration: Duration,
    brokers: usize,
    producers: usize,
    /// Of all producers together, each second.
    events: f64,
    roamers: usize,
}

impl Preset {
    fn size(self) -> Size {
        let brokers = 3;
        match self {
            Self::Quick => Size { duration: Duration::from_secs(30), brokers, producers: 3, events: 300.0, roamers: 9 },
            Self::Full => {
                Size { duration: Duration::from_secs(600), brokers, producers: 3, events: 600.0, roamers: 30 }
            }
        }
    }
}

/// Whether the oracle found it clean.
pub async fn run(arguments: ChurnArguments) -> Result<bool> {
    let folder = tempfile::tempdir().context("make a folder for the brokers")?;
    let seed = arguments.seed.unwrap_or_else(|| Seed(rand::random()));
    run_in(folder.path(), arguments.preset, seed).await
}

pub async fn run_in(folder: &Path, preset: Preset, seed: Seed) -> Result<bool> {
    let size = preset.size();
    let mut cluster = ClusterProcesses::start(folder, ClusterOptions::of(size.brokers)).await?;
    let oracle = Arc::new(Oracle::new());
    let everything = oracle.filter(|_| true);
    let access = Access { servers: cluster.servers(), home: cluster.home(), oracle: Arc::clone(&oracle), everything };
    let filters = roamers::declare_filters(&oracle);
    say(&format!(
        "churn     {} brokers, {} producers with {} events/s in all, {} roaming clients, {} s; seed {seed}",
        size.brokers,
        size.producers,
        size.events,
        size.roamers,
        size.duration.as_secs()
    ));

    let roamers = Roamers::enter(&access, size.roamers, &filters, seed.part(1)).await?;
    let producers = Producers::begin(&access, size.producers, size.events, seed.part(2)).await?;
    let kills = kill_one_after_the_other(&mut cluster, &producers, size.duration, &mut seed.part(3).rng()).await?;
    let (report, acks) = producers.end().await?;
    let moves = roamers.leave(PATIENCE).await?;
    let log = access.log().await?;

    report_pauses(&acks, &kills);
    say(&format!(
        "roaming   {} moves by wish, {} absences, {} sessions in all",
        moves.moved, moves.away, moves.sessions
    ));
    let verdict = oracle.verdict();
    say("");
    say(verdict.to_string().trim_end());
    say("");
    let fates_known = report.unknown + report.refused == 0;
    let is_log_whole = log.is_dense_and_unique() && log.len() as u64 == report.acked;
    if !fates_known || !is_log_whole {
        say(&format!(
            "unknown {}, refused {}; acked {}, in the log {}",
            report.unknown,
            report.refused,
            report.acked,
            log.len()
        ));
    }
    let clean = verdict.is_clean() && fates_known && is_log_whole;
    say(if clean { "Nothing lost, nothing twice, everything in order." } else { "The oracle found defects." });
    Ok(clean)
}

/// The next one only after the last is back and has caught up, so that a majority is there at any moment.
async fn kill_one_after_the_other(
    cluster: &mut ClusterProcesses,
    producers: &Producers,
    duration: Duration,
    random: &mut SmallRng,
) -> Result<Vec<Kill>> {
    let begun = Instant::now();
    let mut kills = Vec::new();
    let mut order = Vec::new();
    while begun.elapsed() < duration {
        sleep(Duration::from_millis(random.random_range(1000..4000))).await;
        if order.is_empty() {
            order = cluster.present().collect();
            order.shuffle(random);
        }
        let victim: usize = order.pop().context("there are brokers")?;
        let address = cluster.broker(victim).address().to_string();
        let kill = Kill { at: std::time::Instant::now(), connected: producers.connected_to(&address) };
        cluster.broker_mut(victim).kill().await?;
        let killed = begun.elapsed();
        sleep(Duration::from_millis(random.random_range(500..3000))).await;
        let back = begun.elapsed();
        cluster.broker_mut(victim).start_again().await?;
        cluster.settle().await?;
        let caught_up = begun.elapsed();
        say(&format!(
            "{:>7.1} s  broker {victim} is killed, starts again {:.1} s later, and has caught up after {:.1} s more",
            killed.as_secs_f64(),
            (back - killed).as_secs_f64(),
            (caught_up - back).as_secs_f64()
        ));
        kills.push(kill);
    }
    Ok(kills)
}

fn report_pauses(acks: &AckTimes, kills: &[Kill]) {
    let pauses: Vec<_> = kills.iter().enumerate().map(|(nth, kill)| acks.pauses_at(kill, kills.get(nth + 1))).collect();
    let of = |choose: fn(&pauses::Pauses) -> Option<Duration>| pauses::Summary::of(pauses.iter().filter_map(choose));
    let (elsewhere, there) = (of(|pauses| pauses.elsewhere), of(|pauses| pauses.there));
    let [soonest, latest] = pauses::ELECTION.map(|time| time.as_secs_f64());
    let left = pauses::SILENCE.as_secs_f64();
    say(&format!("pauses    {} kills; of acks in the partition that paused longest:", kills.len()));
    say(&format!(
        "          at producers of other brokers  {elsewhere}; derived: a leader is elected after {soonest:.1} to {latest:.1} s"
    ));
    say(&format!(
        "          at those of the killed broker  {there}; derived: it is left after {left:.2} s of silence, if not elected sooner"
    ));
}

#[expect(clippy::print_stdout, reason = "the story and the figures are this program's output")]
fn say(line: &str) {
    println!("{line}");
}
