use std::process::ExitCode;

use anyport_loadtest::bench::{self, BenchArguments};
use anyport_loadtest::churn::{self, ChurnArguments};
use anyport_loadtest::fault_proxy::console::{self, ProxyArguments};
use anyport_loadtest::herd::{self, HerdArguments};
use clap::{Parser, Subcommand};

/// Drives, measures and checks Anyport with real processes on this machine's loopback.
#[derive(Debug, Parser)]
#[command(
    name = "loadtest",
    version,
    after_help = "Exit codes: 0 clean, 1 failed or the oracle found defects, 2 wrong usage."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The main job with real events, in under a minute: leave, lose one of three brokers, come back to exactly what was missed.
    Demo,
    /// A load, judged by the oracle.
    #[command(subcommand)]
    Run(Load),
    /// The figures, each beside a bare limit of this machine.
    Bench(BenchArguments),
    /// A bad network in a box, for tests in other languages: a UDP proxy that is told on stdin what to do.
    Proxy(ProxyArguments),
}

#[derive(Debug, Subcommand)]
enum Load {
    /// Three brokers, killed one after the other while clients roam between them.
    Churn(ChurnArguments),
    /// A hundred thousand clients on virtual time: brokers and zones are lost, restarted and added, and all must find a place fast.
    Herd(HerdArguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(std::io::stderr).init();
    let clean = match Arguments::parse().command {
        Command::Demo => anyport_loadtest::demo::run().await,
        Command::Run(Load::Churn(arguments)) => churn::run(arguments).await,
        Command::Run(Load::Herd(arguments)) => herd::run(&arguments),
        Command::Bench(arguments) => bench::run(arguments).await.map(|()| true),
        Command::Proxy(arguments) => console::run(arguments).await.map(|()| true),
    };
    match clean {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
