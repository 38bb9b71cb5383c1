//! A fleet of clients and what becomes of it when brokers go and come: does everybody find a place as fast as brokers let them in, and nobody
//! run in circles?
//!
//! Nothing here is a process or a socket. A hundred thousand directors of the SDK, one each, play against modelled brokers ([`broker`],
//! [`admission`], [`hand_over`]) on virtual time ([`world`], [`queue`]); a story ([`scenario`]) is told in seconds, and told the same from
//! the same seed. What it proves is about the director's choices and the brokers' answers to a crowd; it says nothing of how fast a broker is.
//! The queue of places that modelled brokers keep ([`admission`]) is what brokers are to have; `anyportd` has none yet.

pub mod admission;
pub mod broker;
pub mod cause;
mod hand_over;
mod interventions;
mod network;
mod picture;
pub mod queue;
pub mod report;
pub mod scenario;
#[cfg(test)]
mod stories;
pub mod world;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;

use crate::workload::Seed;
use report::Report;
use scenario::Scenario;
use world::Size;

/// What all stories are held against.
pub const TIMES_FLOOR_MAX: f64 = 1.3;
pub const SPREAD_MAX: f64 = 1.15;

#[derive(Clone, Debug, Args)]
pub struct HerdArguments {
    #[arg(long, default_value_t = 100_000)]
    pub clients: u32,
    #[arg(long, default_value_t = 50)]
    pub brokers: usize,
    /// What the run is made from, as an earlier run has shown it [default: a new one].
    #[arg(long)]
    pub seed: Option<Seed>,
    /// The figures as JSON.
    #[arg(long)]
    pub json: bool,
    /// Draw a picture: how many clients are served, time after time.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// Whether every story met its aims.
pub fn run(arguments: &HerdArguments) -> Result<bool> {
    let seed = arguments.seed.unwrap_or_else(|| Seed(rand::random()));
    let size = Size { clients: arguments.clients, brokers: arguments.brokers, seed };
    ensure!(size.brokers > 3, "a zone may be lost only where there are others: at least 4 brokers");
    ensure!(u64::from(size.clients) >= size.brokers as u64, "at least one client for each broker");
    if !arguments.json {
        say(&format!("herd: {} clients, {} brokers; seed {seed}\n", size.clients, size.brokers));
        say(Report::TITLE);
    }
    let mut reports = Vec::new();
    for scenario in Scenario::ALL {
        let report = scenario.run(size);
        if !arguments.json {
            say(&report.line());
        }
        reports.push(report);
    }
    if let Some(file) = &arguments.svg {
        std::fs::write(file, picture::draw(&reports)).with_context(|| format!("write {}", file.display()))?;
    }
    let misses: Vec<String> = reports.iter().flat_map(misses).collect();
    if arguments.json {
        let stories: Vec<_> = reports.iter().map(Report::json).collect();
        let run = json!({ "clients": size.clients, "brokers": size.brokers, "seed": seed.to_string() });
        say(&json!({ "run": run, "stories": stories, "misses": misses }).to_string());
    } else {
        say("");
        misses.iter().for_each(|miss| say(miss));
        say(if misses.is_empty() { "All aims are met." } else { "Not all aims are met." });
    }
    Ok(misses.is_empty())
}

/// In words, what falls short of the aims.
pub fn misses(report: &Report) -> Vec<String> {
    let name = report.scenario.name();
    let found = [
        (!report.is_everybody_served, "somebody is not served".to_owned()),
        (report.times_floor() > TIMES_FLOOR_MAX, format!("takes {:.2} times its floor", report.times_floor())),
        (report.spread > SPREAD_MAX, format!("leaves one broker {:.2} times the mean", report.spread)),
        (report.moved_twice > 0, format!("moves {} clients twice for one cause", report.moved_twice)),
    ];
    found.into_iter().filter(|(is_so, _)| *is_so).map(|(_, what)| format!("{name}: {what}")).collect()
}

#[expect(clippy::print_stdout, reason = "the figures are this program's output")]
fn say(line: &str) {
    println!("{line}");
}
