//! The binary encoding: lossless, canonical, and safe against any bytes.

use anyport_protocol::event::{
    AttributeRef, AttributeValue, Data, DataRef, EncodedEvent, Event, EventBuilder, EventError,
};
use proptest::prelude::*;

fn attribute_value() -> impl Strategy<Value = AttributeValue> {
    prop_oneof![
        any::<String>().prop_map(AttributeValue::String),
        any::<i32>().prop_map(AttributeValue::Integer),
        any::<bool>().prop_map(AttributeValue::Boolean),
    ]
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<String>().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A media type, and data that may stand under it.
fn content() -> impl Strategy<Value = (Option<String>, Option<Data>)> {
    let json_type = prop_oneof![Just(None), Just(Some("application/geo+json; charset=utf-8".to_owned()))];
    let any_type = prop_oneof![json_type, Just(Some("text/plain".to_owned()))];
    prop_oneof![
        (any_type.clone(), Just(None)),
        (any_type.clone(), json().prop_map(|value| Some(Data::Json(value.to_string())))),
        (Just(Some("text/plain".to_owned())), any::<String>().prop_map(|text| Some(Data::Text(text)))),
        (any_type, any::<Vec<u8>>().prop_map(|bytes| Some(Data::Binary(bytes.into())))),
    ]
}

const TIME: &str =
    "(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?Z";

prop_compose! {
    fn event()(
        required in (".{1,20}", ".{1,20}", ".{1,90}"),
        subject in prop::option::of(".{1,20}"),
        time in prop::option::of(TIME),
        dataschema in prop::option::of(".{1,20}"),
        partitionkey in prop::option::of(".{1,20}"),
        extensions in prop::collection::btree_map("x[a-z0-9]{0,12}", attribute_value(), 0..6),
        (datacontenttype, data) in content(),
    ) -> Event {
        let set = |builder: EventBuilder, value, setter: fn(EventBuilder, String) -> EventBuilder| match value {
            Some(value) => setter(builder, value),
            None => builder,
        };
        let mut builder = Event::builder(required.0, required.1, required.2);
        builder = set(builder, subject, EventBuilder::subject);
        builder = set(builder, time, EventBuilder::time);
        builder = set(builder, dataschema, EventBuilder::dataschema);
        builder = set(builder, datacontenttype, EventBuilder::datacontenttype);
        builder = set(builder, partitionkey, |builder, key| builder.extension("partitionkey", key));
        builder = extensions.into_iter().fold(builder, |builder, (name, value)| builder.extension(name, value));
        if let Some(data) = data { builder = builder.data(data); }
        builder.build().expect("valid by construction")
    }
}

/// Everything a reader may do with bytes that have passed the check.
fn read_everything(event: &EncodedEvent<'_>) -> Event {
    for (name, value) in event.attributes() {
        assert_eq!(event.attribute(name), Some(value));
    }
    assert!(!event.id().is_empty() && !event.source().is_empty() && !event.event_type().is_empty());
    let decoded = event.decode();
    let mut json = Vec::new();
    event.to_json(&mut json);
    assert_eq!(json, decoded.to_json());
    assert!(!json.contains(&b'\n'));
    decoded
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_event_survives_bytes_and_json(event in event()) {
        let bytes = event.encode();
        prop_assert_eq!(bytes.len(), event.encoded_len());
        let encoded = EncodedEvent::check(&bytes).expect("own encoding");
        prop_assert_eq!(&read_everything(&encoded), &event);
        prop_assert_eq!(Event::from_json(&event.to_json()), Ok(event));
    }

    #[test]
    fn arbitrary_bytes_after_an_event_header_never_panic(kind in 0_u8..5, block in prop::collection::vec(0_u8..130, 0..80), data: Vec<u8>) {
        let mut bytes = vec![1, kind, block.len() as u8, 0];
        bytes.extend(block);
        bytes.extend(data);
        if let Ok(event) = EncodedEvent::check(&bytes) {
            read_everything(&event);
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_event_or_a_whole_one(bytes: Vec<u8>) {
        if let Ok(event) = EncodedEvent::check(&bytes) {
            read_everything(&event);
        }
    }

    #[test]
    fn a_corrupted_event_is_refused_or_is_another_valid_event(event in event(), at: prop::sample::Index, to: u8) {
        let mut bytes = event.encode();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(encoded) = EncodedEvent::check(&bytes) {
            let decoded = read_everything(&encoded);
            prop_assert!(decoded.encoded_len() <= bytes.len());
            prop_assert_eq!(EncodedEvent::check(&decoded.encode()).map(|again| again.decode()), Ok(decoded.clone()));
            prop_assert_eq!(Event::from_json(&decoded.to_json()), Ok(decoded));
        }
    }

    #[test]
    fn a_truncated_event_is_refused_up_to_its_data(event in event()) {
        let bytes = event.encode();
        let envelope = bytes.len() - EncodedEvent::check(&bytes).expect("own encoding").data().bytes().len();
        for end in 0..envelope {
            prop_assert!(EncodedEvent::check(&bytes[..end]).is_err());
        }
    }
}

#[test]
fn attributes_of_an_encoded_event_are_read_in_place() {
    let event =
        Event::builder("7", "/s", "t").subject("s").extension("zone", "eu").extension("n", -5).extension("ok", true);
    let bytes = event.extension("partitionkey", "k").json("{}").build().expect("valid").encode();
    let event = EncodedEvent::check(&bytes).expect("own encoding");
    let names: Vec<&str> = event.attributes().map(|(name, _)| name).collect();
    assert_eq!(names, ["id", "source", "type", "subject", "partitionkey", "n", "ok", "zone"]);
    assert_eq!(event.attribute("n"), Some(AttributeRef::Integer(-5)));
    assert_eq!(event.attribute("ok"), Some(AttributeRef::Boolean(true)));
    assert_eq!(event.attribute("zone"), Some(AttributeRef::String("eu")));
    assert_eq!(event.attribute("partitionkey"), Some(AttributeRef::String("k")));
    assert_eq!(event.attribute("specversion"), Some(AttributeRef::String("1.0")));
    assert_eq!((event.attribute("time"), event.attribute("none")), (None, None));
    assert_eq!(event.data(), DataRef::Json(b"{}"));
}

/// One attribute of kind string.
fn coded(code: u8, value: &str) -> Vec<u8> {
    [&[code, 1, value.len() as u8], value.as_bytes()].concat()
}

/// One attribute by name, of value `true`.
fn named(name: &str) -> Vec<u8> {
    [&[0, name.len() as u8], name.as_bytes(), &[3, 1, 1]].concat()
}

fn check(header: [u8; 2], attributes: &[Vec<u8>], data: &[u8]) -> Result<(), EventError> {
    let block = attributes.concat();
    let bytes = [&header[..], &(block.len() as u16).to_le_bytes(), &block, data].concat();
    EncodedEvent::check(&bytes).map(|_| ())
}

#[test]
fn an_event_envelope_is_refused_for_what_is_wrong_with_it() {
    let start = [coded(1, "i"), coded(2, "s"), coded(3, "t")];
    let with = |more: &[Vec<u8>]| check([1, 0], &[&start[..], more].concat(), b"");
    assert_eq!(with(&[named("a"), named("b")]), Ok(()));

    assert_eq!(check([2, 0], &start, b""), Err(EventError::UnknownEncoding { version: 2 }));
    assert_eq!(check([1, 4], &start, b""), Err(EventError::UnknownDataKind { kind: 4 }));
    assert_eq!(check([1, 0], &start, b"x"), Err(EventError::UnexpectedData { size: 1 }));
    assert_eq!(check([1, 0], &start[..2], b""), Err(EventError::MissingAttribute { name: "type" }));
    assert_eq!(with(&[coded(4, "")]), Err(EventError::EmptyAttribute { name: "subject" }));
    assert_eq!(with(&[coded(5, "noon")]), Err(EventError::BadTime { found: "noon".into() }));
    assert_eq!(with(&[coded(9, "x")]), Err(EventError::UnknownAttributeCode { code: 9 }));
    assert_eq!(with(&[coded(3, "x")]), Err(EventError::OutOfOrder { at: 12 }));
    assert_eq!(with(&[named("a"), coded(4, "x")]), Err(EventError::OutOfOrder { at: 18 }));
    assert_eq!(with(&[named("b"), named("a")]), Err(EventError::OutOfOrder { at: 18 }));
    assert_eq!(with(&[named("a"), named("a")]), Err(EventError::OutOfOrder { at: 18 }));
    assert_eq!(with(&[named("A")]), Err(EventError::BadAttributeName { name: "A".into() }));
    assert_eq!(with(&[named("data")]), Err(EventError::ReservedAttributeName { name: "data".into() }));
    assert_eq!(with(&[named("partitionkey")]), Err(EventError::ReservedAttributeName { name: "partitionkey".into() }));
    assert_eq!(with(&[vec![4, 9, 1, b'x']]), Err(EventError::UnknownValueKind { kind: 9 }));
    assert_eq!(with(&[vec![0, 1, b'a', 3, 1, 2]]), Err(EventError::BadValue { at: 17 }));
    assert_eq!(with(&[vec![0, 1, b'a', 2, 2, 0x41, 0]]), Err(EventError::BadValue { at: 17 }));
    assert_eq!(with(&[vec![4, 1, 0x41, 0, b'x']]), Err(EventError::BadNumber { at: 14 }));
    assert_eq!(with(&[vec![4, 1, 5, b'x']]), Err(EventError::Truncated { needed: 20, found: 16 }));
    assert_eq!(with(&[vec![4, 1, 1, 0xff]]), Err(EventError::NotUtf8 { at: 15 }));
    assert_eq!(with(&[vec![4, 1, 1, 0xc3, 0xa9]]), Err(EventError::NotUtf8 { at: 15 }));
    assert_eq!(EncodedEvent::check(&[]).map(|_| ()), Err(EventError::Truncated { needed: 4, found: 0 }));
    assert_eq!(EncodedEvent::check(&[1, 0, 9, 0]).map(|_| ()), Err(EventError::Truncated { needed: 13, found: 4 }));
}
