//! Cuts a filter's text into tokens, one at a time, so that the first error of a text is the one reported.
//!
//! What no token begins with is passed on as [`Kind::Foreign`]: the parser knows what it expected there.

use super::ast::Extension;
use super::error::{FilterError, shortened};
use super::number::Number;
use super::path::{Path, Segment};
use super::{Dialect, suggest};

/// A token and where it lies in the text, in bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind<'t>,
    pub(super) start: usize,
    pub(super) end: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind<'t> {
    /// An attribute, a keyword or the name of a function.
    Word(&'t str),
    /// Digits only.
    Integer(&'t str),
    /// Extension.
    Decimal(f64),
    String(String),
    /// Extension: a path into the data.
    Path(Path),
    Symbol(&'static str),
    /// A character, or a symbol of another language.
    Foreign(&'t str),
    End,
}

/// Longer ones first.
const SYMBOLS: [&str; 15] = ["!=", "<>", ">=", "<=", "(", ")", ",", "=", "<", ">", "+", "-", "*", "/", "%"];

/// Known from elsewhere; taken whole, so that the error can say what to write instead.
const FOREIGN: [&str; 5] = ["==", "&&", "||", "=<", "=>"];

pub(super) fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
    dialect: Dialect,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str, dialect: Dialect) -> Self {
        Self { text, at: 0, dialect }
    }

    /// The column of a byte: characters, from 1.
    pub(super) fn column(&self, byte: usize) -> usize {
        self.text[..byte].chars().count() + 1
    }

    pub(super) fn text_of(&self, token: &Token<'_>) -> &'t str {
        &self.text[token.start..token.end]
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    pub(super) fn next(&mut self) -> Result<Token<'t>, FilterError> {
        self.at = self.text.len() - self.rest().trim_start_matches([' ', '\t', '\r', '\n']).len();
        let start = self.at;
        let kind = match self.rest().chars().next() {
            None => Kind::End,
            Some(quote @ ('\'' | '"')) => Kind::String(self.string(quote)?),
            Some(character) if character.is_ascii_alphanumeric() => self.word()?,
            Some(character) => self.symbol(character),
        };
        Ok(Token { kind, start, end: self.at })
    }

    fn symbol(&mut self, character: char) -> Kind<'t> {
        let rest = self.rest();
        let starts = |symbol: &&&str| rest.starts_with(**symbol);
        if let Some(foreign) = FOREIGN.iter().find(starts) {
            self.at += foreign.len();
            return Kind::Foreign(&rest[..foreign.len()]);
        }
        if let Some(symbol) = SYMBOLS.iter().find(starts) {
            self.at += symbol.len();
            return Kind::Symbol(symbol);
        }
        self.at += character.len_utf8();
        Kind::Foreign(&rest[..character.len_utf8()])
    }

    fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest.bytes().take_while(|byte| belongs(*byte)).count();
        self.at += length;
        &rest[..length]
    }

    /// Takes `symbol` if it is next.
    fn take(&mut self, symbol: char) -> bool {
        let found = self.rest().starts_with(symbol);
        if found {
            self.at += symbol.len_utf8();
        }
        found
    }

    fn word(&mut self) -> Result<Kind<'t>, FilterError> {
        let start = self.at;
        let word = self.take_while(is_word_byte);
        if word.bytes().all(|byte| byte.is_ascii_digit()) {
            let fraction =
                self.rest().strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
            return if fraction { self.decimal(start) } else { Ok(Kind::Integer(word)) };
        }
        if word.eq_ignore_ascii_case("data") && self.rest().starts_with(['.', '[']) {
            self.extension(start, Extension::DataPath)?;
            return self.path();
        }
        Ok(Kind::Word(word))
    }

    /// `digits.digits`, and an exponent if any; the whole digits have been read. Without a point it would be an attribute: `1e5`.
    fn decimal(&mut self, start: usize) -> Result<Kind<'t>, FilterError> {
        self.extension(start, Extension::Decimal)?;
        self.take('.');
        self.take_while(|byte| byte.is_ascii_digit());
        let exponent = self.rest().strip_prefix(['e', 'E']).map(|rest| rest.strip_prefix(['+', '-']).unwrap_or(rest));
        if exponent.is_some_and(|digits| digits.starts_with(|c: char| c.is_ascii_digit())) {
            self.at += 1;
            self.take_while(|byte| matches!(byte, b'+' | b'-'));
            self.take_while(|byte| byte.is_ascii_digit());
        }
        let rest = self.rest();
        if rest.as_bytes().first().copied().is_some_and(is_word_byte) {
            return Err(self.syntax(self.at, "the end of the number", None));
        }
        match Number::parse_wide(&self.text[start..self.at]) {
            Some(Number::Decimal(value)) => Ok(Kind::Decimal(value)),
            _ => Err(self.syntax(start, "a number", None)),
        }
    }

    fn extension(&self, at: usize, what: Extension) -> Result<(), FilterError> {
        match self.dialect {
            Dialect::Extended => Ok(()),
            Dialect::Strict => Err(FilterError::NotStandard { column: self.column(at), what }),
        }
    }

    /// What follows `data`.
    fn path(&mut self) -> Result<Kind<'t>, FilterError> {
        let mut segments = Vec::new();
        loop {
            if self.take('.') {
                let key = self.take_while(is_word_byte);
                if key.is_empty() {
                    let suggestion = "a key with other characters is written data['the key']";
                    return Err(self.syntax(self.at, "the key of a member", Some(suggestion)));
                }
                segments.push(Segment::Key(key.into()));
            } else if self.take('[') {
                segments.push(self.bracket()?);
            } else {
                return Ok(Kind::Path(Path::new(segments)));
            }
        }
    }

    /// What stands between `[` and `]`.
    fn bracket(&mut self) -> Result<Segment, FilterError> {
        let start = self.at;
        let segment = match self.rest().chars().next() {
            Some(quote @ ('\'' | '"')) => Segment::Key(self.string(quote)?.into()),
            _ => match self.take_while(|byte| byte.is_ascii_digit()).parse() {
                Ok(index) => Segment::Index(index),
                Err(_) => return Err(self.syntax(start, "the index of an element, from 0, or a key in quotes", None)),
            },
        };
        if self.take(']') { Ok(segment) } else { Err(self.syntax(self.at, "]", None)) }
    }

    /// A text in quotes. A `\` escapes the quote it is in and is itself before anything else; a pair of them is a pair, and does
    /// not escape a quote that follows, as in the grammar that comes with the standard.
    fn string(&mut self, quote: char) -> Result<String, FilterError> {
        let start = self.at;
        let mut text = String::new();
        let mut characters = self.rest().char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            if character == quote {
                self.at = start + at + 1;
                return Ok(text);
            }
            if character != '\\' {
                text.push(character);
                continue;
            }
            match characters.next() {
                Some((_, escaped)) if escaped == quote => text.push(quote),
                Some((_, escaped)) => text.extend(['\\', escaped]),
                None => break,
            }
        }
        let suggestion = "inside a text, its quote is written with a \\ before it, and so is no \\ at its end";
        let missing = if quote == '"' { "a closing \"" } else { "a closing '" };
        self.at = self.text.len();
        Err(FilterError::Syntax {
            column: self.column(start),
            expected: missing,
            found: "the end of the filter".to_owned(),
            suggestion: text.contains('\\').then(|| suggestion.to_owned()),
        })
    }

    /// An error inside a token.
    fn syntax(&self, at: usize, expected: &'static str, suggestion: Option<&str>) -> FilterError {
        let found = match self.text[at..].chars().next() {
            None => "the end of the filter".to_owned(),
            Some(character) => shortened(character.encode_utf8(&mut [0; 4])),
        };
        let suggestion = suggestion.map(str::to_owned);
        FilterError::Syntax { column: self.column(at), expected, found, suggestion }
    }
}

impl Kind<'_> {
    pub(super) fn is(&self, symbol: &str) -> bool {
        matches!(self, Self::Symbol(found) if *found == symbol)
    }

    pub(super) fn is_keyword(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(found) if found.eq_ignore_ascii_case(keyword))
    }

    /// A word that can name an attribute or a function.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Word(word) if !suggest::is_keyword(word) => Some(word),
            _ => None,
        }
    }
}
