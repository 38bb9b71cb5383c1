//! Walking along the attribute block of an encoded event.

use super::encode::{BOOLEAN, INTEGER, NAMED, STRING};
use super::known::Known;
use super::{AttributeRef, EventError, varint};

/// One attribute as it stands in the block. The name of one with a code is its code's.
#[derive(Clone, Copy)]
pub(super) struct RawAttribute<'a> {
    pub(super) name: &'a str,
    pub(super) value: AttributeRef<'a>,
}

impl<'a> RawAttribute<'a> {
    /// The attribute at `at` and the place after it.
    // Inlined, so that each caller pays only for the parts it uses: this is most of the cost of checking an event.
    #[inline(always)]
    pub(super) fn read(block: &'a str, at: usize) -> Result<(Self, usize), EventError> {
        let bytes = block.as_bytes();
        let code = byte(bytes, at)?;
        let (name, kind_at) = if code == NAMED {
            let end = at + 2 + usize::from(byte(bytes, at + 1)?);
            (cut(block, at + 2, end)?, end)
        } else {
            let Some(known) = Known::from_code(code) else { return Err(EventError::UnknownAttributeCode { code }) };
            (known.name(), at + 1)
        };
        let (kind, value_at, end) = read_frame(bytes, kind_at)?;
        let value = read_value(kind, cut(block, value_at, end)?, value_at)?;
        Ok((Self { name, value }, end))
    }
}

/// The kind of a value, and where the value begins and ends; the end may be out of bounds.
#[inline(always)]
fn read_frame(bytes: &[u8], kind_at: usize) -> Result<(u8, usize, usize), EventError> {
    let kind = byte(bytes, kind_at)?;
    match varint::read(bytes, kind_at + 1) {
        Some((len, value_at)) => Ok((kind, value_at, value_at.saturating_add(len as usize))),
        None => Err(EventError::BadNumber { at: kind_at + 1 }),
    }
}

/// Where the string behind the code at `at` begins and ends. The way through the attributes that nearly every event has,
/// so it does nothing more than it must.
#[inline(always)]
pub(super) fn read_coded_string(block: &str, at: usize) -> Result<(usize, usize), EventError> {
    let (kind, start, end) = read_frame(block.as_bytes(), at + 1)?;
    let text = cut(block, start, end)?;
    if kind == STRING && !text.is_empty() { Ok((start, end)) } else { Err(no_coded_string(block, at)) }
}

#[cold]
fn no_coded_string(block: &str, at: usize) -> EventError {
    let wrong = |(attribute, _): (RawAttribute<'_>, usize)| match attribute.value {
        AttributeRef::String(_) => match Known::from_name(attribute.name) {
            Some(known) => EventError::EmptyAttribute { name: known.name() },
            None => EventError::OutOfOrder { at },
        },
        other => {
            EventError::WrongType { name: attribute.name.to_owned(), expected: "a string", found: other.type_name() }
        }
    };
    RawAttribute::read(block, at).map_or_else(|error| error, wrong)
}

#[inline(always)]
fn byte(block: &[u8], at: usize) -> Result<u8, EventError> {
    match block.get(at) {
        Some(&byte) => Ok(byte),
        None => Err(EventError::Truncated { needed: at + 1, found: block.len() }),
    }
}

#[inline(always)]
fn cut(block: &str, start: usize, end: usize) -> Result<&str, EventError> {
    match block.get(start..end) {
        Some(text) => Ok(text),
        None => Err(bad_cut(block, start, end)),
    }
}

/// A cut is refused where it is out of bounds, and where it would split a character.
#[cold]
fn bad_cut(block: &str, start: usize, end: usize) -> EventError {
    if end > block.len() {
        EventError::Truncated { needed: end, found: block.len() }
    } else {
        EventError::NotUtf8 { at: start }
    }
}

#[inline(always)]
fn read_value(kind: u8, value: &str, at: usize) -> Result<AttributeRef<'_>, EventError> {
    match (kind, value.as_bytes()) {
        (STRING, _) => Ok(AttributeRef::String(value)),
        (INTEGER, bytes) => match varint::read(bytes, 0) {
            Some((number, end)) if end == bytes.len() => Ok(AttributeRef::Integer(varint::unzigzag(number))),
            _ => Err(EventError::BadValue { at }),
        },
        (BOOLEAN, [truth @ (0 | 1)]) => Ok(AttributeRef::Boolean(*truth == 1)),
        (BOOLEAN, _) => Err(EventError::BadValue { at }),
        _ => Err(EventError::UnknownValueKind { kind }),
    }
}

/// The attributes of a checked event, name and value.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    block: &'a str,
    at: usize,
}

impl<'a> Attributes<'a> {
    /// `at` is where an attribute begins in a block that has been checked.
    pub(super) fn new(block: &'a str, at: usize) -> Self {
        Self { block, at }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (&'a str, AttributeRef<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.block.len() {
            return None;
        }
        let (attribute, end) =
            RawAttribute::read(self.block, self.at).expect("EncodedEvent::check has read this block to its end");
        self.at = end;
        Some((attribute.name, attribute.value))
    }
}
