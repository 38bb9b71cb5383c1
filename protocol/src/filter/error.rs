//! Why a text is no filter, in words that help: where, what was expected, what was found, and what was probably meant.

use super::ast::Extension;
use crate::limits::{FILTER_BYTES_MAX, FILTER_DEPTH_MAX, FILTER_IN_MAX, FILTER_LIKE_SEGMENT_MAX, FILTER_STEPS_MAX};

/// A text that does not compile to a filter. Columns count characters from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    #[error("column {column}: expected {expected}, found {found}{}", hint(suggestion))]
    Syntax { column: usize, expected: &'static str, found: String, suggestion: Option<String> },

    #[error("column {column}: there is no function {name} with {arguments} argument(s){}", hint(suggestion))]
    UnknownFunction { column: usize, name: String, arguments: usize, suggestion: Option<String> },

    #[error("column {column}: {number} is not between {least} and {most}")]
    NumberOutOfRange { column: usize, number: String, least: i64, most: i64 },

    #[error("column {column}: {what} are an extension that strict CESQL 1.0 does not have")]
    NotStandard { column: usize, what: Extension },

    #[error("the filter has {bytes} bytes; at most {FILTER_BYTES_MAX} are allowed")]
    TooLong { bytes: usize, column: usize },

    #[error("column {column}: nested more than {FILTER_DEPTH_MAX} levels deep")]
    TooDeep { column: usize },

    #[error("column {column}: more than {FILTER_IN_MAX} values in one IN list")]
    TooManyValues { column: usize },

    #[error(
        "column {column}: {characters} characters between two % with a _ among them; at most {FILTER_LIKE_SEGMENT_MAX} are allowed"
    )]
    PatternTooLong { column: usize, characters: usize },

    #[error("evaluating the filter may take {steps} steps; at most {FILTER_STEPS_MAX} are allowed")]
    TooManySteps { steps: usize },
}

/// How much of a line [`FilterError::pointer`] shows.
const SHOWN_MAX: usize = 76;

impl FilterError {
    /// The place in the text, in characters from 1; 1 where the whole text is meant.
    pub fn column(&self) -> usize {
        match self {
            Self::Syntax { column, .. }
            | Self::UnknownFunction { column, .. }
            | Self::NumberOutOfRange { column, .. }
            | Self::NotStandard { column, .. }
            | Self::TooLong { column, .. }
            | Self::TooDeep { column }
            | Self::TooManyValues { column }
            | Self::PatternTooLong { column, .. } => *column,
            Self::TooManySteps { .. } => 1,
        }
    }

    /// The near miss: what was probably meant.
    pub fn suggestion(&self) -> Option<&str> {
        match self {
            Self::Syntax { suggestion, .. } | Self::UnknownFunction { suggestion, .. } => suggestion.as_deref(),
            _ => None,
        }
    }

    /// Two lines: the line of `text` with the error, and a caret below the place.
    pub fn pointer(&self, text: &str) -> String {
        let before: String = text.chars().take(self.column().saturating_sub(1)).collect();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let place = before[line_start..].chars().count();
        let line = text[line_start..].lines().next().unwrap_or("");
        // A long line is shown around the place only.
        let skipped = place.saturating_sub(SHOWN_MAX - 16);
        let shown: String = line.chars().skip(skipped).take(SHOWN_MAX).map(visible).collect();
        format!("{shown}\n{}^", " ".repeat(place - skipped))
    }
}

/// One column each, and nothing that could command a terminal.
fn visible(character: char) -> char {
    match character {
        '\t' => ' ',
        other if other.is_control() => '\u{fffd}',
        other => other,
    }
}

/// Quotes from a filter: one line, and not the whole of a long text.
pub(super) fn shortened(text: &str) -> String {
    const QUOTED_MAX: usize = 32;
    let mut shown: String = text.chars().take(QUOTED_MAX).map(visible).collect();
    if text.chars().nth(QUOTED_MAX).is_some() {
        shown.push_str("...");
    }
    shown
}

pub(super) fn hint(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map_or_else(String::new, |suggestion| format!(" ({suggestion})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_below_the_place_also_in_long_and_broken_lines() {
        let at = |column| FilterError::TooDeep { column };
        assert_eq!(at(3).pointer("a = b"), "a = b\n  ^");
        assert_eq!(at(6).pointer("a =\nb = c"), "b = c\n ^");
        assert_eq!(at(1).pointer(""), "\n^");
        assert_eq!(at(9).pointer("ä"), "ä\n ^");
        let long = format!("{}!{}", "x".repeat(500), "y".repeat(500));
        let pointer = at(501).pointer(&long);
        let (shown, caret) = pointer.split_once('\n').expect("two lines");
        assert_eq!(shown.chars().nth(caret.len() - 1), Some('!'));
        assert_eq!(shown.len(), SHOWN_MAX);
    }
}
