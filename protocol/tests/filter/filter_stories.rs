//! What filters do to events.

use anyport_protocol::event::EncodedEvent;
use anyport_protocol::filter::{Dialect, EvaluationError, Filter, FilterError, Value};

use crate::TestEvent;

fn passes(filter: &str, event: &TestEvent) -> bool {
    Filter::compile(filter).unwrap_or_else(|error| panic!("{error}\n{}", error.pointer(filter))).passes(event)
}

fn quake() -> TestEvent {
    TestEvent::default()
        .with("type", "gov.usgs.quake")
        .with("subject", "Alaska")
        .with_integer("tsunami", 0)
        .with_data(r#"{"mag":4.6,"place":"5km \"N\" of X","felt":null,"count":3,"big":9007199254740993,"at":[{"lat":-7.5},[1,2]],"ok":true}"#)
}

#[test]
fn a_phone_gets_the_quakes_it_asked_for() {
    let filter = "type = 'gov.usgs.quake' AND data.mag >= 4.5";
    assert!(passes(filter, &quake()));
    assert!(!passes(filter, &quake().with_data(r#"{"mag":4.49}"#)));
    assert!(passes(filter, &quake().with_data(r#"{"mag":5}"#)));
    assert!(!passes(filter, &quake().with("type", "gov.usgs.quarry")));
}

#[test]
fn typical_filters_decide_as_one_reads_them() {
    let flight = TestEvent::default().with("carrier", "AA").with_data(r#"{"dep_delay":61}"#);
    assert!(passes("subject LIKE 'Alaska%'", &quake()));
    assert!(passes("carrier IN ('UA','AA') AND data.dep_delay > 60", &flight));
    assert!(!passes("carrier NOT IN ('UA','AA') AND data.dep_delay > 60", &flight));
    assert!(passes("NOT tsunami", &quake()));
    assert!(passes("EXISTS subject AND NOT EXISTS carrier", &quake()));
}

#[test]
fn an_empty_filter_lets_everything_pass() {
    for text in ["", " \t\n"] {
        let filter = Filter::compile(text).expect("empty");
        assert!(filter.is_always() && filter.passes(&quake()));
        assert_eq!(filter, Filter::always());
    }
}

#[test]
fn identical_texts_are_one_filter() {
    let filter = Filter::compile(" a = 1").expect("valid");
    assert_eq!(filter, filter.clone());
    assert_eq!(filter, Filter::compile(" a = 1").expect("valid"));
    assert_ne!(filter, Filter::compile_in(Dialect::Strict, " a = 1").expect("valid"));
    assert_eq!(filter.to_string(), " a = 1");
}

#[test]
fn an_error_depends_on_the_order_of_operands() {
    assert!(passes("TRUE OR missing = 1", &quake()));
    assert!(!passes("missing = 1 OR TRUE", &quake()));
    assert!(!passes("FALSE AND missing = 1", &quake()));
    assert!(!passes("NOT (missing = 1)", &quake()));
    assert!(!passes("missing NOT IN (1, 2)", &quake()));
    assert!(!passes("missing NOT LIKE 'a'", &quake()));
}

#[test]
fn the_first_error_is_the_one_reported() {
    let missing = |filter: &str| {
        let filter = Filter::compile(filter).expect("valid");
        match filter.evaluate(&quake()).error {
            Some(EvaluationError::MissingAttribute { name }) => name.to_owned(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(missing("first = 1 / 0"), "first");
    assert_eq!(missing("first = (second + 1)"), "first");
    assert_eq!(missing("data.mag > 4 AND data.at[7].lat = first"), "data.at[7].lat");
}

#[test]
fn and_or_and_xor_bind_alike_from_left_to_right() {
    // Not as in SQL: CESQL 3.6 has them on one level.
    assert!(!passes("TRUE OR TRUE AND FALSE", &quake()));
    assert!(passes("TRUE OR (TRUE AND FALSE)", &quake()));
    assert!(!passes("TRUE XOR TRUE AND FALSE", &quake()));
}

#[test]
fn paths_lead_into_the_data() {
    assert!(passes("data.at[0].lat = -7.5", &quake()));
    assert!(passes("data.at[1][1] = 2", &quake()));
    assert!(passes("data['place'] = '5km \"N\" of X'", &quake()));
    assert!(passes(r#"data["mag"] < 4.7"#, &quake()));
    assert!(passes("data.ok", &quake()));
    assert!(passes("data.mag IN (1, 4.6)", &quake()));
    assert!(passes("EXISTS data.at AND EXISTS data.at[0] AND EXISTS data", &quake()));
    assert!(passes("data = 'text'", &TestEvent::default().with_data("\"text\"")));
    assert!(!passes("data.Mag > 1", &quake()), "the case of a key counts");
}

#[test]
fn a_missing_path_and_null_are_missing_attributes() {
    assert!(passes("NOT EXISTS data.felt AND NOT EXISTS data.nothing AND NOT EXISTS data.mag.deeper", &quake()));
    assert!(!passes("data.felt = 0", &quake()));
    assert!(!passes("data.nothing != 0", &quake()));
    assert!(!passes("EXISTS data.mag", &TestEvent::default()));
    assert!(!passes("data.at = ''", &quake()), "an object or array has no value");
}

#[test]
fn numbers_of_all_kinds_mix() {
    assert!(passes("data.big = 9007199254740993", &quake()));
    assert!(!passes("data.big = 9007199254740992", &quake()));
    assert!(passes("data.big > 9007199254740992.0", &quake()));
    assert!(passes("data.count = 3.0 AND data.count / 2 = 1 AND data.count / 2.0 = 1.5", &quake()));
    assert!(passes("data.mag > 4 AND data.mag != 4", &quake()), "a decimal is never rounded to be compared");
    assert!(passes("'4.5' < data.mag AND '4.6' = data.mag AND data.mag = '4.6'", &quake()));
    assert!(passes("INT(data.mag) = 4 AND ABS(-4.5) = 4.5 AND -(data.count) = -3", &quake()));
    assert!(passes("STRING(data.count) = '3' AND data.count LIKE '_'", &quake()));
    assert!(passes("1.5e2 = 150 AND -1.5E-2 < 0 AND 3000000000 > 2147483647", &quake()));
}

#[test]
fn the_extension_leaves_standard_integers_at_32_bits() {
    let sum = Filter::compile("2147483647 + 1").expect("valid");
    assert!(matches!(sum.evaluate(&quake()).error, Some(EvaluationError::Math(_))));
    let wide = Filter::compile("2147483647 + 3000000000").expect("valid");
    assert_eq!(wide.evaluate(&quake()).error, None);
}

#[test]
fn strict_cesql_has_no_extension() {
    for text in ["data.mag > 4", "1.5 > 1", "x = data[0]"] {
        assert!(matches!(Filter::compile_in(Dialect::Strict, text), Err(FilterError::NotStandard { .. })), "{text}");
        let extended = Filter::compile(text).expect("valid");
        assert!(extended.expression().is_some_and(|expr| !expr.extensions().is_empty()));
    }
    let refused = Filter::compile_in(Dialect::Strict, "x = 2147483648");
    assert!(matches!(refused, Err(FilterError::NumberOutOfRange { column: 5, .. })));
    let data = Filter::compile_in(Dialect::Strict, "EXISTS data").expect("valid");
    assert!(!data.passes(&quake()), "an attribute of that name cannot exist");
}

#[test]
fn a_value_that_is_not_boolean_true_does_not_pass() {
    assert!(!passes("1", &quake()));
    assert!(!passes("'true'", &quake()));
    assert!(!passes("subject", &quake()));
    assert!(passes("'true' AND 1", &quake()), "AND casts its operands");
}

#[test]
fn casts_follow_the_right_side_for_equality_and_the_left_side_for_in() {
    assert!(passes("'TRUE' = TRUE AND TRUE != 'TRUE'", &quake()));
    assert!(passes("'007' = 7 AND 7 != '007'", &quake()));
    assert!(passes("7 IN ('007') AND '007' NOT IN (7)", &quake()));
}

#[test]
fn a_long_list_of_literals_decides_as_a_short_one() {
    let list: Vec<String> = (0..500).map(|number| format!("'v{number}'")).chain(["TRUE".into(), "17".into()]).collect();
    let filter = Filter::compile(&format!("subject IN ({})", list.join(","))).expect("valid");
    let with = |subject: &str| TestEvent::default().with("subject", subject);
    for subject in ["v0", "v499", "true", "17"] {
        assert!(filter.passes(&with(subject)), "{subject}");
    }
    for subject in ["v500", "TRUE", "017", ""] {
        assert!(!filter.passes(&with(subject)), "{subject}");
    }
}

#[test]
fn functions_keep_to_characters() {
    assert!(passes("LENGTH('äöü') = 3 AND LEFT('äöü', 2) = 'äö' AND SUBSTRING('äöü', -1) = 'ü'", &quake()));
    assert!(passes("UPPER(CONCAT_WS('-', LEFT(subject, 2), 1, TRUE)) = 'AL-1-TRUE'", &quake()));
}

#[test]
fn a_text_that_grows_too_large_is_an_error() {
    let event = TestEvent::default().with("big", &"x".repeat(60_000));
    let filter = Filter::compile("CONCAT(big, big)").expect("valid");
    let evaluation = filter.evaluate(&event);
    assert_eq!(evaluation.value, Value::String("".into()));
    assert!(matches!(evaluation.error, Some(EvaluationError::Function { .. })));
}

#[test]
fn an_encoded_event_is_filtered_without_being_decoded() {
    let json =
        br#"{"specversion":"1.0","id":"1","source":"/usgs","type":"gov.usgs.quake","tsunami":1,"data":{"mag":4.6}}"#;
    let mut bytes = Vec::new();
    EncodedEvent::from_json_into(json, &mut bytes).expect("valid event");
    let event = EncodedEvent::check(&bytes).expect("own encoding");
    let passes = |filter: &str| Filter::compile(filter).expect("valid").passes(&event);
    assert!(passes("type = 'gov.usgs.quake' AND data.mag >= 4.5 AND tsunami = 1 AND specversion = '1.0'"));
    assert!(passes("NOT EXISTS subject AND NOT EXISTS data.felt"));
}

#[test]
fn a_decimal_is_printed_as_one_whatever_its_size() {
    for text in ["0.00001", "1.0e-5", "1.0e-6", "1.5e300", "1000000000000000.0", "0.1"] {
        let filter = Filter::compile(text).expect("valid");
        let printed = filter.expression().expect("not empty").to_string();
        let again = Filter::compile(&printed).expect("what is printed is valid");
        assert_eq!(again.expression(), filter.expression(), "{printed}");
    }
}
