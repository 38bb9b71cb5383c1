//! An event's data: what kind it claims to be, and what it is once somebody looks.
//!
//! The broker does not decode data, so a stored event may claim "JSON" over bytes that are none. Whoever reads such an event still
//! gets a valid one: [`settle`] turns a false claim into a kind that is true (text where `datacontenttype` allows that, else binary).
//! Without that, a hostile producer could write members, or whole events, into its readers' JSON.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::EventError;

/// An event's data, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// One JSON value, as its text. Numbers and white space stay as they were written.
    Json(String),
    /// Text of a type that `datacontenttype` declares and that is not JSON.
    Text(String),
    Binary(Bytes),
}

/// An encoded event's data as it is stored: a claim of the producer, not checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataRef<'a> {
    None,
    Json(&'a [u8]),
    Text(&'a [u8]),
    Binary(&'a [u8]),
}

impl<'a> DataRef<'a> {
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Self::None => &[],
            Self::Json(bytes) | Self::Text(bytes) | Self::Binary(bytes) => bytes,
        }
    }

    /// Numbers on wire and disk, never reused.
    pub(super) fn kind(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Json(_) => 1,
            Self::Text(_) => 2,
            Self::Binary(_) => 3,
        }
    }

    pub(super) fn from_kind(kind: u8, bytes: &'a [u8]) -> Result<Self, EventError> {
        Ok(match kind {
            0 if bytes.is_empty() => Self::None,
            0 => return Err(EventError::UnexpectedData { size: bytes.len() }),
            1 => Self::Json(bytes),
            2 => Self::Text(bytes),
            3 => Self::Binary(bytes),
            _ => return Err(EventError::UnknownDataKind { kind }),
        })
    }
}

impl Data {
    /// What the body of a message is, in the bindings of CloudEvents that carry data as bytes and its type beside it. A type that declares
    /// JSON must keep its word. A body without a type is JSON if it can be: there are SDKs that send JSON so.
    pub fn from_body(body: Bytes, media_type: Option<&str>) -> Result<Option<Self>, EventError> {
        if body.is_empty() {
            return Ok(None);
        }
        if declares_json(media_type) {
            match serde_json::from_slice::<&RawValue>(&body) {
                Ok(value) => return Ok(json_value(value, true)?.into_data()),
                Err(error) if media_type.is_some() => return Err(data_not_json(&error)),
                Err(_) => {}
            }
        }
        Ok(Some(match std::str::from_utf8(&body) {
            Ok(text) if media_type.is_some_and(declares_text) => Self::Text(text.to_owned()),
            _ => Self::Binary(body),
        }))
    }

    pub fn as_ref(&self) -> DataRef<'_> {
        match self {
            Self::Json(text) => DataRef::Json(text.as_bytes()),
            Self::Text(text) => DataRef::Text(text.as_bytes()),
            Self::Binary(bytes) => DataRef::Binary(bytes),
        }
    }
}

/// Data whose claim holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Settled<'a> {
    Absent,
    Json(&'a str),
    Text(Cow<'a, str>),
    Binary(&'a [u8]),
}

impl Settled<'_> {
    pub(super) fn into_data(self) -> Option<Data> {
        Some(match self {
            Self::Absent => return None,
            Self::Json(text) => Data::Json(text.to_owned()),
            Self::Text(text) => Data::Text(text.into_owned()),
            Self::Binary(bytes) => Data::Binary(Bytes::copy_from_slice(bytes)),
        })
    }
}

/// What the data is, whatever it claims. It never grows by this, so an event that kept the limits keeps them.
pub(super) fn settle(data: DataRef<'_>, json_declared: bool) -> Settled<'_> {
    let (DataRef::Json(bytes) | DataRef::Text(bytes) | DataRef::Binary(bytes)) = data else { return Settled::Absent };
    let Ok(text) = std::str::from_utf8(bytes) else { return Settled::Binary(bytes) };
    match data {
        DataRef::Json(_) => json(text, json_declared).unwrap_or_else(|_| text_or_binary(text, json_declared)),
        DataRef::Text(_) => text_or_binary(text, json_declared),
        DataRef::None | DataRef::Binary(_) => Settled::Binary(bytes),
    }
}

/// Under a type that declares JSON, bare text could be said in JSON only as a JSON string, which it is not.
fn text_or_binary(text: &str, json_declared: bool) -> Settled<'_> {
    if json_declared { Settled::Binary(text.as_bytes()) } else { Settled::Text(Cow::Borrowed(text)) }
}

/// Data that should be JSON, as a JSON event would carry it: `null` is no data, and a string under a type that is not JSON is that text.
pub(super) fn json(text: &str, json_declared: bool) -> Result<Settled<'_>, EventError> {
    let value: &RawValue = serde_json::from_str(text).map_err(|error| data_not_json(&error))?;
    json_value(value, json_declared)
}

pub(super) fn json_value(value: &RawValue, json_declared: bool) -> Result<Settled<'_>, EventError> {
    let text = value.get();
    Ok(match text.as_bytes().first() {
        Some(b'n') => Settled::Absent,
        Some(b'"') if !json_declared => Settled::Text(string("data", text)?),
        _ => Settled::Json(text),
    })
}

/// The text that a JSON string stands for, borrowed where nothing is escaped.
pub(super) fn string<'a>(name: &str, json: &'a str) -> Result<Cow<'a, str>, EventError> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    match serde_json::from_str::<Text<'a>>(json) {
        Ok(text) => Ok(text.0),
        Err(_) => Err(EventError::NotText { name: name.to_owned() }),
    }
}

fn data_not_json(error: &serde_json::Error) -> EventError {
    EventError::DataNotJson { line: error.line(), column: error.column(), reason: reason(error) }
}

/// serde_json's own words, without the place that it appends and we keep as numbers.
pub(super) fn reason(error: &serde_json::Error) -> String {
    let whole = error.to_string();
    whole.rsplit_once(" at line ").map_or(whole.as_str(), |(reason, _place)| reason).to_owned()
}

/// Does `datacontenttype` declare JSON? Without one a JSON event's data is JSON; with one its subtype decides.
pub(crate) fn declares_json(datacontenttype: Option<&str>) -> bool {
    let Some(media_type) = datacontenttype else { return true };
    essence(media_type).is_some_and(|(_, subtype)| suffix(subtype).eq_ignore_ascii_case("json"))
}

/// Does a media type declare text, in a charset that UTF-8 can be read as?
fn declares_text(media_type: &str) -> bool {
    let Some((top, subtype)) = essence(media_type) else { return false };
    let is_text = top.eq_ignore_ascii_case("text")
        || suffix(subtype).eq_ignore_ascii_case("xml")
        || subtype.eq_ignore_ascii_case("x-www-form-urlencoded");
    let charset = media_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim_ascii().eq_ignore_ascii_case("charset").then(|| value.trim_ascii().trim_matches('"'))
    });
    is_text
        && charset.is_none_or(|charset| ["utf-8", "us-ascii"].iter().any(|known| known.eq_ignore_ascii_case(charset)))
}

/// Type and subtype, without parameters.
fn essence(media_type: &str) -> Option<(&str, &str)> {
    media_type.split(';').next()?.trim_ascii_end().rsplit_once('/')
}

/// What stands behind the last `+` of a subtype, or all of it.
fn suffix(subtype: &str) -> &str {
    subtype.rsplit('+').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_declared_by_subtype_suffix_or_absence() {
        for json in [
            None,
            Some("application/json"),
            Some("Application/JSON; charset=utf-8"),
            Some("application/geo+json"),
            Some("text/json ;a=b"),
        ] {
            assert!(declares_json(json), "{json:?}");
        }
        for other in [
            "text/plain",
            "application/xml",
            "json",
            "",
            "application/jsonl",
            "application/json+xml",
            "text/plain; x=/json",
        ] {
            assert!(!declares_json(Some(other)), "{other}");
        }
    }

    #[test]
    fn a_body_is_what_its_type_says() {
        let data = |body: &'static [u8], media_type| Data::from_body(Bytes::from_static(body), media_type);
        let binary = |body: &'static [u8]| Ok(Some(Data::Binary(Bytes::from_static(body))));
        assert_eq!(data(b" {\"a\": 1}\n", Some("application/json")), Ok(Some(Data::Json("{\"a\": 1}".into()))));
        assert_eq!(data(b"\"a\"", Some("text/json")), Ok(Some(Data::Json("\"a\"".into()))));
        for no_json in [&b"{"[..], b"\xff", b"{} {}"] {
            assert!(matches!(data(no_json, Some("application/geo+json")), Err(EventError::DataNotJson { .. })));
        }
        for text in ["text/plain", "Text/CSV; charset=\"UTF-8\"", "image/svg+xml", "application/x-www-form-urlencoded"]
        {
            assert_eq!(data(b"1", Some(text)), Ok(Some(Data::Text("1".into()))), "{text}");
        }
        for bytes in ["application/octet-stream", "text/plain; charset=utf-16", "text"] {
            assert_eq!(data(b"1", Some(bytes)), binary(b"1"), "{bytes}");
        }
        assert_eq!(data(b"[1]", None), Ok(Some(Data::Json("[1]".into()))));
        assert_eq!(data(b"one", None), binary(b"one"));
        assert_eq!(data(b"\xff", Some("text/plain")), binary(b"\xff"));
        assert_eq!(data(b"", Some("application/json")), Ok(None));
    }

    #[test]
    fn a_false_claim_becomes_a_weaker_truth() {
        assert_eq!(settle(DataRef::Json(b" {\"a\":1} "), true), Settled::Json("{\"a\":1}"));
        assert_eq!(settle(DataRef::Json(b"1},{"), true), Settled::Binary(b"1},{"));
        assert_eq!(settle(DataRef::Json(b"1},{"), false), Settled::Text("1},{".into()));
        assert_eq!(settle(DataRef::Json(b"\xff"), true), Settled::Binary(b"\xff"));
        assert_eq!(settle(DataRef::Text(b"\xff"), false), Settled::Binary(b"\xff"));
        assert_eq!(settle(DataRef::Text(b"a"), true), Settled::Binary(b"a"));
        assert_eq!(settle(DataRef::Json(b"null"), true), Settled::Absent);
        assert_eq!(settle(DataRef::Json(b"\"a\\nb\""), false), Settled::Text("a\nb".into()));
        assert_eq!(settle(DataRef::Json(b"\"\\ud800\""), false), Settled::Text("\"\\ud800\"".into()));
    }
}
