//! Writing an event as one line of JSON in CloudEvents' structured mode.
//!
//! One line always: line ends inside JSON data (which can only be white space there) become blanks, so that events can stand in a
//! file of lines. Otherwise JSON data is copied as it was written.

use super::data::{Settled, settle};
use super::{AttributeRef, DataRef, base64};

pub(super) fn push<'a>(
    out: &mut Vec<u8>,
    attributes: impl Iterator<Item = (&'a str, AttributeRef<'a>)>,
    data: DataRef<'_>,
    json_declared: bool,
) {
    out.extend_from_slice(br#"{"specversion":"1.0""#);
    for (name, value) in attributes {
        push_attribute(out, name, value);
    }
    match settle(data, json_declared) {
        Settled::Absent => {}
        Settled::Json(text) => {
            out.extend_from_slice(br#","data":"#);
            push_on_one_line(out, text);
        }
        Settled::Text(text) => {
            out.extend_from_slice(br#","data":"#);
            push_string(out, &text);
        }
        Settled::Binary(bytes) => {
            out.extend_from_slice(br#","data_base64":""#);
            base64::push(out, bytes);
            out.push(b'"');
        }
    }
    out.push(b'}');
}

fn push_attribute(out: &mut Vec<u8>, name: &str, value: AttributeRef<'_>) {
    out.extend_from_slice(b",\"");
    // Names are a-z and 0-9, so that nothing in them needs escaping.
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    match value {
        AttributeRef::String(text) => push_string(out, text),
        AttributeRef::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
        AttributeRef::Boolean(true) => out.extend_from_slice(b"true"),
        AttributeRef::Boolean(false) => out.extend_from_slice(b"false"),
    }
}

fn push_on_one_line(out: &mut Vec<u8>, json: &str) {
    let start = out.len();
    out.extend_from_slice(json.as_bytes());
    for byte in &mut out[start..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

/// A JSON string. Runs of bytes that stand for themselves are copied whole.
fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| needs_escape(byte)) {
        out.extend_from_slice(&rest[..at]);
        push_escaped(out, rest[at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn needs_escape(byte: u8) -> bool {
    byte < b' ' || byte == b'"' || byte == b'\\'
}

fn push_escaped(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&digits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn strings_are_read_back_by_a_json_parser(text in any::<String>()) {
            let mut out = Vec::new();
            push_string(&mut out, &text);
            let back: Result<String, _> = serde_json::from_slice(&out);
            prop_assert_eq!(back.ok(), Some(text));
            prop_assert!(!out.contains(&b'\n'));
        }
    }

    #[test]
    fn data_over_several_lines_comes_out_on_one() {
        let mut out = Vec::new();
        push(&mut out, std::iter::empty(), DataRef::Json(b"{\r\n \"a\": \"\\n\"\n}"), true);
        assert_eq!(String::from_utf8_lossy(&out), r#"{"specversion":"1.0","data":{   "a": "\n" }}"#);
    }
}
