//! Properties that hold for every text, tree and event.

use anyport_protocol::filter::{Dialect, Filter, FilterError};
use proptest::prelude::*;

use crate::TestEvent;

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
        let operators = prop::sample::select(vec!["AND", "OR", "XOR", "=", "!=", "<", ">=", "+", "-", "*", "/", "%"]);
        prop_oneof![
            (inner.clone(), operators, inner.clone()).prop_map(|(left, op, right)| format!("({left}) {op} ({right})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a}) OR ({b}) AND ({c})")),
            inner.clone().prop_map(|operand| format!("NOT ({operand})")),
            inner.clone().prop_map(|operand| format!("-({operand})")),
            (inner.clone(), text_literal()).prop_map(|(value, pattern)| format!("({value}) NOT LIKE {pattern}")),
            (inner.clone(), prop::collection::vec(inner.clone(), 1..4))
                .prop_map(|(value, set)| format!("({value}) IN ({})", set.join(", "))),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("SUBSTRING({a}, {b}, ABS({c}))")),
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
    (".{0,12}", any::<i32>(), prop::option::of(data)).prop_map(|(a, b, data)| {
        let event = TestEvent::default().with("a", &a).with_integer("b", b);
        TestEvent { data, ..event }
    })
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
        let filter = match Filter::compile(&text) {
            Ok(filter) => filter,
            Err(FilterError::TooManySteps { .. } | FilterError::TooDeep { .. }) => return Ok(()),
            Err(error) => return Err(TestCaseError::fail(format!("{text}: {error}"))),
        };
        let printed = filter.expression().expect("not empty").to_string();
        let again = Filter::compile(&printed).map_err(|error| TestCaseError::fail(format!("{printed}: {error}")))?;
        prop_assert_eq!(filter.expression(), again.expression(), "{}", printed);
        prop_assert_eq!(filter.evaluate(&event), again.evaluate(&event));
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
