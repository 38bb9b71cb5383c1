//! Errors a client can see: a stable code, whether to retry, and for a write whether it may have been stored.

use std::fmt;

use serde::{Deserialize, Serialize};

/// For a refused or failed write: did it happen?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    SurelyNot,
    Maybe,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, retry: $retry:literal, outcome: $outcome:ident;)*) => {
        /// Stable numbers, never reused. The hundreds group them: 1 wire, 2 identity, 3 session, 4 subscription, 5 publish,
        /// 6 the broker's own state.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name = $number,)* }

        impl Code {
            pub const ALL: &'static [Code] = &[$(Code::$name),*];

            pub fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Code::$name),)* _ => None }
            }

            pub fn name(self) -> &'static str {
                match self { $(Code::$name => stringify!($name),)* }
            }

            /// May the same request succeed later, unchanged?
            pub fn retry(self) -> bool {
                match self { $(Code::$name => $retry,)* }
            }

            /// If the request was a write: was it stored?
            pub fn outcome(self) -> Outcome {
                match self { $(Code::$name => Outcome::$outcome,)* }
            }
        }
    };
}

codes! {
    /// Bytes that are no frame, or a body that is not what its type says. The connection is closed.
    MalformedFrame = 100, retry: false, outcome: SurelyNot;
    /// A frame longer than the limit for its stream.
    FrameTooLarge = 101, retry: false, outcome: SurelyNot;
    /// A message type this version does not know; the text names it.
    UnknownMessage = 102, retry: false, outcome: SurelyNot;
    /// No protocol version in common.
    VersionMismatch = 103, retry: false, outcome: SurelyNot;
    /// A message that is not allowed yet, such as a request before the hello.
    OutOfTurn = 104, retry: false, outcome: SurelyNot;
    /// A limit of the protocol was passed; the text names limit and value.
    LimitPassed = 105, retry: false, outcome: SurelyNot;

    /// The token is not one of this cluster's.
    BadToken = 200, retry: false, outcome: SurelyNot;
    /// The token is genuine and its time is over.
    TokenExpired = 201, retry: false, outcome: SurelyNot;
    /// The token is genuine, but the registry does not know the client.
    UnknownClient = 202, retry: false, outcome: SurelyNot;
    /// The request needs a login first.
    NotLoggedIn = 203, retry: false, outcome: SurelyNot;
    /// The token's scopes do not cover the request.
    Forbidden = 204, retry: false, outcome: SurelyNot;

    /// Another session of this client has used this epoch or a higher one; `value` is the current epoch.
    StaleEpoch = 300, retry: false, outcome: SurelyNot;
    /// A newer session of this client has begun; this one is over.
    TakenOver = 301, retry: false, outcome: SurelyNot;
    /// The request needs an open session.
    NoSession = 302, retry: false, outcome: SurelyNot;

    /// The filter does not compile; the text points at the column.
    BadFilter = 400, retry: false, outcome: SurelyNot;
    UnknownSubscription = 401, retry: false, outcome: SurelyNot;
    TooManySubscriptions = 402, retry: false, outcome: SurelyNot;
    /// Nobody used the subscription for its `inactive_expiry`; `value` is the incarnation that ended. A request that names it, and
    /// so shows that the client knows, begins the subscription anew.
    SubscriptionExpired = 403, retry: false, outcome: SurelyNot;
    /// `inactive_expiry` outside its limits.
    BadExpiry = 404, retry: false, outcome: SurelyNot;

    /// An event of the batch is not a CloudEvent in our encoding; `value` is its place in the batch.
    BadEvent = 500, retry: false, outcome: SurelyNot;
    EventTooLarge = 501, retry: false, outcome: SurelyNot;
    /// The batch does not begin at the producer's next number; `value` is the expected one.
    OutOfSequence = 502, retry: true, outcome: SurelyNot;
    /// The producer's row is gone (its last event was trimmed), so what it stored is no longer known.
    ProducerUnknown = 503, retry: false, outcome: Maybe;
    /// No such partition.
    UnknownPartition = 504, retry: false, outcome: SurelyNot;
    /// The proposal's fate is not known; sending the same batch again is safe.
    MaybeStored = 505, retry: true, outcome: Maybe;

    /// Busy; `retry_after_ms` says when to come back.
    RetryAfter = 600, retry: true, outcome: SurelyNot;
    /// Below the free-space mark publishes are refused, all else goes on.
    StorageFull = 601, retry: true, outcome: SurelyNot;
    ShuttingDown = 602, retry: true, outcome: SurelyNot;
    /// The store failed to write or sync; the broker is about to end.
    StoreFailed = 603, retry: true, outcome: Maybe;
    /// The broker has not finished starting.
    NotReady = 604, retry: true, outcome: SurelyNot;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An error as it travels: the code as a number, so that a newer broker's code still reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{} ({code}): {text}", self.name())]
pub struct Fault {
    pub code: u16,
    pub text: String,
    /// The one number the code's description names, if it names one.
    #[serde(default)]
    pub value: Option<u64>,
    #[serde(default)]
    pub retry_after_ms: Option<u32>,
}

impl Fault {
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code: code as u16, text: text.into(), value: None, retry_after_ms: None }
    }

    #[must_use]
    pub fn with_value(mut self, value: u64) -> Self {
        self.value = Some(value);
        self
    }

    pub fn retry_after(code: Code, retry_after_ms: u32, text: impl Into<String>) -> Self {
        Self { retry_after_ms: Some(retry_after_ms), ..Self::new(code, text) }
    }

    /// None for a code of a later version.
    pub fn code(&self) -> Option<Code> {
        Code::from_number(self.code)
    }

    pub fn is(&self, code: Code) -> bool {
        self.code == code as u16
    }

    pub fn retry(&self) -> bool {
        self.retry_after_ms.is_some() || self.code().is_some_and(Code::retry)
    }

    fn name(&self) -> &'static str {
        self.code().map_or("Unknown", Code::name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_codes_map_both_ways() {
        for code in Code::ALL {
            assert_eq!(Code::from_number(*code as u16), Some(*code));
        }
        assert_eq!(Code::from_number(0), None);
    }

    #[test]
    fn a_code_of_a_later_version_still_reads() {
        let fault = Fault { code: 999, text: "from the future".into(), value: None, retry_after_ms: None };
        assert_eq!(fault.to_string(), "Unknown (999): from the future");
        assert!(!fault.retry());
    }
}
