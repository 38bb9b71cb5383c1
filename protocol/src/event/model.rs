//! The owned event.

use std::collections::BTreeMap;

use super::data::declares_json;
use super::known::{Known, check_extension_name};
use super::{Data, DataRef, EventBuilder, EventError, encode, json_in, json_out, rfc3339};
use crate::limits::{ATTRIBUTES_BYTES_MAX, ATTRIBUTES_MAX, EVENT_BYTES_MAX};

/// A CloudEvents 1.0 event. Made by [`Event::builder`], [`Event::from_json`] or [`EncodedEvent::decode`](super::EncodedEvent::decode), and valid ever after:
/// attributes well-formed, all limits kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub(super) id: String,
    pub(super) source: String,
    pub(super) event_type: String,
    pub(super) subject: Option<String>,
    pub(super) time: Option<String>,
    pub(super) datacontenttype: Option<String>,
    pub(super) dataschema: Option<String>,
    pub(super) extensions: BTreeMap<String, AttributeValue>,
    pub(super) data: Option<Data>,
}

/// The value of an extension attribute. CloudEvents' Binary, URI and Timestamp are strings here, as they are in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    String(String),
    Integer(i32),
    Boolean(bool),
}

/// The value of any attribute, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeRef<'a> {
    String(&'a str),
    Integer(i32),
    Boolean(bool),
}

impl Event {
    pub fn builder(id: impl Into<String>, source: impl Into<String>, event_type: impl Into<String>) -> EventBuilder {
        EventBuilder::new(id.into(), source.into(), event_type.into())
    }

    /// Reads one JSON object in CloudEvents' structured mode.
    pub fn from_json(json: &[u8]) -> Result<Self, EventError> {
        json_in::read(json)
    }

    /// The event as one line of JSON, without a line end.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.encoded_len());
        self.to_json_into(&mut out);
        out
    }

    /// Appends what [`Event::to_json`] returns.
    pub fn to_json_into(&self, out: &mut Vec<u8>) {
        json_out::push(out, self.attributes(), self.data_ref(), self.declares_json());
    }

    /// Appends the binary encoding; see [`EncodedEvent`](super::EncodedEvent).
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        encode::push(out, self);
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_len());
        self.encode_into(&mut out);
        out
    }

    pub fn encoded_len(&self) -> usize {
        encode::size(self)
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// The attribute `type`.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// An RFC 3339 time, as the producer wrote it.
    pub fn time(&self) -> Option<&str> {
        self.time.as_deref()
    }

    pub fn datacontenttype(&self) -> Option<&str> {
        self.datacontenttype.as_deref()
    }

    pub fn dataschema(&self) -> Option<&str> {
        self.dataschema.as_deref()
    }

    pub fn extensions(&self) -> &BTreeMap<String, AttributeValue> {
        &self.extensions
    }

    pub fn data(&self) -> Option<&Data> {
        self.data.as_ref()
    }

    /// Every attribute but `specversion` (always 1.0), in canonical order.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, AttributeRef<'_>)> {
        let key = Known::PartitionKey.name();
        let own = [
            (Known::Id, Some(self.id())),
            (Known::Source, Some(self.source())),
            (Known::Type, Some(self.event_type())),
            (Known::Subject, self.subject()),
            (Known::Time, self.time()),
            (Known::DataContentType, self.datacontenttype()),
            (Known::DataSchema, self.dataschema()),
        ];
        let own = own.into_iter().filter_map(|(known, text)| Some((known.name(), AttributeRef::String(text?))));
        let partition_key = self.extensions.get(key).map(|value| (key, value.as_ref()));
        let others = self.extensions.iter().filter(move |(name, _)| *name != key);
        own.chain(partition_key).chain(others.map(|(name, value)| (name.as_str(), value.as_ref())))
    }

    pub(super) fn data_ref(&self) -> DataRef<'_> {
        self.data.as_ref().map_or(DataRef::None, Data::as_ref)
    }

    pub(super) fn declares_json(&self) -> bool {
        declares_json(self.datacontenttype())
    }

    /// Makes the type's promise true; data has been settled before.
    pub(super) fn validate(self) -> Result<Self, EventError> {
        for name in self.extensions.keys() {
            check_extension_name(name)?;
        }
        for (name, value) in self.attributes() {
            if let Some(known) = Known::from_name(name) {
                check_known(known, value)?;
            }
        }
        let count = self.attributes().count();
        if count > ATTRIBUTES_MAX {
            return Err(EventError::TooManyAttributes { count, limit: ATTRIBUTES_MAX });
        }
        let size = encode::block_size(&self);
        if size > ATTRIBUTES_BYTES_MAX {
            return Err(EventError::AttributesTooLarge { size, limit: ATTRIBUTES_BYTES_MAX });
        }
        let size = self.encoded_len();
        if size > EVENT_BYTES_MAX {
            return Err(EventError::EventTooLarge { size, limit: EVENT_BYTES_MAX });
        }
        Ok(self)
    }
}

/// What an attribute with a code must be: a string, not empty, and a time where it is one.
fn check_known(known: Known, value: AttributeRef<'_>) -> Result<(), EventError> {
    match value {
        AttributeRef::String("") => Err(EventError::EmptyAttribute { name: known.name() }),
        AttributeRef::String(text) if known == Known::Time => check_time(text),
        AttributeRef::String(_) => Ok(()),
        other => {
            Err(EventError::WrongType { name: known.name().to_owned(), expected: "a string", found: other.type_name() })
        }
    }
}

pub(super) fn check_time(text: &str) -> Result<(), EventError> {
    if rfc3339::is_time(text) { Ok(()) } else { Err(EventError::BadTime { found: text.chars().take(64).collect() }) }
}

impl AttributeValue {
    pub fn as_ref(&self) -> AttributeRef<'_> {
        match self {
            Self::String(text) => AttributeRef::String(text),
            Self::Integer(number) => AttributeRef::Integer(*number),
            Self::Boolean(truth) => AttributeRef::Boolean(*truth),
        }
    }
}

impl AttributeRef<'_> {
    pub fn to_owned(self) -> AttributeValue {
        match self {
            Self::String(text) => AttributeValue::String(text.to_owned()),
            Self::Integer(number) => AttributeValue::Integer(number),
            Self::Boolean(truth) => AttributeValue::Boolean(truth),
        }
    }

    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "a number",
            Self::Boolean(_) => "a boolean",
        }
    }
}

impl From<String> for AttributeValue {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<&str> for AttributeValue {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<i32> for AttributeValue {
    fn from(number: i32) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for AttributeValue {
    fn from(truth: bool) -> Self {
        Self::Boolean(truth)
    }
}
