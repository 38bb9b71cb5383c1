//! What can go wrong, as facts. Every error has a stable code: below 1000 the broker's ([`Code`]), above it the client's own
//! ([`ClientCode`]).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use anyport_protocol::event::EventError;
use anyport_protocol::message::ToClient;
use anyport_protocol::{BadName, ClientId, Code, Explanation, Fault, Outcome};

use crate::ClientCode;

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
    /// Another process, or another client of this one, has this identity's outbox.
    #[error("the outbox {path} is in use by {}", holder.map_or("another process".to_owned(), |pid| format!("process {pid}")))]
    OutboxInUse { path: PathBuf, holder: Option<u32> },
    /// What waits in an outbox cannot be what was written.
    #[error("{path}: {reason}")]
    BadOutbox { path: PathBuf, reason: String },
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
    /// Another command or process of this client has removed the subscription while this one used it.
    #[error("subscription {name:?} was removed by another command of this client")]
    SubscriptionRemoved { name: String },
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
    /// The client must not register, and there is no identity of its name.
    #[error("no client named {name:?} is registered in {home}")]
    NotRegistered { name: String, home: PathBuf },
    #[error("not an exported identity: {reason}")]
    BadExport { reason: String },
    /// Importing would replace an identity, or make a second name for one.
    #[error("client {client} is here already, as {name:?}")]
    IdentityThere { name: String, client: ClientId },
}

impl Error {
    /// Stable, never reused.
    pub fn code(&self) -> u16 {
        self.explanation().number
    }

    /// May the same call succeed later, unchanged?
    pub fn retry(&self) -> bool {
        self.explanation().retry
    }

    /// Its code with all there is to know of it, such as what to do next.
    pub fn explanation(&self) -> Explanation {
        let own = match self {
            Self::Refused(fault) => return fault.explanation(),
            Self::TakenOver => return Code::TakenOver.explanation(),
            Self::SubscriptionExpired { .. } => return Code::SubscriptionExpired.explanation(),
            Self::SubscriptionRemoved { .. } => return Code::SubscriptionRemoved.explanation(),
            Self::Home { .. } => ClientCode::Home,
            Self::BadIdentity { .. } => ClientCode::BadIdentity,
            Self::BadClientName { .. } => ClientCode::BadClientName,
            Self::BadSubscriptionName(_) => ClientCode::BadSubscriptionName,
            Self::InUse { .. } => ClientCode::InUse,
            Self::OutboxInUse { .. } => ClientCode::OutboxInUse,
            Self::BadOutbox { .. } => ClientCode::BadOutbox,
            Self::NoAuthority { .. } => ClientCode::NoAuthority,
            Self::BadAuthority { .. } => ClientCode::BadAuthority,
            Self::NoServer => ClientCode::NoServer,
            Self::Certificate { .. } => ClientCode::Certificate,
            Self::Unreachable { .. } => ClientCode::Unreachable,
            Self::OtherCluster { .. } => ClientCode::OtherCluster,
            Self::UnknownPartitioner { .. } => ClientCode::UnknownPartitioner,
            Self::AlreadyOpen { .. } => ClientCode::AlreadyOpen,
            Self::BadResumeToken { .. } => ClientCode::BadResumeToken,
            Self::Closed => ClientCode::Closed,
            Self::BadServer { .. } => ClientCode::BadServer,
            Self::NotRegistered { .. } => ClientCode::NotRegistered,
            Self::BadExport { .. } => ClientCode::BadExport,
            Self::IdentityThere { .. } => ClientCode::IdentityThere,
        };
        own.explanation()
    }

    /// A broker that answers one question with the answer to another.
    pub(crate) fn unexpected(answer: &ToClient) -> Self {
        Self::Refused(Fault::new(Code::MalformedFrame, format!("the broker answered with {}", answer.name())))
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
    /// The client ended before the answer came. An event of an outbox waits there for another client.
    #[error("the client ended: {cause}")]
    Ended { cause: Error, outcome: Outcome },
    #[error("the outbox holds {bytes} of at most {limit} bytes")]
    OutboxFull { bytes: u64, limit: u64 },
    /// The outbox can write nothing more. What it has written is sent after the next start.
    #[error("the outbox has failed: {cause}")]
    OutboxFailed { cause: Error },
}

impl PublishError {
    /// Stable, never reused.
    pub fn code(&self) -> u16 {
        self.explanation().number
    }

    /// Its code with all there is to know of it; whether it was stored is this error's own.
    pub fn explanation(&self) -> Explanation {
        let explanation = match self {
            Self::BadEvent(error) => error.code().explanation(),
            Self::Refused { fault, .. } => fault.explanation(),
            Self::Interleaved { .. } => Code::OutOfSequence.explanation(),
            Self::Ended { cause, .. } | Self::OutboxFailed { cause } => cause.explanation(),
            Self::OutboxFull { .. } => ClientCode::OutboxFull.explanation(),
        };
        Explanation { outcome: self.outcome(), ..explanation }
    }

    /// Was it stored?
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::BadEvent(_) | Self::OutboxFull { .. } => Outcome::SurelyNot,
            Self::OutboxFailed { .. } => Outcome::Maybe,
            Self::Refused { outcome, .. } | Self::Interleaved { outcome, .. } | Self::Ended { outcome, .. } => *outcome,
        }
    }

    #[must_use]
    pub(crate) fn with_outcome(mut self, new: Outcome) -> Self {
        match &mut self {
            Self::BadEvent(_) | Self::OutboxFull { .. } | Self::OutboxFailed { .. } => {}
            Self::Refused { outcome, .. } | Self::Interleaved { outcome, .. } | Self::Ended { outcome, .. } => {
                *outcome = new;
            }
        }
        self
    }
}
