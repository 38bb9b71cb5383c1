//! Texts, names and paths as the filter language writes them, which must be read as exactly what was meant.
//!
//! No literal can end in a single `\`, nor hold both `\'` and `\"`, because a `\` escapes the quote it is in and nothing escapes a `\`.
//! Functions help: `LEFT('a\\', 2)` is the text of an `a` and one `\`.

use std::borrow::Cow;

use crate::filter::Dialect;
use crate::filter::ast::{CompareOp, Expr, Literal, Reference, quoted};
use crate::filter::functions::Function;
use crate::filter::lexer::{Kind, Lexer};
use crate::filter::like::Pattern;
use crate::filter::number::Number;
use crate::filter::path::Path;

/// Whether `text` is read as one token, and that of this kind.
fn is_read_as(text: &str, wanted: &Kind<'_>) -> bool {
    let mut lexer = Lexer::new(text, Dialect::Extended);
    lexer.next().is_ok_and(|token| token.kind == *wanted && token.end == text.len())
}

/// Whether a literal can be this text.
fn is_literal(text: &str) -> bool {
    is_read_as(&quoted(text), &Kind::String(text.to_owned()))
}

/// Whether the language can name this attribute.
pub(super) fn is_attribute(name: &str) -> bool {
    let word = Kind::Word(name);
    is_read_as(name, &word) && word.name().is_some()
}

pub(super) fn is_path(path: &Path) -> bool {
    path.segments().is_empty() || is_read_as(path.as_str(), &Kind::Path(path.clone()))
}

/// An expression whose value is always this text.
pub(super) fn text(text: &str) -> Expr {
    if is_literal(text) {
        return string(text);
    }
    // Cut between each `\` and `"`: then no piece has a quote that it cannot escape.
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("\\\"") {
        pieces.push(piece(&rest[..=at]));
        rest = &rest[at + 1..];
    }
    pieces.push(piece(rest));
    match <[Expr; 1]>::try_from(pieces) {
        Ok([piece]) => piece,
        Err(pieces) => Expr::Call { function: Function::Concat, arguments: pieces },
    }
}

/// Is a literal, or ends in a `\` that has none beside it: then it is the literal with one `\` more, cut off.
fn piece(text: &str) -> Expr {
    if is_literal(text) { string(text) } else { cut(Function::Left, string(&format!("{text}\\")), text) }
}

fn string(text: &str) -> Expr {
    Expr::Literal(Literal::String(text.into()))
}

/// As many characters of `value` as `like` has.
fn cut(end: Function, value: Expr, like: &str) -> Expr {
    let count = i32::try_from(like.chars().count()).expect("a document is far shorter");
    let count = Expr::Literal(Literal::Number(Number::Integer(count)));
    Expr::Call { function: end, arguments: vec![value, count] }
}

pub(super) fn equals(reference: Reference, wanted: Expr) -> Expr {
    compare(Expr::Reference(reference), wanted)
}

fn compare(left: Expr, right: Expr) -> Expr {
    Expr::Compare { op: CompareOp::Equal, sides: Box::new([left, right]) }
}

/// Whether the value begins with this text.
pub(super) fn begins_with(reference: Reference, start: &str) -> Expr {
    // A `\` before the `%` would escape it.
    let pattern = (!start.ends_with('\\')).then(|| format!("{}%", escaped(start)));
    like_or_cut(reference, pattern, Function::Left, start)
}

pub(super) fn ends_with(reference: Reference, end: &str) -> Expr {
    like_or_cut(reference, Some(format!("%{}", escaped(end))), Function::Right, end)
}

fn like_or_cut(reference: Reference, pattern: Option<String>, end: Function, wanted: &str) -> Expr {
    let value = Expr::Reference(reference);
    match pattern.filter(|pattern| is_literal(pattern)).map(|pattern| Pattern::compile(&pattern)) {
        Some(Ok(pattern)) => Expr::Like { value: Box::new(value), pattern, negated: false },
        _ => compare(cut(end, value, wanted), text(wanted)),
    }
}

/// As LIKE stands for the text itself.
fn escaped(text: &str) -> Cow<'_, str> {
    if text.contains(['%', '_']) {
        Cow::Owned(text.replace('%', "\\%").replace('_', "\\_"))
    } else {
        Cow::Borrowed(text)
    }
}
