//! Filters in JSON: the dialects of the CloudEvents Subscriptions API, and examples.

use anyport_protocol::filter::{Dialect, DocumentError, Filter, FilterError, is_document};
use anyport_protocol::limits::{FILTER_BYTES_MAX, FILTER_DEPTH_MAX, FILTER_DOCUMENT_BYTES_MAX};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::TestEvent;

fn compiled(document: &str) -> Filter {
    Filter::from_document(document, Dialect::Extended).unwrap_or_else(|error| panic!("{document}: {error}"))
}

fn refused(document: &str) -> DocumentError {
    match Filter::from_document(document, Dialect::Extended) {
        Ok(filter) => panic!("{document} became {filter}"),
        Err(error) => error,
    }
}

fn push() -> TestEvent {
    TestEvent::default()
        .with("id", "1")
        .with("source", "https://github.com/cloudevents")
        .with("type", "com.github.push")
        .with_integer("run", 7)
        .with_data(
            r#"{"ref":"main","commits":[{"id":1,"files":["a","b"]},{"id":2}],"forced":false,"note":null,"size":4.5}"#,
        )
}

#[test]
fn each_dialect_becomes_the_expression_that_one_would_write() {
    let table = [
        (r#"{"exact":{"type":"com.github.push"}}"#, "type = 'com.github.push'"),
        (r#"{"exact":{"subject":"it's","type":"t"}}"#, r"subject = 'it\'s' AND type = 't'"),
        (
            r#"{"prefix":{"type":"com.github.","subject":"50%_"}}"#,
            r"subject LIKE '50\%\_%' AND type LIKE 'com.github.%'",
        ),
        (r#"{"suffix":{"type":".push"}}"#, "type LIKE '%.push'"),
        (
            r#"{"all":[{"exact":{"type":"a"}},{"all":[{"exact":{"id":"1"}},{"exact":{"id":"2"}}]}]}"#,
            "type = 'a' AND id = '1' AND id = '2'",
        ),
        (
            r#"{"any":[{"exact":{"type":"a"}},{"exact":{"subject":"s"}}]}"#,
            "type = 'a' OR (EXISTS subject AND subject = 's')",
        ),
        (r#"{"not":{"prefix":{"subject":"s"}}}"#, "NOT (EXISTS subject AND subject LIKE 's%')"),
        (r#"{"not":{"exact":{"type":"a"}}}"#, "NOT (type = 'a')"),
        (r#"{"sql":"source LIKE '%cloudevents%'"}"#, "source LIKE '%cloudevents%'"),
        (r#"{"not":{"sql":"run > 5"}}"#, "NOT PASSES(run > 5)"),
        (r#"{"sql":"run"}"#, "PASSES(run)"),
        (r#"[{"exact":{"type":"a"}},{"sql":"run > 5 OR run < 2"}]"#, "type = 'a' AND (run > 5 OR run < 2)"),
        ("[]", ""),
        (r#"{"example":{"type":"a","data":{"ok":true}}}"#, "data.ok = TRUE AND type = 'a'"),
        (r#"{"not":{"example":{"data":{"n":1}}}}"#, "NOT PASSES(data.n = 1)"),
    ];
    for (document, text) in table {
        assert_eq!(compiled(document).text(), text, "{document}");
        assert!(is_document(document) && !is_document(text));
    }
}

/// The Subscriptions API knows true and false only: what is missing or no number makes a dialect false, and its `not` true.
#[test]
fn what_errs_is_false_and_its_opposite_true() {
    let never = [
        r#"{"exact":{"nothing":"x"}}"#,
        r#"{"prefix":{"nothing":"x"}}"#,
        r#"{"suffix":{"nothing":"x"}}"#,
        r#"{"sql":"nothing = 1"}"#,
        r#"{"sql":"type > 1"}"#,
        r#"{"sql":"'true'"}"#,
        r#"{"sql":"1"}"#,
        r#"{"sql":"data.nothing.at.all"}"#,
        r#"{"example":{"data":{"ref":5}}}"#,
        r#"{"example":{"nothing":"x"}}"#,
    ];
    for false_filter in never {
        let passes = |document: String| compiled(&document).passes(&push());
        assert!(!passes(false_filter.to_owned()), "{false_filter}");
        assert!(passes(format!(r#"{{"not":{false_filter}}}"#)), "{false_filter}");
        assert!(!passes(format!(r#"{{"not":{{"not":{false_filter}}}}}"#)), "{false_filter}");
        assert!(passes(format!(r#"{{"any":[{false_filter},{{"exact":{{"id":"1"}}}}]}}"#)), "{false_filter}");
        assert!(!passes(format!(r#"[{{"exact":{{"id":"1"}}}},{false_filter}]"#)), "{false_filter}");
    }
}

#[test]
fn an_example_asks_for_at_least_its_content() {
    let passes = |example: Value| Filter::from_example(&example.to_string()).expect("valid").passes(&push());
    assert!(passes(json!({})));
    assert!(passes(json!({"specversion": "1.0", "type": "com.github.push", "run": 7, "subject": null})));
    assert!(!passes(json!({"type": "com.github.push", "subject": "s"})));
    assert!(passes(json!({"data": {"ref": "main", "forced": false, "size": 4.5}})));
    assert!(!passes(json!({"data": {"ref": "main", "forced": true}})));
    assert!(
        passes(json!({"data": {"commits": [{"id": 1}]}})),
        "an array may have more elements, and they more members"
    );
    assert!(passes(json!({"data": {"commits": [{"files": ["a", "b"]}, {"id": 2}]}})));
    assert!(!passes(json!({"data": {"commits": [{"id": 2}]}})), "elements are compared by place");
    assert!(!passes(json!({"data": {"commits": [{"id": 1}, {"id": 2}, {}]}})));
    assert!(passes(json!({"data": {"note": null, "absent": null}})) && !passes(json!({"data": {"ref": null}})));
    assert!(passes(json!({"data": {"commits": [], "ref": {}}})), "an empty array or object asks for something there");
    assert!(!passes(json!({"data": {"commits": "text"}})) && !passes(json!({"data": {"ref": {"x": 1}}})));
    assert!(passes(json!({"data": {"size": "4.5"}})), "equal is what = calls equal");
    assert!(!Filter::from_example(r#"{"data":"text"}"#).expect("valid").passes(&push()));
    assert!(Filter::from_example(r#"{"data":"text"}"#).expect("valid").passes(&push().with_data("\"text\"")));
}

#[test]
fn the_digits_of_an_example_are_the_number_of_the_event() {
    for digits in
        ["8.6521738281249987", "0.30000000000000004", "9007199254740993", "1e22", "-0.0", "123456789012345678901"]
    {
        let data = format!("{{\"x\":{digits}}}");
        let filter = Filter::from_example(&format!("{{\"data\":{data}}}")).expect("valid");
        assert!(filter.passes(&push().with_data(data)), "{digits}: {filter}");
    }
}

#[test]
fn a_wrong_document_is_refused_at_its_place() {
    let table = [
        ("{", "the document: not usable as JSON: EOF while parsing an object at line 1 column 1"),
        ("\"type\"", "the document: expected a filter or an array of filters, found a text"),
        ("{}", "the document: expected one dialect, found none"),
        (r#"{"exact":{"id":"1"},"prefix":{"id":"1"}}"#, "the document: expected one dialect, found several"),
        (r#"{"exakt":{"id":"1"}}"#, r#".exakt: there is no filter dialect "exakt" (did you mean exact?)"#),
        (r#"{"filters":[]}"#, r#".filters: there is no filter dialect "filters" (give the array alone)"#),
        (r#"[{"exact":{"id":""}}]"#, "[0].exact.id: expected a text that is not empty, found an empty text"),
        (r#"{"prefix":{"id":1}}"#, ".prefix.id: expected a text that is not empty, found a number"),
        (r#"{"suffix":{}}"#, ".suffix: expected an object of one or more attributes, found an empty object"),
        (
            r#"{"exact":{"Type":"x"}}"#,
            r#".exact.Type: "Type" is not the name of an attribute: one or more of a-z and 0-9"#,
        ),
        (r#"{"exact":{"":"x"}}"#, r#".exact.: "" is not the name of an attribute: one or more of a-z and 0-9"#),
        (r#"{"exact":{"in":"x"}}"#, r#".exact.in: the filter language cannot name an attribute called "in""#),
        (r#"{"exact":{"42":"x"}}"#, r#".exact.42: the filter language cannot name an attribute called "42""#),
        (r#"{"exact":{"id":"a","id":"b"}}"#, r#".exact: not usable as JSON: "id" appears twice"#),
        (r#"{"all":[]}"#, ".all: expected an array of one or more filters, found an empty array"),
        (r#"{"any":{"exact":{"id":"1"}}}"#, ".any: expected an array of one or more filters, found an object"),
        (r#"{"any":[{"exact":{"id":"1"}},3]}"#, ".any[1]: expected a filter, found a number"),
        (r#"{"not":[]}"#, ".not: expected a filter, found an empty array"),
        (r#"{"sql":" "}"#, ".sql: expected an expression, found nothing but blanks"),
        (
            r#"{"all":[{"sql":"id = "}]}"#,
            ".all[0].sql: column 6: expected an attribute, a value, a function, NOT, EXISTS, - or (, found the end of the filter",
        ),
        (r#"{"example":{"run":1.5}}"#, ".example.run: expected a text, a Boolean or a 32-bit integer, found a number"),
        (r#"{"example":{"data_base64":"AA=="}}"#, ".example.data_base64: binary data cannot be compared"),
        (
            r#"{"example":{"datacontenttype":"text/plain","data":"x"}}"#,
            ".example.data: data that datacontenttype does not call JSON cannot be compared",
        ),
        (r#"{"example":{"data":{"a\\":1}}}"#, r".example.data.a\: the filter language cannot name data['a\']"),
    ];
    for (document, message) in table {
        assert_eq!(refused(document).to_string(), message, "{document}");
    }
    let pointer = refused(r#"{"not":{"sql":"id == 1"}}"#).pointer();
    assert_eq!(pointer.as_deref(), Some("id == 1\n   ^"));
}

#[test]
fn strict_cesql_has_no_example_and_no_paths() {
    let strict = |document| Filter::from_document(document, Dialect::Strict);
    assert!(matches!(strict(r#"{"example":{}}"#), Err(DocumentError::NotStandard { .. })));
    let Err(DocumentError::Expression { error, .. }) = strict(r#"{"sql":"data.mag > 4"}"#) else { panic!("accepted") };
    assert!(matches!(*error, FilterError::NotStandard { .. }));
    assert!(strict(r#"{"not":{"sql":"run > 5"}}"#).is_ok());
}

#[test]
fn every_bound_of_a_document_is_a_typed_refusal() {
    let long = format!("[{}]", " ".repeat(FILTER_DOCUMENT_BYTES_MAX));
    assert_eq!(refused(&long), DocumentError::TooLong { bytes: FILTER_DOCUMENT_BYTES_MAX + 2 });
    let nested =
        |depth: usize| format!("{}{}{}", r#"{"not":"#.repeat(depth), r#"{"exact":{"type":"x"}}"#, "}".repeat(depth));
    assert!(compiled(&nested(FILTER_DEPTH_MAX - 2)).passes(&push().with("type", "x")));
    assert!(matches!(refused(&nested(FILTER_DEPTH_MAX)), DocumentError::Filter(FilterError::TooDeep { .. })));
    assert!(matches!(refused(&nested(FILTER_DEPTH_MAX + 1)), DocumentError::TooDeep { .. }));
    assert!(matches!(refused(&nested(7000)), DocumentError::TooDeep { .. }));
    let deep_data =
        |depth: usize| format!(r#"{{"example":{{"data":{}1{}}}}}"#, r#"{"a":"#.repeat(depth), "}".repeat(depth));
    assert_eq!(compiled(&deep_data(FILTER_DEPTH_MAX)).text(), format!("data{} = 1", ".a".repeat(FILTER_DEPTH_MAX)));
    assert!(matches!(refused(&deep_data(FILTER_DEPTH_MAX + 1)), DocumentError::TooDeep { .. }));
    let text = "x".repeat(FILTER_BYTES_MAX);
    let too_long = refused(&format!(r#"{{"exact":{{"type":"{text}"}}}}"#));
    assert!(matches!(too_long, DocumentError::Filter(FilterError::TooLong { .. })));
    let members: Vec<String> = (0..70).map(|n| format!("\"m{n}\":{n}")).collect();
    let many = refused(&format!(r#"{{"example":{{"data":{{{}}}}}}}"#, members.join(",")));
    assert!(matches!(many, DocumentError::Filter(FilterError::TooManySteps { .. })), "{many}");
}

#[test]
fn an_example_that_names_a_long_path_again_and_again_is_refused_before_it_fills_the_memory() {
    let (key, elements) = ("k".repeat(2_000), "0,".repeat(30_000));
    let document = format!(r#"{{"example":{{"data":{{"{key}":[{elements}0]}}}}}}"#);
    let mut read = None;
    let counted = allocation_counter::measure(|| read = Some(Filter::from_document(&document, Dialect::Extended)));
    assert!(
        matches!(&read, Some(Err(DocumentError::TooMuch { bytes: 10_040, at })) if at.ends_with("[4]")),
        "{read:?}"
    );
    assert!(counted.bytes_max < 4 << 20, "{} bytes", counted.bytes_max);
}

/// Text with all that is hard to quote.
fn hard_text() -> impl Strategy<Value = String> {
    prop_oneof!["[a%_\\\\'\"é]{1,8}", ".{1,12}", "[\\\\]{1,4}", "([\\\\]{1,2}['\"%_]){1,4}"]
}

/// A filter without `sql` and `example`, and what it is worth for these attributes by the words of the Subscriptions API.
#[derive(Clone, Debug)]
enum Tree {
    Leaf(&'static str, &'static str, String),
    All(Vec<Tree>),
    Any(Vec<Tree>),
    Not(Box<Tree>),
}

impl Tree {
    fn json(&self) -> Value {
        match self {
            Self::Leaf(dialect, name, text) => json!({ *dialect: { *name: text } }),
            Self::All(trees) => json!({"all": trees.iter().map(Self::json).collect::<Vec<_>>()}),
            Self::Any(trees) => json!({"any": trees.iter().map(Self::json).collect::<Vec<_>>()}),
            Self::Not(tree) => json!({"not": tree.json()}),
        }
    }

    fn is_true(&self, attribute: &dyn Fn(&str) -> Option<String>) -> bool {
        match self {
            Self::Leaf(dialect, name, text) => attribute(name).is_some_and(|value| match *dialect {
                "exact" => value == *text,
                "prefix" => value.starts_with(text),
                _ => value.ends_with(text),
            }),
            Self::All(trees) => trees.iter().all(|tree| tree.is_true(attribute)),
            Self::Any(trees) => trees.iter().any(|tree| tree.is_true(attribute)),
            Self::Not(tree) => !tree.is_true(attribute),
        }
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    let name = prop::sample::select(vec!["type", "subject", "missing"]);
    let dialect = prop::sample::select(vec!["exact", "prefix", "suffix"]);
    let leaf = (dialect, name, hard_text()).prop_map(|(dialect, name, text)| Tree::Leaf(dialect, name, text));
    leaf.prop_recursive(3, 12, 3, |inner| {
        let some = prop::collection::vec(inner.clone(), 1..3);
        prop_oneof![
            some.clone().prop_map(Tree::All),
            some.prop_map(Tree::Any),
            inner.prop_map(|tree| Tree::Not(Box::new(tree)))
        ]
    })
}

proptest! {
    #[test]
    fn every_text_is_matched_exactly_however_hard_to_quote(
        text in hard_text(), before in "[a\\\\%']{0,2}", after in "[a\\\\%']{0,2}",
    ) {
        let passes = |dialect: &str, value: &str| {
            let filter = compiled(&json!({ dialect: {"subject": &text} }).to_string());
            filter.passes(&TestEvent::default().with("subject", value))
        };
        let value = format!("{before}{text}{after}");
        prop_assert_eq!(passes("exact", &value), value == text);
        prop_assert_eq!(passes("prefix", &value), value.starts_with(&text));
        prop_assert_eq!(passes("suffix", &value), value.ends_with(&text));
        prop_assert!(passes("exact", &text) && passes("prefix", &text) && passes("suffix", &text));
        let example = json!({"subject": &text, "data": {"x": &text}}).to_string();
        let event = TestEvent::default().with("subject", &text).with_data(json!({"x": &text}).to_string());
        prop_assert!(Filter::from_example(&example).expect("valid").passes(&event));
    }

    #[test]
    fn a_tree_of_dialects_is_worth_what_the_subscriptions_api_says(tree in tree(), kind in hard_text(), subject in prop::option::of(hard_text())) {
        let mut event = TestEvent::default().with("type", &kind);
        if let Some(subject) = &subject {
            event = event.with("subject", subject);
        }
        let attribute = |name: &str| match name {
            "type" => Some(kind.clone()),
            "subject" => subject.clone(),
            _ => None,
        };
        let filter = compiled(&tree.json().to_string());
        prop_assert_eq!(filter.passes(&event), tree.is_true(&attribute), "{}", filter);
    }

    #[test]
    fn an_event_passes_the_filter_that_it_is_the_example_of(
        members in prop::collection::btree_map("[a-z ]{0,4}", leaf_json(), 0..6), run in any::<i32>(), list in prop::collection::vec(leaf_json(), 0..3),
    ) {
        let data = json!({"members": members, "list": list});
        let example = json!({"type": "t", "run": run, "data": data}).to_string();
        let event = TestEvent::default().with("type", "t").with_integer("run", run).with_data(data.to_string());
        let filter = Filter::from_example(&example).expect("valid");
        prop_assert!(filter.passes(&event), "{}", filter);
    }

    #[test]
    fn no_text_makes_a_document_panic(text in ".{0,40}", json in "[\\[{\"a:,0nsqlexct }\\]]{0,24}") {
        for text in [text, json] {
            for dialect in [Dialect::Strict, Dialect::Extended] {
                if let Err(error) = Filter::from_document(&text, dialect) {
                    prop_assert!(!error.to_string().is_empty());
                }
            }
            if let Err(error) = Filter::from_example(&text) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}

fn leaf_json() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        hard_text().prop_map(Value::from),
        Just(json!({})),
        Just(json!([{"deep": "er"}])),
    ]
}
