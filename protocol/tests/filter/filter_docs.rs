//! The reference for users, `docs/filters.md`, says what the code does.

use std::collections::BTreeSet;

use anyport_protocol::event::EncodedEvent;
use anyport_protocol::filter::{Dialect, EvaluationError, Filter, Function, Value};
use anyport_protocol::limits;

const PAGE: &str = include_str!("../../../docs/filters.md");

struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<&'static str>>,
}

fn tables() -> Vec<Table> {
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
    let lines: Vec<&str> = PAGE.lines().collect();
    let is_row = |line: &&&'static str| line.starts_with('|');
    let begins = lines.windows(2).enumerate().filter(|(_, pair)| pair[1].starts_with("| ---"));
    begins
        .map(|(at, pair)| Table {
            header: cells(pair[0]),
            rows: lines[at + 2..].iter().take_while(is_row).map(|line| cells(line)).collect(),
        })
        .collect()
}

/// The rows of all tables whose header begins so; there is at least one.
fn rows(header: &[&str]) -> Vec<Vec<&'static str>> {
    let rows: Vec<_> =
        tables().into_iter().filter(|table| table.header.starts_with(header)).flat_map(|table| table.rows).collect();
    assert!(!rows.is_empty(), "no table {header:?}");
    rows
}

fn code(cell: &str) -> &str {
    cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`')).unwrap_or_else(|| panic!("no code: {cell}"))
}

fn event() -> Vec<u8> {
    let (_, rest) = PAGE.split_once("```json\n").expect("an event");
    let (json, _) = rest.split_once("```").expect("its end");
    let mut encoded = Vec::new();
    EncodedEvent::from_json_into(json.as_bytes(), &mut encoded).expect("a valid event");
    encoded
}

/// The value as a filter writes it, and the name of the error.
fn outcome(filter: &str) -> (String, &'static str) {
    let (bytes, filter) = (event(), Filter::compile(filter).unwrap_or_else(|error| panic!("{filter}: {error}")));
    let event = EncodedEvent::check(&bytes).expect("valid");
    let evaluation = filter.evaluate(&event);
    let error = match evaluation.error {
        None => "none",
        Some(EvaluationError::MissingAttribute { .. }) => "missing attribute",
        Some(EvaluationError::Cast { .. }) => "cast",
        Some(EvaluationError::Math(_)) => "math",
        Some(EvaluationError::Function { .. }) => "function",
    };
    let value = match &evaluation.value {
        Value::Boolean(value) => value.to_string().to_uppercase(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("'{text}'"),
    };
    assert_eq!(evaluation.passes(), (value.as_str(), error) == ("TRUE", "none"));
    (value, error)
}

#[test]
fn every_example_filter_decides_as_the_page_says() {
    for row in rows(&["filter", "passes"]) {
        let (value, error) = outcome(code(row[0]));
        assert_eq!(
            if (value.as_str(), error) == ("TRUE", "none") { "yes" } else { "no" },
            row[1],
            "{}: {value}, {error}",
            row[0]
        );
    }
}

#[test]
fn the_extension_is_what_strict_cesql_refuses() {
    let (language, extension) = PAGE.split_once("## The extension").expect("a section");
    let mut sections = BTreeSet::new();
    for row in rows(&["filter", "passes"]) {
        let filter = code(row[0]);
        let is_standard = Filter::compile_in(Dialect::Strict, filter).is_ok();
        assert_eq!(language.contains(row[0]), is_standard, "{filter}");
        assert_eq!(extension.contains(row[0]), !is_standard, "{filter}");
        sections.insert(is_standard);
    }
    assert_eq!(sections.len(), 2);
}

#[test]
fn the_truth_table_of_the_operators_is_true() {
    let rows = rows(&["left", "right"]);
    assert_eq!(rows.len(), 9);
    for row in rows {
        let operand = |cell: &'static str| if cell == "error" { "missing" } else { cell };
        for (operator, wanted) in ["AND", "OR", "XOR"].into_iter().zip(&row[2..]) {
            let expression = format!("{} {operator} {}", operand(row[0]), operand(row[1]));
            let (value, error) = outcome(&expression);
            assert_eq!(if error == "none" { value.as_str() } else { "error" }, *wanted, "{expression}");
        }
    }
}

#[test]
fn the_truth_table_of_errors_is_true() {
    for row in rows(&["expression", "value", "error"]) {
        let (value, error) = outcome(code(row[0]));
        assert_eq!((value.as_str(), error), (row[1], row[2]), "{}", row[0]);
    }
}

#[test]
fn every_document_becomes_the_filter_beside_it() {
    let mut dialects = BTreeSet::new();
    for row in rows(&["document", "filter"]) {
        let filter = Filter::from_document(code(row[0]), Dialect::Extended).expect("valid");
        assert_eq!(filter.text(), code(row[1]));
        dialects.extend(
            ["exact", "prefix", "suffix", "all", "any", "not", "sql", "example"]
                .into_iter()
                .filter(|name| row[0].contains(&format!("{{\"{name}\""))),
        );
    }
    assert_eq!(dialects.len(), 8, "{dialects:?}");
}

#[test]
fn the_functions_are_those_of_the_code() {
    let cells = rows(&["function"]);
    let listed: BTreeSet<&str> =
        cells.iter().flat_map(|row| row[0].split("`, `")).map(|usage| usage.trim_matches('`')).collect();
    assert_eq!(listed, Function::usages().collect());
}

#[test]
fn the_bounds_are_those_of_the_code() {
    let bounds = [
        ("length of a filter", limits::FILTER_BYTES_MAX),
        ("of one in JSON", limits::FILTER_DOCUMENT_BYTES_MAX),
        ("depth", limits::FILTER_DEPTH_MAX),
        ("values of one `IN`", limits::FILTER_IN_MAX),
        ("cost of one evaluation", limits::FILTER_STEPS_MAX),
        ("characters between two `%` of a pattern, if a `_` is among them", limits::FILTER_LIKE_SEGMENT_MAX),
        ("text that a function makes", limits::FILTER_TEXT_BYTES_MAX),
    ];
    let rows = rows(&["bound"]);
    assert_eq!(rows.len(), bounds.len());
    for (row, (bound, limit)) in rows.iter().zip(bounds) {
        let number: String = row[1].chars().filter(char::is_ascii_digit).collect();
        assert_eq!((row[0], number.parse()), (bound, Ok(limit)));
    }
}
