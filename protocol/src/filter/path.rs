//! Extension: a path into an event's JSON data, such as `data.stations[0]['local name']`.

use std::fmt;

/// Where in the data a value lies; no segments is the data as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    segments: Box<[Segment]>,
    text: Box<str>,
}

/// One step of a [`Path`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// A member of an object; its case counts.
    Key(Box<str>),
    /// An element of an array, from 0.
    Index(usize),
}

impl Path {
    pub fn new(segments: Vec<Segment>) -> Self {
        let text = segments.iter().fold("data".to_owned(), |text, segment| match segment {
            Segment::Index(index) => format!("{text}[{index}]"),
            Segment::Key(key) if is_plain_key(key) => format!("{text}.{key}"),
            Segment::Key(key) => format!("{text}[{}]", super::ast::quoted(key)),
        });
        Self { segments: segments.into(), text: text.into() }
    }

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The path as a filter writes it.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A key that needs no quotes.
fn is_plain_key(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(super::lexer::is_word_byte)
}
