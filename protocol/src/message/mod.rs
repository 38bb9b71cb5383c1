//! What clients and brokers say to each other.
//!
//! | stream | opened by | carries |
//! | --- | --- | --- |
//! | control | client, bidirectional, the first one | [`ToBroker`] requests; [`ToClient`] answers and pushes |
//! | publish | client, bidirectional | [`publish::PublishBatch`] frames; [`publish::Published`] answers |
//! | feed | broker, unidirectional | the frames of [`feed`] |
//!
//! Requests on the control stream are handled in the order sent, so a client may send hello, login and open in one flight.
//! Control bodies are MessagePack maps with named fields: an old reader skips fields it does not know, and a new one gives
//! missing fields their default. Frames that carry events are drawn beside their code.

pub mod admin;
pub mod feed;
pub mod frame;
mod hello;
mod identity;
mod inquiry;
mod map;
pub mod publish;
mod push;
mod session;
mod subscription;

pub use frame::{FrameBuffer, FrameHeader, FrameTooLarge, HEADER_BYTES, push_frame};
pub use hello::{Hello, PROTOCOL_VERSION, Welcome};
pub use identity::{LoggedIn, Login, Register, Registered};
pub use inquiry::{
    EndSubscription, ListSubscriptions, Ping, Pong, SUBSCRIPTIONS_PER_ANSWER, SessionReport, SubscriptionList,
    SubscriptionReport,
};
pub use map::{Advertise, Advertised, GetMap, MapAnswer, Withdraw};
pub use push::{GoAway, Refused, SubscriptionEnded, TakenOver};
pub use session::{
    Ack, Acked, CloseSession, FeedState, LostEnd, OpenSession, ResumePoint, SessionClosed, SessionOpened,
    SubscriptionState,
};
pub use subscription::{Credit, Reopen, Start, Subscribe, SubscribeOutcome, Subscribed, Unsubscribe, Unsubscribed};

/// What a stream is for: the first byte its opener writes, before any frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StreamKind {
    Control = 1,
    Publish = 2,
    Live = 3,
    Replay = 4,
}

impl StreamKind {
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Control, Self::Publish, Self::Live, Self::Replay].into_iter().find(|kind| *kind as u8 == byte)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("message type {0} is not known to protocol version {PROTOCOL_VERSION}")]
    UnknownType(u16),
    #[error("the body is no {name}: {source}")]
    Body { name: &'static str, source: rmp_serde::decode::Error },
    #[error("the body ends early or has a part that is not as drawn: {0}")]
    Layout(&'static str),
}

macro_rules! messages {
    ($(#[$doc:meta])* $set:ident { $($number:literal $name:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $set { $($name($name),)* }

        impl $set {
            /// Every type, with its number.
            pub const TYPES: &'static [(u16, &'static str)] = &[$(($number, stringify!($name))),*];

            pub fn decode(message_type: u16, body: &[u8]) -> Result<Self, DecodeError> {
                match message_type {
                    $($number => rmp_serde::from_slice(body).map(Self::$name)
                        .map_err(|source| DecodeError::Body { name: stringify!($name), source }),)*
                    unknown => Err(DecodeError::UnknownType(unknown)),
                }
            }

            /// Appends the whole frame.
            pub fn encode(&self, request: u32, out: &mut Vec<u8>) {
                match self {
                    $(Self::$name(message) => push_frame(out, $number, request, |body| {
                        rmp_serde::encode::write_named(body, message)
                            .expect("writing to a Vec does not fail and these types have no unserializable part");
                    }),)*
                }
            }

            pub fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name),)* }
            }
        }

        $(impl From<$name> for $set {
            fn from(message: $name) -> Self {
                Self::$name(message)
            }
        })*
    };
}

messages! {
    /// Requests, on the control stream. Numbers are never reused.
    ToBroker {
        1 Hello,
        2 Register,
        3 Login,
        4 OpenSession,
        5 Subscribe,
        6 Unsubscribe,
        7 Ack,
        8 Credit,
        9 Reopen,
        10 CloseSession,
        11 Ping,
        12 ListSubscriptions,
        13 EndSubscription,
        14 GetMap,
        15 Advertise,
        16 Withdraw,
    }
}

messages! {
    /// Answers (with their request's number) and pushes (with 0), on the control stream.
    ToClient {
        101 Welcome,
        102 Registered,
        103 LoggedIn,
        104 SessionOpened,
        105 Subscribed,
        106 Unsubscribed,
        107 Acked,
        110 SessionClosed,
        111 Pong,
        112 SubscriptionList,
        113 MapAnswer,
        114 Advertised,
        120 Refused,
        121 TakenOver,
        122 SubscriptionEnded,
        123 GoAway,
    }
}

use admin::{
    ClusterStatus, ClusterStatusQuestion, Done, DrainQuestion, RecoverPlan, RecoverPlanQuestion, RecoverQuestion,
    RemoveQuestion, SelectQuestion, ShapeQuestion,
};

messages! {
    /// What an operator asks a broker, each on a stream of its own. Numbers are never reused.
    AdminQuestion {
        201 ClusterStatusQuestion,
        202 DrainQuestion,
        203 RemoveQuestion,
        204 RecoverPlanQuestion,
        205 RecoverQuestion,
        206 ShapeQuestion,
        207 SelectQuestion,
    }
}

messages! {
    /// What a broker answers an operator.
    AdminAnswer {
        120 Refused,
        301 ClusterStatus,
        302 Done,
        303 RecoverPlan,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_type_is_refused_by_name() {
        let refused = ToBroker::decode(999, &[]).expect_err("unknown");
        assert!(refused.to_string().contains("999"), "{refused}");
    }

    #[test]
    fn a_field_of_a_later_version_is_skipped() {
        #[derive(serde::Serialize)]
        struct LaterHello {
            version_min: u16,
            version_max: u16,
            agent: &'static str,
            from_the_future: u8,
        }
        let later = LaterHello { version_min: 1, version_max: 9, agent: "later", from_the_future: 1 };
        let body = rmp_serde::to_vec_named(&later).expect("encode");
        let ToBroker::Hello(hello) = ToBroker::decode(1, &body).expect("decode") else { panic!("not a hello") };
        assert_eq!(hello, Hello { version_min: 1, version_max: 9, agent: "later".into() });
    }
}
