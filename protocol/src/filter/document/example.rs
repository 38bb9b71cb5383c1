//! An event as an example: "at least this content".
//!
//! Every attribute of the example must be there and equal, and so must everything in its data: objects member by member, arrays element
//! by element from the first on. The event may have more of everything. `null` stands for what is not there, an empty object or array for
//! something that is there; equal is what `=` of the language calls equal.

use serde_json::value::RawValue;

use super::json::{Json, Members};
use super::{DocumentError, attribute, check_depth, writable};
use crate::event::declares_json;
use crate::filter::ast::{Expr, Literal, Reference};
use crate::filter::number::Number;
use crate::filter::path::{Path, Segment};
use crate::limits::FILTER_BYTES_MAX;

/// What an event must have.
pub(super) fn conditions(members: &Members<'_>, at: &str) -> Result<Vec<Expr>, DocumentError> {
    let mut conditions = Vec::new();
    for (name, value) in members {
        let place = format!("{at}.{name}");
        match (&**name, Json::read(value, &place)?) {
            // CloudEvents: an attribute that is null is absent.
            (_, Json::Null) => {}
            ("data", _) => {
                check_declared(members, &place)?;
                let mut content = Content { path: Vec::new(), conditions: Vec::new(), path_bytes: 0 };
                content.read(value, &place)?;
                conditions.append(&mut content.conditions);
            }
            ("data_base64", _) => return Err(DocumentError::NotComparable { at: place, what: "binary data" }),
            // Every event is of this version.
            ("specversion", Json::String(version)) if version == "1.0" => {}
            (name, value) => {
                let reference = attribute(name, &place)?;
                conditions.push(writable::equals(reference, attribute_value(&value, place)?));
            }
        }
    }
    Ok(conditions)
}

/// Data that is not JSON cannot be looked into, so an example of it would never be met.
fn check_declared(members: &Members<'_>, at: &str) -> Result<(), DocumentError> {
    let declared = match members.get("datacontenttype").map(|value| Json::read(value, at)).transpose()? {
        Some(Json::String(media_type)) => declares_json(Some(&media_type)),
        _ => true,
    };
    let what = "data that datacontenttype does not call JSON";
    if declared { Ok(()) } else { Err(DocumentError::NotComparable { at: at.to_owned(), what }) }
}

fn attribute_value(value: &Json<'_>, at: String) -> Result<Expr, DocumentError> {
    let fits = !matches!(value, Json::Number(number) if !is_attribute_value(*number));
    let expected = "a text, a Boolean or a 32-bit integer";
    scalar(value).filter(|_| fits).ok_or(DocumentError::Unexpected { at, expected, found: value.kind() })
}

fn is_attribute_value(number: Number) -> bool {
    matches!(number, Number::Long(integer) if i32::try_from(integer).is_ok())
}

fn scalar(value: &Json<'_>) -> Option<Expr> {
    Some(match value {
        Json::String(text) => writable::text(text),
        Json::Boolean(value) => Expr::Literal(Literal::Boolean(*value)),
        Json::Number(number) => Expr::Literal(Literal::Number(*number)),
        Json::Null | Json::Array(_) | Json::Object(_) => return None,
    })
}

/// Reads what the data must have.
struct Content {
    /// Where in the data.
    path: Vec<Segment>,
    conditions: Vec<Expr>,
    /// Of all conditions together: no filter that holds them is shorter.
    path_bytes: usize,
}

impl Content {
    fn read(&mut self, value: &RawValue, at: &str) -> Result<(), DocumentError> {
        check_depth(self.path.len(), at)?;
        let value = Json::read(value, at)?;
        if let Some(wanted) = scalar(&value) {
            let condition = writable::equals(self.reference(at)?, wanted);
            self.conditions.push(condition);
            return Ok(());
        }
        let below: Vec<(Segment, &RawValue)> = match value {
            Json::Object(members) => {
                members.into_iter().map(|(name, value)| (Segment::Key(name.into()), value)).collect()
            }
            Json::Array(elements) => {
                elements.into_iter().enumerate().map(|(index, value)| (Segment::Index(index), value)).collect()
            }
            _ => {
                let condition = Expr::Not(Box::new(Expr::Exists(self.reference(at)?)));
                self.conditions.push(condition);
                return Ok(());
            }
        };
        if below.is_empty() {
            let condition = Expr::Exists(self.reference(at)?);
            self.conditions.push(condition);
        }
        for (segment, value) in below {
            let at = match &segment {
                Segment::Key(key) => format!("{at}.{key}"),
                Segment::Index(index) => format!("{at}[{index}]"),
            };
            self.path.push(segment);
            self.read(value, &at)?;
            self.path.pop();
        }
        Ok(())
    }

    /// The path, which must leave room in the filter.
    fn reference(&mut self, at: &str) -> Result<Reference, DocumentError> {
        let path = Path::new(self.path.clone());
        self.path_bytes += path.as_str().len();
        if self.path_bytes > FILTER_BYTES_MAX {
            return Err(DocumentError::TooMuch { at: at.to_owned(), bytes: self.path_bytes });
        }
        if writable::is_path(&path) {
            Ok(Reference::Data(path))
        } else {
            Err(DocumentError::Unwritable { at: at.to_owned(), what: format!("{path}") })
        }
    }
}
