//! Properties that hold for every text, tree and event.

use std::cell::Cell;

use anyport_protocol::filter::{Dialect, EvaluationError, Filter, FilterError, Source, Value, ValueRef};
use anyport_protocol::limits::FILTER_STEPS_MAX;
use proptest::prelude::*;
use serde_json::value::RawValue;

use crate::TestEvent;
use crate::reference::{self, Plain, Wrong};

/// Pieces of the language, put together without sense: parses more often than arbitrary text, and errs in more places.
fn word_salad() -> impl Strategy<Value = String> {
    let pieces = [
        "a",
        "type",
        "data.x",
        "data[0]",
        "data['k']",
        "data.",
        "1",
        "-5",
        "4.5",
        "2147483648",
        "'t'",
        "'%a_b%'",
        "\"q\"",
        "TRUE",
        "AND",
        "OR",
        "XOR",
        "NOT",
        "LIKE",
        "IN",
        "EXISTS",
        "(",
        ")",
        ",",
        "=",
        "!=",
        "<>",
        "<=",
        ">",
        "+",
        "-",
        "*",
        "/",
        "%",
        "LEFT(",
        "CONCAT(",
        "ABS(",
        "==",
        "'",
        "\\",
        "é",
        "_",
        ".",
        "\n",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..24).prop_map(|pieces| pieces.join(" "))
}

fn text_literal() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("'%a_'".to_owned()),
        "'([a-z%_ é\"]|\\\\[a-z%_'\\\\]){0,8}'",
        "\"([a-z%_ é']|\\\\[a-z%_\"\\\\]){0,8}\""
    ]
}

fn leaf() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]",
        Just("data.x".to_owned()),
        Just("data.list[1].y".to_owned()),
        "data\\['[a-z .]{0,3}'\\]",
        any::<i64>().prop_map(|number| number.to_string()),
        any::<i16>().prop_map(|number| number.to_string()),
        (any::<i32>(), any::<u16>(), -300..300_i16).prop_map(|(whole, part, power)| format!("{whole}.{part}e{power}")),
        Just("TRUE".to_owned()),
        text_literal(),
        "EXISTS [a-c]",
    ]
}

/// A filter that is valid.
fn filter_text() -> impl Strategy<Value = String> {
    leaf().prop_recursive(5, 48, 4, |inner| {
        let call_of_one =
            prop::sample::select(vec!["PASSES", "INT", "BOOL", "STRING", "LENGTH", "LOWER", "TRIM", "ABS"]);
        let call_of_two = prop::sample::select(vec!["LEFT", "RIGHT", "CONCAT", "CONCAT_WS", "SUBSTRING"]);
        let operators = prop::sample::select(vec!["AND", "OR", "XOR", "=", "!=", "<", ">=", "+", "-", "*", "/", "%"]);
        prop_oneof![
            (inner.clone(), operators, inner.clone()).prop_map(|(left, op, right)| format!("({left}) {op} ({right})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a}) OR ({b}) AND ({c})")),
            inner.clone().prop_map(|operand| format!("NOT ({operand})")),
            inner.clone().prop_map(|operand| format!("-({operand})")),
            (inner.clone(), text_literal()).prop_map(|(value, pattern)| format!("({value}) NOT LIKE {pattern}")),
            (inner.clone(), prop::collection::vec(inner.clone(), 1..4))
                .prop_map(|(value, set)| format!("({value}) IN ({})", set.join(", "))),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("SUBSTRING({a}, {b}, ABS({c}))")),
            (call_of_two, inner.clone(), inner.clone()).prop_map(|(function, a, b)| format!("{function}({a}, {b})")),
            (call_of_one, inner).prop_map(|(function, operand)| format!("{function}({operand})")),
        ]
    })
}

fn event() -> impl Strategy<Value = TestEvent> {
    let scalar = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:e}")),
        "\"([a-z%é ]|\\\\[nu\"])*\"",
        Just("null".to_owned()),
        Just("[0,{\"y\":\"t\"}]".to_owned()),
    ];
    let json = (scalar.clone(), scalar).prop_map(|(x, list)| format!("{{\"k\":{{}},\"x\":{x},\"list\":{list}}}"));
    let data = prop_oneof![json.prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..64)];
    (".{0,12}", any::<i32>(), prop::option::of(any::<bool>()), prop::option::of(data)).prop_map(|(a, b, c, data)| {
        let event = TestEvent::default().with("a", &a).with_integer("b", b);
        let event = c.into_iter().fold(event, |event, value| event.with_boolean("c", value));
        TestEvent { data, ..event }
    })
}

/// Compiles what may pass a limit, but is valid otherwise.
fn compiled(text: &str) -> Result<Option<Filter>, TestCaseError> {
    match Filter::compile(text) {
        Ok(filter) => Ok(Some(filter)),
        Err(FilterError::TooManySteps { .. } | FilterError::TooDeep { .. }) => Ok(None),
        Err(error) => Err(TestCaseError::fail(format!("{text}: {error}"))),
    }
}

/// Counts what a filter looks at.
struct Counting<'e> {
    event: &'e TestEvent,
    attributes: Cell<usize>,
    data: Cell<usize>,
}

impl Source for Counting<'_> {
    fn attribute(&self, name: &str) -> Option<ValueRef<'_>> {
        self.attributes.set(self.attributes.get() + 1);
        self.event.attribute(name)
    }

    fn json_data(&self) -> Option<&[u8]> {
        self.data.set(self.data.get() + 1);
        self.event.json_data()
    }
}

/// The outcome in the words of the reference.
fn plain(filter: &Filter, event: &TestEvent) -> Result<Plain, Wrong> {
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

/// Texts of one shape, each a level deeper than the last: those that are accepted are printed so that they are accepted again.
#[test]
fn what_is_accepted_can_be_printed_and_read_again_up_to_the_limit() {
    let shapes: [fn(&str) -> String; 10] = [
        |inner| format!("NOT {inner}"),
        |inner| format!("- {inner}"),
        |inner| format!("NOT ({inner} = a)"),
        |inner| format!("(NOT {inner}) LIKE 'x'"),
        |inner| format!("{inner} + a"),
        |inner| format!("a IN ({inner})"),
        |inner| format!("NOT (a IN ({inner})) = b"),
        |inner| format!("a OR (b AND ({inner}))"),
        |inner| format!("PASSES(a XOR ({inner}))"),
        |inner| format!("{inner} LIKE 'x' IN (b) = - EXISTS c"),
    ];
    for (place, shape) in shapes.into_iter().enumerate() {
        let other = shapes[(place + 3) % shapes.len()];
        let mut text = "a".to_owned();
        let mut accepted = 0;
        while let Ok(filter) = Filter::compile(&text) {
            accepted += 1;
            let printed = filter.expression().expect("not empty").to_string();
            let again = Filter::compile(&printed).unwrap_or_else(|error| panic!("{printed}: {error}"));
            assert_eq!(again.expression(), filter.expression());
            text = shape(&text);
            if accepted % 3 == 0 {
                text = other(&text);
            }
        }
        assert!(accepted > 12, "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_compiler_panic(text in prop_oneof![".{0,64}", word_salad()]) {
        for dialect in [Dialect::Strict, Dialect::Extended] {
            if let Err(error) = Filter::compile_in(dialect, &text) {
                prop_assert!(error.column() >= 1 && error.column() <= text.chars().count() + 1, "{}", error);
                prop_assert_eq!(error.pointer(&text).split('\n').count(), 2);
                prop_assert!(!error.to_string().contains('\n'));
            }
        }
    }

    #[test]
    fn no_event_makes_an_evaluation_panic(text in prop_oneof![filter_text(), word_salad()], event in event()) {
        if let Ok(filter) = Filter::compile(&text) {
            filter.passes(&event);
        }
    }

    #[test]
    fn a_printed_tree_parses_to_the_same_tree_and_means_the_same(text in filter_text(), event in event()) {
        let Some(filter) = compiled(&text)? else { return Ok(()) };
        let printed = filter.expression().expect("not empty").to_string();
        let again = Filter::compile(&printed).map_err(|error| TestCaseError::fail(format!("{printed}: {error}")))?;
        prop_assert_eq!(filter.expression(), again.expression(), "{}", printed);
        prop_assert_eq!(filter.evaluate(&event), again.evaluate(&event));
    }

    #[test]
    fn the_evaluator_agrees_with_the_reference(text in filter_text(), event in event()) {
        let Some(filter) = compiled(&text)? else { return Ok(()) };
        // Of broken data the evaluator finds what lies before the fault.
        prop_assume!(event.data.as_ref().is_none_or(|data| serde_json::from_slice::<&RawValue>(data).is_ok()));
        let expected = reference::evaluate(filter.expression().expect("not empty"), &event);
        prop_assert_eq!(filter.passes(&event), expected == Ok(Plain::Boolean(true)));
        prop_assert_eq!(plain(&filter, &event), expected, "{}", filter);
    }

    #[test]
    fn no_evaluation_costs_more_than_was_known_before(text in filter_text(), event in event()) {
        const DATA_STEPS: usize = 64;
        let Some(filter) = compiled(&text)? else { return Ok(()) };
        prop_assert!(filter.steps_max() <= FILTER_STEPS_MAX);
        let counting = Counting { event: &event, attributes: Cell::default(), data: Cell::default() };
        filter.passes(&counting);
        let cost = counting.attributes.get() + DATA_STEPS * counting.data.get();
        prop_assert!(cost <= filter.steps_max(), "{} > {}", cost, filter.steps_max());
    }

    #[test]
    fn data_found_in_place_is_what_a_parser_finds(
        before in "[a-w]{1,4}", x in any::<i64>(), text in ".{0,16}", blank in "[ \n\t]{0,3}",
    ) {
        let json = serde_json::json!({ before: [text, {"x": [1]}], "x": x, "z": text });
        let pretty = serde_json::to_string_pretty(&json).expect("encode").replace(": ", &format!("{blank}:{blank}"));
        // Replacing inside the text would change it.
        let json = if text.contains(": ") { json.to_string() } else { pretty };
        let event = TestEvent::default().with("text", &text).with_data(json);
        let filter = Filter::compile(&format!("data.x = {x} AND data.z = text")).expect("valid");
        prop_assert!(filter.passes(&event));
    }

    #[test]
    fn like_agrees_with_the_definition(text in "[abé]{0,10}", pattern in "[abé%_]{0,8}") {
        let filter = Filter::compile(&format!("a LIKE '{pattern}'")).expect("valid");
        let (text_chars, items): (Vec<_>, Vec<_>) = (text.chars().collect(), pattern.chars().collect());
        prop_assert_eq!(filter.passes(&TestEvent::default().with("a", &text)), like(&text_chars, &items));
    }
}

/// LIKE as the standard defines it, however slowly.
fn like(text: &[char], pattern: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|skipped| like(&text[skipped..], rest)),
        [item, rest @ ..] => {
            text.split_first().is_some_and(|(first, text)| (*item == '_' || item == first) && like(text, rest))
        }
    }
}
