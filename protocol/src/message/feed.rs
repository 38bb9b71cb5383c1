//! The feed streams: what the broker says about a range of offsets.
//!
//! Every frame names subscription incarnation, partition and the half-open range it *covers*; frames of one feed form a chain,
//! each beginning where the last ended. So a client takes a frame only at its position, and streams may be reset and raced.
//!
//! ```text
//!   every frame | incarnation u64 | partition u16 | 0 u16 | count u32 | start u64 | end u64 | ...
//!   Delivery    | ... count x (offset - start u32 | length u32 | event)
//!   Gap         | count = 0: the log no longer has [start, end)
//!   Omitted     | count events of [start, end) were left out by an option the client chose
//! ```
//! A Delivery without events is progress alone.

use bytes::{Buf, Bytes};

use super::{DecodeError, push_frame};
use crate::{Incarnation, Offset, OffsetRange, PartitionId};

pub const DELIVERY: u16 = 210;
pub const GAP: u16 = 211;
pub const OMITTED: u16 = 212;

pub const FEED_HEADER_BYTES: usize = 32;
const EVENT_HEADER_BYTES: usize = 8;

/// Which feed a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeedId {
    pub incarnation: Incarnation,
    pub partition: PartitionId,
}

/// One frame of a feed, as a client reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedFrame {
    pub feed: FeedId,
    pub covers: OffsetRange,
    pub content: FeedContent,
}

#[derive(Clone, Debug, PartialEq)]
pub enum FeedContent {
    /// The matching events of the range, in order of offset.
    Events(Vec<(Offset, Bytes)>),
    Gap,
    Omitted {
        count: u32,
    },
}

/// Writes one frame into `out`, event by event, copying bytes and re-encoding nothing.
#[derive(Debug)]
pub struct DeliveryWriter<'a> {
    out: &'a mut Vec<u8>,
    frame_start: usize,
    covers_start: Offset,
    count: u32,
}

impl<'a> DeliveryWriter<'a> {
    pub fn begin(out: &'a mut Vec<u8>, feed: FeedId, start: Offset) -> Self {
        let frame_start = out.len();
        push_frame(out, DELIVERY, 0, |body| push_feed_header(body, feed, 0, OffsetRange::new(start, start)));
        Self { out, frame_start, covers_start: start, count: 0 }
    }

    pub fn push(&mut self, offset: Offset, event: &[u8]) {
        let delta =
            u32::try_from(offset.0 - self.covers_start.0).expect("a frame covers what one read or one entry covers");
        let length = u32::try_from(event.len()).expect("events are bounded by EVENT_BYTES_MAX");
        self.out.extend_from_slice(&delta.to_le_bytes());
        self.out.extend_from_slice(&length.to_le_bytes());
        self.out.extend_from_slice(event);
        self.count += 1;
    }

    pub fn body_bytes(&self) -> usize {
        self.out.len() - self.frame_start - super::HEADER_BYTES
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// Closes the frame as covering up to `end`; returns how many bytes of events it holds.
    pub fn finish(self, end: Offset) -> u64 {
        assert!(self.covers_start <= end, "a frame covers a range");
        let body = self.frame_start + super::HEADER_BYTES;
        let body_bytes = u32::try_from(self.out.len() - body).expect("frames are bounded by FRAME_BYTES_MAX");
        self.out[self.frame_start..self.frame_start + 4].copy_from_slice(&body_bytes.to_le_bytes());
        self.out[body + 12..body + 16].copy_from_slice(&self.count.to_le_bytes());
        self.out[body + 24..body + 32].copy_from_slice(&end.0.to_le_bytes());
        u64::from(body_bytes) - FEED_HEADER_BYTES as u64
    }
}

/// Says that the log no longer has a range.
pub fn push_gap(out: &mut Vec<u8>, feed: FeedId, range: OffsetRange) {
    push_frame(out, GAP, 0, |body| push_feed_header(body, feed, 0, range));
}

/// Says that `count` events of a range were left out by an option the client chose.
pub fn push_omitted(out: &mut Vec<u8>, feed: FeedId, range: OffsetRange, count: u32) {
    push_frame(out, OMITTED, 0, |body| push_feed_header(body, feed, count, range));
}

fn push_feed_header(body: &mut Vec<u8>, feed: FeedId, count: u32, range: OffsetRange) {
    body.extend_from_slice(&feed.incarnation.0.to_le_bytes());
    body.extend_from_slice(&feed.partition.0.to_le_bytes());
    body.extend_from_slice(&[0, 0]);
    body.extend_from_slice(&count.to_le_bytes());
    body.extend_from_slice(&range.start.0.to_le_bytes());
    body.extend_from_slice(&range.end.0.to_le_bytes());
}

impl FeedFrame {
    /// Takes a body apart; the events are slices of it.
    pub fn decode(message_type: u16, mut body: Bytes) -> Result<Self, DecodeError> {
        if body.len() < FEED_HEADER_BYTES {
            return Err(DecodeError::Layout("a feed frame is shorter than its header"));
        }
        let incarnation = Incarnation(body.get_u64_le());
        let partition = PartitionId(body.get_u16_le());
        body.advance(2);
        let count = body.get_u32_le();
        let (start, end) = (Offset(body.get_u64_le()), Offset(body.get_u64_le()));
        if start > end {
            return Err(DecodeError::Layout("a feed frame's range ends before its start"));
        }
        let covers = OffsetRange::new(start, end);
        let content = match message_type {
            DELIVERY => FeedContent::Events(decode_events(body, count, covers)?),
            GAP => FeedContent::Gap,
            OMITTED => FeedContent::Omitted { count },
            unknown => return Err(DecodeError::UnknownType(unknown)),
        };
        Ok(Self { feed: FeedId { incarnation, partition }, covers, content })
    }
}

fn decode_events(mut body: Bytes, count: u32, covers: OffsetRange) -> Result<Vec<(Offset, Bytes)>, DecodeError> {
    // A forged count cannot make us allocate more than the body could hold.
    let mut events = Vec::with_capacity((count as usize).min(body.len() / EVENT_HEADER_BYTES));
    let mut least = covers.start.0;
    for _ in 0..count {
        if body.len() < EVENT_HEADER_BYTES {
            return Err(DecodeError::Layout("a delivery ends within an event's header"));
        }
        let delta = body.get_u32_le();
        let length = body.get_u32_le() as usize;
        if length > body.len() {
            return Err(DecodeError::Layout("a delivery ends within an event"));
        }
        let offset =
            covers.start.0.checked_add(u64::from(delta)).filter(|offset| (least..covers.end.0).contains(offset));
        let Some(offset) = offset else {
            return Err(DecodeError::Layout("a delivery's events are not in ascending order within its range"));
        };
        least = offset + 1;
        events.push((Offset(offset), body.split_to(length)));
    }
    if body.is_empty() { Ok(events) } else { Err(DecodeError::Layout("a delivery has bytes after its last event")) }
}

#[cfg(test)]
mod tests {
    use super::super::HEADER_BYTES;
    use super::*;

    const FEED: FeedId = FeedId { incarnation: Incarnation(5), partition: PartitionId(2) };

    fn body(frame: &[u8]) -> Bytes {
        Bytes::copy_from_slice(&frame[HEADER_BYTES..])
    }

    #[test]
    fn a_delivery_survives_the_wire() {
        let mut out = Vec::new();
        let mut writer = DeliveryWriter::begin(&mut out, FEED, Offset(100));
        writer.push(Offset(103), b"three");
        writer.push(Offset(109), b"");
        assert_eq!(writer.finish(Offset(110)), 8 + 5 + 8);
        let frame = FeedFrame::decode(DELIVERY, body(&out)).expect("decode");
        let events = vec![(Offset(103), Bytes::from_static(b"three")), (Offset(109), Bytes::new())];
        let covers = OffsetRange::new(Offset(100), Offset(110));
        assert_eq!(frame, FeedFrame { feed: FEED, covers, content: FeedContent::Events(events) });
    }

    #[test]
    fn a_gap_and_an_omission_say_their_range() {
        let range = OffsetRange::new(Offset(1), Offset(9));
        let mut out = Vec::new();
        push_gap(&mut out, FEED, range);
        let frame = FeedFrame::decode(GAP, body(&out)).expect("decode");
        assert_eq!(frame, FeedFrame { feed: FEED, covers: range, content: FeedContent::Gap });
        out.clear();
        push_omitted(&mut out, FEED, range, 3);
        let frame = FeedFrame::decode(OMITTED, body(&out)).expect("decode");
        assert_eq!(frame.content, FeedContent::Omitted { count: 3 });
    }

    #[test]
    fn events_outside_the_range_or_out_of_order_are_refused() {
        for offsets in [[3, 3], [4, 3], [3, 12]] {
            let mut out = Vec::new();
            let mut writer = DeliveryWriter::begin(&mut out, FEED, Offset(0));
            for offset in offsets {
                writer.push(Offset(offset), b"x");
            }
            writer.finish(Offset(10));
            assert!(FeedFrame::decode(DELIVERY, body(&out)).is_err(), "{offsets:?}");
        }
    }

    #[test]
    fn truncated_deliveries_are_errors_and_no_panics() {
        let mut out = Vec::new();
        let mut writer = DeliveryWriter::begin(&mut out, FEED, Offset(0));
        writer.push(Offset(1), b"abc");
        writer.finish(Offset(10));
        let whole = body(&out);
        for length in 0..whole.len() {
            assert!(FeedFrame::decode(DELIVERY, whole.slice(..length)).is_err());
        }
    }
}
