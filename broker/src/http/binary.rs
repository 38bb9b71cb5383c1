//! Binary mode: the body is the event's data, `Content-Type` its `datacontenttype`, and a header `ce-NAME` each other attribute.
//!
//! A header's value is unquoted if it stands in double quotes, then percent-decoded, and must then be UTF-8. Headers have no types, so
//! extensions that come this way are strings.

use std::borrow::Cow;
use std::collections::BTreeMap;

use anyport_protocol::event::{Data, Event, EventError};
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use percent_encoding::percent_decode;

const PREFIX: &str = "ce-";

/// Why a request is no event in binary mode.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotBinary {
    #[error(
        "there is no header `ce-{name}`: it belongs to every event in binary mode; an event that is JSON as a whole is announced by \
         `Content-Type: application/cloudevents+json`"
    )]
    Missing { name: &'static str },
    #[error("the header `ce-{name}` is there twice")]
    Repeated { name: String },
    #[error("`ce-datacontenttype` is no header of an event: `Content-Type` says it")]
    ContentTypeTwice,
    #[error("the header `ce-{name}` begins with a quote that does not end with it")]
    BadQuotes { name: String },
    #[error("the header `ce-{name}` is not UTF-8 once it is percent-decoded")]
    NotUtf8 { name: String },
    #[error("`Content-Type` is no printable ASCII")]
    BadContentType,
    #[error(transparent)]
    Event(#[from] EventError),
}

pub(super) fn read(headers: &HeaderMap, body: Bytes) -> Result<Event, NotBinary> {
    let mut attributes = attributes(headers)?;
    let mut required = |name| attributes.remove(name).ok_or(NotBinary::Missing { name });
    let specversion = required("specversion")?;
    if specversion != "1.0" {
        return Err(EventError::UnknownSpecVersion { found: specversion.chars().take(64).collect() }.into());
    }
    let mut event = Event::builder(required("id")?, required("source")?, required("type")?);
    for (name, text) in attributes {
        event = match name {
            "subject" => event.subject(text),
            "time" => event.time(text),
            "dataschema" => event.dataschema(text),
            "datacontenttype" => return Err(NotBinary::ContentTypeTwice),
            name => event.extension(name, text),
        };
    }
    let media_type = headers.get(CONTENT_TYPE).map(HeaderValue::to_str).transpose();
    let media_type = media_type.map_err(|_| NotBinary::BadContentType)?.filter(|media_type| !media_type.is_empty());
    if let Some(media_type) = media_type {
        event = event.datacontenttype(media_type);
    }
    if let Some(data) = Data::from_body(body, media_type)? {
        event = event.data(data);
    }
    Ok(event.build()?)
}

fn attributes(headers: &HeaderMap) -> Result<BTreeMap<&str, String>, NotBinary> {
    let mut attributes = BTreeMap::new();
    for (header, value) in headers {
        if let Some(name) = header.as_str().strip_prefix(PREFIX)
            && attributes.insert(name, decoded(name, value)?).is_some()
        {
            return Err(NotBinary::Repeated { name: name.to_owned() });
        }
    }
    Ok(attributes)
}

fn decoded(name: &str, value: &HeaderValue) -> Result<String, NotBinary> {
    let plain = match value.as_bytes() {
        [b'"', quoted @ ..] => {
            Cow::Owned(unquoted(quoted).ok_or_else(|| NotBinary::BadQuotes { name: name.to_owned() })?)
        }
        plain => Cow::Borrowed(plain),
    };
    let text = percent_decode(&plain).decode_utf8().map_err(|_| NotBinary::NotUtf8 { name: name.to_owned() })?;
    Ok(text.into_owned())
}

/// What stands between two quotes, the first of which is cut off already. None unless the second ends the value.
fn unquoted(rest: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(rest.len());
    let mut bytes = rest.iter();
    loop {
        match *bytes.next()? {
            b'"' => return bytes.as_slice().is_empty().then_some(plain),
            b'\\' => plain.push(*bytes.next()?),
            byte => plain.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use anyport_protocol::event::AttributeValue;
    use hyper::header::HeaderName;

    use super::*;

    fn read_with(headers: &[(&'static str, &str)], body: &'static str) -> Result<Event, NotBinary> {
        let minimal = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];
        read_only(&[&minimal, headers].concat(), body)
    }

    fn read_only(headers: &[(&'static str, &str)], body: &'static str) -> Result<Event, NotBinary> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_bytes(value.as_bytes()).expect("a header's value"),
            );
        }
        read(&map, Bytes::from_static(body.as_bytes()))
    }

    fn subject(value: &str) -> Result<String, NotBinary> {
        read_with(&[("ce-subject", value)], "").map(|event| event.subject().expect("it has one").to_owned())
    }

    #[test]
    fn every_header_becomes_its_attribute_and_the_body_the_data() {
        let headers = [
            ("ce-subject", "a"),
            ("ce-time", "2018-04-05T03:56:24Z"),
            ("ce-dataschema", "/schema"),
            ("ce-partitionkey", "k"),
            ("ce-count", "5"),
            ("content-type", "application/json; charset=utf-8"),
            ("host", "localhost"),
            ("user-agent", "curl"),
        ];
        let expected = Event::builder("1", "/s", "t")
            .subject("a")
            .time("2018-04-05T03:56:24Z")
            .dataschema("/schema")
            .extension("partitionkey", "k")
            .extension("count", "5")
            .datacontenttype("application/json; charset=utf-8")
            .json("{\"mag\": 5.10}");
        assert_eq!(read_with(&headers, "{\"mag\": 5.10}"), expected.build().map_err(NotBinary::from));
    }

    #[test]
    fn data_is_kept_as_its_content_type_says() {
        let data =
            |media_type, body| read_with(&[("content-type", media_type)], body).map(|event| event.data().cloned());
        assert_eq!(data("application/json", "[1]"), Ok(Some(Data::Json("[1]".into()))));
        assert_eq!(data("text/plain", "[1]"), Ok(Some(Data::Text("[1]".into()))));
        assert_eq!(data("application/octet-stream", "[1]"), Ok(Some(Data::Binary(Bytes::from_static(b"[1]")))));
        assert!(matches!(data("application/json", "[1"), Err(NotBinary::Event(EventError::DataNotJson { .. }))));
        let untyped = read_with(&[], "{1").expect("an event");
        assert_eq!((untyped.datacontenttype(), untyped.data()), (None, Some(&Data::Binary(Bytes::from_static(b"{1")))));
        assert_eq!(read_with(&[], "").expect("an event").data(), None);
    }

    #[test]
    fn values_are_unquoted_and_percent_decoded_once() {
        for (value, expected) in [
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
            ("%e2%82%ac", "€"),
            ("%41", "A"),
            ("%2541", "%41"),
            ("\"a b\"", "a b"),
            ("\"a \\\"b\\\\ %E2%82%AC\"", "a \"b\\ €"),
            ("a\"b", "a\"b"),
            ("100%", "100%"),
            ("schön", "schön"),
        ] {
            assert_eq!(subject(value).as_deref(), Ok(expected), "{value}");
        }
        for no_utf8 in ["%C0%A0", "%FF", "%E2%82"] {
            assert_eq!(subject(no_utf8), Err(NotBinary::NotUtf8 { name: "subject".into() }), "{no_utf8}");
        }
        for quotes in ["\"a", "\"", "\"a\"b", "\"a\\\""] {
            assert_eq!(subject(quotes), Err(NotBinary::BadQuotes { name: "subject".into() }), "{quotes}");
        }
    }

    #[test]
    fn what_is_no_event_is_told_which_header_is_wrong() {
        let mandatory = ["specversion", "id", "source", "type"];
        for (missing, name) in mandatory.into_iter().enumerate() {
            let mut headers = vec![("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];
            headers.remove(missing);
            assert_eq!(read_only(&headers, ""), Err(NotBinary::Missing { name }));
        }
        for (header, value, expected) in [
            ("ce-id", "2", NotBinary::Repeated { name: "id".into() }),
            ("ce-datacontenttype", "text/plain", NotBinary::ContentTypeTwice),
            ("ce-my-ext", "1", EventError::BadAttributeName { name: "my-ext".into() }.into()),
            ("ce-data", "1", EventError::ReservedAttributeName { name: "data".into() }.into()),
            ("ce-subject", "", EventError::EmptyAttribute { name: "subject" }.into()),
            ("ce-time", "noon", EventError::BadTime { found: "noon".into() }.into()),
        ] {
            assert_eq!(read_with(&[(header, value)], ""), Err(expected), "{header}");
        }
        let version = read_only(&[("ce-specversion", "0.3")], "");
        assert_eq!(version, Err(EventError::UnknownSpecVersion { found: "0.3".into() }.into()));
    }

    #[test]
    fn extensions_are_strings() {
        let event = read_with(&[("ce-flag", "true"), ("ce-empty", "")], "").expect("an event");
        assert_eq!(event.extensions()["flag"], AttributeValue::String("true".into()));
        assert_eq!(event.extensions()["empty"], AttributeValue::String(String::new()));
    }
}
