//! Writing the encoding that [`EncodedEvent`](super::EncodedEvent) draws and reads.

use super::known::Known;
use super::{AttributeRef, ENCODING_VERSION, Event, varint};

/// `ver u8 | data kind u8 | attribute block length u16`
pub(super) const HEADER_BYTES: usize = 4;
/// The code of an attribute whose name is spelled out.
pub(super) const NAMED: u8 = 0;

/// Kinds of value. Numbers on wire and disk, never reused.
pub(super) const STRING: u8 = 1;
pub(super) const INTEGER: u8 = 2;
pub(super) const BOOLEAN: u8 = 3;

pub(super) fn push(out: &mut Vec<u8>, event: &Event) {
    let data = event.data_ref();
    let start = out.len();
    // A guess: knowing the size would mean walking along all attributes twice, and buffers are used again.
    out.reserve(256 + data.bytes().len());
    out.extend_from_slice(&[ENCODING_VERSION, data.kind(), 0, 0]);
    for (name, value) in event.attributes() {
        push_attribute(out, name, value);
    }
    let block_size =
        u16::try_from(out.len() - start - HEADER_BYTES).expect("an event keeps the limit of its attributes");
    out[start + 2..start + HEADER_BYTES].copy_from_slice(&block_size.to_le_bytes());
    out.extend_from_slice(data.bytes());
}

fn push_attribute(out: &mut Vec<u8>, name: &str, value: AttributeRef<'_>) {
    match Known::from_name(name) {
        Some(known) => out.push(known as u8),
        None => {
            let len = u8::try_from(name.len()).expect("an event keeps the limit of its names");
            out.extend_from_slice(&[NAMED, len]);
            out.extend_from_slice(name.as_bytes());
        }
    }
    match value {
        AttributeRef::String(text) => {
            out.push(STRING);
            varint::push(out, text.len() as u32);
            out.extend_from_slice(text.as_bytes());
        }
        AttributeRef::Integer(number) => {
            let number = varint::zigzag(number);
            out.extend_from_slice(&[INTEGER, varint::size(number) as u8]);
            varint::push(out, number);
        }
        AttributeRef::Boolean(truth) => out.extend_from_slice(&[BOOLEAN, 1, u8::from(truth)]),
    }
}

pub(super) fn size(event: &Event) -> usize {
    HEADER_BYTES + block_size(event) + event.data_ref().bytes().len()
}

pub(super) fn block_size(event: &Event) -> usize {
    event.attributes().map(|(name, value)| attribute_size(name, value)).sum()
}

fn attribute_size(name: &str, value: AttributeRef<'_>) -> usize {
    let name_size = if Known::from_name(name).is_some() { 1 } else { 2 + name.len() };
    let value_size = match value {
        // A length past 32 bits fails the limit whatever its own size is taken to be.
        AttributeRef::String(text) => varint::size(u32::try_from(text.len()).unwrap_or(u32::MAX)) + text.len(),
        AttributeRef::Integer(number) => 1 + varint::size(varint::zigzag(number)),
        AttributeRef::Boolean(_) => 2,
    };
    name_size + 1 + value_size
}
