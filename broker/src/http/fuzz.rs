//! Requests of any bytes: lines of headers, an empty line, a body.

use anyport_protocol::event::{EncodedEvent, framed};
use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Uri};

use super::mode::Mode;
use super::{numbered, service, token};
use crate::fuzz::Outcome;

const PARTITIONS: u16 = 8;

pub(crate) fn request(bytes: &[u8]) -> Outcome {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap_or(bytes.len());
    let headers = headers(&bytes[..end]);
    let body = bytes.get(end + 2..).unwrap_or_default();
    let who = token::of(&headers, &uri(body)).is_ok();
    let lane = numbered::own_lane(&headers).map_err(|problem| problem.status());
    let mode = match Mode::of(&headers) {
        Ok(mode) => mode,
        Err(problem) => return Outcome::exactly((who, problem.status())),
    };
    let outcome = Outcome::of(&mode).and(Outcome::of(&lane)).and(Outcome::exactly(who));
    let sorted = match service::read(mode, &headers, Bytes::copy_from_slice(body), PARTITIONS) {
        Ok(sorted) => sorted,
        Err(fault) => return outcome.and(Outcome::exactly(fault.code)).and(Outcome::of(&fault.text.split(':').next())),
    };
    let mut places: Vec<usize> = Vec::new();
    for (partition, portions) in &sorted.by_partition {
        assert!(partition.0 < PARTITIONS);
        for portion in portions {
            let events: Vec<&[u8]> = framed::iter(&portion.framed).collect::<Result<_, _>>().expect("own framing");
            assert_eq!(events.len(), portion.places.len());
            assert!(events.iter().all(|event| EncodedEvent::check(event).is_ok()));
            places.extend(&portion.places);
        }
    }
    places.sort_unstable();
    assert!(places.iter().copied().eq(0..places.len()), "each event is in one portion");
    outcome.and(Outcome::exactly((places.len(), sorted.by_partition.len())))
}

/// Those of the lines that HTTP lets through.
fn headers(lines: &[u8]) -> HeaderMap {
    let header = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        Some((name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.split(|byte| *byte == b'\n').filter_map(header) {
        headers.append(name, value);
    }
    headers
}

/// One whose query is the body, where that can be.
fn uri(body: &[u8]) -> Uri {
    let query = body[..body.len().min(256)].escape_ascii().to_string();
    format!("/events?access_token={query}").parse().unwrap_or_default()
}

pub(crate) fn requests() -> Vec<Vec<u8>> {
    let event = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"mag":5.10}}"#;
    let binary = "ce-specversion: 1.0\nce-id: 1\nce-source: /s\nce-type: t\n";
    [
        format!(
            "{binary}ce-subject: \"a%20b\"\nce-partitionkey: k\ncontent-type: application/json\n\n{{\"mag\": 5.10}}"
        ),
        format!("{binary}content-type: text/plain\nauthorization: Bearer v4.public.a\n\ntext"),
        format!("content-type: application/cloudevents+json\nanyport-producer: 1\nanyport-number: 7\n\n{event}"),
        format!("content-type: application/cloudevents-batch+json\n\n[{event},{event}]"),
    ]
    .map(String::into_bytes)
    .to_vec()
}
