//! Errors, told apart by what an application does about them. The SDK's codes and texts go through unchanged.

use anyport_client::protocol::{Explanation, Outcome};
use anyport_client::{Error, PublishError};

/// What there is to know of something that did not work. Codes and names are those of docs/errors.md.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct Why {
    /// Stable, never reused: what a program compares.
    pub code: u16,
    /// The code's name, as stable.
    pub name: String,
    /// What has happened here. For people; it may change.
    pub text: String,
    /// What the code means wherever it occurs.
    pub meaning: String,
    /// What a developer does about it, in terms of the `anyport` command.
    pub next: String,
    /// Whether the same call may succeed later, unchanged.
    pub retryable: bool,
    /// Of a publish: whether the event may have been stored all the same.
    pub maybe_stored: bool,
}

impl Why {
    fn new(explanation: Explanation, text: String) -> Self {
        let Explanation { number, name, meaning, retry, outcome, next } = explanation;
        Self {
            code: number,
            name: name.to_owned(),
            text,
            meaning: meaning.to_owned(),
            next: next.to_owned(),
            retryable: retry,
            maybe_stored: outcome == Outcome::Maybe,
        }
    }
}

impl From<&Error> for Why {
    fn from(error: &Error) -> Self {
        Self::new(error.explanation(), error.to_string())
    }
}

impl From<&PublishError> for Why {
    fn from(error: &PublishError) -> Self {
        Self::new(error.explanation(), error.to_string())
    }
}

/// What any call may fail with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, uniffi::Error)]
pub enum AnyportError {
    /// No broker answered in time. Try again, or wait until there is a network.
    #[error("{}", why.text)]
    Unreachable { why: Why },
    /// Another session of this client has begun, in another process or on another device. Final for the subscriptions of this client object,
    /// not for its publishers: who wants the session back makes a new one, which takes over in turn.
    #[error("{}", why.text)]
    TakenOver { why: Why },
    /// The subscription has expired or was removed. Subscribing again begins a new one: what lay between is not delivered.
    #[error("{}", why.text)]
    SubscriptionEnded { why: Why },
    /// An event was not acked; `why.maybe_stored` says whether it may have been stored all the same.
    #[error("{}", why.text)]
    NotPublished { why: Why },
    /// Everything else; `why.code` says what.
    #[error("{}", why.text)]
    Failed { why: Why },
}

#[uniffi::export]
impl AnyportError {
    /// The same for all kinds.
    pub fn explanation(&self) -> Why {
        match self {
            Self::Unreachable { why }
            | Self::TakenOver { why }
            | Self::SubscriptionEnded { why }
            | Self::NotPublished { why }
            | Self::Failed { why } => why.clone(),
        }
    }
}

impl From<Error> for AnyportError {
    fn from(error: Error) -> Self {
        let why = Why::from(&error);
        match error {
            Error::Unreachable { .. } => Self::Unreachable { why },
            Error::TakenOver => Self::TakenOver { why },
            Error::SubscriptionExpired { .. } | Error::SubscriptionRemoved { .. } => Self::SubscriptionEnded { why },
            _ => Self::Failed { why },
        }
    }
}

impl From<PublishError> for AnyportError {
    fn from(error: PublishError) -> Self {
        Self::NotPublished { why: Why::from(&error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_the_code_and_words_of_the_sdk() {
        let error = Error::Unreachable { servers: "a:1".into(), waited_secs: 3, last: "no answer".into() };
        let why = AnyportError::from(error.clone()).explanation();
        assert_eq!((why.code, why.text.as_str()), (error.code(), "no answer from a:1 within 3 s; last: no answer"));
        assert!(why.retryable && !why.maybe_stored);
        assert!(matches!(AnyportError::from(Error::TakenOver), AnyportError::TakenOver { .. }));
        let removed = Error::SubscriptionRemoved { name: "quakes".into() };
        assert!(matches!(AnyportError::from(removed), AnyportError::SubscriptionEnded { .. }));
    }

    #[test]
    fn whether_an_event_may_be_stored_is_said_by_the_publish_and_not_by_its_code() {
        let ended = |outcome| PublishError::Ended { cause: Error::Closed, outcome };
        assert!(AnyportError::from(ended(Outcome::Maybe)).explanation().maybe_stored);
        assert!(!AnyportError::from(ended(Outcome::SurelyNot)).explanation().maybe_stored);
    }
}
