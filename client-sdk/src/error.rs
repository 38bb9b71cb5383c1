//! What can go wrong, as facts. Every error has a stable code: below 1000 the broker's ([`Code`]), above it the client's own.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use anyport_protocol::event::EventError;
use anyport_protocol::{BadName, Code, Fault, Outcome};

/// Why something with a client or a subscription did not work. Cheap to clone: one cause may end many waits.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A file of the home folder cannot be read or written.
    #[error("{path}: {source}")]
    Home { path: PathBuf, source: Arc<io::Error> },
    /// The identity file is there and is none.
    #[error("{path} is not an identity: {reason}")]
    BadIdentity { path: PathBuf, reason: String },
    #[error("client name {name:?}: 1 to 64 letters, digits, `-`, `_` or `.`, and not a `.` first")]
    BadClientName { name: String },
    #[error(transparent)]
    BadSubscriptionName(#[from] BadName),
    /// Another process has this identity's session.
    #[error("client {name:?} is in use by {}", holder.map_or("another process".to_owned(), |pid| format!("process {pid}")))]
    InUse { name: String, holder: Option<u32> },
    #[error("no certificate authority is trusted: there is no *.pem in {folder}")]
    NoAuthority { folder: PathBuf },
    #[error("{path} holds no certificate: {reason}")]
    BadAuthority { path: PathBuf, reason: String },
    #[error("no server is named")]
    NoServer,
    #[error("{server:?} is no address: a host or IP address, a colon and a port")]
    BadServer { server: String },
    /// The broker shows a certificate that no trusted authority has signed.
    #[error("{server} cannot be trusted: {reason}")]
    Certificate { server: String, reason: String },
    #[error("no answer from {servers} within {waited_secs} s; last: {last}")]
    Unreachable { servers: String, waited_secs: u64, last: String },
    /// The broker belongs to another cluster than the one that issued the identity.
    #[error("{server} belongs to cluster {found}, but this identity was issued by cluster {expected}")]
    OtherCluster { server: String, expected: String, found: String },
    /// The broker counts partitions in a way this client does not know.
    #[error("{server} partitions by {partitioner:?}, which this client does not know")]
    UnknownPartitioner { server: String, partitioner: String },
    /// The broker said no.
    #[error("{0}")]
    Refused(Fault),
    /// A newer session of this client has begun elsewhere. Final: this one does not fight back.
    #[error("another session of this client has taken over")]
    TakenOver,
    /// The subscription was there and is not any more; subscribing again begins a new one.
    #[error("subscription {name:?} has expired or was removed")]
    SubscriptionExpired { name: String },
    #[error("subscription {name:?} is open already in this process")]
    AlreadyOpen { name: String },
    #[error("the resume token is not one of this subscription: {reason}")]
    BadResumeToken { reason: &'static str },
    /// The client was closed by its owner.
    #[error("the client is closed")]
    Closed,
}

impl Error {
    /// Stable, never reused.
    pub fn code(&self) -> u16 {
        match self {
            Self::Refused(fault) => fault.code,
            Self::TakenOver => Code::TakenOver as u16,
            Self::SubscriptionExpired { .. } => Code::SubscriptionExpired as u16,
            Self::Home { .. } => 1000,
            Self::BadIdentity { .. } => 1001,
            Self::BadClientName { .. } => 1002,
            Self::BadSubscriptionName(_) => 1003,
            Self::InUse { .. } => 1004,
            Self::NoAuthority { .. } => 1005,
            Self::BadAuthority { .. } => 1006,
            Self::NoServer => 1007,
            Self::Certificate { .. } => 1008,
            Self::Unreachable { .. } => 1009,
            Self::OtherCluster { .. } => 1010,
            Self::UnknownPartitioner { .. } => 1011,
            Self::AlreadyOpen { .. } => 1012,
            Self::BadResumeToken { .. } => 1013,
            Self::Closed => 1014,
            Self::BadServer { .. } => 1015,
        }
    }

    /// May the same call succeed later, unchanged?
    pub fn retry(&self) -> bool {
        match self {
            Self::Refused(fault) => fault.retry(),
            Self::Unreachable { .. } | Self::InUse { .. } | Self::SubscriptionExpired { .. } => true,
            _ => false,
        }
    }
}

/// Why an event was not acked, and whether it may have been stored all the same.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PublishError {
    #[error("not a publishable event: {0}")]
    BadEvent(#[from] EventError),
    #[error("{fault}")]
    Refused { fault: Fault, outcome: Outcome },
    /// What the broker says of this producer's numbers cannot follow from what this publisher sent.
    #[error(
        "the broker expects number {expected} of this producer, which is not one to be sent next: another run of it is under way, or the log lost its end"
    )]
    Interleaved { expected: u64, outcome: Outcome },
    /// The client ended before the answer came.
    #[error("the client ended: {cause}")]
    Ended { cause: Error, outcome: Outcome },
}

impl PublishError {
    pub fn code(&self) -> u16 {
        match self {
            Self::BadEvent(error) => error.code() as u16,
            Self::Refused { fault, .. } => fault.code,
            Self::Interleaved { .. } => Code::OutOfSequence as u16,
            Self::Ended { cause, .. } => cause.code(),
        }
    }

    /// Was it stored?
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::BadEvent(_) => Outcome::SurelyNot,
            Self::Refused { outcome, .. } | Self::Interleaved { outcome, .. } | Self::Ended { outcome, .. } => *outcome,
        }
    }

    #[must_use]
    pub(crate) fn with_outcome(mut self, new: Outcome) -> Self {
        match &mut self {
            Self::BadEvent(_) => {}
            Self::Refused { outcome, .. } | Self::Interleaved { outcome, .. } | Self::Ended { outcome, .. } => {
                *outcome = new;
            }
        }
        self
    }
}
