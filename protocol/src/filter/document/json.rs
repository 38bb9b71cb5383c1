//! One level of JSON at a time, strictly: a member named twice would silently be a condition less.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::DocumentError;
use crate::filter::number::Number;

/// A JSON value, what is in it not yet read.
#[derive(Debug)]
pub(super) enum Json<'j> {
    Null,
    Boolean(bool),
    Number(Number),
    String(Cow<'j, str>),
    Array(Vec<&'j RawValue>),
    Object(Members<'j>),
}

/// In the order of their names, so that two documents which differ in order alone are one filter.
pub(super) type Members<'j> = BTreeMap<Cow<'j, str>, &'j RawValue>;

impl<'j> Json<'j> {
    /// Reads what stands at `at`.
    pub(super) fn read(value: &'j RawValue, at: &str) -> Result<Self, DocumentError> {
        let text = value.get();
        let not_json = |error: serde_json::Error| DocumentError::not_json(&error, at);
        Ok(match text.as_bytes()[0] {
            b'{' => Self::Object(serde_json::from_str::<Distinct<'_>>(text).map_err(not_json)?.0),
            b'[' => Self::Array(serde_json::from_str(text).map_err(not_json)?),
            b'"' => Self::String(serde_json::from_str::<Text<'_>>(text).map_err(not_json)?.0),
            b't' => Self::Boolean(true),
            b'f' => Self::Boolean(false),
            b'n' => Self::Null,
            _ => {
                // By the reader that evaluation uses, so that the same digits are the same number.
                let number = crate::filter::json::number(text.as_bytes());
                Self::Number(number.expect("a RawValue that begins like a number is one"))
            }
        })
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "a Boolean",
            Self::Number(_) => "a number",
            Self::String(text) if text.is_empty() => "an empty text",
            Self::String(_) => "a text",
            Self::Array(elements) if elements.is_empty() => "an empty array",
            Self::Array(_) => "an array",
            Self::Object(members) if members.is_empty() => "an empty object",
            Self::Object(_) => "an object",
        }
    }
}

/// Borrowed where nothing is escaped.
#[derive(Deserialize)]
struct Text<'j>(#[serde(borrow)] Cow<'j, str>);

struct Distinct<'j>(Members<'j>);

impl<'de> Deserialize<'de> for Distinct<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Distinct<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Members::new();
                while let Some((Text(name), value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    if members.contains_key(&name) {
                        return Err(A::Error::custom(format_args!("{name:?} appears twice")));
                    }
                    members.insert(name, value);
                }
                Ok(Distinct(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}
