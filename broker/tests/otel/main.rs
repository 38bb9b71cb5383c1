//! A collector on loopback sees what became of a batch, phase by phase.
//!
//! `cargo test --features anyport-broker/otel --test otel`

mod collector;
#[path = "../raft/support.rs"]
#[allow(dead_code, reason = "a part of it is enough here")]
mod support;

use anyport_broker::otel::Exporter;
use anyport_protocol::message::publish::Published;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use collector::{Collector, Span};
use support::{PRODUCER, TestGroups, batch, options, stored_at};

/// In the order in which a batch that is stored goes through them.
const PHASES: [&str; 4] = ["wait", "sequence", "commit", "answer"];

#[test]
fn a_batch_is_told_with_its_phases_from_arrival_to_answer() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let collector = runtime.block_on(Collector::start()).expect("a collector on loopback");
    let exporter = SpanExporter::builder().with_http().with_endpoint(collector.url()).build().expect("an exporter");
    let exporter = Exporter::start(exporter);
    tracing_subscriber::registry().with(exporter.layer()).init();

    runtime.block_on(async {
        let broker = TestGroups::start(options()).await;
        let partition = broker.partition();
        assert_eq!(partition.publish(batch(PRODUCER, 0, 3, "t")).await, stored_at(0));
        let refused = partition.publish(batch(PRODUCER, 9, 1, "t")).await;
        assert!(matches!(refused, Published::Refused(_)), "a hole in the numbers: {refused:?}");
        drop(partition);
        broker.groups.shutdown().await;
    });
    drop(exporter);

    let spans = collector.spans();
    let batches: Vec<_> = spans.iter().filter(|span| span.name == "publish batch").collect();
    let [stored, refused] = batches[..] else { panic!("{} batches in {spans:?}", batches.len()) };
    assert_ne!(stored.trace, refused.trace, "each is sampled on its own");
    for (told, value) in [("outcome", "stored"), ("events", "3"), ("offset", "0"), ("partition", "0")] {
        assert_eq!(stored.attributes.get(told).map(String::as_str), Some(value), "{stored:?}");
    }
    assert_eq!(refused.attributes["outcome"], "OutOfSequence");

    let phases = phases(stored, &spans);
    assert_eq!(phases.iter().map(|phase| phase.name.as_str()).collect::<Vec<_>>(), PHASES);
    assert!(phases.iter().all(|phase| phase.trace == stored.trace && stored.start <= phase.start));
    assert!(phases.iter().all(|phase| phase.start <= phase.end && phase.end <= stored.end), "{phases:?}");
    assert!(phases.windows(2).all(|pair| pair[0].end >= pair[1].start), "no time between two phases: {phases:?}");
}

/// In the order in which they began.
fn phases<'a>(batch: &Span, spans: &'a [Span]) -> Vec<&'a Span> {
    let mut phases: Vec<_> = spans.iter().filter(|span| span.parent == batch.id).collect();
    phases.sort_by_key(|phase| phase.start);
    phases
}
