//! The life of a published batch as a span with phases, for traces (feature `otel`). A span for each event would cost more than the
//! event. Without the feature these types are empty, and nothing is done.
//!
//! ```text
//!   publish batch  |--------------------------------------------------|
//!     wait         |--|                                                 until the partition's task takes it
//!     sequence        |----------|                                      until the entry it has its offsets in is proposed
//!     commit                     |----------------------|               until that entry is synced and applied
//!     answer                                            |-------------|  until whoever published it has the outcome
//! ```

use anyport_protocol::PartitionId;
use anyport_protocol::message::publish::Published;
#[cfg(feature = "otel")]
use tracing::field::Empty;

/// OpenTelemetry has signed numbers alone: an unsigned one would become a text.
pub(crate) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Travels with whoever waits for the batch. Dropped, it ends.
#[cfg(feature = "otel")]
#[derive(Debug)]
pub(crate) struct BatchSpan {
    batch: tracing::Span,
    /// The phase that has begun last.
    phase: tracing::Span,
}

#[cfg(feature = "otel")]
impl BatchSpan {
    /// A trace of its own, so that a sampler decides for each batch; it is linked to the connection's.
    pub(crate) fn received(partition: PartitionId, events: u32, bytes: usize) -> Self {
        let (partition, events, bytes) = (i64::from(partition.0), i64::from(events), number(bytes as u64));
        let batch = tracing::debug_span!(
            parent: None, "publish batch", partition, events, bytes, outcome = Empty, offset = Empty
        );
        batch.follows_from(tracing::Span::current());
        let phase = tracing::debug_span!(parent: &batch, "wait");
        Self { batch, phase }
    }

    pub(crate) fn taken(&mut self) {
        self.phase = tracing::debug_span!(parent: &self.batch, "sequence");
    }

    pub(crate) fn proposed(&mut self) {
        self.phase = tracing::debug_span!(parent: &self.batch, "commit");
    }

    pub(crate) fn decided(&mut self, published: &Published) {
        let (outcome, offset) = match published {
            Published::Stored { first } => ("stored", Some(*first)),
            Published::AlreadyStored { first } => ("already stored", *first),
            Published::Refused(fault) => (fault.code().map_or("refused", |code| code.name()), None),
        };
        self.batch.record("outcome", outcome);
        if let Some(offset) = offset {
            self.batch.record("offset", number(offset.0));
        }
        self.phase = tracing::debug_span!(parent: &self.batch, "answer");
    }
}

#[cfg(not(feature = "otel"))]
#[derive(Debug)]
pub(crate) struct BatchSpan;

#[cfg(not(feature = "otel"))]
impl BatchSpan {
    pub(crate) fn received(_: PartitionId, _: u32, _: usize) -> Self {
        Self
    }

    pub(crate) fn taken(&mut self) {}

    pub(crate) fn decided(&mut self, _: &Published) {}
}
