//! Golden events: `NAME.json` encodes to exactly the bytes of `NAME.hex`, for ever. These files are on people's disks and wires: if a test
//! here fails, the code is wrong, not the file. A new encoding version gets files of its own.

use anyport_protocol::event::{EncodedEvent, Event};

fn golden(name: &str) -> (String, Vec<u8>) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/event");
    let read = |kind: &str| std::fs::read_to_string(format!("{folder}/{name}.{kind}")).expect(name);
    let digits: Vec<u8> = read("hex").bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal");
    (read("json").trim_end().to_owned(), digits.chunks(2).map(byte).collect())
}

#[test]
fn golden_events_keep_their_bytes() {
    for name in ["minimal", "earthquake", "every-attribute", "text", "binary", "long-values"] {
        let (json, bytes) = golden(name);
        let event = Event::from_json(json.as_bytes()).expect(name);
        assert_eq!(event.encode(), bytes, "{name}");
        let encoded = EncodedEvent::check(&bytes).expect(name);
        assert_eq!(encoded.decode(), event, "{name}");
        let mut again = Vec::new();
        encoded.to_json(&mut again);
        assert_eq!(String::from_utf8(again).expect("JSON is UTF-8"), json, "{name}");
    }
}
