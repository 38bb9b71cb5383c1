//! Finds one value in raw JSON without parsing the rest of it.
//!
//! The bytes come from a publisher and may be anything. Nothing here recurses, indexes unchecked or allocates, except to undo escapes in
//! a string. What is not found, cannot be read, or is `null` is missing: CloudEvents treats an attribute that is null as absent, and so
//! do paths. Of a key that occurs twice the first counts. Bytes after the value found are not looked at.

use std::borrow::Cow;

use super::number::Number;
use super::path::Segment;

/// A JSON value that is not null.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json<'d> {
    Boolean(bool),
    Number(Number),
    String(Cow<'d, str>),
    /// An object or an array.
    Structure,
}

/// The value at `path` in `data`.
pub(super) fn find<'d>(data: &'d [u8], path: &[Segment]) -> Option<Json<'d>> {
    let mut scanner = Scanner { rest: data };
    for segment in path {
        match segment {
            Segment::Key(key) => scanner.enter_member(key)?,
            Segment::Index(index) => scanner.enter_element(*index)?,
        }
    }
    scanner.value()
}

/// Bytes that cannot be part of a number or a word. A table, because scanning them is most of the work.
const ENDS_SCALAR: [bool; 256] = {
    let mut ends = [false; 256];
    let bytes = b",}] \t\n\r:\"{[";
    let mut at = 0;
    while at < bytes.len() {
        ends[bytes[at] as usize] = true;
        at += 1;
    }
    ends
};

struct Scanner<'d> {
    rest: &'d [u8],
}

/// A string without its quotes, escapes not yet undone.
struct RawString<'d> {
    bytes: &'d [u8],
    escaped: bool,
}

impl<'d> Scanner<'d> {
    /// The next byte that is not white space, not consumed.
    fn peek(&mut self) -> Option<u8> {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
        self.rest.first().copied()
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        if self.peek()? != wanted {
            return None;
        }
        self.rest = self.rest.get(1..)?;
        Some(())
    }

    /// Moves from before an object to before the value of its member `key`.
    fn enter_member(&mut self, key: &str) -> Option<()> {
        self.take(b'{')?;
        loop {
            let name = self.string()?;
            self.take(b':')?;
            if name.is(key) {
                return Some(());
            }
            self.skip()?;
            self.take(b',')?;
        }
    }

    /// Moves from before an array to before its element `index`.
    fn enter_element(&mut self, index: usize) -> Option<()> {
        self.take(b'[')?;
        for _ in 0..index {
            self.skip()?;
            self.take(b',')?;
        }
        Some(())
    }

    fn string(&mut self) -> Option<RawString<'d>> {
        self.take(b'"')?;
        let mut escaped = false;
        let mut end = 0;
        loop {
            end += self.rest.get(end..)?.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            if self.rest[end] == b'"' {
                break;
            }
            escaped = true;
            end += 2;
        }
        let bytes = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Some(RawString { bytes, escaped })
    }

    /// Skips one value. Brackets are counted, not paired: the worst that comes of broken JSON is a wrong or a missing value.
    fn skip(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'{' | b'[' => self.skip_structure(),
            _ => self.scalar().map(drop),
        }
    }

    fn skip_structure(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            let at = self.rest.iter().position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']'))?;
            let found = self.rest[at];
            self.rest = &self.rest[at..];
            if found == b'"' {
                self.string()?;
                continue;
            }
            self.rest = &self.rest[1..];
            match found {
                b'{' | b'[' => depth += 1,
                _ => depth -= 1,
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// The bytes of a number or a word, up to what ends it; never empty.
    fn scalar(&mut self) -> Option<&'d [u8]> {
        self.peek()?;
        let end = self.rest.iter().position(|byte| ENDS_SCALAR[usize::from(*byte)]).unwrap_or(self.rest.len());
        let (scalar, rest) = self.rest.split_at(end);
        self.rest = rest;
        if scalar.is_empty() { None } else { Some(scalar) }
    }

    fn value(&mut self) -> Option<Json<'d>> {
        match self.peek()? {
            b'"' => self.string()?.text().map(Json::String),
            b'{' | b'[' => Some(Json::Structure),
            _ => match self.scalar()? {
                b"true" => Some(Json::Boolean(true)),
                b"false" => Some(Json::Boolean(false)),
                scalar => number(scalar).map(Json::Number),
            },
        }
    }
}

impl<'d> RawString<'d> {
    fn is(&self, key: &str) -> bool {
        if self.escaped { self.text().is_some_and(|text| text == key) } else { self.bytes == key.as_bytes() }
    }

    fn text(&self) -> Option<Cow<'d, str>> {
        let text = std::str::from_utf8(self.bytes).ok()?;
        if self.escaped { unescape(text).map(Cow::Owned) } else { Some(Cow::Borrowed(text)) }
    }
}

/// `None` if an escape is malformed or names half a surrogate pair.
fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let mut characters = rest[at + 1..].chars();
        let character = match characters.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            same @ ('"' | '\\' | '/') => same,
            'u' => {
                let first = hex(characters.as_str())?;
                characters = characters.as_str()[4..].chars();
                if (0xD800..0xDC00).contains(&first) {
                    let second = hex(characters.as_str().strip_prefix("\\u")?)?;
                    characters = characters.as_str()[6..].chars();
                    char::decode_utf16([first, second]).next()?.ok()?
                } else {
                    char::from_u32(first.into())?
                }
            }
            _ => return None,
        };
        plain.push(character);
        rest = characters.as_str();
    }
    plain.push_str(rest);
    Some(plain)
}

/// The four hexadecimal digits that `text` begins with.
fn hex(text: &str) -> Option<u16> {
    let digits = text.get(..4)?;
    // `from_str_radix` would take a sign.
    if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) { u16::from_str_radix(digits, 16).ok() } else { None }
}

/// Reads a number exactly as the JSON grammar has it.
pub(super) fn number(bytes: &[u8]) -> Option<Number> {
    let text = std::str::from_utf8(bytes).ok()?;
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let whole = digits(unsigned);
    if whole == 0 || (whole > 1 && unsigned.starts_with('0')) {
        return None;
    }
    let mut rest = &unsigned[whole..];
    if rest.is_empty()
        && let Ok(long) = text.parse()
    {
        return Some(Number::Long(long));
    }
    if let Some(fraction) = rest.strip_prefix('.') {
        let length = digits(fraction);
        rest = if length == 0 { return None } else { &fraction[length..] };
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let length = digits(exponent);
        rest = if length == 0 { return None } else { &exponent[length..] };
    }
    if rest.is_empty() { text.parse().ok().map(Number::decimal) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'d>(json: &'d str, path: &[&str]) -> Option<Json<'d>> {
        let segment = |text: &&str| text.parse().map_or_else(|_| Segment::Key((*text).into()), Segment::Index);
        find(json.as_bytes(), &path.iter().map(segment).collect::<Vec<_>>())
    }

    #[test]
    fn a_path_leads_through_objects_and_arrays() {
        let json = r#" { "a" : { "skip" : [1, {"x": "}]\""}], "b" : [ 10 , [ 20 ], {"c" : true } ] } } "#;
        assert_eq!(at(json, &["a", "b", "0"]), Some(Json::Number(Number::Long(10))));
        assert_eq!(at(json, &["a", "b", "1", "0"]), Some(Json::Number(Number::Long(20))));
        assert_eq!(at(json, &["a", "b", "2", "c"]), Some(Json::Boolean(true)));
        assert_eq!(at(json, &["a", "b"]), Some(Json::Structure));
        assert_eq!(at(json, &["a", "b", "3"]), None);
        assert_eq!(at(json, &["a", "c"]), None);
        assert_eq!(at("4.5", &[]), Some(Json::Number(Number::Decimal(4.5))));
    }

    #[test]
    fn null_is_missing() {
        assert_eq!(at(r#"{"felt":null}"#, &["felt"]), None);
    }

    #[test]
    fn escapes_are_undone_in_keys_and_values() {
        let json = r#"{"\u0061\"":"x\n\u00e9\ud83d\ude00\/"}"#;
        assert_eq!(at(json, &["a\""]), Some(Json::String("x\né😀/".into())));
        assert_eq!(at(r#"{"a":"\ud83d"}"#, &["a"]), None);
        assert_eq!(at(r#"{"a":"\u+123"}"#, &["a"]), None);
    }

    #[test]
    fn broken_json_is_missing_and_never_a_panic() {
        for json in [
            "",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":\"",
            "{\"a\":\"\\",
            "{\"a\":tru}",
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":-}",
            "{\"a\":1e}",
        ] {
            assert_eq!(at(json, &["a"]), None, "{json}");
        }
        assert_eq!(find(b"{\"a\":\"\xff\"}", &[Segment::Key("a".into())]), None);
        assert_eq!(at(&"[".repeat(1 << 20), &["0", "1"]), None);
    }

    #[test]
    fn numbers_keep_64_bits_and_lose_no_order_beyond() {
        assert_eq!(at("9223372036854775807", &[]), Some(Json::Number(Number::Long(i64::MAX))));
        assert_eq!(at("9223372036854775808", &[]), Some(Json::Number(Number::Decimal(9_223_372_036_854_775_808.0))));
        assert_eq!(at("1e999", &[]), Some(Json::Number(Number::Decimal(f64::MAX))));
        assert_eq!(at("-2.5E+1", &[]), Some(Json::Number(Number::Decimal(-25.0))));
    }
}
