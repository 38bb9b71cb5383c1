//! Values while a filter is evaluated, and the casts of CESQL 3.7.
//!
//! Invariant: text is borrowed from the event or the filter wherever it exists there; only functions, JSON escapes and casts kept
//! beyond one comparison allocate.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::{self, Write as _};

use super::functions::Function;
use super::number::{MathFault, Number};
use super::source::ValueRef;

/// The value of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'v> {
    Boolean(bool),
    Number(Number),
    String(Cow<'v, str>),
}

/// The kinds of values, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean,
    Integer,
    /// Extension: a 64-bit integer or a decimal.
    Number,
    String,
    /// Extension: a JSON object or array, which exists but has no value to compare.
    Structure,
}

/// Why an evaluation erred. A filter whose evaluation errs does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError<'v> {
    /// The event has no such attribute, or its data no such path.
    #[error("the event has no {name}")]
    MissingAttribute { name: &'v str },
    #[error("cannot take this {from} as {to}")]
    Cast { from: Kind, to: Kind },
    #[error(transparent)]
    Math(#[from] MathFault),
    #[error("{function} has no result for these arguments")]
    Function { function: Function },
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "Boolean",
            Self::Integer => "Integer",
            Self::Number => "Number",
            Self::String => "String",
            Self::Structure => "JSON object or array",
        })
    }
}

impl<'v> From<ValueRef<'v>> for Value<'v> {
    fn from(value: ValueRef<'v>) -> Self {
        match value {
            ValueRef::String(text) => Self::String(Cow::Borrowed(text)),
            ValueRef::Integer(value) => Self::Number(Number::Integer(value)),
            ValueRef::Boolean(value) => Self::Boolean(value),
        }
    }
}

impl<'v> Value<'v> {
    pub(super) const FALSE: Self = Self::Boolean(false);

    pub fn kind(&self) -> Kind {
        match self {
            Self::Boolean(_) => Kind::Boolean,
            Self::Number(Number::Integer(_)) => Kind::Integer,
            Self::Number(_) => Kind::Number,
            Self::String(_) => Kind::String,
        }
    }

    fn no_cast<T>(&self, to: Kind) -> Result<T, EvaluationError<'static>> {
        Err(EvaluationError::Cast { from: self.kind(), to })
    }

    pub(super) fn to_boolean(&self) -> Result<bool, EvaluationError<'static>> {
        match self {
            Self::Boolean(value) => Ok(*value),
            Self::Number(number) => Ok(!number.is_zero()),
            Self::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Self::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Self::String(_) => self.no_cast(Kind::Boolean),
        }
    }

    /// The standard's cast to its 32-bit Integer.
    pub(super) fn to_integer(&self) -> Result<i32, EvaluationError<'static>> {
        match self {
            Self::Boolean(value) => Some(i32::from(*value)),
            Self::Number(number) => number.to_integer(),
            Self::String(text) => text.parse().ok(),
        }
        .map_or_else(|| self.no_cast(Kind::Integer), Ok)
    }

    /// A number to calculate or compare with; text becomes the standard's Integer unless it meets an extended number.
    pub(super) fn to_number(&self, meets_wide: bool) -> Result<Number, EvaluationError<'static>> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::String(text) if meets_wide => Number::parse_wide(text).map_or_else(|| self.no_cast(Kind::Number), Ok),
            Self::Boolean(_) | Self::String(_) => self.to_integer().map(Number::Integer),
        }
    }

    fn is_wide(&self) -> bool {
        matches!(self, Self::Number(number) if number.is_wide())
    }

    /// Both sides of an operator that takes numbers. The left one is cast first: its error is the one reported.
    pub(super) fn numbers(left: &Self, right: &Self) -> Result<(Number, Number), EvaluationError<'static>> {
        Ok((left.to_number(right.is_wide())?, right.to_number(left.is_wide())?))
    }

    pub(super) fn order(left: &Self, right: &Self) -> Result<Ordering, EvaluationError<'static>> {
        let (left, right) = Self::numbers(left, right)?;
        Ok(left.compare(right))
    }

    /// Equality after casting `value` to the type of `target`: for `=` the right side is the target, for `IN` the left. Two
    /// numbers are compared as they are, because casting a decimal to an integer would make 4.5 equal 4.
    pub(super) fn equals(value: &Self, target: &Self) -> Result<bool, EvaluationError<'static>> {
        match (value, target) {
            (Self::String(value), Self::String(target)) => Ok(value == target),
            (value, Self::String(target)) => Ok(value.with_text(|text| text == target)),
            (value, Self::Boolean(target)) => Ok(value.to_boolean()? == *target),
            (value, Self::Number(target)) => Ok(value.to_number(target.is_wide())?.compare(*target).is_eq()),
        }
    }

    /// Lends the value as text; short numbers are written on the stack.
    pub(super) fn with_text<R>(&self, use_text: impl FnOnce(&str) -> R) -> R {
        match self {
            Self::String(text) => use_text(text),
            Self::Boolean(value) => use_text(boolean_text(*value)),
            Self::Number(number) => {
                let mut short = ShortText::default();
                match write!(short, "{number}").ok().and_then(|()| short.as_str()) {
                    Some(text) => use_text(text),
                    None => use_text(&number.to_string()),
                }
            }
        }
    }

    pub(super) fn into_text(self) -> Cow<'v, str> {
        match self {
            Self::String(text) => text,
            Self::Boolean(value) => Cow::Borrowed(boolean_text(value)),
            Self::Number(number) => Cow::Owned(number.to_string()),
        }
    }
}

fn boolean_text(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// Text of a number without the heap: any 64-bit integer and any everyday decimal fits.
#[derive(Default)]
struct ShortText {
    bytes: [u8; 32],
    len: usize,
}

impl ShortText {
    fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes[..self.len]).ok()
    }
}

impl fmt::Write for ShortText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}
