//! How brokers' frames look: the frame of `protocol`, with types of their own.
//!
//! ```text
//!   type   | class, high 4 bits | number, low 12 bits |
//!            0 greeting           1 Hello, 2 Welcome         body: MessagePack, a map with named fields
//!            1 question           the `Call`                 body: the call's
//!            2 answer             0 given, 1 refused         body: the call's, or a `Fault` in MessagePack
//!            3 opening            the `PeerStreamKind`       body: the stream's
//!   request  ties an answer to its question; 0 elsewhere
//! ```
//! The first stream of a connection, opened by whoever dialled, carries greetings and then short questions and answers, both ways. A
//! question that is longer has a bidirectional stream of its own, and so has its answer there, however short. A longer answer to a
//! short question has a unidirectional one. All other bidirectional streams begin with an opening.

use anyport_protocol::message::DecodeError;
use anyport_protocol::{BrokerId, ClusterId, Fault};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The version of all this.
const VERSION: u16 = 1;

/// Body of a question or an answer on the common stream. Longer ones would delay those behind them.
pub(super) const SHORT_BYTES_MAX: usize = 16 << 10;

/// Body of any question or answer: it is held in memory whole. Appends keep to 512 KiB; the state of a partition, which is its producers',
/// is the longest.
pub(super) const CALL_BYTES_MAX: usize = 32 << 20;

/// What the type of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameType {
    Hello,
    Welcome,
    /// Whatever the number: one that is not known is refused, and the connection goes on.
    Question(u16),
    Given,
    Refused,
    Opening(u16),
}

impl FrameType {
    pub(super) fn number(self) -> u16 {
        match self {
            Self::Hello => 1,
            Self::Welcome => 2,
            Self::Question(call) => 1 << 12 | call,
            Self::Given => 2 << 12,
            Self::Refused => 2 << 12 | 1,
            Self::Opening(kind) => 3 << 12 | kind,
        }
    }

    pub(super) fn from_number(number: u16) -> Option<Self> {
        match (number >> 12, number & 0xfff) {
            (0, 1) => Some(Self::Hello),
            (0, 2) => Some(Self::Welcome),
            (1, call) => Some(Self::Question(call)),
            (2, 0) => Some(Self::Given),
            (2, 1) => Some(Self::Refused),
            (3, kind) => Some(Self::Opening(kind)),
            _ => None,
        }
    }
}

/// Who dials, and in its answer who was dialled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Greeting {
    pub(super) version_min: u16,
    pub(super) version_max: u16,
    /// None from somebody who has no number yet, or asks as if it had none.
    #[serde(default)]
    pub(super) broker: Option<BrokerId>,
    #[serde(default)]
    pub(super) cluster: Option<ClusterId>,
}

impl Greeting {
    pub(super) fn of(broker: Option<BrokerId>, cluster: Option<ClusterId>) -> Self {
        Self { version_min: VERSION, version_max: VERSION, broker, cluster }
    }

    pub(super) fn has_our_version(&self) -> bool {
        (self.version_min..=self.version_max).contains(&VERSION)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(self).expect("numbers and ids have no unserializable part")
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        rmp_serde::from_slice(body).map_err(|source| DecodeError::Body { name: "greeting", source })
    }
}

/// An answer as it travels: its type and its body.
pub(super) fn encode_answer(answer: Result<Bytes, Fault>) -> (FrameType, Bytes) {
    match answer {
        Ok(body) => (FrameType::Given, body),
        Err(fault) => {
            let body = rmp_serde::to_vec_named(&fault).expect("numbers and text have no unserializable part");
            (FrameType::Refused, body.into())
        }
    }
}

/// None for a frame that is no answer.
pub(super) fn decode_answer(number: u16, body: Bytes) -> Result<Option<Result<Bytes, Fault>>, DecodeError> {
    match FrameType::from_number(number) {
        Some(FrameType::Given) => Ok(Some(Ok(body))),
        Some(FrameType::Refused) => rmp_serde::from_slice(&body)
            .map(|fault| Some(Err(fault)))
            .map_err(|source| DecodeError::Body { name: "fault", source }),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_is_known_reads_as_it_was_written() {
        let known: Vec<_> =
            (0..=u16::MAX).filter_map(|number| Some((number, FrameType::from_number(number)?))).collect();
        assert!(known.iter().all(|(number, known)| known.number() == *number));
        assert_eq!(known.len(), 2 + 4096 + 2 + 4096);
    }

    #[test]
    fn a_greeting_of_a_later_version_that_still_speaks_ours_is_understood() {
        let later = Greeting { version_max: 9, ..Greeting::of(Some(BrokerId(3)), Some(ClusterId([1; 16]))) };
        let read = Greeting::decode(&later.encode()).expect("own encoding");
        assert_eq!(read, later);
        assert!(read.has_our_version());
        assert!(!Greeting { version_min: 2, ..later }.has_our_version());
    }

    #[test]
    fn a_refusal_comes_back_as_the_fault_it_was() {
        let fault = Fault::retry_after(anyport_protocol::Code::RetryAfter, 20, "busy");
        let (frame_type, body) = encode_answer(Err(fault.clone()));
        assert_eq!(decode_answer(frame_type.number(), body).expect("own encoding"), Some(Err(fault)));
        assert!(decode_answer(FrameType::Refused.number(), Bytes::from_static(b"\xc1")).is_err());
        assert_eq!(decode_answer(FrameType::Hello.number(), Bytes::new()).expect("no answer"), None);
    }
}
