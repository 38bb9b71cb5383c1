//! The one encoding of an event, on wire and disk, and reading it in place.
//!
//! ```text
//! event     = ver u8 (1) | data kind u8 | attribute block length u16 LE | attribute* | data, to the end
//!             data kind: 0 none, 1 JSON text, 2 other text, 3 binary
//! attribute = code u8 | name, if code is 0 | kind u8 | length varint | value
//!             code: 1 id, 2 source, 3 type, 4 subject, 5 time, 6 datacontenttype, 7 dataschema, 8 partitionkey;
//!                   0 any other, then name = len u8 | bytes
//!             kind: 1 string (UTF-8), 2 integer (zigzag, varint), 3 boolean (0 or 1)
//! varint    = six bits per byte, lowest first; bit 6 on all but the last; shortest form; never a byte over 127
//! ```
//! Attributes stand in ascending order of code, those of code 0 last, in ascending order of name; none is repeated. 1, 2 and 3 must be
//! there; those with a code are strings and not empty; `time` is RFC 3339. So equal events have equal bytes. `specversion` is not
//! stored: version 1 of the encoding is CloudEvents 1.0. The end of the event is the carrier's business (see [`super::framed`]).

use super::data::{declares_json, settle};
use std::fmt;

use super::attributes::{Attributes, RawAttribute, read_coded_string};
use super::encode::{HEADER_BYTES, NAMED};
use super::known::{Known, check_extension_name};
use super::model::check_time;
use super::{AttributeRef, DataRef, Event, EventError, json_out};
use crate::limits::{ATTRIBUTES_MAX, EVENT_BYTES_MAX};

pub const ENCODING_VERSION: u8 = 1;

/// Bytes that have been found to be an event, its data apart. Reading an attribute that has a code costs nothing; any other is
/// searched for.
#[derive(Clone, Copy)]
pub struct EncodedEvent<'a> {
    bytes: &'a [u8],
    block: &'a str,
    data: DataRef<'a>,
    known: [Span; Known::COUNT],
    named_from: u16,
}

/// A stretch of the attribute block. Values that must not be empty use the empty one for "absent".
#[derive(Clone, Copy, Default)]
struct Span {
    start: u16,
    end: u16,
}

impl<'a> EncodedEvent<'a> {
    /// Checks the envelope: version, lengths, attributes, limits. Data is not looked at; nothing is allocated unless it fails.
    pub fn check(bytes: &'a [u8]) -> Result<Self, EventError> {
        if bytes.len() > EVENT_BYTES_MAX {
            return Err(EventError::EventTooLarge { size: bytes.len(), limit: EVENT_BYTES_MAX });
        }
        let truncated = |needed| EventError::Truncated { needed, found: bytes.len() };
        let (&[version, data_kind, low, high], rest) =
            bytes.split_first_chunk::<HEADER_BYTES>().ok_or(truncated(HEADER_BYTES))?;
        if version != ENCODING_VERSION {
            return Err(EventError::UnknownEncoding { version });
        }
        let block_size = usize::from(u16::from_le_bytes([low, high]));
        let (block, data) = rest.split_at_checked(block_size).ok_or(truncated(HEADER_BYTES + block_size))?;
        let block = std::str::from_utf8(block).map_err(|error| EventError::NotUtf8 { at: error.valid_up_to() })?;
        let data = DataRef::from_kind(data_kind, data)?;
        let mut event = Self { bytes, block, data, known: [Span::default(); Known::COUNT], named_from: 0 };
        event.check_attributes()?;
        Ok(event)
    }

    fn check_attributes(&mut self) -> Result<(), EventError> {
        let mut count = 0;
        let mut at = self.check_known_attributes(&mut count)?;
        self.named_from = at as u16;
        let mut name_before = "";
        while at < self.block.len() {
            let (attribute, end) = RawAttribute::read(self.block, at)?;
            if self.block.as_bytes()[at] != NAMED || attribute.name <= name_before {
                return Err(EventError::OutOfOrder { at });
            }
            check_extension_name(attribute.name)?;
            if attribute.name == Known::PartitionKey.name() {
                return Err(EventError::ReservedAttributeName { name: attribute.name.to_owned() });
            }
            name_before = attribute.name;
            count += 1;
            at = end;
        }
        if count > ATTRIBUTES_MAX {
            return Err(EventError::TooManyAttributes { count, limit: ATTRIBUTES_MAX });
        }
        Ok(())
    }

    /// Remembers where the attributes with a code are, and returns where the named ones begin.
    fn check_known_attributes(&mut self, count: &mut usize) -> Result<usize, EventError> {
        let mut at = 0;
        let mut code_before = NAMED;
        while let Some(&code) = self.block.as_bytes().get(at)
            && code != NAMED
        {
            let Some(span) = self.known.get_mut(usize::from(code) - 1) else {
                return Err(EventError::UnknownAttributeCode { code });
            };
            if code <= code_before {
                return Err(EventError::OutOfOrder { at });
            }
            let (start, end) = read_coded_string(self.block, at)?;
            // Both lie in a block whose length is a u16.
            *span = Span { start: start as u16, end: end as u16 };
            code_before = code;
            *count += 1;
            at = end;
        }
        for required in Known::REQUIRED {
            if self.known(required).is_empty() {
                return Err(EventError::MissingAttribute { name: required.name() });
            }
        }
        self.time().map_or(Ok(()), check_time)?;
        Ok(at)
    }

    /// The bytes that were checked: what is sent and stored.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn id(&self) -> &'a str {
        self.known(Known::Id)
    }

    pub fn source(&self) -> &'a str {
        self.known(Known::Source)
    }

    /// The attribute `type`.
    pub fn event_type(&self) -> &'a str {
        self.known(Known::Type)
    }

    pub fn subject(&self) -> Option<&'a str> {
        self.known_if_there(Known::Subject)
    }

    /// An RFC 3339 time, as the producer wrote it.
    pub fn time(&self) -> Option<&'a str> {
        self.known_if_there(Known::Time)
    }

    pub fn datacontenttype(&self) -> Option<&'a str> {
        self.known_if_there(Known::DataContentType)
    }

    pub fn dataschema(&self) -> Option<&'a str> {
        self.known_if_there(Known::DataSchema)
    }

    pub fn partitionkey(&self) -> Option<&'a str> {
        self.known_if_there(Known::PartitionKey)
    }

    /// Any attribute by its name; `specversion` is always "1.0".
    pub fn attribute(&self, name: &str) -> Option<AttributeRef<'a>> {
        if let Some(known) = Known::from_name(name) {
            return self.known_if_there(known).map(AttributeRef::String);
        }
        if name == "specversion" {
            return Some(AttributeRef::String("1.0"));
        }
        self.named().find(|(there, _)| *there == name).map(|(_, value)| value)
    }

    /// Every attribute but `specversion`, in canonical order.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.block, 0)
    }

    /// The data as the producer declared it; it has not been checked.
    pub fn data(&self) -> DataRef<'a> {
        self.data
    }

    /// The event, owned. Data that is not what it claims to be comes out as text or binary.
    pub fn decode(&self) -> Event {
        let owned = |known| self.known_if_there(known).map(str::to_owned);
        let partition_key = self.partitionkey().map(|key| (Known::PartitionKey.name(), AttributeRef::String(key)));
        let extensions = self.named().chain(partition_key).map(|(name, value)| (name.to_owned(), value.to_owned()));
        Event {
            id: self.id().to_owned(),
            source: self.source().to_owned(),
            event_type: self.event_type().to_owned(),
            subject: owned(Known::Subject),
            time: owned(Known::Time),
            datacontenttype: owned(Known::DataContentType),
            dataschema: owned(Known::DataSchema),
            extensions: extensions.collect(),
            data: settle(self.data, declares_json(self.datacontenttype())).into_data(),
        }
    }

    /// Appends the event as one line of JSON, without a line end, and without making an [`Event`] of it.
    pub fn to_json(&self, out: &mut Vec<u8>) {
        json_out::push(out, self.attributes(), self.data, declares_json(self.datacontenttype()));
    }

    /// Appends the encoding of one JSON event; on an error `out` is as it was.
    pub fn from_json_into(json: &[u8], out: &mut Vec<u8>) -> Result<(), EventError> {
        Event::from_json(json)?.encode_into(out);
        Ok(())
    }

    fn named(&self) -> Attributes<'a> {
        Attributes::new(self.block, usize::from(self.named_from))
    }

    #[inline]
    fn known(&self, known: Known) -> &'a str {
        let Span { start, end } = self.known[known.index()];
        &self.block[usize::from(start)..usize::from(end)]
    }

    #[inline]
    fn known_if_there(&self, known: Known) -> Option<&'a str> {
        Some(self.known(known)).filter(|text| !text.is_empty())
    }
}

impl fmt::Debug for EncodedEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodedEvent")
            .field("attributes", &self.attributes().collect::<Vec<_>>())
            .field("data_kind", &self.data.kind())
            .field("data_bytes", &self.data.bytes().len())
            .finish()
    }
}

impl PartialEq for EncodedEvent<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for EncodedEvent<'_> {}
