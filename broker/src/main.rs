use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use anyport_broker::advice;
use anyport_broker::cluster::Dismissal;
use anyport_broker::config::{Config, Fsync};
use anyport_broker::seating::Lost;
use anyport_broker::server::{self, Server, StartError};
use clap::Parser;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// How long a broker that starts anew waits for what it has just given up, and between two attempts.
const GIVEN_UP_TIMEOUT: Duration = Duration::from_secs(10);
const TRY_EVERY: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let config = Config::parse();
    let filter = EnvFilter::try_from_env("ANYPORT_LOG").unwrap_or_else(|_| {
        EnvFilter::new(
            "warn,anyport_broker=info,anyport_storage=info,anyportd=info,openraft=error,openraft::replication=off",
        )
    });
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour).with_filter(filter);
    let _traces = match Traces::begin(log) {
        Ok(traces) => traces,
        Err(error) => {
            eprintln!("anyportd: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    match run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", told(&error));
            if let Some(error) = error.downcast_ref::<StartError>() {
                tracing::error!("next: {}", advice::next(error));
            }
            ExitCode::FAILURE
        }
    }
}

/// Spans for a collector, as long as this lives and if somebody has asked for them: see docs/tracing.md.
struct Traces {
    #[cfg(feature = "otel")]
    _exporter: Option<anyport_broker::otel::Exporter>,
}

impl Traces {
    #[cfg(feature = "otel")]
    fn begin(log: impl Layer<Registry> + Send + Sync) -> anyhow::Result<Self> {
        let exporter = anyport_broker::otel::Exporter::from_env().context("export traces as OTEL_* say")?;
        let spans = exporter.as_ref().map(anyport_broker::otel::Exporter::layer);
        tracing_subscriber::registry().with(log).with(spans).init();
        Ok(Self { _exporter: exporter })
    }

    #[cfg(not(feature = "otel"))]
    fn begin(log: impl Layer<Registry> + Send + Sync) -> anyhow::Result<Self> {
        tracing_subscriber::registry().with(log).init();
        Ok(Self {})
    }
}

#[tokio::main]
async fn run(config: &Config) -> anyhow::Result<()> {
    let metrics = PrometheusBuilder::new().build_recorder();
    let handle = metrics.handle();
    metrics::set_global_recorder(metrics).context("install the metrics recorder")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;

    let mut server = server::start(config, handle.clone(), None).await?;
    loop {
        say_ready(config, &server)?;
        let anew = tokio::select! {
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
            poison = server.failed() => {
                // Nothing more is written, not even in good order: the store is as the failure left it.
                anyhow::bail!("the store failed, and what it has not synced cannot be trusted: {poison}");
            }
            dismissal = server.dismissed() => match dismissal {
                Dismissal::Drained => {
                    tracing::info!("this broker was drained, and has nothing left");
                    None
                }
                Dismissal::Removed => {
                    tracing::warn!("the cluster has given this broker up; it joins as new");
                    Some(Some(Lost::Removed))
                }
                Dismissal::Recovering => {
                    tracing::warn!("this broker goes on from its own copies of groups that have lost their majority");
                    Some(None)
                }
            },
        };
        tracing::info!("stopping");
        server.stop().await.context("close the store")?;
        let Some(lost) = anew else { return Ok(()) };
        server = start_anew(config, &handle, lost).await?;
    }
}

/// A socket is given back a moment after its last connection has ended, and the store when the last task that answered somebody has.
async fn start_anew(config: &Config, metrics: &PrometheusHandle, lost: Option<Lost>) -> Result<Server, StartError> {
    let deadline = Instant::now() + GIVEN_UP_TIMEOUT;
    loop {
        match server::start(config, metrics.clone(), lost.clone()).await {
            Err(error) if error.is_of_what_is_in_use() && Instant::now() < deadline => {
                tokio::time::sleep(TRY_EVERY).await;
            }
            outcome => return outcome,
        }
    }
}

/// The error and its causes, each once: most of our errors tell their cause themselves.
fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told {
        told if told.is_empty() => cause,
        told if told.contains(&cause) => told,
        told => format!("{told}: {cause}"),
    })
}

/// One line for whoever waits for it, then what to type next.
#[expect(clippy::print_stdout, reason = "the ready line is this program's output")]
fn say_ready(config: &Config, server: &Server) -> anyhow::Result<()> {
    let address = server.address().context("ask for the address")?;
    let durability = match config.fsync {
        Fsync::Always => "acked after fsync".to_owned(),
        Fsync::Interval(interval) => format!("RELAXED: synced every {} ms", interval.as_millis()),
    };
    let data = config.data.display();
    let http = server.http_url().map_or_else(String::new, |url| format!("; HTTP on {url}/events"));
    println!(
        "ready on {address}: {} partitions in {data}, {durability}{http}; admin on http://{}",
        server.partitions(),
        config.admin
    );
    if config.dev {
        println!("try   anyport sub --filter \"type = 'greeting'\"      and in another terminal");
        println!("      anyport pub --type greeting --source /me --data '{{\"hello\": \"world\"}}'");
    }
    Ok(())
}
