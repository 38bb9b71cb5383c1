//! Reading an event from JSON in CloudEvents' structured mode.
//!
//! The object is first taken apart into members, each a name and the raw text of a value; then each member is read as what its name
//! says it is. Members of value `null` are as good as absent. The number of members is bounded before anything is compared.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::data::{self, Settled, declares_json};
use super::known::{Known, check_extension_name};
use super::{AttributeValue, Event, EventBuilder, EventError, base64};
use crate::limits::ATTRIBUTES_MAX;

/// `specversion`, `data` and `data_base64` are members and no attributes of ours.
const MEMBERS_MAX: usize = ATTRIBUTES_MAX + 3;

pub(super) fn read(json: &[u8]) -> Result<Event, EventError> {
    let members: Members<'_> = serde_json::from_slice(json).map_err(|error| not_json(&error))?;
    if members.count > MEMBERS_MAX {
        return Err(EventError::TooManyAttributes { count: members.count, limit: ATTRIBUTES_MAX });
    }
    members.check_for_duplicates()?;
    members.check_specversion()?;
    let required = |known: Known| match members.string(known.name())? {
        Some(text) => Ok(text.into_owned()),
        None => Err(EventError::MissingAttribute { name: known.name() }),
    };
    let mut builder = Event::builder(required(Known::Id)?, required(Known::Source)?, required(Known::Type)?);
    for (name, value) in &members.list {
        if !is_null(value) {
            builder = read_member(builder, name, value)?;
        }
    }
    let content_type = members.string(Known::DataContentType.name())?;
    let data = match (members.value("data"), members.string("data_base64")?) {
        (Some(_), Some(_)) => return Err(EventError::BothDataAndBase64),
        (Some(value), None) => data::json_value(value, declares_json(content_type.as_deref()))?,
        (None, Some(text)) => {
            let bytes = base64::decode(text.as_bytes()).map_err(|at| EventError::BadBase64 { at })?;
            return builder.binary(bytes).build();
        }
        (None, None) => Settled::Absent,
    };
    builder.build_with(data)
}

fn read_member(builder: EventBuilder, name: &str, value: &RawValue) -> Result<EventBuilder, EventError> {
    let text = || string(name, value).map(Cow::into_owned);
    Ok(match name {
        "specversion" | "id" | "source" | "type" | "data" | "data_base64" => builder,
        "subject" => builder.subject(text()?),
        "time" => builder.time(text()?),
        "datacontenttype" => builder.datacontenttype(text()?),
        "dataschema" => builder.dataschema(text()?),
        _ => {
            check_extension_name(name)?;
            builder.extension(name, extension_value(name, value)?)
        }
    })
}

fn extension_value(name: &str, value: &RawValue) -> Result<AttributeValue, EventError> {
    let text = value.get();
    Ok(match text.as_bytes()[0] {
        b'"' => AttributeValue::String(string(name, value)?.into_owned()),
        b't' => AttributeValue::Boolean(true),
        b'f' => AttributeValue::Boolean(false),
        b'{' | b'[' => return Err(wrong_type(name, "a string, a whole number or a boolean", value)),
        _ => {
            AttributeValue::Integer(text.parse().map_err(|_| EventError::NotAnInt32 {
                name: name.to_owned(),
                found: text.chars().take(64).collect(),
            })?)
        }
    })
}

fn string<'a>(name: &str, value: &'a RawValue) -> Result<Cow<'a, str>, EventError> {
    match value.get().as_bytes()[0] {
        b'"' => data::string(name, value.get()),
        _ => Err(wrong_type(name, "a string", value)),
    }
}

fn wrong_type(name: &str, expected: &'static str, value: &RawValue) -> EventError {
    let found = match value.get().as_bytes()[0] {
        b'"' => "a string",
        b'{' => "an object",
        b'[' => "an array",
        b't' | b'f' => "a boolean",
        b'n' => "null",
        _ => "a number",
    };
    EventError::WrongType { name: name.to_owned(), expected, found }
}

fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

fn not_json(error: &serde_json::Error) -> EventError {
    EventError::NotJson { line: error.line(), column: error.column(), reason: data::reason(error) }
}

/// The members of an object in their order; those past the bound are counted and not kept.
struct Members<'a> {
    list: Vec<(Cow<'a, str>, &'a RawValue)>,
    count: usize,
}

impl<'a> Members<'a> {
    fn value(&self, name: &str) -> Option<&'a RawValue> {
        self.list.iter().find(|(there, value)| there == name && !is_null(value)).map(|(_, value)| *value)
    }

    fn string(&self, name: &str) -> Result<Option<Cow<'a, str>>, EventError> {
        self.value(name).map(|value| string(name, value)).transpose()
    }

    fn check_for_duplicates(&self) -> Result<(), EventError> {
        for (index, (name, _)) in self.list.iter().enumerate() {
            if self.list[..index].iter().any(|(before, _)| before == name) {
                return Err(EventError::DuplicateAttribute { name: name.chars().take(64).collect() });
            }
        }
        Ok(())
    }

    fn check_specversion(&self) -> Result<(), EventError> {
        match self.string("specversion")? {
            Some(version) if version == "1.0" => Ok(()),
            Some(other) => Err(EventError::UnknownSpecVersion { found: other.chars().take(64).collect() }),
            None => Err(EventError::MissingAttribute { name: "specversion" }),
        }
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event as a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        #[derive(Deserialize)]
        struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

        let mut members = Members { list: Vec::with_capacity(16), count: 0 };
        while members.count < MEMBERS_MAX {
            let Some((Name(name), value)) = map.next_entry()? else { return Ok(members) };
            members.list.push((name, value));
            members.count += 1;
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            members.count += 1;
        }
        Ok(members)
    }
}
