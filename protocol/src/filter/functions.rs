//! The built-in functions of CESQL 3.5, and one more. They are total: one that fails says so and still has a value.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use super::number::{MathFault, Number};
use super::value::{EvaluationError, Value};
use crate::limits::FILTER_TEXT_BYTES_MAX;

/// A built-in function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    Int,
    Bool,
    String,
    Length,
    Concat,
    ConcatWs,
    Lower,
    Upper,
    Trim,
    Left,
    Right,
    Substring,
    Abs,
    /// Extension: whether its argument, as a filter of its own, lets the event pass. What errs in there does not pass and is no error
    /// any more, which CESQL cannot say and the NOT of the Subscriptions API needs.
    Passes,
}

/// An error, and the value the operator or function has nevertheless; `None` is the zero value of its type.
#[derive(Debug)]
pub(super) struct Failure<'v> {
    pub(super) error: EvaluationError<'v>,
    pub(super) value: Option<Value<'v>>,
}

impl<'v> From<EvaluationError<'v>> for Failure<'v> {
    fn from(error: EvaluationError<'v>) -> Self {
        Self { error, value: None }
    }
}

impl<'v> From<MathFault> for Failure<'v> {
    fn from(fault: MathFault) -> Self {
        EvaluationError::Math(fault).into()
    }
}

/// What a function gives back, whatever its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResultType {
    Boolean,
    Number,
    String,
}

/// Name, fewest and most arguments, how it is called.
const TABLE: [(Function, &str, usize, usize, &str); 14] = [
    (Function::Int, "INT", 1, 1, "INT(value)"),
    (Function::Bool, "BOOL", 1, 1, "BOOL(value)"),
    (Function::String, "STRING", 1, 1, "STRING(value)"),
    (Function::Length, "LENGTH", 1, 1, "LENGTH(text)"),
    (Function::Concat, "CONCAT", 0, usize::MAX, "CONCAT(text, ...)"),
    (Function::ConcatWs, "CONCAT_WS", 1, usize::MAX, "CONCAT_WS(separator, text, ...)"),
    (Function::Lower, "LOWER", 1, 1, "LOWER(text)"),
    (Function::Upper, "UPPER", 1, 1, "UPPER(text)"),
    (Function::Trim, "TRIM", 1, 1, "TRIM(text)"),
    (Function::Left, "LEFT", 2, 2, "LEFT(text, count)"),
    (Function::Right, "RIGHT", 2, 2, "RIGHT(text, count)"),
    (Function::Substring, "SUBSTRING", 2, 3, "SUBSTRING(text, start) or SUBSTRING(text, start, count)"),
    (Function::Abs, "ABS", 1, 1, "ABS(number)"),
    (Function::Passes, "PASSES", 1, 1, "PASSES(condition)"),
];

impl Function {
    /// Finds a function by name, in any case, and number of arguments.
    pub(super) fn resolve(name: &str, arguments: usize) -> Option<Self> {
        TABLE
            .iter()
            .find(|(_, known, least, most, _)| {
                known.eq_ignore_ascii_case(name) && (*least..=*most).contains(&arguments)
            })
            .map(|(function, ..)| *function)
    }

    /// How the function of that name is called, if there is one.
    pub(super) fn usage(name: &str) -> Option<&'static str> {
        TABLE.iter().find(|(_, known, ..)| known.eq_ignore_ascii_case(name)).map(|(.., usage)| *usage)
    }

    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|(_, name, ..)| *name)
    }

    /// How each function is called, for lists of them.
    pub fn usages() -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|(.., usage)| *usage)
    }

    pub(super) fn result_type(self) -> ResultType {
        match self {
            Self::Bool | Self::Passes => ResultType::Boolean,
            Self::Int | Self::Length | Self::Abs => ResultType::Number,
            _ => ResultType::String,
        }
    }

    /// Calls the function with as many arguments as it was resolved with; they are taken out of `arguments`.
    pub(super) fn call<'v>(self, arguments: &mut [Value<'v>]) -> Result<Value<'v>, Failure<'v>> {
        let mut taken = arguments.iter_mut().map(|argument| std::mem::replace(argument, Value::FALSE));
        let mut next = || taken.next().unwrap_or(Value::FALSE);
        match self {
            Self::Bool => Ok(Value::Boolean(next().to_boolean()?)),
            // The program sees to the errors of its argument.
            Self::Passes => Ok(Value::Boolean(next() == Value::Boolean(true))),
            Self::Int => integer(&next()),
            Self::Abs => absolute(&next()),
            Self::String => Ok(Value::String(next().into_text())),
            Self::Length => Ok(length(&next())),
            Self::Trim => {
                let text = next().into_text();
                let start = text.len() - text.trim_start().len();
                let end = start + text.trim().len();
                Ok(Value::String(slice(text, start..end)))
            }
            Self::Lower => self.bounded(&next().into_text(), str::to_lowercase),
            Self::Upper => self.bounded(&next().into_text(), str::to_uppercase),
            Self::Concat => self.join("", arguments),
            Self::ConcatWs => {
                let separator = next().into_text();
                self.join(&separator, &arguments[1..])
            }
            Self::Left | Self::Right => {
                let (text, count) = (next().into_text(), next().to_integer()?);
                self.end_of(text, count)
            }
            Self::Substring => {
                let (text, start) = (next().into_text(), next().to_integer()?);
                let count = taken.next().map(|count| count.to_integer()).transpose()?;
                self.substring(text, start, count)
            }
        }
    }

    fn failed<'v>(self, value: Cow<'v, str>) -> Failure<'v> {
        Failure { error: EvaluationError::Function { function: self }, value: Some(Value::String(value)) }
    }

    fn bounded<'v>(self, text: &str, change: impl FnOnce(&str) -> String) -> Result<Value<'v>, Failure<'v>> {
        if text.len() > FILTER_TEXT_BYTES_MAX {
            return Err(self.failed(Cow::Borrowed("")));
        }
        Ok(Value::String(Cow::Owned(change(text))))
    }

    fn join<'v>(self, separator: &str, parts: &[Value<'v>]) -> Result<Value<'v>, Failure<'v>> {
        let mut joined = String::new();
        for (place, part) in parts.iter().enumerate() {
            if place > 0 {
                joined.push_str(separator);
            }
            part.with_text(|text| joined.push_str(text));
            if joined.len() > FILTER_TEXT_BYTES_MAX {
                return Err(self.failed(Cow::Borrowed("")));
            }
        }
        Ok(Value::String(Cow::Owned(joined)))
    }

    /// The first or last `count` characters.
    fn end_of<'v>(self, text: Cow<'v, str>, count: i32) -> Result<Value<'v>, Failure<'v>> {
        let Ok(count) = usize::try_from(count) else {
            return Err(self.failed(text));
        };
        let range = if self == Self::Left {
            0..byte_of(&text, count)
        } else {
            let skipped = text.chars().count().saturating_sub(count);
            byte_of(&text, skipped)..text.len()
        };
        Ok(Value::String(slice(text, range)))
    }

    /// `start` counts characters from 1, or from the end if negative.
    fn substring<'v>(self, text: Cow<'v, str>, start: i32, count: Option<i32>) -> Result<Value<'v>, Failure<'v>> {
        let length = text.chars().count();
        let distance = start.unsigned_abs() as usize;
        let count = count.map_or(Ok(length), usize::try_from);
        let (Ok(count), true) = (count, distance <= length) else {
            return Err(self.failed(Cow::Borrowed("")));
        };
        let first = match start {
            0 => return Ok(Value::String(Cow::Borrowed(""))),
            1.. => distance - 1,
            _ => length - distance,
        };
        let range = byte_of(&text, first)..byte_of(&text, first.saturating_add(count));
        Ok(Value::String(slice(text, range)))
    }
}

/// A 64-bit integer stays one: the standard's range binds only what is standard.
fn integer<'v>(value: &Value<'v>) -> Result<Value<'v>, Failure<'v>> {
    match value {
        Value::Number(long @ Number::Long(_)) => Ok(Value::Number(*long)),
        other => Ok(Value::Number(Number::Integer(other.to_integer()?))),
    }
}

fn absolute<'v>(value: &Value<'v>) -> Result<Value<'v>, Failure<'v>> {
    match value.to_number(false)?.absolute() {
        (number, false) => Ok(Value::Number(number)),
        (number, true) => Err(Failure { value: Some(Value::Number(number)), ..MathFault::OutOfRange.into() }),
    }
}

fn length<'v>(value: &Value<'v>) -> Value<'v> {
    let characters = value.with_text(|text| text.chars().count());
    Value::Number(Number::Integer(characters.try_into().unwrap_or(i32::MAX)))
}

/// Where character number `index` begins; the end of the text if it has fewer.
fn byte_of(text: &str, index: usize) -> usize {
    text.char_indices().nth(index).map_or(text.len(), |(at, _)| at)
}

fn slice(text: Cow<'_, str>, range: Range<usize>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[range]),
        Cow::Owned(text) => Cow::Owned(text[range].to_owned()),
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = TABLE.iter().find(|(function, ..)| function == self).map_or("", |(_, name, ..)| name);
        f.write_str(name)
    }
}
