//! Filters as JSON: the dialects of the CloudEvents Subscriptions API, and an event as an example of what is wanted.
//!
//! ```text
//!  document --read--> Expr --Display--> text --parser, program--> Filter
//! ```
//!
//! A document becomes an expression, and what is kept and sent is that expression's text: brokers know one language, and every bound
//! of the language holds. The Subscriptions API knows no errors, only true and false. In the conjunction that is the whole filter an error
//! is as good as false, so there the text is what a person would write. Below `any` and `not` it is not: there a condition on an
//! attribute that may be missing begins with EXISTS, and what may err in other ways is put into PASSES.

mod error;
mod example;
mod json;
mod writable;

use serde_json::value::RawValue;

pub use error::DocumentError;

use super::ast::{Expr, Literal, Reference};
use super::functions::Function;
use super::{Dialect, parser, program, suggest};
use crate::limits::{ATTRIBUTE_NAME_BYTES_MAX, FILTER_DEPTH_MAX, FILTER_DOCUMENT_BYTES_MAX};
use json::{Json, Members};

/// The dialects of a filter. The last is an extension, as the Subscriptions API allows them.
const DIALECTS: [&str; 8] = ["exact", "prefix", "suffix", "all", "any", "not", "sql", EXAMPLE];
const EXAMPLE: &str = "example";

/// The place of the document itself.
const ROOT: &str = "";

/// What an error inside a condition is as good as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errors {
    /// The whole filter errs, and the event does not pass: as if the condition were false.
    EndTheFilter,
    /// They would decide wrongly: the condition must be false instead.
    MustBeFalse,
}

/// The expression that a document asks for; `None` if that is nothing.
pub(super) fn expression(text: &str, dialect: Dialect) -> Result<Option<Expr>, DocumentError> {
    let context = Context { dialect, errors: Errors::EndTheFilter, depth: 0 };
    match Json::read(parse(text)?, ROOT)? {
        Json::Array(filters) if filters.is_empty() => Ok(None),
        Json::Array(filters) => context.each(&filters, ROOT).map(and).map(Some),
        Json::Object(members) => context.filter(&members, ROOT).map(Some),
        other => Err(unexpected(ROOT, "a filter or an array of filters", &other)),
    }
}

/// The expression that asks for at least what this event has.
pub(super) fn example(text: &str) -> Result<Expr, DocumentError> {
    match Json::read(parse(text)?, ROOT)? {
        Json::Object(members) => example::conditions(&members, ROOT).map(and),
        other => Err(unexpected(ROOT, "an event", &other)),
    }
}

fn parse(text: &str) -> Result<&RawValue, DocumentError> {
    if text.len() > FILTER_DOCUMENT_BYTES_MAX {
        return Err(DocumentError::TooLong { bytes: text.len() });
    }
    serde_json::from_str(text).map_err(|error| DocumentError::not_json(&error, ROOT))
}

/// Where in the document a filter stands.
#[derive(Clone, Copy)]
struct Context {
    dialect: Dialect,
    errors: Errors,
    depth: usize,
}

impl Context {
    fn below(self, errors: Errors) -> Self {
        Self { errors, depth: self.depth + 1, ..self }
    }

    /// One filter: an object whose one member is named after a dialect.
    fn filter(self, members: &Members<'_>, at: &str) -> Result<Expr, DocumentError> {
        check_depth(self.depth, at)?;
        let (Some((name, value)), 1) = (members.iter().next(), members.len()) else {
            let found = if members.is_empty() { "none" } else { "several" };
            return Err(DocumentError::Unexpected { at: place(at), expected: "one dialect", found });
        };
        let at = format!("{at}.{name}");
        let equals = |reference, text: &str| writable::equals(reference, writable::text(text));
        match (&**name, Json::read(value, &at)?) {
            ("exact", value) => self.attributes(value, &at, equals),
            ("prefix", value) => self.attributes(value, &at, writable::begins_with),
            ("suffix", value) => self.attributes(value, &at, writable::ends_with),
            ("all", value) => self.below(self.errors).filters(value, &at).map(and),
            ("any", value) => self.below(Errors::MustBeFalse).filters(value, &at).map(or),
            ("not", Json::Object(members)) => {
                let inner = self.below(Errors::MustBeFalse).filter(&members, &at)?;
                Ok(Expr::Not(Box::new(inner)))
            }
            ("not", value) => Err(unexpected(&at, "a filter", &value)),
            ("sql", Json::String(text)) => self.sql(&text, &at),
            ("sql", value) => Err(unexpected(&at, "an expression as text", &value)),
            (EXAMPLE, _) if self.dialect == Dialect::Strict => Err(DocumentError::NotStandard { at, name: EXAMPLE }),
            (EXAMPLE, Json::Object(members)) => {
                example::conditions(&members, &at).map(|all| guarded(and(all), self.errors))
            }
            (EXAMPLE, value) => Err(unexpected(&at, "an event", &value)),
            (name, _) => Err(unknown_dialect(name, &at)),
        }
    }

    fn filters(self, value: Json<'_>, at: &str) -> Result<Vec<Expr>, DocumentError> {
        match value {
            Json::Array(filters) if !filters.is_empty() => self.each(&filters, at),
            other => Err(unexpected(at, "an array of one or more filters", &other)),
        }
    }

    fn each(self, filters: &[&RawValue], at: &str) -> Result<Vec<Expr>, DocumentError> {
        let one = |(place, filter): (usize, &&RawValue)| {
            let at = format!("{at}[{place}]");
            match Json::read(filter, &at)? {
                Json::Object(members) => self.filter(&members, &at),
                other => Err(unexpected(&at, "a filter", &other)),
            }
        };
        filters.iter().enumerate().map(one).collect()
    }

    /// `exact`, `prefix` and `suffix`: one condition for each attribute.
    fn attributes(
        self,
        value: Json<'_>,
        at: &str,
        condition: impl Fn(Reference, &str) -> Expr,
    ) -> Result<Expr, DocumentError> {
        let members = match value {
            Json::Object(members) if !members.is_empty() => members,
            other => return Err(unexpected(at, "an object of one or more attributes", &other)),
        };
        let mut conditions = Vec::new();
        for (name, value) in members {
            let at = format!("{at}.{name}");
            let reference = attribute(&name, &at)?;
            let text = match Json::read(value, &at)? {
                Json::String(text) if !text.is_empty() => text,
                other => return Err(unexpected(&at, "a text that is not empty", &other)),
            };
            if self.errors == Errors::MustBeFalse && !reference.is_required() {
                conditions.push(Expr::Exists(reference.clone()));
            }
            conditions.push(condition(reference, &text));
        }
        Ok(and(conditions))
    }

    fn sql(self, text: &str, at: &str) -> Result<Expr, DocumentError> {
        let wrong =
            |error| DocumentError::Expression { at: at.to_owned(), text: text.to_owned(), error: Box::new(error) };
        let Some(expr) = parser::parse(text, self.dialect).map_err(wrong)? else {
            let expected = "an expression";
            return Err(DocumentError::Unexpected { at: at.to_owned(), expected, found: "nothing but blanks" });
        };
        // A value that is not Boolean is false; AND and OR would cast it.
        let errors = if program::is_boolean(&expr) { self.errors } else { Errors::MustBeFalse };
        Ok(guarded(expr, errors))
    }
}

fn attribute(name: &str, at: &str) -> Result<Reference, DocumentError> {
    let bad = |reason| Err(DocumentError::BadAttribute { at: place(at), name: name.to_owned(), reason });
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
        return bad("one or more of a-z and 0-9");
    }
    if name.len() > ATTRIBUTE_NAME_BYTES_MAX {
        return bad("it is too long");
    }
    if name == "data" {
        return bad("the dialect example looks into the data, and sql with data.name");
    }
    if !writable::is_attribute(name) {
        return Err(DocumentError::Unwritable { at: place(at), what: format!("an attribute called {name:?}") });
    }
    Ok(Reference::Attribute(name.into()))
}

fn guarded(expr: Expr, errors: Errors) -> Expr {
    match errors {
        Errors::EndTheFilter => expr,
        Errors::MustBeFalse => Expr::Call { function: Function::Passes, arguments: vec![expr] },
    }
}

/// TRUE if there are no conditions.
fn and(conditions: Vec<Expr>) -> Expr {
    join(conditions, Expr::And, |expr| match expr {
        Expr::And(operands) => Ok(operands),
        other => Err(other),
    })
}

fn or(conditions: Vec<Expr>) -> Expr {
    join(conditions, Expr::Or, |expr| match expr {
        Expr::Or(operands) => Ok(operands),
        other => Err(other),
    })
}

/// Operands that are chains of the same operator become part of this one.
fn join(
    operands: Vec<Expr>,
    chain: impl FnOnce(Vec<Expr>) -> Expr,
    links: impl Fn(Expr) -> Result<Vec<Expr>, Expr>,
) -> Expr {
    let mut joined: Vec<Expr> =
        operands.into_iter().flat_map(|operand| links(operand).unwrap_or_else(|other| vec![other])).collect();
    match joined.len() {
        0 => Expr::Literal(Literal::Boolean(true)),
        1 => joined.swap_remove(0),
        _ => chain(joined),
    }
}

fn check_depth(depth: usize, at: &str) -> Result<(), DocumentError> {
    if depth > FILTER_DEPTH_MAX { Err(DocumentError::TooDeep { at: place(at) }) } else { Ok(()) }
}

fn place(at: &str) -> String {
    if at == ROOT { "the document".to_owned() } else { at.to_owned() }
}

fn unexpected(at: &str, expected: &'static str, found: &Json<'_>) -> DocumentError {
    DocumentError::Unexpected { at: place(at), expected, found: found.kind() }
}

fn unknown_dialect(name: &str, at: &str) -> DocumentError {
    let suggestion = match suggest::nearest(name, DIALECTS.into_iter()) {
        Some(known) => format!("did you mean {known}?"),
        None if name == "filters" => "give the array alone".to_owned(),
        None => format!("there are {}", DIALECTS.join(", ")),
    };
    DocumentError::UnknownDialect { at: place(at), name: name.to_owned(), suggestion: Some(suggestion) }
}
