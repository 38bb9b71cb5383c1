//! Why a document is no filter, in words that help.

use super::{ROOT, place};
use crate::filter::FilterError;
use crate::filter::error::hint;
use crate::limits::{FILTER_BYTES_MAX, FILTER_DEPTH_MAX, FILTER_DOCUMENT_BYTES_MAX};

/// A document that is no filter. `at` is the way to the place, such as `.any[0].exact.type`, or "the document".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    #[error("the document has {bytes} bytes; at most {FILTER_DOCUMENT_BYTES_MAX} are allowed")]
    TooLong { bytes: usize },

    #[error("{at}: not usable as JSON: {reason}")]
    NotJson { at: String, reason: String },

    #[error("{at}: nested more than {FILTER_DEPTH_MAX} levels deep")]
    TooDeep { at: String },

    #[error("{at}: expected {expected}, found {found}")]
    Unexpected { at: String, expected: &'static str, found: &'static str },

    #[error("{at}: there is no filter dialect {name:?}{}", hint(suggestion))]
    UnknownDialect { at: String, name: String, suggestion: Option<String> },

    #[error("{at}: {name:?} is not the name of an attribute: {reason}")]
    BadAttribute { at: String, name: String, reason: &'static str },

    /// It can be in an event, and the filter language has no way to say it.
    #[error("{at}: the filter language cannot name {what}")]
    Unwritable { at: String, what: String },

    /// A path is written out with each value below it, so a document can ask for far more text than it has itself.
    #[error(
        "{at}: up to here the conditions name paths of {bytes} bytes; the whole filter may have {FILTER_BYTES_MAX}"
    )]
    TooMuch { at: String, bytes: usize },

    #[error("{at}: {what} cannot be compared")]
    NotComparable { at: String, what: &'static str },

    #[error("{at}: the dialect {name:?} is an extension that the Subscriptions API does not have")]
    NotStandard { at: String, name: &'static str },

    /// The expression of a `sql`.
    #[error("{at}: {error}")]
    Expression { at: String, text: String, error: Box<FilterError> },

    /// The parts are valid; the filter that they make together is not.
    #[error("the filter that the document makes: {0}")]
    Filter(#[from] FilterError),
}

impl DocumentError {
    pub(super) fn not_json(error: &serde_json::Error, at: &str) -> Self {
        let reason = error.to_string();
        // Lines and columns of a part would mislead.
        let reason = if at == ROOT {
            reason.as_str()
        } else {
            reason.rsplit_once(" at line ").map_or(&*reason, |(reason, _)| reason)
        };
        Self::NotJson { at: place(at), reason: reason.to_owned() }
    }

    /// Two lines that show where a `sql` is wrong, as [`FilterError::pointer`] has them.
    pub fn pointer(&self) -> Option<String> {
        match self {
            Self::Expression { text, error, .. } => Some(error.pointer(text)),
            _ => None,
        }
    }
}
