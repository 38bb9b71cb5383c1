//! One file of an outbox: events in the order they were published, and the producer whose numbers they have.
//!
//! ```text
//!   file   = record *
//!   record = body bytes u32 | xxh3 of kind and body u64 | kind u8 | body
//!   kind 0, begin    version u8 (1) | producer id 16 B           the first record, and only the first
//!   kind 1, events   framed event *
//!   kind 2, settled                                              everything before it is done with
//! ```
//! Integers are little-endian. An event's number is its place among the file's events of its partition, so it is the same in every
//! process, and a file of its own begins at 0.
//!
//! A process that is killed may leave its last record half written. Nothing of it was promised or sent: it is cut off. A record that is
//! damaged anywhere else was, and the file is refused.

use anyport_protocol::ProducerId;
use anyport_protocol::event::framed;
use bytes::{Buf, Bytes};
use xxhash_rust::xxh3::Xxh3;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 13;

const BEGIN: u8 = 0;
const EVENTS: u8 = 1;
const SETTLED: u8 = 2;

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) producer: ProducerId,
    pub(super) events: Vec<Bytes>,
    /// So many of the first events are done with.
    pub(super) settled: usize,
    /// At the end, of a record that was never finished.
    pub(super) torn_bytes: usize,
}

/// The file cannot be what was written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("damaged at byte {at}: {reason}")]
pub(super) struct Damaged {
    at: usize,
    reason: &'static str,
}

pub(super) fn push_begin(out: &mut Vec<u8>, producer: ProducerId) {
    push_record(out, BEGIN, |body| {
        body.push(VERSION);
        body.extend_from_slice(producer.as_bytes());
    });
}

pub(super) fn push_events<'a>(out: &mut Vec<u8>, events: impl Iterator<Item = &'a [u8]>) {
    push_record(out, EVENTS, |body| events.for_each(|event| framed::push(body, event)));
}

pub(super) fn push_settled(out: &mut Vec<u8>) {
    push_record(out, SETTLED, |_| ());
}

fn push_record(out: &mut Vec<u8>, kind: u8, write_body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    write_body(out);
    let body_bytes = u32::try_from(out.len() - start - HEADER_BYTES).expect("a record is bounded far below 4 GiB");
    let sum = checksum(kind, &out[start + HEADER_BYTES..]);
    out[start..start + 4].copy_from_slice(&body_bytes.to_le_bytes());
    out[start + 4..start + 12].copy_from_slice(&sum.to_le_bytes());
    out[start + 12] = kind;
}

fn checksum(kind: u8, body: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&[kind]);
    hash.update(body);
    hash.digest()
}

/// None if nothing in it was ever finished.
pub(super) fn parse(file: &Bytes) -> Result<Option<Content>, Damaged> {
    let mut rest = file.clone();
    let mut content: Option<Content> = None;
    loop {
        let at = file.len() - rest.len();
        let damaged = |reason| Damaged { at, reason };
        let Some((kind, mut body)) = next_record(&mut rest).map_err(damaged)? else {
            return Ok(content.map(|content| Content { torn_bytes: rest.len(), ..content }));
        };
        match (kind, &mut content) {
            (BEGIN, None) => {
                let (VERSION, 17) = (body.first().copied().unwrap_or_default(), body.len()) else {
                    return Err(damaged("a version that is not known here"));
                };
                body.advance(1);
                let producer = ProducerId(body[..].try_into().expect("16 bytes, as was checked"));
                content = Some(Content { producer, events: Vec::new(), settled: 0, torn_bytes: 0 });
            }
            (EVENTS, Some(content)) => {
                for event in framed::iter(&body) {
                    content.events.push(body.slice_ref(event.map_err(|_| damaged("events that are cut short"))?));
                }
            }
            (SETTLED, Some(content)) => content.settled = content.events.len(),
            _ => return Err(damaged("a record that does not belong there")),
        }
    }
}

/// The next record's kind and body, if there is a whole one; what was never finished stays in `rest`.
fn next_record(rest: &mut Bytes) -> Result<Option<(u8, Bytes)>, &'static str> {
    let Some(header) = rest.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    // A system that goes down may have made room for what it had not written yet; no record begins like that.
    if header.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let (mut sizes, kind) = (&header[..12], header[12]);
    let (body_bytes, sum) = (sizes.get_u32_le() as usize, sizes.get_u64_le());
    let end = HEADER_BYTES + body_bytes;
    if rest.len() < end {
        return Ok(None);
    }
    let body = rest.slice(HEADER_BYTES..end);
    if checksum(kind, &body) != sum {
        return if rest.len() == end { Ok(None) } else { Err("its checksum does not match") };
    }
    rest.advance(end);
    Ok(Some((kind, body)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PRODUCER: ProducerId = ProducerId([7; 16]);

    fn file(groups: &[&[&str]]) -> Vec<u8> {
        let mut out = Vec::new();
        push_begin(&mut out, PRODUCER);
        groups.iter().for_each(|events| push_events(&mut out, events.iter().map(|event| event.as_bytes())));
        out
    }

    fn parsed(bytes: &[u8]) -> Content {
        parse(&Bytes::copy_from_slice(bytes)).expect("sound").expect("begun")
    }

    fn texts(content: &Content) -> Vec<&str> {
        content.events.iter().map(|event| std::str::from_utf8(event).expect("text")).collect()
    }

    #[test]
    fn a_file_is_kept_as_in_the_golden_one() {
        let mut bytes = file(&[&["one", "two"], &["three"]]);
        push_settled(&mut bytes);
        push_events(&mut bytes, std::iter::once(&b"four"[..]));
        let golden = include_bytes!("../../tests/golden/outbox.events");
        assert_eq!(bytes, golden);
        let content = parsed(golden);
        assert_eq!((content.producer, content.settled, content.torn_bytes), (PRODUCER, 3, 0));
        assert_eq!(texts(&content), ["one", "two", "three", "four"]);
    }

    #[test]
    fn what_was_never_finished_is_cut_off_wherever_it_ends() {
        let whole = file(&[&["one"]]);
        let longer = file(&[&["one"], &["two", "three"]]);
        for end in whole.len()..longer.len() {
            let content = parsed(&longer[..end]);
            assert_eq!((texts(&content), content.torn_bytes), (vec!["one"], end - whole.len()));
        }
        let room_made = [&whole[..], &[0; 100]].concat();
        assert_eq!(parsed(&room_made).torn_bytes, 100);
        let mut last_garbled = longer;
        *last_garbled.last_mut().expect("not empty") ^= 1;
        assert_eq!(texts(&parsed(&last_garbled)), ["one"]);
    }

    #[test]
    fn a_file_that_was_just_made_is_no_file() {
        let begun = file(&[]);
        assert!((0..begun.len()).all(|end| parse(&Bytes::copy_from_slice(&begun[..end])) == Ok(None)));
        assert_eq!(texts(&parsed(&begun)), [""; 0]);
    }

    #[test]
    fn damage_before_the_end_is_refused_and_named() {
        let first = file(&[&["one"]]).len();
        let mut bytes = file(&[&["one"], &["two"]]);
        bytes[first - 1] ^= 1;
        let refused = parse(&Bytes::from(bytes)).expect_err("damaged");
        assert_eq!(refused.to_string(), format!("damaged at byte {}: its checksum does not match", file(&[]).len()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, sound in any::<bool>()) {
            let start = if sound { file(&[&["one"]]) } else { Vec::new() };
            let _ = parse(&Bytes::from([start, bytes].concat()));
        }
    }
}
