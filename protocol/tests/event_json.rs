//! Events in and out of JSON, as a user meets it.

use anyport_protocol::event::{AttributeValue, Data, EncodedEvent, Event, EventError};

fn read(json: &str) -> Result<Event, EventError> {
    Event::from_json(json.as_bytes())
}

/// A valid event with some members more.
fn with(members: &str) -> Result<Event, EventError> {
    read(&format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{members}}}"#))
}

fn data_of(members: &str) -> Option<Data> {
    with(members).expect(members).data().cloned()
}

#[test]
fn a_json_event_is_read_whole() {
    let event = read(
        r#" {"type":"gov.usgs.quake","specversion":"1.0","source":"/usgs/us","id":"us2000crkq","subject":"Indon\u00e9sie",
            "time":"2018-01-31T02:00:31.800+07:00","datacontenttype":"application/json","dataschema":"https://example.org/q",
            "significance":436,"reviewed":true,"network":"us","data": {"mag":5.30, "felt" : 4} } "#,
    )
    .expect("valid");
    assert_eq!((event.id(), event.source(), event.event_type()), ("us2000crkq", "/usgs/us", "gov.usgs.quake"));
    assert_eq!(event.subject(), Some("Indonésie"));
    assert_eq!(event.time(), Some("2018-01-31T02:00:31.800+07:00"));
    assert_eq!(event.dataschema(), Some("https://example.org/q"));
    assert_eq!(event.extensions().get("significance"), Some(&AttributeValue::Integer(436)));
    assert_eq!(event.extensions().get("reviewed"), Some(&AttributeValue::Boolean(true)));
    assert_eq!(event.extensions().get("network"), Some(&AttributeValue::String("us".into())));
    assert_eq!(event.data(), Some(&Data::Json(r#"{"mag":5.30, "felt" : 4}"#.into())));
}

#[test]
fn a_json_event_says_what_kind_of_data_it_has() {
    assert_eq!(data_of(""), None);
    assert_eq!(data_of(r#","data":null"#), None);
    assert_eq!(data_of(r#","data":0.10"#), Some(Data::Json("0.10".into())));
    assert_eq!(data_of(r#","data":"x""#), Some(Data::Json("\"x\"".into())));
    assert_eq!(data_of(r#","data":"<a>\n","datacontenttype":"text/xml""#), Some(Data::Text("<a>\n".into())));
    assert_eq!(data_of(r#","data":[1],"datacontenttype":"text/xml""#), Some(Data::Json("[1]".into())));
    assert_eq!(data_of(r#","data_base64":"AAH/""#), Some(Data::Binary(vec![0, 1, 255].into())));
    assert_eq!(data_of(r#","data_base64":null,"data":1"#), Some(Data::Json("1".into())));
}

#[test]
fn null_members_of_a_json_event_are_absent() {
    let event = with(r#","subject":null,"time":null,"color":null"#).expect("valid");
    assert_eq!(event, with("").expect("valid"));
    let error = read(r#"{"specversion":"1.0","id":null,"source":"/s","type":"t"}"#);
    assert_eq!(error, Err(EventError::MissingAttribute { name: "id" }));
}

#[test]
fn a_bad_json_event_is_refused_by_the_name_of_the_member() {
    let name = || "x".to_owned();
    let expected = "a string, a whole number or a boolean";
    let cases = [
        (r#","x":1.5"#, EventError::NotAnInt32 { name: name(), found: "1.5".into() }),
        (r#","x":1e3"#, EventError::NotAnInt32 { name: name(), found: "1e3".into() }),
        (r#","x":2147483648"#, EventError::NotAnInt32 { name: name(), found: "2147483648".into() }),
        (r#","x":{}"#, EventError::WrongType { name: name(), expected, found: "an object" }),
        (r#","x":[]"#, EventError::WrongType { name: name(), expected, found: "an array" }),
        (r#","x":"\ud800""#, EventError::NotText { name: name() }),
        (r#","x":1,"x":null"#, EventError::DuplicateAttribute { name: name() }),
        (r#","\u0069d":"2""#, EventError::DuplicateAttribute { name: "id".into() }),
        (r#","X":1"#, EventError::BadAttributeName { name: "X".into() }),
        (r#","":1"#, EventError::BadAttributeName { name: String::new() }),
        (r#","subject":5"#, EventError::WrongType { name: "subject".into(), expected: "a string", found: "a number" }),
        (r#","subject":"""#, EventError::EmptyAttribute { name: "subject" }),
        (
            r#","partitionkey":5"#,
            EventError::WrongType { name: "partitionkey".into(), expected: "a string", found: "a number" },
        ),
        (r#","time":"yesterday""#, EventError::BadTime { found: "yesterday".into() }),
        (r#","data":1,"data_base64":"""#, EventError::BothDataAndBase64),
        (r#","data_base64":"AA=A""#, EventError::BadBase64 { at: 2 }),
        (r#","data":"\ud800","datacontenttype":"text/plain""#, EventError::NotText { name: "data".into() }),
    ];
    for (members, error) in cases {
        assert_eq!(with(members), Err(error), "{members}");
    }
    assert!(with(r#","x":-2147483648,"y":"""#).is_ok());
}

#[test]
fn what_is_no_json_event_at_all_is_refused() {
    for json in ["", "[]", "5", "{", r#"{"id":1,}"#, "{} {}", "\u{feff}{}"] {
        assert!(matches!(read(json), Err(EventError::NotJson { .. })), "{json}");
    }
    assert!(matches!(Event::from_json(b"{\"id\":\"\xff\"}"), Err(EventError::NotJson { .. })));
    assert_eq!(read("{}"), Err(EventError::MissingAttribute { name: "specversion" }));
    assert_eq!(read(r#"{"specversion":"0.3"}"#), Err(EventError::UnknownSpecVersion { found: "0.3".into() }));
    assert!(matches!(read(r#"{"specversion":1.0}"#), Err(EventError::WrongType { .. })));
}

#[test]
fn a_json_event_with_too_many_members_is_refused_before_they_are_compared() {
    let members: String = (0..200_000).map(|n| format!(",\"x{n}\":1")).collect();
    assert!(matches!(with(&members), Err(EventError::TooManyAttributes { count: 200_004, .. })));
}

#[test]
fn deeply_nested_data_of_an_event_is_no_danger() {
    let data = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(data_of(&format!(",\"data\":{data}")), Some(Data::Json(data)));
}

#[test]
fn a_hostile_event_cannot_write_its_own_json() {
    let mut bytes = Event::builder("1", "/s", "t").build().expect("valid").encode();
    bytes[1] = 1;
    bytes.extend_from_slice(b"1}\n{\"specversion\":\"1.0\"");
    let event = EncodedEvent::check(&bytes).expect("data is not looked at");
    let mut json = Vec::new();
    event.to_json(&mut json);
    assert!(!json.contains(&b'\n'));
    assert_eq!(Event::from_json(&json), Ok(event.decode()));
}

#[test]
fn every_earthquake_event_survives_json_and_bytes() {
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/../loadtest/data/earthquakes.ndjson");
    let path = std::env::var("ANYPORT_TEST_EVENTS").unwrap_or_else(|_| committed.to_owned());
    let lines = std::fs::read_to_string(&path).expect("the events are committed");
    let (mut encoded, mut json) = (Vec::new(), Vec::new());
    for line in lines.lines() {
        let event = Event::from_json(line.as_bytes()).expect(line);
        encoded.clear();
        EncodedEvent::from_json_into(line.as_bytes(), &mut encoded).expect(line);
        let view = EncodedEvent::check(&encoded).expect(line);
        assert_eq!(view.decode(), event);
        json.clear();
        view.to_json(&mut json);
        assert_eq!(json, event.to_json());
        assert_eq!(Event::from_json(&json), Ok(event));
        let (before, after): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(line).expect(line), serde_json::from_slice(&json).expect(line));
        assert_eq!(before, after);
    }
    assert!(lines.lines().count() > 1_000);
}
