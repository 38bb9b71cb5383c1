//! The text of a filter and, behind a NUL, the JSON data of the event that it is evaluated over.

use std::cell::Cell;

use anyport_protocol::filter::{Dialect, EvaluationError, Filter, FilterError, Source, Value, ValueRef};
use anyport_protocol::limits::{FILTER_BYTES_MAX, FILTER_STEPS_MAX};
use serde_json::value::RawValue;

use crate::driver::Outcome;
use crate::reference::{self, Plain, Wrong};

/// What one look into the data counts for.
const DATA_STEPS: usize = 64;

pub fn target(bytes: &[u8]) -> Outcome {
    let (text, data) = match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &b"{\"x\":1,\"list\":[0,{\"y\":\"t\"}]}"[..]),
    };
    let text = String::from_utf8_lossy(text);
    let strict = Filter::compile_in(Dialect::Strict, &text);
    let extended = Filter::compile(&text);
    for error in [&strict, &extended].into_iter().filter_map(|compiled| compiled.as_ref().err()) {
        error_points_into(error, &text);
    }
    // Events of the standard have no attribute of that name.
    if let (Ok(strict), Ok(extended), false) = (&strict, &extended, names_data(&text)) {
        assert_eq!(strict.expression(), extended.expression(), "an extension changes nothing of the standard");
    }
    match &extended {
        Ok(filter) => keeps_its_bounds(filter, data),
        Err(_) => Outcome::of_result(&extended),
    }
}

pub fn names_data(text: &str) -> bool {
    text.to_ascii_lowercase().contains("data")
}

fn error_points_into(error: &FilterError, text: &str) {
    assert!((1..=text.chars().count() + 1).contains(&error.column()), "{error}");
    assert_eq!(error.pointer(text).split('\n').count(), 2);
    assert!(!error.to_string().contains('\n'), "{error}");
}

/// It prints to a text that means the same, is as costly as was said before, and means what the reference says.
pub fn keeps_its_bounds(filter: &Filter, data: &[u8]) -> Outcome {
    assert!(filter.steps_max() <= FILTER_STEPS_MAX);
    let event = Counting { data, attributes: Cell::default(), looks: Cell::default() };
    let evaluation = filter.evaluate(&event);
    let cost = event.attributes.get() + DATA_STEPS * event.looks.get();
    assert!(cost <= filter.steps_max(), "{cost} > {}", filter.steps_max());

    let Some(expression) = filter.expression() else { return Outcome::of(&"always") };
    let (printed, words) = (expression.to_string(), filter.explain());
    // With all its blanks and parentheses it may be longer than a filter may be.
    if printed.len() <= FILTER_BYTES_MAX {
        let again = Filter::compile(&printed).unwrap_or_else(|error| panic!("{printed}: {error}"));
        assert_eq!(again.expression(), Some(expression), "{printed}");
        assert_eq!(again.evaluate(&event), evaluation);
    }
    // Of broken data the evaluator finds what lies before the fault.
    if serde_json::from_slice::<&RawValue>(data).is_ok() {
        assert_eq!(plain(filter, &event), reference::evaluate(expression, &event), "{printed}");
    }
    Outcome::of(expression).and(Outcome::of(&words)).and(Outcome::of(&evaluation))
}

/// The outcome in the words of the reference.
fn plain(filter: &Filter, event: &dyn Source) -> Result<Plain, Wrong> {
    let evaluation = filter.evaluate(event);
    match evaluation.error {
        Some(EvaluationError::MissingAttribute { name }) => Err(Wrong::Missing(name.to_owned())),
        Some(EvaluationError::Cast { .. }) => Err(Wrong::Cast),
        Some(EvaluationError::Math(_)) => Err(Wrong::Math),
        Some(EvaluationError::Function { .. }) => Err(Wrong::Function),
        None => Ok(match evaluation.value {
            Value::Boolean(value) => Plain::Boolean(value),
            Value::Number(number) => Plain::Number(number),
            Value::String(text) => Plain::Text(text.into_owned()),
        }),
    }
}

/// An event with that data, which counts what a filter looks at.
struct Counting<'d> {
    data: &'d [u8],
    attributes: Cell<usize>,
    looks: Cell<usize>,
}

impl Source for Counting<'_> {
    fn attribute(&self, name: &str) -> Option<ValueRef<'_>> {
        self.attributes.set(self.attributes.get() + 1);
        Some(match name {
            "a" | "type" => ValueRef::String("gov.usgs.quake"),
            "b" | "significance" => ValueRef::Integer(-7),
            "c" => ValueRef::Boolean(true),
            "subject" => ValueRef::String("Älaska 50%_\\"),
            _ => return None,
        })
    }

    fn json_data(&self) -> Option<&[u8]> {
        self.looks.set(self.looks.get() + 1);
        Some(self.data)
    }
}
