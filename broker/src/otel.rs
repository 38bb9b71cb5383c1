//! Traces by OTLP over HTTP (feature `otel`), configured by the standard variables of OpenTelemetry alone: docs/tracing.md.
//!
//! Spans are those of `tracing` in this crate. They are exported by a thread of the SDK, in batches, from a queue of bounded length:
//! a collector that is slow or gone costs spans and delays nothing.

use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;

/// For what has not been exported yet when the broker ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Exports spans until it is dropped.
#[derive(Debug)]
pub struct Exporter(SdkTracerProvider);

impl Exporter {
    /// None if no endpoint is named, or OTEL_SDK_DISABLED is true. Starts a thread, and must be called outside the runtime: the client
    /// that it makes blocks.
    pub fn from_env() -> Result<Option<Self>, ExporterBuildError> {
        let named = |variable| std::env::var(variable).is_ok_and(|value| !value.is_empty());
        let endpoints = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
        let is_disabled = std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
        if is_disabled || !endpoints.into_iter().any(named) {
            return Ok(None);
        }
        SpanExporter::builder().with_http().build().map(|exporter| Some(Self::start(exporter)))
    }

    pub fn start(exporter: SpanExporter) -> Self {
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("anyportd");
        }
        let provider = SdkTracerProvider::builder().with_resource(resource.build()).with_batch_exporter(exporter);
        Self(provider.build())
    }

    /// What hands this crate's spans to the exporter. Events are not for it: the log has them.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        let tracer = self.0.tracer("anyportd");
        let layer = tracing_opentelemetry::layer().with_tracer(tracer).with_target(false).with_location(false);
        let layer = layer.with_threads(false).with_tracked_inactivity(false);
        let ours = filter_fn(|metadata| metadata.is_span() && metadata.target().starts_with("anyport_broker"));
        layer.with_filter(ours.with_max_level_hint(LevelFilter::DEBUG))
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH_TIMEOUT) {
            tracing::warn!(%error, "export the last spans");
        }
    }
}
