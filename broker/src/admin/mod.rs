//! The admin port: plain HTTP for machines that watch, on loopback unless configured otherwise.
//!
//! `/healthz`: the process runs and its store takes writes. `/readyz`: clients are accepted, and of a broker alone every group is led
//! and every partition takes batches; of one of many it makes progress and no replica has died here, whoever leads elsewhere.
//! `/metrics`: Prometheus text. No metric has a label per client or subscription.

pub mod cluster;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Histograms grow until this is done; the exporter's own listener, which would do it, is not used.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// There from the start, at zero: whoever watches them sees the first step of each, which for most is the one that matters.
const COUNTERS: [&str; 14] = [
    "anyport_stored_events_total",
    "anyport_void_entries_total",
    "anyport_live_events_total",
    "anyport_replayed_events_total",
    "anyport_feed_gaps_total",
    "anyport_trims_total",
    "anyport_http_connections_refused_total",
    "anyport_clients_handed_over_total",
    "anyport_connections_refused_total",
    "anyport_addresses_validated_total",
    "anyport_sessions_opened_total",
    "anyport_clients_registered_total",
    "anyport_expired_subscriptions_total",
    "anyport_dead_groups_total",
];

/// Once, before anything is counted.
pub fn begin_counters() {
    for name in COUNTERS {
        metrics::counter!(name).increment(0);
    }
}

/// Says whether all is well, or what is not.
pub type Probe = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

#[derive(Clone)]
pub struct Admin {
    pub metrics: PrometheusHandle,
    pub healthy: Probe,
    pub ready: Probe,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// Binds the port, so that an address in use is reported before anything else starts.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until cancelled.
pub async fn serve(admin: Admin, listener: TcpListener, stop: CancellationToken) {
    let metrics = admin.metrics.clone();
    let upkeep = async {
        loop {
            tokio::time::sleep(METRICS_UPKEEP).await;
            metrics.run_upkeep();
        }
    };
    let routes = Router::new()
        .route("/metrics", get(|State(admin): State<Admin>| async move { admin.metrics.render() }))
        .route("/healthz", get(|State(admin): State<Admin>| async move { answer((admin.healthy)()) }))
        .route("/readyz", get(|State(admin): State<Admin>| async move { answer((admin.ready)()) }))
        .with_state(admin);
    let server = axum::serve(listener, routes).with_graceful_shutdown(stop.clone().cancelled_owned());
    tokio::select! {
        served = server => if let Err(error) = served { tracing::error!(%error, "serve the admin port") },
        () = upkeep => {}
        () = stop.cancelled() => {}
    }
}

fn answer(probe: Result<(), String>) -> (StatusCode, String) {
    match probe {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}
