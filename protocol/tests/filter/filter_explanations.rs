//! What a filter is said to ask for.

use anyport_protocol::filter::{Explanation, Extension, Filter, nearest};

fn explained(text: &str) -> Explanation {
    Filter::compile(text).expect("valid").explain()
}

#[test]
fn conditions_are_said_in_words() {
    let words = explained(
        "type = 'gov.usgs.quake' AND (data.mag >= 4.5 OR NOT EXISTS subject) AND subject NOT LIKE 'Alaska%' AND NOT (a < 1 AND b)",
    );
    assert_eq!(
        words.conditions,
        [
            "all of these hold:",
            "  type is 'gov.usgs.quake'",
            "  one of these holds, looked at in this order:",
            "    data.mag is at least 4.5",
            "    subject is missing",
            "  subject does not begin with 'Alaska'",
            "  this does not hold:",
            "    all of these hold:",
            "      a is less than 1",
            "      b is true",
        ]
    );
    let single = |text: &str| explained(text).conditions.join("|");
    assert_eq!(single(""), "nothing: every event passes");
    assert_eq!(single("NOT tsunami"), "tsunami is false");
    assert_eq!(single("NOT (a != 1)"), "a is 1");
    assert_eq!(single("NOT (a >= 1)"), "a is not at least 1");
    assert_eq!(single("a NOT IN (1, 'x')"), "a is none of 1, 'x'");
    assert_eq!(single("a IN (1,2,3,4,5,6,7,8,9,10,11,12)"), "a is one of 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more");
    assert_eq!(single("LEFT(a, 2) LIKE '%x'"), "LEFT(a, 2) ends with 'x'");
    assert_eq!(
        single("NOT PASSES(a = 1)"),
        "this does not hold:|  this holds, where an error counts as no:|    a is 1"
    );
    assert_eq!(single("a XOR b"), "one of these two holds and the other does not:|  a is true|  b is true");
}

#[test]
fn the_reading_shows_how_and_and_or_bind() {
    assert_eq!(explained("a OR b and c").reading, "(a OR b) AND c");
    assert_eq!(explained("not a = b").reading, "(NOT a) = b");
}

#[test]
fn what_an_event_cannot_lack_is_listed() {
    let needs = |text: &str| explained(text).needs.join(", ");
    assert_eq!(needs("type = 'x' AND data.mag > 4 AND a LIKE 'b%'"), "data.mag, a");
    assert_eq!(needs("data.mag > 4 OR a = 1"), "data.mag", "the first alternative is always looked at");
    assert_eq!(needs("EXISTS a AND NOT EXISTS b"), "a");
    assert_eq!(needs("PASSES(a = 1) OR b = 2"), "");
    assert_eq!(needs("NOT (a = 1 AND b = 2)"), "a");
    assert_eq!(needs("TRUE OR a = 1"), "");
    assert_eq!(needs("a IN (b, c)"), "a, b");
}

#[test]
fn a_list_of_needs_is_true_of_every_event() {
    for text in
        ["data.mag > 4 OR a = 1", "EXISTS a AND b = 2", "NOT (a = 1 AND b = 2)", "a IN (b, 1)", "NOT a AND (b XOR a)"]
    {
        let filter = Filter::compile(text).expect("valid");
        for need in filter.explain().needs {
            for bits in 0..16_u8 {
                let mut event = crate::TestEvent::default();
                for (place, name) in ["a", "b"].into_iter().enumerate().filter(|(_, name)| *name != need) {
                    event = event.with_integer(name, i32::from(bits >> (2 * place) & 3));
                }
                if need != "data.mag" {
                    event = event.with_data(r#"{"mag":5}"#);
                }
                assert!(!filter.passes(&event), "{text} without {need}");
            }
        }
    }
}

#[test]
fn extensions_are_named() {
    assert_eq!(explained("type = 'x' AND LENGTH(id) > 5").extensions, []);
    assert_eq!(
        explained("PASSES(data.mag >= 4.5) AND a < 3000000000").extensions,
        [Extension::DataPath, Extension::Decimal, Extension::Long, Extension::Passes]
    );
}

#[test]
fn what_is_probably_not_meant_is_pointed_out() {
    let hints = |text: &str| explained(text).hints.join("|");
    assert_eq!(hints("tipe = 'x'"), "CloudEvents defines no attribute tipe; did you mean type?");
    assert_eq!(hints("subjet LIKE 'x%'"), "CloudEvents defines no attribute subjet; did you mean subject?");
    assert_eq!(hints("carrier = 'x'"), "");
    assert_eq!(hints("subject = NULL"), "null is the name of an attribute here; write EXISTS name or NOT EXISTS name");
    assert_eq!(hints("LENGTH(id)"), "its value is a number, never TRUE, so no event passes");
    assert_eq!(hints("'x'"), "its value is a constant that is never TRUE, so no event passes");
    assert_eq!(
        hints("felt = 1 OR type = 'x'"),
        "without felt an event does not pass even if a later alternative holds; where that is not meant, begin with EXISTS felt AND"
    );
    assert_eq!(hints("type = 'x' OR felt = 1"), "");
    assert_eq!(hints("(EXISTS felt AND felt = 1) OR type = 'x'"), "");
}

#[test]
fn near_misses_may_be_looked_for_in_any_list() {
    assert_eq!(nearest("magnitud", ["mag", "magnitude"].into_iter()), Some("magnitude"));
    assert_eq!(nearest("mag", ["data", "type"].into_iter()), None);
}
