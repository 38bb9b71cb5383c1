//! Where fuzzing starts: golden files, recorded events, examples of the documents, and one of every message.

use std::{env, fs};

use anyport_protocol::event::{EncodedEvent, Event, framed};
use anyport_protocol::message::feed::{self, DeliveryWriter, FeedId};
use anyport_protocol::message::publish::{PublishBatch, Published};
use anyport_protocol::{Code, Fault, Incarnation, Number, Offset, OffsetRange, PartitionId, ProducerId};

use crate::driver::from_hex;
use crate::events::{BLOCK_END, WITHOUT_LENGTH};
use crate::{messages, operators};

const FILTERS_PAGE: &str = include_str!("../../../docs/filters.md");
const RECORDED: [&str; 2] =
    [include_str!("../../../loadtest/data/earthquakes.ndjson"), include_str!("../../../loadtest/data/flights.ndjson")];

const FILTER_PIECES: [&str; 59] = [
    "a",
    "b",
    "c",
    "missing",
    "data.x",
    "data.list[1].y",
    "data['k']",
    "1",
    "-5",
    "4.5",
    "2147483648",
    "9223372036854775807",
    "1.0e300",
    "'t'",
    "'%a_b%'",
    "\"q\"",
    "'\\''",
    "TRUE",
    " AND ",
    " OR ",
    " XOR ",
    "NOT ",
    " LIKE ",
    " IN (",
    " NOT IN (",
    "EXISTS ",
    "(",
    ")",
    ",",
    " = ",
    " != ",
    " <= ",
    " > ",
    " + ",
    "- ",
    " * ",
    " / ",
    " % ",
    "LEFT(",
    "RIGHT(",
    "SUBSTRING(",
    "CONCAT(",
    "CONCAT_WS(",
    "LENGTH(",
    "ABS(",
    "INT(",
    "BOOL(",
    "STRING(",
    "UPPER(",
    "TRIM(",
    "PASSES(",
    "==",
    "'",
    "\\",
    "é",
    "\0",
    "{\"x\":",
    "[1,",
    "\"\\n\"",
];

/// Each message in a stream of its own, and all of them in one.
pub fn streams() -> Vec<Vec<u8>> {
    let mut streams = messages::one_of_each();
    streams.extend(operators::one_of_each());
    let feed = FeedId { incarnation: Incarnation(5), partition: PartitionId(2) };
    let range = OffsetRange::new(Offset(100), Offset(110));
    let events = encoded_events();
    let mut with = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut stream = Vec::new();
        write(&mut stream);
        streams.push(stream);
    };
    with(&|out| {
        let mut writer = DeliveryWriter::begin(out, feed, range.start);
        events.iter().zip(range.start.0..).for_each(|(event, offset)| writer.push(Offset(offset), event));
        writer.finish(Offset(1_000));
    });
    with(&|out| feed::push_gap(out, feed, range));
    with(&|out| feed::push_omitted(out, feed, range, 3));
    with(&|out| {
        let mut framed = Vec::new();
        events.iter().for_each(|event| framed::push(&mut framed, event));
        let count = events.len() as u32;
        let (producer, partition, first_number) = (ProducerId::from_bytes([7; 16]), PartitionId(3), Number(40));
        PublishBatch { producer, partition, count, first_number, framed: framed.into() }.encode(9, out);
    });
    with(&|out| Published::Stored { first: Offset(40) }.encode(9, out));
    with(&|out| Published::AlreadyStored { first: None }.encode(9, out));
    with(&|out| Published::Refused(Fault::retry_after(Code::RetryAfter, 5, "busy").with_value(4)).encode(9, out));
    streams.push(streams.concat());
    streams
}

/// The files of golden events of that kind.
fn golden(kind: &str) -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/event");
    let names = ["minimal", "earthquake", "every-attribute", "text", "binary", "long-values"];
    names.map(|name| fs::read_to_string(format!("{folder}/{name}.{kind}")).expect(name)).to_vec()
}

fn recorded() -> impl Iterator<Item = &'static str> {
    RECORDED.into_iter().flat_map(|file| file.lines().step_by(200))
}

/// Each event once more without the length of its attributes.
pub fn events_of_both_forms() -> Vec<Vec<u8>> {
    let events = encoded_events();
    let without_length = events.iter().map(|event| {
        let end = 4 + usize::from(u16::from_le_bytes([event[2], event[3]]));
        [&[WITHOUT_LENGTH, event[1]], &event[4..end], &[BLOCK_END], &event[end..]].concat()
    });
    events.iter().cloned().chain(without_length).collect()
}

pub fn encoded_events() -> Vec<Vec<u8>> {
    let encoded = |line: &str| Event::from_json(line.as_bytes()).expect("a recorded event is valid").encode();
    golden("hex").iter().map(|hex| from_hex(hex)).chain(recorded().map(encoded)).collect()
}

pub fn json_events() -> Vec<Vec<u8>> {
    golden("json").into_iter().map(String::into_bytes).chain(recorded().map(|line| line.as_bytes().to_vec())).collect()
}

/// Attributes as they stand in a block, by code and by name, and what data may be.
pub fn event_pieces() -> Vec<Vec<u8>> {
    let mut pieces: Vec<Vec<u8>> = (1..=9).map(|code| vec![code, 1, 2, b'a', b'b']).collect();
    pieces.extend([&b"\0\x01x\x03\x01\x01"[..], b"\0\x01y\x02\x01\x07", b"\0\x04zone\x01\x02eu"].map(<[u8]>::to_vec));
    pieces.extend(pieces_of(&["2018-01-31T01:49:59.650Z", "text/plain", "application/json", "é", "partitionkey"]));
    for (at, event) in encoded_events().iter().enumerate().take(4) {
        let event = EncodedEvent::check(event).unwrap_or_else(|error| panic!("seed {at}: {error}"));
        pieces.push(event.data().bytes().to_vec());
    }
    pieces
}

pub fn json_pieces() -> Vec<Vec<u8>> {
    pieces_of(&[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "null",
        "true",
        "false",
        "1.50e-3",
        "-2147483648",
        "\\u0041",
        "\\ud800",
        "\\n",
        " ",
        "\n",
        "\"specversion\":\"1.0\"",
        "\"id\":",
        "\"source\":",
        "\"type\":",
        "\"subject\":",
        "\"time\":",
        "\"data\":",
        "\"data_base64\":\"AAH/\"",
        "\"datacontenttype\":\"text/plain\"",
        "\"datacontenttype\":\"application/json\"",
        "\"x\":1",
        "é",
    ])
}

/// What stands between backticks on the page of filters, conditions of the standard if they are there, and some of those that err.
pub fn filters() -> Vec<Vec<u8>> {
    let mut texts: Vec<String> = FILTERS_PAGE.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    texts.extend(["data.x > 0.5\0{\"x\":1e300}", "a IN ('b', b, data['k'])\0{\"k\":\"\\ud800\"}"].map(str::to_owned));
    if let Ok(folder) = env::var("CESQL_TCK_DIR") {
        for entry in fs::read_dir(folder).expect("read CESQL_TCK_DIR") {
            let cases = fs::read_to_string(entry.expect("read folder").path()).unwrap_or_default();
            let expressions = cases.lines().filter_map(|line| line.trim().strip_prefix("expression:"));
            texts.extend(expressions.map(|text| text.trim().trim_matches('"').to_owned()));
        }
    }
    texts.into_iter().map(String::into_bytes).collect()
}

pub fn filter_pieces() -> Vec<Vec<u8>> {
    pieces_of(&FILTER_PIECES)
}

pub fn documents() -> Vec<Vec<u8>> {
    let examples = FILTERS_PAGE.split('`').skip(1).step_by(2).filter(|text| text.starts_with(['{', '[']));
    examples.map(|text| text.as_bytes().to_vec()).chain(json_events()).collect()
}

pub fn document_pieces() -> Vec<Vec<u8>> {
    let own = pieces_of(&[
        "{\"exact\":{\"type\":\"t\"}}",
        "{\"prefix\":{\"subject\":\"a%_\"}}",
        "{\"suffix\":{\"b\":\"\\\\\"}}",
        "{\"all\":[",
        "{\"any\":[",
        "{\"not\":",
        "{\"sql\":\"a = 1\"}",
        "{\"sql\":\"",
        "{\"example\":{",
        "\"data\":{\"x\":[{\"y\":null}]}",
        "]}",
        "}}",
        "\\\"",
        "\\\\",
    ]);
    [own, json_pieces()].concat()
}

fn pieces_of(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}
