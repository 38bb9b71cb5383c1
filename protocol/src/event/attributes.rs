//! Walking along the attribute block of an encoded event.

use super::encode::{BOOLEAN, INTEGER, NAMED, STRING};
use super::known::Known;
use super::{AttributeRef, EventError, varint};

/// One attribute as it stands in the block. The name of one with a code is its code's.
#[derive(Clone, Copy)]
pub(super) struct RawAttribute<'a> {
    pub(super) code: u8,
    pub(super) name: &'a str,
    pub(super) value: AttributeRef<'a>,
    /// Where the value begins; it reaches to the attribute's end.
    pub(super) value_at: usize,
}

impl<'a> RawAttribute<'a> {
    /// The attribute at `at` and the place after it.
    #[inline]
    pub(super) fn read(block: &'a str, at: usize) -> Result<(Self, usize), EventError> {
        let bytes = block.as_bytes();
        let truncated = |needed| EventError::Truncated { needed, found: bytes.len() };
        let byte = |at: usize| bytes.get(at).copied().ok_or(truncated(at + 1));
        // A cut is refused where it is out of bounds, and where it would split a character.
        let cut = |start: usize, end: usize| match block.get(start..end) {
            Some(text) => Ok(text),
            None if end > bytes.len() => Err(truncated(end)),
            None => Err(EventError::NotUtf8 { at: start }),
        };
        let code = byte(at)?;
        let (name, kind_at) = if code == NAMED {
            let end = at + 2 + usize::from(byte(at + 1)?);
            (cut(at + 2, end)?, end)
        } else {
            (Known::from_code(code).ok_or(EventError::UnknownAttributeCode { code })?.name(), at + 1)
        };
        let kind = byte(kind_at)?;
        let (len, value_at) = varint::read(bytes, kind_at + 1).ok_or(EventError::BadNumber { at: kind_at + 1 })?;
        let end = value_at.saturating_add(len as usize);
        let value = read_value(kind, cut(value_at, end)?, value_at)?;
        Ok((Self { code, name, value, value_at }, end))
    }
}

#[inline]
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
