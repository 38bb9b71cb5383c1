//! Evaluation allocates nothing on the hot path: counted, over recorded events.

use allocation_counter::measure;
use anyport_protocol::event::EncodedEvent;
use anyport_protocol::filter::Filter;

use crate::TestEvent;
use crate::typical::TYPICAL;

#[test]
fn typical_filters_allocate_nothing_and_pass_some_events() {
    for (recorded, text) in TYPICAL {
        let bytes = recorded.events();
        let filter = Filter::compile(text).expect("valid");
        let mut passed = 0;
        let counted = measure(|| {
            for event in &bytes {
                let event = EncodedEvent::check(event).expect("valid event");
                passed += usize::from(filter.passes(&event));
            }
        });
        assert_eq!(counted.count_total, 0, "{text}");
        assert!(passed > 0, "{text}");
    }
}

#[test]
fn neither_do_errors_nor_anything_that_makes_no_text() {
    let event =
        TestEvent::default().with("s", "some text").with_integer("n", 7).with_data(r#"{"x":-1.5e3,"list":["a"]}"#);
    for text in [
        "missing = 1 OR TRUE",
        "NOT PASSES(s > 5) AND PASSES(PASSES(missing) OR n = 7)",
        "n / 0 = 1",
        "n IN (1, '2', TRUE, s) XOR s NOT IN ('a','b','c','d','e','f','g','h','i')",
        "data.x < 0 AND data.list[0] = 'a' AND data.list LIKE '%'",
        "n LIKE '%7' AND s LIKE '%_e t%x_' AND STRING(s) = s",
        "SUBSTRING(TRIM(s), 2, LENGTH(s)) = RIGHT(s, 8) AND INT('12') + ABS(-3) = 15",
    ] {
        let filter = Filter::compile(text).expect("valid");
        let counted = measure(|| {
            filter.passes(&event);
        });
        assert_eq!(counted.count_total, 0, "{text}");
    }
}

/// The counter counts, and the exceptions that the reference for users names are the ones there are.
#[test]
fn making_text_undoing_escapes_and_many_values_at_once_allocate() {
    let event = TestEvent::default().with("s", "Text").with_data(r#"{"escaped":"\n"}"#);
    let many = format!("CONCAT({}) = 'x'", ["s"; 9].join(", "));
    for text in ["UPPER(s) = 'TEXT'", "CONCAT(s, s) = 'x'", "data.escaped = 's'", &many] {
        let filter = Filter::compile(text).expect("valid");
        let counted = measure(|| {
            filter.passes(&event);
        });
        assert!(counted.count_total > 0, "{text}");
    }
}
