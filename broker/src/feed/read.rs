//! One catch-up read: a chunk of the log, through the filter, into frames.

use anyport_protocol::event::EncodedEvent;
use anyport_protocol::filter::Filter;
use anyport_protocol::message::feed::{DeliveryWriter, FeedId, push_gap};
use anyport_protocol::{Offset, OffsetRange};
use anyport_storage::{PartitionReader, ReadError};

/// Bytes of events at which a frame is closed. A client takes whole frames: on a slow line a large one looks like a hole that does not
/// fill, and until it is through nothing of a higher priority is either.
const FRAME_BYTES_TARGET: usize = 32 << 10;

/// Frames ready to be sent.
#[derive(Debug, Default)]
pub struct Frames {
    pub bytes: Vec<u8>,
    /// How much of the client's credit they take.
    pub credit_bytes: u64,
    pub events: u64,
}

/// What a read found: the range it covered (empty at the tail) and what is to be sent for it.
#[derive(Debug)]
pub struct Caught {
    pub covers: OffsetRange,
    pub frames: Frames,
}

/// Reads from `from` on, at most about `bytes_max` bytes of the log. Blocks.
pub fn catch_up(
    reader: &PartitionReader,
    feed: FeedId,
    filter: &Filter,
    from: Offset,
    bytes_max: usize,
) -> Result<Caught, ReadError> {
    if from >= reader.bounds().tail {
        return Ok(Caught { covers: OffsetRange::new(from, from), frames: Frames::default() });
    }
    match reader.read(from, bytes_max) {
        Ok(chunk) => {
            let mut frames = Frames { bytes: Vec::with_capacity(chunk.bytes()), ..Frames::default() };
            let matching = chunk.events().filter(|(_, event)| passes(filter, event));
            write_frames(&mut frames, feed, chunk.range, matching);
            Ok(Caught { covers: chunk.range, frames })
        }
        Err(ReadError::Trimmed { head }) => {
            let covers = OffsetRange::new(from, head);
            let mut frames = Frames::default();
            push_gap(&mut frames.bytes, feed, covers);
            metrics::counter!("anyport_feed_gaps_total").increment(1);
            Ok(Caught { covers, frames })
        }
        Err(damaged) => Err(damaged),
    }
}

/// Writes one frame, or more where one would grow past the target: each ends where the next begins.
pub fn write_frames<B: AsRef<[u8]>>(
    frames: &mut Frames,
    feed: FeedId,
    covers: OffsetRange,
    events: impl Iterator<Item = (Offset, B)>,
) {
    let mut bytes = std::mem::take(&mut frames.bytes);
    let mut writer = DeliveryWriter::begin(&mut bytes, feed, covers.start);
    for (offset, event) in events {
        let event = event.as_ref();
        if writer.count() > 0 && writer.body_bytes() + event.len() > FRAME_BYTES_TARGET {
            frames.credit_bytes += writer.finish(offset);
            writer = DeliveryWriter::begin(&mut bytes, feed, offset);
        }
        writer.push(offset, event);
        frames.events += 1;
    }
    frames.credit_bytes += writer.finish(covers.end);
    frames.bytes = bytes;
}

fn passes(filter: &Filter, event: &[u8]) -> bool {
    // Everything stored was checked when it was published, and each record has a checksum.
    filter.is_always() || EncodedEvent::check(event).is_ok_and(|event| filter.passes(&event))
}
