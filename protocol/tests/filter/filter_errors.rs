//! What one is told about a text that is no filter, and what hostile texts cost.

use std::time::{Duration, Instant};

use anyport_protocol::filter::{Filter, FilterError};
use anyport_protocol::limits::{
    FILTER_BYTES_MAX, FILTER_DEPTH_MAX, FILTER_IN_MAX, FILTER_LIKE_SEGMENT_MAX, FILTER_STEPS_MAX,
};

use crate::TestEvent;

fn refused(text: &str) -> FilterError {
    match Filter::compile(text) {
        Ok(filter) => panic!("{filter} compiled"),
        Err(error) => error,
    }
}

#[test]
fn an_error_points_at_the_place_and_says_what_was_meant() {
    let table = [
        ("type LIEK 'a%'", 6, "did you mean LIKE?"),
        ("a == 1", 3, "equality is written ="),
        ("a = 1 && b = 2", 7, "write AND"),
        ("a => 1", 3, "write >="),
        ("!a", 1, "write NOT, or != for unequal"),
        ("EXIST subject", 7, "did you mean EXISTS before it?"),
        ("subject IS NULL", 9, "write EXISTS name or NOT EXISTS name; equality is written ="),
        ("a = ‘x’", 5, "quote text with ' or \""),
        ("subject.name = 1", 8, "only the event's data has paths: data.name"),
        ("data [0] = 1", 6, "a path into the data has no blanks: data.list[0]"),
        ("my_name = 1", 3, "the name of an attribute has only letters and digits"),
        ("subject LIKE Alaska", 14, "a text is written 'Alaska'"),
        ("UPER(subject) = 'X'", 1, "did you mean UPPER?"),
        ("substr(subject, 1) = 'X'", 1, "did you mean SUBSTRING?"),
        ("COALESCE(a, 1) = 1", 1, "write EXISTS name AND ..."),
        ("PASES(a = 1)", 1, "did you mean PASSES?"),
        ("a = 1 AND left(subject) = 'X'", 11, "it is called LEFT(text, count)"),
        ("a = 'it's'", 9, "inside a text, its quote is written with a \\ before it"),
        ("a = 'it''s'", 9, "inside a text, its quote is written with a \\ before it"),
        ("data.a-b.c = 1", 9, "only the event's data has paths: data.name"),
    ];
    for (text, column, suggestion) in table {
        let error = refused(text);
        assert_eq!(error.column(), column, "{text}: {error}");
        assert_eq!(error.suggestion(), Some(suggestion), "{text}: {error}");
        assert_eq!(error.to_string().lines().count(), 1);
    }
}

#[test]
fn an_error_reads_as_a_sentence_and_a_picture() {
    let text = "type = 'a' AND OR b";
    let error = refused(text);
    assert_eq!(
        error.to_string(),
        "column 16: expected an attribute, a value, a function, NOT, EXISTS, - or (, found OR"
    );
    assert_eq!(error.pointer(text), "type = 'a' AND OR b\n               ^");
    let text = "a = 1 bnd b = 2";
    assert_eq!(
        refused(text).to_string(),
        "column 7: expected an operator or the end of the filter, found bnd (did you mean AND?)"
    );
}

#[test]
fn columns_count_characters() {
    assert_eq!(refused("a = 'ü日' b").column(), 10);
    assert_eq!(refused("(a = 1").column(), 7);
    assert_eq!(refused("a = 'open").column(), 5);
    assert_eq!(refused("a IN ()").column(), 7);
    assert_eq!(refused("ABC(").column(), 5);
    assert_eq!(refused("a = 9223372036854775808").column(), 5);
}

#[test]
fn every_limit_is_refused_by_one_too_many() {
    let within = |text: String| assert!(Filter::compile(&text).is_ok(), "{text}");
    let filler = |bytes: usize| format!("{:bytes$}", "TRUE");
    within(filler(FILTER_BYTES_MAX));
    assert!(matches!(refused(&filler(FILTER_BYTES_MAX + 1)), FilterError::TooLong { .. }));

    let nested = |depth: usize| format!("{}a{}", "(".repeat(depth - 1), ")".repeat(depth - 1));
    within(nested(FILTER_DEPTH_MAX));
    assert_eq!(refused(&nested(FILTER_DEPTH_MAX + 1)), FilterError::TooDeep { column: FILTER_DEPTH_MAX + 1 });

    // Each but the first is within the parentheses that show how it is read.
    let chained = |depth: usize| format!("a{}", " + a".repeat(depth));
    within(chained(FILTER_DEPTH_MAX));
    assert!(matches!(refused(&chained(FILTER_DEPTH_MAX + 1)), FilterError::TooDeep { .. }));

    let list = |values: usize| format!("a IN ({}1)", "1,".repeat(values - 1));
    within(list(FILTER_IN_MAX));
    assert!(matches!(refused(&list(FILTER_IN_MAX + 1)), FilterError::TooManyValues { .. }));

    let pattern = |items: usize| format!("a LIKE '%{}%'", "_".repeat(items));
    within(pattern(FILTER_LIKE_SEGMENT_MAX));
    assert!(matches!(refused(&pattern(FILTER_LIKE_SEGMENT_MAX + 1)), FilterError::PatternTooLong { .. }));

    // 62 paths and the AND behind each are 4,030 steps; the rest is the list, its attribute and the last comparison.
    let costing = |steps: usize| format!("{}a IN ({}1)", "data.x AND ".repeat(62), "1,".repeat(steps - 62 * 65 - 2));
    let most = Filter::compile(&costing(FILTER_STEPS_MAX)).expect("within");
    assert_eq!(most.steps_max(), FILTER_STEPS_MAX);
    assert_eq!(refused(&costing(FILTER_STEPS_MAX + 1)), FilterError::TooManySteps { steps: FILTER_STEPS_MAX + 1 });
}

#[test]
fn many_alternatives_are_not_deep() {
    let text = (0..400).map(|number| format!("a = {number}")).collect::<Vec<_>>().join(" OR ");
    let filter = Filter::compile(&text).expect("valid");
    assert!(filter.passes(&TestEvent::default().with_integer("a", 399)));
}

#[test]
fn hostile_texts_are_refused_at_once() {
    let began = Instant::now();
    for repeated in ["(", "NOT ", "-", "a AND b OR ", "LEFT(", "a IN (", "a * b IN (-", "1 + 1 = 1 - "] {
        let text = repeated.repeat((FILTER_BYTES_MAX - 20) / repeated.len());
        assert!(matches!(refused(&text), FilterError::TooDeep { .. }), "{repeated}");
    }
    let chain = format!("a{}", " LIKE '%' IN (1)".repeat(500));
    assert!(matches!(refused(&chain), FilterError::TooDeep { .. }));
    for repeated in ["(", "data[0]", "'", "\\", "é"] {
        refused(&repeated.repeat(FILTER_BYTES_MAX / repeated.len()));
        refused(&repeated.repeat((1 << 20) / repeated.len()));
    }
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// Patterns with many `%` have let others' matchers take exponential or quadratic time.
#[test]
fn like_takes_linear_time() {
    let text = "a".repeat(1 << 20);
    let event = TestEvent::default().with("subject", &text);
    let patterns = [
        format!("{}b", "%a".repeat(2000)),
        format!("%{}b%", "a".repeat(4000)),
        format!("%{}b%", "_a".repeat(FILTER_LIKE_SEGMENT_MAX / 2 - 1)),
        format!("%{}%b", "_".repeat(FILTER_LIKE_SEGMENT_MAX)),
        format!("{}b", "_%".repeat(2000)),
    ];
    for pattern in patterns {
        let filter = Filter::compile(&format!("subject LIKE '{pattern}'")).expect("valid");
        let began = Instant::now();
        assert!(!filter.passes(&event));
        assert!(began.elapsed() < Duration::from_secs(1), "{pattern:.20} took {:?}", began.elapsed());
    }
}

#[test]
fn deep_data_costs_neither_stack_nor_time() {
    let deep = "[".repeat(1 << 20);
    let event = TestEvent::default().with_data(format!("{{\"a\":{deep}"));
    assert!(!Filter::compile("data.b = 1").expect("valid").passes(&event));
    let index = format!("data{} = 1", "[0]".repeat(1000));
    assert!(!Filter::compile(&index).expect("valid").passes(&TestEvent::default().with_data(deep)));
}
