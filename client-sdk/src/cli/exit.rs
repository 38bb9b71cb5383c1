//! How a command ends: a code, and for a failure what went wrong and what to do next.

use std::process::ExitCode;

use super::tell;
use crate::protocol::{Code, Outcome};
use crate::{Error, PublishError};

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

/// What went wrong, for a person.
#[derive(Debug)]
pub(super) struct Failure {
    exit: Exit,
    text: String,
    next: String,
}

impl Failure {
    pub(super) fn new(exit: Exit, text: impl Into<String>, next: impl Into<String>) -> Self {
        Self { exit, text: text.into(), next: next.into() }
    }

    pub(super) fn exit(&self) -> Exit {
        self.exit
    }

    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn tell(&self) {
        tell::say(&self.text);
        if !self.next.is_empty() {
            tell::say(&format!("next: {}", self.next));
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Refused(_) | Error::SubscriptionExpired { .. } | Error::OtherCluster { .. } => Exit::Refused,
            Error::TakenOver => Exit::TakenOver,
            Error::BadClientName { .. } | Error::BadSubscriptionName(_) | Error::BadServer { .. } | Error::NoServer => {
                Exit::Usage
            }
            _ => Exit::Failed,
        };
        Self { exit, next: next(&error), text: error.to_string() }
    }
}

fn next(error: &Error) -> String {
    match error {
        Error::Home { .. } => "check that the folder is yours, or name another by ANYPORT_HOME".into(),
        Error::BadIdentity { .. } => "restore the file, or remove it to register a new identity".into(),
        Error::BadClientName { .. } => "choose another --client name".into(),
        Error::BadSubscriptionName(_) => "choose another --name".into(),
        Error::InUse { .. } => "end the other command, or take another identity with --client NAME".into(),
        Error::NoAuthority { .. } => {
            "start `anyportd --dev` as this user, or put your cluster's authority there as a .pem file".into()
        }
        Error::BadAuthority { .. } => "replace the file by a PEM certificate, or remove it".into(),
        Error::NoServer | Error::BadServer { .. } => "name a broker, such as --server 127.0.0.1:7400".into(),
        Error::Certificate { .. } => {
            "check --server; if it is right, put its certificate authority into the `ca` folder of ANYPORT_HOME".into()
        }
        Error::Unreachable { .. } => "check that the broker runs (`anyportd --dev`) and that --server names it".into(),
        Error::OtherCluster { .. } => "check --server, or take another identity with --client NAME".into(),
        Error::UnknownPartitioner { .. } => "install the version of anyport that came with the broker".into(),
        Error::TakenOver => "end the other session, or take another identity with --client NAME".into(),
        Error::SubscriptionExpired { .. } => "run the command again to begin a new subscription".into(),
        Error::AlreadyOpen { .. } | Error::BadResumeToken { .. } | Error::Closed => String::new(),
        Error::Refused(fault) => match fault.code() {
            Some(Code::BadFilter) => "correct --filter".into(),
            Some(Code::BadToken | Code::TokenExpired | Code::UnknownClient) => {
                "the broker does not know this identity: check --server, or register anew with another --client NAME"
                    .into()
            }
            Some(Code::TooManySubscriptions) => "remove a subscription of this client first".into(),
            Some(Code::VersionMismatch | Code::UnknownMessage) => {
                "install the version of anyport that came with the broker".into()
            }
            _ if fault.retry() => "try again in a moment".into(),
            _ => String::new(),
        },
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        let maybe = match error.outcome() {
            Outcome::Maybe => " (may have been stored all the same)",
            Outcome::SurelyNot => "",
        };
        let (exit, next) = match &error {
            PublishError::BadEvent(_) => (Exit::Failed, "correct the event".to_owned()),
            PublishError::Refused { fault, .. } if fault.is(Code::StorageFull) => {
                (Exit::Refused, "free space on the broker's disk, then publish the rest".to_owned())
            }
            PublishError::Refused { fault, .. } => (Exit::Refused, next(&Error::Refused(fault.clone()))),
            PublishError::Interleaved { .. } => {
                (Exit::Failed, "let the other run end, then type the same command again".to_owned())
            }
            PublishError::Ended { cause, .. } => {
                let failure = Self::from(cause.clone());
                (failure.exit, failure.next)
            }
        };
        Self { exit, text: format!("{error}{maybe}"), next }
    }
}
