//! docs/protocol.md says what the code does: its tables are written from the code, its drawings are those of the sources, and its
//! bytes are the code's own. To write the tables anew: `ANYPORT_WRITE_DOCS=1 cargo test --test protocol_page`.

mod events;
mod msgpack;
mod page;
mod samples;
mod shape;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyport_protocol::event::EncodedEvent;
use anyport_protocol::message::feed::FeedFrame;
use anyport_protocol::message::publish::{BATCH, PUBLISHED, PublishBatch, Published};
use anyport_protocol::message::{FrameBuffer, ToBroker, ToClient};

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md")
}

fn written() -> String {
    std::fs::read_to_string(path()).expect("read the page")
}

#[test]
fn the_page_says_what_the_code_says() {
    let written = written();
    let page = page::render(&written);
    if std::env::var_os("ANYPORT_WRITE_DOCS").is_some() {
        std::fs::write(path(), &page).expect("write the page");
    } else {
        let differs = written.lines().zip(page.lines()).find(|(written, code)| written != code);
        assert!(
            written == page,
            "docs/protocol.md is not what the code says: {differs:?}; see there how to write it anew"
        );
    }
    let unsaid = page.lines().find(|line| line.ends_with(&format!("| {} |", page::UNSAID)));
    assert_eq!(unsaid, None, "somebody has to say what this means");
}

#[test]
fn every_message_and_every_part_stands_on_the_page_once() {
    let page = written();
    let types = ToBroker::TYPES.iter().chain(ToClient::TYPES).map(|(_, name)| *name);
    let sampled: Vec<_> = samples::messages().iter().map(|sample| sample.name).collect();
    assert_eq!(sampled, types.collect::<Vec<_>>());
    let forms: BTreeSet<_> = samples::forms().iter().map(|sample| sample.name).collect();
    let parts: BTreeSet<_> = samples::parts().iter().map(|sample| sample.name).collect();
    let with_fields = sampled.iter().copied().chain(parts.difference(&forms).copied());
    assert_eq!(once_each(page::names_after(&page, "fields")), with_fields.collect());
    assert_eq!(once_each(page::names_after(&page, "forms")), forms);
}

fn once_each<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let mut each = BTreeSet::new();
    names.for_each(|name| assert!(each.insert(name), "{name} stands there twice"));
    each
}

#[test]
fn every_limit_is_of_the_wire_or_known_to_be_elsewhere() {
    /// Of filters: docs/filters.md. Of events over HTTP: docs/http.md. The rest is the broker's own business.
    const ELSEWHERE: [&str; 16] = [
        "FILTER_DEPTH_MAX",
        "FILTER_STEPS_MAX",
        "FILTER_IN_MAX",
        "FILTER_LIKE_SEGMENT_MAX",
        "FILTER_DOCUMENT_BYTES_MAX",
        "FILTER_TEXT_BYTES_MAX",
        "HTTP_BODY_BYTES_MAX",
        "HTTP_HEAD_BYTES_MAX",
        "TOMBSTONES_PER_CLIENT_MAX",
        "ENTRY_BYTES_TARGET",
        "RECORD_BYTES_TARGET",
        "BROKERS_MAX",
        "ADDRESS_BYTES_MAX",
        "ZONE_BYTES_MAX",
        "MAP_ROW_BYTES_MAX",
        "MAP_OTHERS_BYTES_MAX",
    ];
    let source = include_str!("../../src/limits.rs");
    let names = source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(':'));
    let known = page::limits_of_the_wire();
    for (name, _) in names {
        let places = [known.iter().any(|(of_wire, _)| *of_wire == name), ELSEWHERE.contains(&name)];
        assert!(places.contains(&true) || name == "TOMBSTONE_SECS_MAX", "{name} stands on no page");
    }
}

/// The bytes of each block ```` ```hex NAME ````: what stands before the bar of each line.
fn dumps(page: &str) -> Vec<(&str, Vec<u8>)> {
    let blocks = page.split("```hex ").skip(1).map(|rest| rest.split_once("```").expect("the end of a block").0);
    let byte = |digits: &str| u8::from_str_radix(digits, 16).unwrap_or_else(|error| panic!("{digits}: {error}"));
    let bytes =
        |text: &str| text.split('|').next().expect("a first part").split_whitespace().map(byte).collect::<Vec<_>>();
    let dump = |block| {
        let (name, lines) = str::split_once(block, '\n').expect("a name");
        (name, lines.lines().flat_map(bytes).collect())
    };
    blocks.map(dump).collect()
}

#[test]
fn every_byte_shown_is_what_the_code_writes() {
    let page = written();
    let shown = dumps(&page);
    for ((shown, bytes), (name, written)) in shown.iter().zip(&events::dumps()) {
        assert_eq!((shown, hex(bytes)), (name, hex(written)));
    }
    assert_eq!(shown.len(), events::dumps().len());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x} ")).collect()
}

#[test]
fn every_byte_shown_is_read() {
    let page = written();
    for (name, bytes) in dumps(&page) {
        if name == "event" {
            let event = EncodedEvent::check(&bytes).expect("an event");
            assert_eq!((event.id(), event.source(), event.event_type()), ("1", "/me", "quake"));
            continue;
        }
        let mut buffer = FrameBuffer::new(anyport_protocol::limits::FRAME_BYTES_MAX);
        buffer.extend(if name == "opening" { &bytes[1..] } else { &bytes });
        let (header, body) = buffer.next_frame().expect("within the limit").expect("a whole frame");
        assert!(buffer.is_empty(), "{name}: bytes follow the frame");
        match header.message_type {
            BATCH => drop(PublishBatch::decode(body).expect(name)),
            PUBLISHED => drop(Published::decode(&body).expect(name)),
            request if ToBroker::decode(request, &body).is_ok() => {}
            of_feed => drop(FeedFrame::decode(of_feed, body).expect(name)),
        }
    }
}
