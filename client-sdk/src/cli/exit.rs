//! How a command ends: a code for scripts, and for a failure what went wrong and what to do next.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::tell;
use crate::protocol::{Code, Explanation, Outcome};
use crate::{ClientCode, Error, PublishError};

/// Exit codes are a promise to scripts: never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Refused = 3,
    TakenOver = 4,
    Interrupted = 130,
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What went wrong. Its code is one of docs/errors.md.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    exit: Exit,
    explanation: Explanation,
    text: String,
    /// What to do next, where this command knows better than the code.
    next: Option<String>,
    /// For what was to be stored: was it?
    stored: Option<Outcome>,
}

impl Failure {
    /// One that has no code of its own.
    pub(super) fn new(exit: Exit, text: impl Into<String>, next: impl Into<String>) -> Self {
        let code = if exit == Exit::Usage { ClientCode::WrongUsage } else { ClientCode::CommandFailed };
        Self { exit, ..Self::of(code, text).with_next(next) }
    }

    pub(super) fn of(code: ClientCode, text: impl Into<String>) -> Self {
        let exit = if code == ClientCode::WrongUsage { Exit::Usage } else { Exit::Failed };
        Self { exit, explanation: code.explanation(), text: text.into(), next: None, stored: None }
    }

    #[must_use]
    pub(super) fn with_next(self, next: impl Into<String>) -> Self {
        Self { next: Some(next.into()).filter(|next| !next.is_empty()), ..self }
    }

    pub(super) fn exit(&self) -> Exit {
        self.exit
    }

    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn next(&self) -> &str {
        self.next.as_deref().unwrap_or(self.explanation.next)
    }

    /// As scripts get it: see docs/cli.md.
    pub(super) fn to_json(&self) -> Value {
        let mut facts = Map::new();
        facts.insert("code".into(), self.explanation.number.into());
        facts.insert("name".into(), self.explanation.name.into());
        facts.insert("text".into(), self.text.as_str().into());
        facts.insert("retry".into(), self.explanation.retry.into());
        facts.insert("next".into(), self.next().into());
        if let Some(stored) = self.stored {
            facts.insert("stored".into(), if stored == Outcome::Maybe { "maybe" } else { "no" }.into());
        }
        facts.into()
    }

    /// As a person gets it, in one line without what to do next.
    pub(super) fn headline(&self) -> String {
        let Explanation { name, number, .. } = self.explanation;
        let maybe = if self.stored == Some(Outcome::Maybe) { " (may have been stored all the same)" } else { "" };
        format!("{name} ({number}): {}{maybe}", self.text)
    }

    pub(super) fn tell(&self) {
        if tell::is_json() {
            return tell::line(&json!({ "error": self.to_json() }));
        }
        tell::say(&self.headline());
        tell::say(&format!("next: {}", self.next()));
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Refused(_)
            | Error::SubscriptionExpired { .. }
            | Error::SubscriptionRemoved { .. }
            | Error::OtherCluster { .. } => Exit::Refused,
            Error::TakenOver => Exit::TakenOver,
            Error::BadClientName { .. } | Error::BadSubscriptionName(_) | Error::BadServer { .. } | Error::NoServer => {
                Exit::Usage
            }
            _ => Exit::Failed,
        };
        let text = match &error {
            // Its code is told beside it.
            Error::Refused(fault) => fault.text.clone(),
            other => other.to_string(),
        };
        Self { exit, explanation: error.explanation(), text, next: None, stored: None }
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        let exit = match &error {
            PublishError::Refused { .. } => Exit::Refused,
            PublishError::Ended { cause, .. } | PublishError::OutboxFailed { cause } => Self::from(cause.clone()).exit,
            PublishError::BadEvent(_) | PublishError::Interleaved { .. } | PublishError::OutboxFull { .. } => {
                Exit::Failed
            }
        };
        let text = match &error {
            PublishError::Refused { fault, .. } => fault.text.clone(),
            other => other.to_string(),
        };
        Self { exit, explanation: error.explanation(), text, next: None, stored: Some(error.outcome()) }
    }
}

/// What a broker says no to.
#[cfg(feature = "admin")]
pub(super) fn refused(fault: &crate::protocol::Fault) -> Failure {
    Error::Refused(fault.clone()).into()
}

/// A subscription that the client does not have.
pub(super) fn unknown_subscription(text: String) -> Failure {
    let explanation = Code::UnknownSubscription.explanation();
    Failure { exit: Exit::Refused, explanation, text, next: None, stored: None }
}

/// What was typed is no filter: the same code as if a broker had found it.
pub(super) fn bad_filter(text: String, next: &str) -> Failure {
    let explanation = Code::BadFilter.explanation();
    Failure { exit: Exit::Refused, explanation, text, next: Some(next.to_owned()), stored: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Fault;

    #[test]
    fn a_failure_names_its_code_and_what_to_do_next() {
        let fault = Fault::retry_after(Code::StorageFull, 100, "the disk is full");
        let failure = Failure::from(PublishError::Refused { fault, outcome: Outcome::SurelyNot });
        assert_eq!(failure.headline(), "StorageFull (601): the disk is full");
        let json = json!({
            "code": 601, "name": "StorageFull", "text": "the disk is full", "retry": true, "stored": "no",
            "next": "free space on the broker's disk, then publish the rest",
        });
        assert_eq!((failure.exit(), failure.to_json()), (Exit::Refused, json));
    }

    #[test]
    fn what_may_have_been_stored_is_said_to_be() {
        let error = PublishError::Ended { cause: Error::TakenOver, outcome: Outcome::Maybe };
        let failure = Failure::from(error);
        assert_eq!(failure.exit(), Exit::TakenOver);
        assert!(failure.headline().ends_with("(may have been stored all the same)"), "{}", failure.headline());
        assert_eq!(failure.to_json()["stored"], "maybe");
    }

    #[test]
    fn a_command_may_know_better_what_to_do_next() {
        let failure = Failure::of(ClientCode::Unreadable, "no such file");
        assert_eq!(failure.next(), ClientCode::Unreadable.explanation().next);
        assert_eq!(failure.with_next("look again").to_json()["next"], "look again");
        let usage = Failure::new(Exit::Usage, "no event", "");
        assert_eq!((usage.exit(), usage.to_json()["code"].as_u64()), (Exit::Usage, Some(1100)));
    }

    #[test]
    fn a_code_of_a_later_broker_is_told_with_its_number() {
        let fault = Fault { code: 777, text: "from the future".into(), value: None, retry_after_ms: None };
        assert_eq!(Failure::from(Error::Refused(fault)).headline(), "Unknown (777): from the future");
    }
}
