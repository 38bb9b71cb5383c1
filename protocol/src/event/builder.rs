//! Building an event piece by piece. Nothing is checked before [`EventBuilder::build`], which checks all of it.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::data::{self, Settled};
use super::{AttributeValue, Data, Event, EventError};

/// Setting an attribute again replaces it.
#[derive(Clone, Debug)]
#[must_use]
pub struct EventBuilder(Event);

impl EventBuilder {
    pub(super) fn new(id: String, source: String, event_type: String) -> Self {
        Self(Event {
            id,
            source,
            event_type,
            subject: None,
            time: None,
            datacontenttype: None,
            dataschema: None,
            extensions: BTreeMap::new(),
            data: None,
        })
    }

    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.0.subject = Some(subject.into());
        self
    }

    /// An RFC 3339 time; it is kept as written.
    pub fn time(mut self, time: impl Into<String>) -> Self {
        self.0.time = Some(time.into());
        self
    }

    pub fn datacontenttype(mut self, media_type: impl Into<String>) -> Self {
        self.0.datacontenttype = Some(media_type.into());
        self
    }

    pub fn dataschema(mut self, uri: impl Into<String>) -> Self {
        self.0.dataschema = Some(uri.into());
        self
    }

    pub fn extension(mut self, name: impl Into<String>, value: impl Into<AttributeValue>) -> Self {
        self.0.extensions.insert(name.into(), value.into());
        self
    }

    /// The text of one JSON value.
    pub fn json(self, text: impl Into<String>) -> Self {
        self.data(Data::Json(text.into()))
    }

    /// Text of the type that `datacontenttype` declares, which must not be JSON.
    pub fn text(self, text: impl Into<String>) -> Self {
        self.data(Data::Text(text.into()))
    }

    pub fn binary(self, bytes: impl Into<Bytes>) -> Self {
        self.data(Data::Binary(bytes.into()))
    }

    pub fn data(mut self, data: Data) -> Self {
        self.0.data = Some(data);
        self
    }

    /// The event, if everything about it is as CloudEvents and our limits have it. JSON data becomes what a JSON event would carry: `null`
    /// is no data, and a string under a `datacontenttype` that is not JSON is that text.
    pub fn build(mut self) -> Result<Event, EventError> {
        let json_declared = self.0.declares_json();
        self.0.data = match self.0.data.take() {
            Some(Data::Json(text)) => data::json(&text, json_declared)?.into_data(),
            Some(Data::Text(_)) if json_declared => return Err(EventError::TextDeclaredAsJson),
            other => other,
        };
        self.0.validate()
    }

    /// For readers, which have settled the data themselves.
    pub(super) fn build_with(mut self, data: Settled<'_>) -> Result<Event, EventError> {
        self.0.data = data.into_data();
        self.0.validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{ATTRIBUTES_BYTES_MAX, ATTRIBUTES_MAX, EVENT_BYTES_MAX};

    fn minimal() -> EventBuilder {
        Event::builder("1", "/s", "t")
    }

    #[test]
    fn required_attributes_may_not_be_empty() {
        assert_eq!(Event::builder("", "/s", "t").build(), Err(EventError::EmptyAttribute { name: "id" }));
        assert_eq!(Event::builder("1", "/s", "").build(), Err(EventError::EmptyAttribute { name: "type" }));
        assert_eq!(minimal().subject("").build(), Err(EventError::EmptyAttribute { name: "subject" }));
        assert_eq!(minimal().time("noon").build(), Err(EventError::BadTime { found: "noon".into() }));
    }

    #[test]
    fn extensions_have_names_of_their_own() {
        assert_eq!(
            minimal().extension("type", 1).build(),
            Err(EventError::ReservedAttributeName { name: "type".into() })
        );
        assert_eq!(minimal().extension("a_b", 1).build(), Err(EventError::BadAttributeName { name: "a_b".into() }));
        assert!(minimal().extension("x".repeat(64), "").build().is_ok());
        assert!(matches!(
            minimal().extension("x".repeat(65), "").build(),
            Err(EventError::AttributeNameTooLong { size: 65, .. })
        ));
        assert!(matches!(minimal().extension("partitionkey", 7).build(), Err(EventError::WrongType { .. })));
    }

    #[test]
    fn an_event_may_reach_its_limits_and_not_pass_them() {
        let overhead = minimal().binary("").build().expect("valid").encoded_len();
        let fits = minimal().binary(vec![0; EVENT_BYTES_MAX - overhead]).build().expect("exactly at the limit");
        assert_eq!(fits.encoded_len(), EVENT_BYTES_MAX);
        assert_eq!(
            minimal().binary(vec![0; EVENT_BYTES_MAX - overhead + 1]).build(),
            Err(EventError::EventTooLarge { size: EVENT_BYTES_MAX + 1, limit: EVENT_BYTES_MAX })
        );
        let extensions =
            |count| (0..count).fold(minimal(), |builder, n: usize| builder.extension(format!("x{n}"), true));
        assert!(extensions(ATTRIBUTES_MAX - 3).build().is_ok());
        assert_eq!(
            extensions(ATTRIBUTES_MAX - 2).build(),
            Err(EventError::TooManyAttributes { count: ATTRIBUTES_MAX + 1, limit: ATTRIBUTES_MAX })
        );
        assert!(matches!(
            minimal().subject("x".repeat(ATTRIBUTES_BYTES_MAX)).build(),
            Err(EventError::AttributesTooLarge { .. })
        ));
    }

    #[test]
    fn data_is_what_a_json_event_would_carry() {
        let data = |builder: EventBuilder| builder.build().map(|event| event.data().cloned());
        assert_eq!(data(minimal().json(" [1.50] ")), Ok(Some(Data::Json("[1.50]".into()))));
        assert_eq!(data(minimal().json("null")), Ok(None));
        assert_eq!(data(minimal().datacontenttype("text/plain").json("\"a\"")), Ok(Some(Data::Text("a".into()))));
        assert_eq!(data(minimal().text("a")), Err(EventError::TextDeclaredAsJson));
        assert!(matches!(data(minimal().json("{")), Err(EventError::DataNotJson { .. })));
    }
}
