//! Events as the other languages have them: plain records. They become valid events on the way in.

use std::collections::HashMap;

use anyport_client::protocol::event::{self, Data, EncodedEvent, EventError};

/// A CloudEvents 1.0 event.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Event {
    /// Source and id together name an event.
    pub id: String,
    pub source: String,
    #[uniffi(name = "type")]
    pub event_type: String,
    #[uniffi(default = None)]
    pub subject: Option<String>,
    /// RFC 3339.
    #[uniffi(default = None)]
    pub time: Option<String>,
    #[uniffi(default = None)]
    pub datacontenttype: Option<String>,
    #[uniffi(default = None)]
    pub dataschema: Option<String>,
    /// All other attributes. Events of the same `partitionkey`, else `subject`, else `source`, keep their order.
    #[uniffi(default)]
    pub extensions: HashMap<String, AttributeValue>,
    /// JSON in UTF-8, which filters can look into, unless `datacontenttype` declares something else.
    #[uniffi(default = None)]
    pub data: Option<Vec<u8>>,
}

/// The value of an extension attribute. Binary values, URIs and times are texts.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum AttributeValue {
    Text { value: String },
    Number { value: i32 },
    Truth { value: bool },
}

impl Event {
    /// The one encoding, if the event is as CloudEvents and the limits have it.
    pub(crate) fn encode(self) -> Result<Vec<u8>, EventError> {
        let mut builder = event::Event::builder(self.id, self.source, self.event_type);
        if let Some(body) = self.data
            && let Some(data) = Data::from_body(body.into(), self.datacontenttype.as_deref())?
        {
            builder = builder.data(data);
        }
        if let Some(subject) = self.subject {
            builder = builder.subject(subject);
        }
        if let Some(time) = self.time {
            builder = builder.time(time);
        }
        if let Some(media_type) = self.datacontenttype {
            builder = builder.datacontenttype(media_type);
        }
        if let Some(uri) = self.dataschema {
            builder = builder.dataschema(uri);
        }
        for (name, value) in self.extensions {
            builder = builder.extension(name, value);
        }
        Ok(builder.build()?.encode())
    }

    pub(crate) fn decode(encoded: &[u8]) -> Result<Self, EventError> {
        let event = EncodedEvent::check(encoded)?.decode();
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let extensions = event.extensions().iter().map(|(name, value)| (name.clone(), value.clone().into()));
        Ok(Self {
            id: event.id().to_owned(),
            source: event.source().to_owned(),
            event_type: event.event_type().to_owned(),
            subject: owned(event.subject()),
            time: owned(event.time()),
            datacontenttype: owned(event.datacontenttype()),
            dataschema: owned(event.dataschema()),
            extensions: extensions.collect(),
            data: event.data().map(|data| data.as_ref().bytes().to_vec()),
        })
    }
}

impl From<AttributeValue> for event::AttributeValue {
    fn from(value: AttributeValue) -> Self {
        match value {
            AttributeValue::Text { value } => Self::String(value),
            AttributeValue::Number { value } => Self::Integer(value),
            AttributeValue::Truth { value } => Self::Boolean(value),
        }
    }
}

impl From<event::AttributeValue> for AttributeValue {
    fn from(value: event::AttributeValue) -> Self {
        match value {
            event::AttributeValue::String(value) => Self::Text { value },
            event::AttributeValue::Integer(value) => Self::Number { value },
            event::AttributeValue::Boolean(value) => Self::Truth { value },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(datacontenttype: Option<&str>, data: &[u8]) -> Event {
        let text = |value: &str| AttributeValue::Text { value: value.to_owned() };
        Event {
            id: "1".into(),
            source: "/me".into(),
            event_type: "gov.usgs.quake".into(),
            subject: Some("ak".into()),
            time: Some("2026-11-28T20:00:00Z".into()),
            datacontenttype: datacontenttype.map(str::to_owned),
            dataschema: Some("https://example.com/schema".into()),
            extensions: HashMap::from([
                ("partitionkey".to_owned(), text("alaska")),
                ("felt".to_owned(), AttributeValue::Number { value: -3 }),
                ("reviewed".to_owned(), AttributeValue::Truth { value: true }),
            ]),
            data: (!data.is_empty()).then(|| data.to_vec()),
        }
    }

    #[test]
    fn an_event_comes_out_as_it_went_in() {
        let kinds: [(Option<&str>, &[u8]); 5] = [
            (None, b"{\"mag\": 5.1}"),
            (Some("application/json"), b"[1, 2]"),
            (Some("text/plain"), "gr\u{fc}n".as_bytes()),
            (Some("image/png"), &[0, 255]),
            (None, b""),
        ];
        for (datacontenttype, data) in kinds {
            let event = event(datacontenttype, data);
            assert_eq!(Event::decode(&event.clone().encode().expect("valid")), Ok(event));
        }
    }

    #[test]
    fn what_is_no_event_is_refused_with_the_reason() {
        let nameless = Event { id: String::new(), ..event(None, b"") };
        assert_eq!(nameless.encode(), Err(EventError::EmptyAttribute { name: "id" }));
        assert!(matches!(event(Some("application/json"), b"{").encode(), Err(EventError::DataNotJson { .. })));
        assert!(Event::decode(b"").is_err());
    }
}
