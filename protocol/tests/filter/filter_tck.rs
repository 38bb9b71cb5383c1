//! The conformance cases that come with the CESQL standard, read from the folder that `CESQL_TCK_DIR` names.

use std::io::{self, Write as _};
use std::path::Path;
use std::{env, fs};

use anyport_protocol::filter::{Dialect, EvaluationError, Filter, FilterError, Number, Value};

use crate::{Attribute, TestEvent};

#[derive(Debug, Default)]
struct Case {
    name: String,
    expression: String,
    result: Option<Attribute>,
    error: Option<String>,
    /// Whether the case gives the event whole, or only what differs from a valid one.
    whole_event: bool,
    attributes: Vec<(String, Attribute)>,
}

#[test]
fn tck() {
    let Ok(folder) = env::var("CESQL_TCK_DIR") else {
        tell("tck: SKIPPED, 0 cases ran: CESQL_TCK_DIR does not name the folder of the CESQL conformance cases");
        return;
    };
    let mut files: Vec<_> =
        fs::read_dir(&folder).expect("read CESQL_TCK_DIR").map(|entry| entry.expect("read folder").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let cases: Vec<Case> = files.iter().flat_map(|path| read_cases(path)).collect();
    assert!(!cases.is_empty(), "{folder} holds no cases");
    let mut failures = Vec::new();
    // An extension may not change what a standard expression means: both dialects must agree with the standard.
    for dialect in [Dialect::Strict, Dialect::Extended] {
        failures.extend(cases.iter().filter_map(|case| run(case, dialect).err()));
    }
    tell(&format!("tck: {} cases ran in both dialects, {} failed", cases.len(), failures.len()));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Past the test harness, which hides what a passing test prints.
fn tell(line: &str) {
    writeln!(io::stderr(), "{line}").expect("write to stderr");
}

fn run(case: &Case, dialect: Dialect) -> Result<(), String> {
    let mut event = TestEvent::default();
    if !case.whole_event {
        event = event.with("specversion", "1.0").with("id", "1").with("source", "/tck").with("type", "tck");
    }
    event.attributes.extend(case.attributes.iter().cloned());
    let (value, error) = outcome(&case.expression, dialect, &event);
    let wrong_value = case.result.as_ref().is_some_and(|wanted| !same(wanted, &value));
    if wrong_value || error != case.error.as_deref() {
        return Err(format!(
            "{dialect:?}, {}: {} gave {value:?}, {error:?}; wanted {case:?}",
            case.name, case.expression
        ));
    }
    Ok(())
}

/// What the standard calls the outcome. We refuse a function that does not exist when compiling, as CESQL 3.3 recommends.
fn outcome(expression: &str, dialect: Dialect, event: &TestEvent) -> (Value<'static>, Option<&'static str>) {
    let filter = match Filter::compile_in(dialect, expression) {
        Ok(filter) => filter,
        Err(FilterError::UnknownFunction { .. }) => return (Value::Boolean(false), Some("missingFunction")),
        Err(_) => return (Value::Boolean(false), Some("parse")),
    };
    let evaluation = filter.evaluate(event);
    let error = evaluation.error.map(|error| match error {
        EvaluationError::MissingAttribute { .. } => "missingAttribute",
        EvaluationError::Cast { .. } => "cast",
        EvaluationError::Math(_) => "math",
        EvaluationError::Function { .. } => "functionEvaluation",
    });
    let value = match evaluation.value {
        Value::Boolean(value) => Value::Boolean(value),
        Value::Number(number) => Value::Number(number),
        Value::String(text) => Value::String(text.into_owned().into()),
    };
    (value, error)
}

fn same(wanted: &Attribute, value: &Value<'_>) -> bool {
    match (wanted, value) {
        (Attribute::Text(wanted), Value::String(value)) => wanted == value,
        (Attribute::Integer(wanted), Value::Number(Number::Integer(value))) => wanted == value,
        (Attribute::Boolean(wanted), Value::Boolean(value)) => wanted == value,
        _ => false,
    }
}

/// Reads the little of YAML that the cases are written in: two levels of `key: value` in a list.
fn read_cases(path: &Path) -> Vec<Case> {
    let text = fs::read_to_string(path).expect("read cases");
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        let (key, value) = line.split_once(':').unwrap_or_else(|| panic!("{}: {line}", path.display()));
        let value = value.trim();
        match (key, cases.last_mut()) {
            ("name" | "tests", _) => {}
            ("  - name", _) => cases.push(Case { name: value.to_owned(), ..Case::default() }),
            ("    expression", Some(case)) => case.expression = unquoted(value),
            ("    result", Some(case)) => case.result = Some(scalar(value)),
            ("    error", Some(case)) => case.error = Some(value.to_owned()),
            ("    event", Some(case)) => case.whole_event = true,
            ("    eventOverrides", Some(_)) => {}
            (key, Some(case)) if key.starts_with("      ") => {
                case.attributes.push((key.trim().to_owned(), scalar(value)));
            }
            _ => panic!("{}: {line}", path.display()),
        }
    }
    cases
}

fn unquoted(value: &str) -> String {
    let inside = |quote| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    if let Some(text) = inside('"') {
        return text.replace("\\\"", "\"").replace("\\\\", "\\");
    }
    // A plain expression may begin and end with a quote of its own; then there is one more inside.
    match inside('\'') {
        Some(text) if !text.contains('\'') => text.to_owned(),
        _ => value.to_owned(),
    }
}

fn scalar(value: &str) -> Attribute {
    match &*value.to_ascii_lowercase() {
        "true" => Attribute::Boolean(true),
        "false" => Attribute::Boolean(false),
        _ => value.parse().map_or_else(|_| Attribute::Text(unquoted(value)), Attribute::Integer),
    }
}
