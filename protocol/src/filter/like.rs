//! LIKE patterns, matched in time linear in the text.
//!
//! A pattern is cut at its `%` into segments. The first must begin the text, the last must end it, and those between are found one
//! after the other, each as early as possible, which never has to be taken back. Plain segments are searched with the standard
//! library's two-way search; a segment with `_` by Shift-And, one machine word of states, which is why such a segment is bounded.

use std::fmt;

use super::ast::quoted;
use crate::limits::FILTER_LIKE_SEGMENT_MAX;

/// A compiled LIKE pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    text: Box<str>,
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    /// No `%`: the whole text must match.
    Whole(Segment),
    Open {
        start: Segment,
        middle: Box<[Search]>,
        end: Segment,
    },
}

/// What lies between two `%`; `None` is a `_`.
#[derive(Clone, Debug, PartialEq)]
enum Segment {
    Plain(Box<str>),
    Wild(Box<[Option<char>]>),
}

/// A segment between two `%`, prepared for being searched.
#[derive(Clone, Debug, PartialEq)]
enum Search {
    Plain(Box<str>),
    Wild(Box<ShiftAnd>),
}

/// A segment between two `%` that has a `_` and is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentTooLong {
    pub(super) characters: usize,
}

impl Pattern {
    pub(super) fn compile(text: &str) -> Result<Self, SegmentTooLong> {
        let mut segments = cut(text).into_iter().map(Segment::new);
        let start = segments.next().unwrap_or(Segment::Plain("".into()));
        let shape = match segments.next_back() {
            None => Shape::Whole(start),
            Some(end) => {
                let middle =
                    segments.filter(|segment| !segment.is_empty()).map(Search::new).collect::<Result<_, _>>()?;
                Shape::Open { start, middle, end }
            }
        };
        Ok(Self { text: text.into(), shape })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The literal text every match begins with: what an index of prefixes can use.
    pub fn prefix(&self) -> &str {
        match &self.shape {
            Shape::Whole(Segment::Plain(text)) | Shape::Open { start: Segment::Plain(text), .. } => text,
            _ => "",
        }
    }

    pub fn matches(&self, text: &str) -> bool {
        self.matches_counting(text, &mut 0)
    }

    /// Adds to `looked_at` how many bytes of the text were looked at; those looked at again count again.
    fn matches_counting(&self, text: &str, looked_at: &mut usize) -> bool {
        match &self.shape {
            Shape::Whole(segment) => {
                *looked_at += text.len();
                segment.strip_start(text) == Some("")
            }
            Shape::Open { start, middle, end } => {
                let Some(inner) = start.strip_start(text).and_then(|rest| end.strip_end(rest)) else {
                    *looked_at += text.len();
                    return false;
                };
                *looked_at += text.len() - inner.len();
                middle.iter().try_fold(inner, |rest, segment| segment.after_first(rest, looked_at)).is_some()
            }
        }
    }

    /// What it asks of a text, in words that follow the name of a value.
    pub(super) fn in_words(&self, negated: bool) -> String {
        let plain = match &self.shape {
            Shape::Whole(Segment::Plain(text)) => Some(("is", "is not", &**text)),
            Shape::Open { start: Segment::Plain(start), middle, end: Segment::Plain(end) } => {
                match (&**start, &**middle, &**end) {
                    (text, [], "") if !text.is_empty() => Some(("begins with", "does not begin with", text)),
                    ("", [], text) if !text.is_empty() => Some(("ends with", "does not end with", text)),
                    ("", [Search::Plain(text)], "") => Some(("contains", "does not contain", &**text)),
                    _ => None,
                }
            }
            _ => None,
        };
        let (verb, opposite, text) = plain.unwrap_or(("looks like", "does not look like", &self.text));
        let legend = if plain.is_none() { ", where % is any text and _ any one character" } else { "" };
        format!("{} {}{legend}", if negated { opposite } else { verb }, quoted(text))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Cuts at each `%`; `\%` and `\_` are the characters themselves, any other `\` is a backslash.
fn cut(text: &str) -> Vec<Vec<Option<char>>> {
    let mut segments = vec![Vec::new()];
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let escaped = if character == '\\' { characters.next_if(|next| matches!(next, '%' | '_')) } else { None };
        match (character, escaped) {
            ('%', _) => segments.push(Vec::new()),
            (character, escaped) => {
                let item = if character == '_' { None } else { Some(escaped.unwrap_or(character)) };
                if let Some(segment) = segments.last_mut() {
                    segment.push(item);
                }
            }
        }
    }
    segments
}

impl Segment {
    fn new(items: Vec<Option<char>>) -> Self {
        match items.iter().copied().collect::<Option<String>>() {
            Some(text) => Self::Plain(text.into()),
            None => Self::Wild(items.into()),
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Plain(text) if text.is_empty())
    }

    fn strip_start<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Self::Plain(start) => text.strip_prefix(&**start),
            Self::Wild(items) => {
                let mut characters = text.chars();
                items.iter().all(|item| fits(*item, characters.next())).then_some(characters.as_str())
            }
        }
    }

    fn strip_end<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Self::Plain(end) => text.strip_suffix(&**end),
            Self::Wild(items) => {
                let mut characters = text.chars();
                items.iter().rev().all(|item| fits(*item, characters.next_back())).then_some(characters.as_str())
            }
        }
    }
}

fn fits(item: Option<char>, character: Option<char>) -> bool {
    character.is_some() && (item.is_none() || item == character)
}

impl Search {
    fn new(segment: Segment) -> Result<Self, SegmentTooLong> {
        match segment {
            Segment::Plain(text) => Ok(Self::Plain(text)),
            Segment::Wild(items) => ShiftAnd::new(&items).map(|search| Self::Wild(Box::new(search))),
        }
    }

    /// What follows the first occurrence.
    fn after_first<'t>(&self, text: &'t str, looked_at: &mut usize) -> Option<&'t str> {
        let rest = match self {
            Self::Plain(plain) => text.find(&**plain).map(|at| &text[at + plain.len()..]),
            Self::Wild(search) => search.after_first(text),
        };
        // Neither search goes back: each byte up to where it ends is looked at once, or as often as two-way search needs, which is
        // twice.
        *looked_at += text.len() - rest.map_or(0, str::len);
        rest
    }
}

/// Bit `i` of a mask says that the character fits item `i`; bit `i` of the state, that the items up to `i` fit what was just read.
#[derive(Clone, Debug, PartialEq)]
struct ShiftAnd {
    ascii: [u64; 128],
    /// Sorted by character.
    others: Box<[(char, u64)]>,
    wild: u64,
    last: u64,
}

impl ShiftAnd {
    fn new(items: &[Option<char>]) -> Result<Self, SegmentTooLong> {
        if items.len() > FILTER_LIKE_SEGMENT_MAX {
            return Err(SegmentTooLong { characters: items.len() });
        }
        let fitting = |fits: &dyn Fn(&Option<char>) -> bool| {
            items.iter().enumerate().filter(|(_, item)| fits(item)).fold(0_u64, |mask, (bit, _)| mask | 1 << bit)
        };
        let mask_of = |character: char| fitting(&|item| item.is_none_or(|wanted| wanted == character));
        let mut others: Vec<char> = items.iter().filter_map(|item| item.filter(|c| !c.is_ascii())).collect();
        others.sort_unstable();
        others.dedup();
        let mut ascii = [0; 128];
        for (code, mask) in (0_u8..).zip(&mut ascii) {
            *mask = mask_of(char::from(code));
        }
        Ok(Self {
            ascii,
            others: others.into_iter().map(|character| (character, mask_of(character))).collect(),
            wild: fitting(&Option::is_none),
            last: 1 << (items.len() - 1),
        })
    }

    fn mask(&self, character: char) -> u64 {
        match self.ascii.get(character as usize) {
            Some(mask) => *mask,
            None => self.others.binary_search_by_key(&character, |(c, _)| *c).map_or(self.wild, |at| self.others[at].1),
        }
    }

    fn after_first<'t>(&self, text: &'t str) -> Option<&'t str> {
        let mut state = 0_u64;
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            state = (state << 1 | 1) & self.mask(character);
            if state & self.last != 0 {
                return Some(characters.as_str());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn like(text: &str, pattern: &str) -> bool {
        Pattern::compile(pattern).expect("short").matches(text)
    }

    #[test]
    fn percent_stands_for_any_text_and_underscore_for_one_character() {
        assert!(like("abc", "a%c") && like("ac", "a%c") && !like("ab", "a%c"));
        assert!(like("äöü", "_ö_") && !like("ö", "_ö_"));
        assert!(like("xxaybzz", "%a_b%") && !like("xxabzz", "%a_b%"));
        assert!(like("", "%") && like("", "") && !like("a", "") && !like("", "_"));
        assert!(!like("aba", "aba%aba"), "the start and the end may not overlap");
        assert!(like("日本語のテキスト", "%語_テ%"));
    }

    #[test]
    fn a_backslash_escapes_wildcards_only() {
        assert!(like("a%b", r"a\%b") && !like("axb", r"a\%b"));
        assert!(like("a_b", r"a\_b") && !like("axb", r"a\_b"));
        assert!(like(r"a\b", r"a\b"));
    }

    /// Many `%` before something that does not come: the attack on LIKE (CVE-2026-67240). It takes exponential time where a pattern
    /// becomes a backtracking expression, and quadratic time where matching starts again behind the last `%`.
    #[test]
    fn no_search_goes_back_whatever_the_pattern() {
        let text = "a".repeat(100_000);
        for pattern in [
            format!("{}b", "%a".repeat(2000)),
            format!("{}b%", "%a".repeat(2000)),
            format!("%{}b%", "a".repeat(4000)),
            format!("{}b%", "%_".repeat(2000)),
            format!("%{}b%", "_a".repeat(FILTER_LIKE_SEGMENT_MAX / 2 - 1)),
            format!("{}%", format!("%{}", "a".repeat(50)).repeat(150)),
            format!("a%{}%b", "a%_".repeat(1000)),
            "%".repeat(8000),
        ] {
            let mut looked_at = 0;
            let matches = Pattern::compile(&pattern).expect("within limits").matches_counting(&text, &mut looked_at);
            assert_eq!(matches, !pattern.contains('b'), "{pattern:.20}");
            assert!(looked_at <= text.len(), "{pattern:.20}: {looked_at} bytes of {}", text.len());
        }
    }

    #[test]
    fn a_pattern_is_said_in_words() {
        let words = |pattern, negated| Pattern::compile(pattern).expect("short").in_words(negated);
        assert_eq!(words("Alaska%", false), "begins with 'Alaska'");
        assert_eq!(words("%.error", true), "does not end with '.error'");
        assert_eq!(words(r"%50\%%", false), "contains '50%'");
        assert_eq!(words("abc", true), "is not 'abc'");
        assert_eq!(words("a_c%", false), "looks like 'a_c%', where % is any text and _ any one character");
    }

    #[test]
    fn a_prefix_is_known_to_indexes() {
        assert_eq!(Pattern::compile("Alaska%").expect("short").prefix(), "Alaska");
        assert_eq!(Pattern::compile("A_aska%").expect("short").prefix(), "");
    }

    #[test]
    fn a_searched_segment_with_wildcards_is_bounded() {
        let items = FILTER_LIKE_SEGMENT_MAX;
        assert!(Pattern::compile(&format!("%{}%", "_".repeat(items))).is_ok());
        let refused = Pattern::compile(&format!("%{}%", "_".repeat(items + 1)));
        assert_eq!(refused, Err(SegmentTooLong { characters: items + 1 }));
    }
}
