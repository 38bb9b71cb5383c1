//! Errors a client can see: a stable code, whether to retry, and for a write whether it may have been stored.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Explanation;

/// For a refused or failed write: did it happen?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    SurelyNot,
    Maybe,
}

crate::error_codes! {
    /// What a broker answers, or closes a connection with. Stable numbers, never reused. The hundreds group them: 1 wire,
    /// 2 identity, 3 session, 4 subscription, 5 publish, 6 the broker's own state, 7 the cluster, 8 the map.
    Code {
        /// Bytes that are no frame, or a body that is not what its type says. The connection is closed.
        MalformedFrame = 100, retry: false, outcome: SurelyNot,
            next: "install versions of client and broker that belong together; if they do, report a bug";
        /// A frame longer than the limit for its stream.
        FrameTooLarge = 101, retry: false, outcome: SurelyNot,
            next: "send less in one frame; the SDK keeps to the limit, so if it was the SDK, report a bug";
        /// A message type this version does not know; the text names it.
        UnknownMessage = 102, retry: false, outcome: SurelyNot,
            next: "install the version of anyport that came with the broker";
        /// No protocol version in common.
        VersionMismatch = 103, retry: false, outcome: SurelyNot,
            next: "install the version of anyport that came with the broker";
        /// A message that is not allowed yet, such as a request before the hello.
        OutOfTurn = 104, retry: false, outcome: SurelyNot,
            next: "begin with a hello, then log in; the SDK does, so if it was the SDK, report a bug";
        /// A limit of the protocol was passed; the text names limit and value.
        LimitPassed = 105, retry: false, outcome: SurelyNot,
            next: "stay below the limit that the text names";

        /// The token is not one of this cluster's.
        BadToken = 200, retry: false, outcome: SurelyNot,
            next: "check --server: another cluster issued this identity; or register another one with --client NAME";
        /// The token is genuine and its time is over.
        TokenExpired = 201, retry: false, outcome: SurelyNot,
            next: "register another identity with --client NAME; nobody can use the old one any more";
        /// The token is genuine, but the registry does not know the client.
        UnknownClient = 202, retry: false, outcome: SurelyNot,
            next: "register another identity with --client NAME; this cluster has forgotten the old one";
        /// The request needs a login first.
        NotLoggedIn = 203, retry: false, outcome: SurelyNot,
            next: "log in first; the SDK does, so if it was the SDK, report a bug";
        /// The token's scopes do not cover the request.
        Forbidden = 204, retry: false, outcome: SurelyNot,
            next: "ask whoever issued the token for one that allows this";

        /// Another session of this client has used this epoch or a higher one; `value` is the current epoch.
        StaleEpoch = 300, retry: false, outcome: SurelyNot,
            next: "end the other session, or take another identity with --client NAME";
        /// A newer session of this client has begun; this one is over.
        TakenOver = 301, retry: false, outcome: SurelyNot,
            next: "end the other session, or take another identity with --client NAME";
        /// The request needs an open session.
        NoSession = 302, retry: false, outcome: SurelyNot,
            next: "open a session first; the SDK does, so if it was the SDK, report a bug";

        /// The filter does not compile; the text points at the column.
        BadFilter = 400, retry: false, outcome: SurelyNot,
            next: "correct the filter where the text points";
        /// The client has no subscription of this name, or not in this life of it any more.
        UnknownSubscription = 401, retry: false, outcome: SurelyNot,
            next: "look which there are: anyport subs";
        /// The client has as many subscriptions as are allowed; `value` is the limit.
        TooManySubscriptions = 402, retry: false, outcome: SurelyNot,
            next: "remove one that is not needed: anyport subs, then anyport unsub NAME";
        /// Nobody used the subscription for its `inactive_expiry`; `value` is the incarnation that ended. A request that names it, and
        /// so shows that the client knows, begins the subscription anew.
        SubscriptionExpired = 403, retry: false, outcome: SurelyNot,
            next: "run the command again to begin a new subscription";
        /// `inactive_expiry` outside its limits.
        BadExpiry = 404, retry: false, outcome: SurelyNot,
            next: "choose an expiry within the limits that the text names";
        /// Another command of this client has removed the subscription.
        SubscriptionRemoved = 405, retry: true, outcome: SurelyNot,
            next: "run the command again to begin a new subscription";

        /// An event of the batch is not a CloudEvent in our encoding; `value` is its place in the batch.
        BadEvent = 500, retry: false, outcome: SurelyNot,
            next: "correct the event";
        /// An event longer than the limit; the text names both, `value` is its place in the batch.
        EventTooLarge = 501, retry: false, outcome: SurelyNot,
            next: "keep large data elsewhere, and put a link to it into the event";
        /// The batch does not begin at the producer's next number; `value` is the expected one.
        OutOfSequence = 502, retry: true, outcome: SurelyNot,
            next: "let the other run of this producer end, then type the same command again";
        /// The producer's row is gone (its last event was trimmed), so what it stored is no longer known.
        ProducerUnknown = 503, retry: false, outcome: Maybe,
            next: "look whether the events are there before publishing them again";
        /// No such partition.
        UnknownPartition = 504, retry: false, outcome: SurelyNot,
            next: "connect anew: the broker says how many partitions there are when it welcomes a client";
        /// The proposal's fate is not known; sending the same batch again is safe.
        MaybeStored = 505, retry: true, outcome: Maybe,
            next: "try again: with the same numbers nothing is stored twice";

        /// Busy; `retry_after_ms` says when to come back.
        RetryAfter = 600, retry: true, outcome: SurelyNot,
            next: "try again in a moment";
        /// Below the free-space mark publishes are refused, all else goes on.
        StorageFull = 601, retry: true, outcome: SurelyNot,
            next: "free space on the broker's disk, then publish the rest";
        /// The broker is stopping.
        ShuttingDown = 602, retry: true, outcome: SurelyNot,
            next: "try again when the broker is back";
        /// The store failed to write or sync; the broker is about to end.
        StoreFailed = 603, retry: true, outcome: Maybe,
            next: "look at the broker's log and at its disk, then start it again";
        /// The broker has not finished starting.
        NotReady = 604, retry: true, outcome: SurelyNot,
            next: "try again in a moment";

        /// The cluster has no broker of this number, or has removed it.
        UnknownBroker = 710, retry: false, outcome: SurelyNot,
            next: "look which there are: anyport admin status";
        /// The broker is there, and only one that is away can be given up.
        BrokerNotAway = 711, retry: false, outcome: SurelyNot,
            next: "drain it instead: anyport admin drain BROKER. Then it stops by itself, and is removed";
        /// The group that has to agree has no majority of its replicas in reach.
        NoMajority = 712, retry: true, outcome: SurelyNot,
            next: "start the brokers that are away; if they are lost for good: anyport admin recover";
        /// Something has changed since the plan was made that is to be carried out.
        StalePlan = 713, retry: false, outcome: SurelyNot,
            next: "look at the new plan: anyport admin recover";

        /// What was to be put on the map is no row of it, or not one that this client may put there.
        BadMap = 800, retry: false, outcome: SurelyNot,
            next: "put right what the text names";
    }
}

impl Code {
    pub fn name(self) -> &'static str {
        self.explanation().name
    }

    /// May the same request succeed later, unchanged?
    pub fn retry(self) -> bool {
        self.explanation().retry
    }

    /// If the request was a write: was it stored?
    pub fn outcome(self) -> Outcome {
        self.explanation().outcome
    }
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
        self.explanation().name
    }

    /// What there is to know of it; of a later version's code not much.
    pub fn explanation(&self) -> Explanation {
        match self.code() {
            Some(code) => Explanation { retry: self.retry(), ..code.explanation() },
            None => Explanation {
                number: self.code,
                name: "Unknown",
                meaning: "A code of a later version.",
                retry: self.retry(),
                outcome: Outcome::Maybe,
                next: "install the version of anyport that came with the broker",
            },
        }
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
    fn every_code_says_what_has_happened_and_what_to_do_next() {
        for code in Code::ALL {
            let explanation = code.explanation();
            assert_eq!(explanation.number, *code as u16);
            assert!(explanation.meaning.ends_with('.'), "{code}: {}", explanation.meaning);
            assert!(!explanation.next.is_empty() && !explanation.next.ends_with('.'), "{code}: {}", explanation.next);
        }
        assert_eq!(Code::NotReady.explanation().meaning, "The broker has not finished starting.");
    }

    #[test]
    fn a_code_of_a_later_version_still_reads() {
        let fault = Fault { code: 999, text: "from the future".into(), value: None, retry_after_ms: None };
        assert_eq!(fault.to_string(), "Unknown (999): from the future");
        assert!(!fault.retry());
        assert_eq!(fault.explanation().number, 999);
    }
}
