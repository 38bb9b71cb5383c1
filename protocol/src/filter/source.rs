//! What a filter is evaluated over: the seam between the language and whatever holds an event.

use crate::event::{AttributeRef, DataRef, EncodedEvent};

/// The value of an attribute, borrowed from its event. What CloudEvents has beyond these (URI, timestamp, binary) is a string here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueRef<'v> {
    String(&'v str),
    Integer(i32),
    Boolean(bool),
}

/// An event as a filter sees it.
pub trait Source {
    /// The context attribute or extension of that (lower case) name.
    fn attribute(&self, name: &str) -> Option<ValueRef<'_>>;

    /// The event's data if it is JSON, as it was sent: it may be hostile, and need not even be valid.
    fn json_data(&self) -> Option<&[u8]>;
}

impl Source for EncodedEvent<'_> {
    fn attribute(&self, name: &str) -> Option<ValueRef<'_>> {
        EncodedEvent::attribute(self, name).map(|value| match value {
            AttributeRef::String(text) => ValueRef::String(text),
            AttributeRef::Integer(value) => ValueRef::Integer(value),
            AttributeRef::Boolean(value) => ValueRef::Boolean(value),
        })
    }

    fn json_data(&self) -> Option<&[u8]> {
        match self.data() {
            DataRef::Json(bytes) => Some(bytes),
            DataRef::None | DataRef::Text(_) | DataRef::Binary(_) => None,
        }
    }
}
