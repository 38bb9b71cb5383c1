//! The filter language: CESQL 1.0 (CloudEvents SQL), extended to look into JSON data.
//!
//! ```text
//!  text --lexer, parser--> Expr (ast) --program--> Program --eval, over a Source--> Evaluation { value, error }
//! ```
//!
//! A filter is compiled once and evaluated for every event. An event passes if the value is Boolean true and nothing erred; a missing
//! attribute is an error, and AND and OR end at the operand that decides, so `TRUE OR missing = 1` passes and `missing = 1 OR TRUE`
//! does not. The extension ([`Dialect::Extended`], [`Extension`]) adds paths into the data (`data.mag`, `data.list[0]`,
//! `data['any key']`), decimals, 64-bit integers, and PASSES, which makes an error FALSE; it never changes what a standard expression
//! means. A path that leads to nothing, or to null, is a missing attribute. Filters in JSON ([`Filter::from_document`],
//! [`Filter::from_example`]) become text of this language. docs/filters.md is the reference for users.
//!
//! Invariant: what compiles is bounded in text, depth, steps and pattern, so evaluating a hostile filter over a hostile event is only slow
//! within limits. Compiling fails with a [`FilterError`] that says where and what instead; evaluating cannot fail.

mod ast;
mod document;
mod error;
mod eval;
mod explain;
mod functions;
mod json;
mod lexer;
mod like;
mod number;
mod operators;
mod parser;
mod path;
mod program;
mod source;
mod suggest;
mod value;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

pub use ast::{ArithmeticOp, CompareOp, Expr, Extension, Literal, Reference};
pub use document::DocumentError;
pub use error::FilterError;
pub use eval::Evaluation;
pub use explain::Explanation;
pub use functions::Function;
pub use like::Pattern;
pub use number::{MathFault, Number};
pub use path::{Path, Segment};
pub use source::{Source, ValueRef};
pub use suggest::nearest;
pub use value::{EvaluationError, Kind, Value};

/// Which language a filter is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// CESQL 1.0 with paths into the data, decimals and 64-bit integers.
    #[default]
    Extended,
    /// CESQL 1.0 and nothing else.
    Strict,
}

/// Whether a text is meant as JSON, for [`Filter::from_document`]: no expression begins so.
pub fn is_document(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

/// A compiled filter. Clones share it; filters of one text are equal.
#[derive(Clone)]
pub struct Filter {
    inner: Arc<Inner>,
}

struct Inner {
    text: Box<str>,
    dialect: Dialect,
    compiled: Option<(Expr, program::Program)>,
}

impl Filter {
    /// Compiles a filter of the extended dialect. A text of nothing but white space lets everything pass.
    pub fn compile(text: &str) -> Result<Self, FilterError> {
        Self::compile_in(Dialect::Extended, text)
    }

    pub fn compile_in(dialect: Dialect, text: &str) -> Result<Self, FilterError> {
        let Some(expr) = parser::parse(text, dialect)? else {
            return Ok(Self::always());
        };
        let program = program::compile(&expr)?;
        Ok(Self { inner: Arc::new(Inner { text: text.into(), dialect, compiled: Some((expr, program)) }) })
    }

    /// Compiles JSON of the CloudEvents Subscriptions API: one filter such as `{"prefix": {"type": "com.example."}}`, or an array of
    /// filters that must all be true. Its `sql` is read in `dialect`; the strict one has no `example` either. What comes of it is a
    /// filter like any other, with a text to subscribe with.
    pub fn from_document(json: &str, dialect: Dialect) -> Result<Self, DocumentError> {
        match document::expression(json, dialect)? {
            Some(expr) => Ok(Self::compile(&expr.to_string())?),
            None => Ok(Self::always()),
        }
    }

    /// Compiles an example: JSON of an event, or of a part of one, that asks for events with at least this content.
    pub fn from_example(json: &str) -> Result<Self, DocumentError> {
        Ok(Self::compile(&document::example(json)?.to_string())?)
    }

    /// The filter that lets everything pass; its text is empty.
    pub fn always() -> Self {
        Self { inner: Arc::new(Inner { text: "".into(), dialect: Dialect::default(), compiled: None }) }
    }

    pub fn is_always(&self) -> bool {
        self.inner.compiled.is_none()
    }

    /// The text it was compiled from.
    pub fn text(&self) -> &str {
        &self.inner.text
    }

    /// The tree, for whoever plans with it; none for a filter that lets everything pass.
    pub fn expression(&self) -> Option<&Expr> {
        self.inner.compiled.as_ref().map(|(expr, _)| expr)
    }

    /// Steps that one evaluation takes at most; looking into the data counts for many.
    pub fn steps_max(&self) -> usize {
        self.inner.compiled.as_ref().map_or(0, |(_, program)| program.cost)
    }

    /// What it asks for, in words.
    pub fn explain(&self) -> Explanation {
        Explanation::of(self.expression())
    }

    pub fn passes<S: Source + ?Sized>(&self, source: &S) -> bool {
        self.evaluate(source).passes()
    }

    pub fn evaluate<'v, S: Source + ?Sized>(&'v self, source: &'v S) -> Evaluation<'v> {
        match &self.inner.compiled {
            Some((_, program)) => program.evaluate(source),
            None => Evaluation { value: Value::Boolean(true), error: None },
        }
    }
}

/// To subscribe with.
impl From<Filter> for String {
    fn from(filter: Filter) -> Self {
        filter.text().to_owned()
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        Self::compile(text)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({:?}, {:?})", self.text(), self.inner.dialect)
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text() && self.inner.dialect == other.inner.dialect
    }
}

impl Eq for Filter {}

impl Hash for Filter {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text().hash(state);
    }
}
