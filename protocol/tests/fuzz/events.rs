//! Events, as they come over the wire and as people write them.

use anyport_protocol::event::{Data, EncodedEvent, Event};
use anyport_protocol::limits::EVENT_BYTES_MAX;
use anyport_protocol::partitioner;

use crate::driver::Outcome;

/// What no block of attributes holds, and so can end one: then a block may grow and shrink without its length being right by chance.
pub const BLOCK_END: u8 = 0xff;

/// No version of the encoding: tells the form without a length.
pub const WITHOUT_LENGTH: u8 = 0xee;

/// Bytes that claim to be an encoded event; or `0xee | data kind u8 | attribute* | 0xff | data`, of which one is made.
pub fn encoded(bytes: &[u8]) -> Outcome {
    match bytes {
        [WITHOUT_LENGTH, kind, rest @ ..] => {
            let end = rest.iter().position(|byte| *byte == BLOCK_END).unwrap_or(rest.len());
            let block = u16::try_from(end).unwrap_or(u16::MAX).to_le_bytes();
            let data = rest.get(end + 1..).unwrap_or_default();
            checked(&[&[1, *kind], &block[..], &rest[..end], data].concat())
        }
        _ => checked(bytes),
    }
}

fn checked(bytes: &[u8]) -> Outcome {
    let event = match EncodedEvent::check(bytes) {
        Ok(event) => event,
        Err(error) => return Outcome::of_result(&Err::<(), _>(error)),
    };
    for (name, value) in event.attributes() {
        assert_eq!(event.attribute(name), Some(value));
    }
    assert!(partitioner::partition_of(partitioner::partition_key(&event), 8).0 < 8);
    let decoded = event.decode();
    let again = decoded.encode();
    assert!(again.len() <= bytes.len(), "an event does not grow by being read");
    let block = 4 + usize::from(u16::from_le_bytes([bytes[2], bytes[3]]));
    assert_eq!(again[2..block], bytes[2..block], "equal attributes have equal bytes");
    survives(&decoded);

    let mut json = Vec::new();
    event.to_json(&mut json);
    assert_eq!(json, decoded.to_json());
    let attributes = event.attributes().map(|(_, value)| std::mem::discriminant(&value)).collect::<Vec<_>>();
    let known = [event.subject(), event.time(), event.datacontenttype(), event.dataschema(), event.partitionkey()];
    let (kind, settled) = (std::mem::discriminant(&event.data()), decoded.data().map(std::mem::discriminant));
    Outcome::exactly((attributes, known.map(|value| value.is_some()), kind, settled))
}

/// Bytes that claim to be an event in JSON.
pub fn json(bytes: &[u8]) -> Outcome {
    let mut into = b"before".to_vec();
    let appended = EncodedEvent::from_json_into(bytes, &mut into);
    match Event::from_json(bytes) {
        Ok(event) => {
            assert_eq!(appended, Ok(()));
            assert_eq!(into, [&b"before"[..], &event.encode()].concat());
            survives(&event);
            Outcome::of(&event)
        }
        Err(error) => {
            assert_eq!((into.as_slice(), appended), (&b"before"[..], Err(error.clone())));
            Outcome::of_result(&Err::<(), _>(error))
        }
    }
}

/// An event is the same after each of its forms.
fn survives(event: &Event) {
    let bytes = event.encode();
    assert_eq!(bytes.len(), event.encoded_len());
    assert!(bytes.len() <= EVENT_BYTES_MAX);
    assert_eq!(EncodedEvent::check(&bytes).expect("own encoding").decode(), *event);
    let json = event.to_json();
    assert!(!json.contains(&b'\n'), "one line");
    let again = Event::from_json(&json).expect("own JSON");
    assert_eq!(again.attributes().collect::<Vec<_>>(), event.attributes().collect::<Vec<_>>());
    assert_eq!(again.data().cloned(), event.data().cloned().map(on_one_line));
}

fn on_one_line(data: Data) -> Data {
    match data {
        Data::Json(text) => Data::Json(text.replace(['\n', '\r'], " ")),
        other => other,
    }
}
