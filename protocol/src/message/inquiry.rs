//! What a client may ask with nothing but a login, while a session of it is open elsewhere: none of these disturbs one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Incarnation, SessionEpoch, SubscriptionName, WallMs};

/// Subscriptions in one answer: each may have a filter of the greatest length, and all must fit a control frame.
pub const SUBSCRIPTIONS_PER_ANSWER: usize = 16;

/// Asks for nothing but an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ping {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pong {
    pub server_time: WallMs,
}

/// Asks how the client's subscriptions stand. Opens no session, moves nothing, and does not count as use of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ListSubscriptions {
    /// By name, those after this one; from the first where none is named.
    #[serde(default)]
    pub after: Option<SubscriptionName>,
    /// The highest registry index the client has seen: what one broker acknowledged another must not deny.
    #[serde(default)]
    pub registry_seen: u64,
}

/// As the registry has the client now, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubscriptionList {
    pub server_time: WallMs,
    pub session: SessionReport,
    /// How many the client has.
    pub total: u32,
    pub subscriptions: Vec<SubscriptionReport>,
    /// There are others after the last of these.
    pub more: bool,
}

/// What is known of the client's sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionReport {
    /// Of the newest session; 0 while there has been none.
    pub epoch: SessionEpoch,
    /// When the client last changed its record.
    pub last_seen: WallMs,
    /// The newest session is open at this broker. One whose client vanished counts as open until its idle time is over.
    pub is_open_here: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubscriptionReport {
    pub name: SubscriptionName,
    pub incarnation: Incarnation,
    pub filter: String,
    /// Retained events that are not acked and not known to be of no interest: no more than these are waiting.
    pub waiting_max: u64,
    /// Each of them matches, so exactly these are waiting.
    pub waiting_is_exact: bool,
    /// When the oldest of them was appended.
    pub oldest_waiting: Option<WallMs>,
    /// Offsets that the log no longer has and the subscription has not come past: it will be told of a gap.
    pub gone: u64,
    pub inactive_expiry_secs: u64,
    pub last_used: WallMs,
}

impl SubscriptionReport {
    /// How long the oldest event that may be waiting has been there.
    pub fn behind(&self, server_time: WallMs) -> Option<Duration> {
        self.oldest_waiting.map(|oldest| Duration::from_millis(server_time.0.saturating_sub(oldest.0)))
    }

    /// When it ends if nobody uses it before.
    pub fn expires(&self) -> WallMs {
        WallMs(self.last_used.0.saturating_add(self.inactive_expiry_secs.saturating_mul(1000)))
    }
}

/// Ends one life of a subscription, whoever uses it: an open session is told. Answered by `Unsubscribed`. A late or repeated copy
/// harms nothing that has begun since.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndSubscription {
    pub name: SubscriptionName,
    pub incarnation: Incarnation,
}

#[cfg(test)]
mod tests {
    use super::super::{HEADER_BYTES, ToBroker, ToClient};
    use super::*;
    use crate::limits::{CONTROL_FRAME_BYTES_MAX, FILTER_BYTES_MAX, NAME_BYTES_MAX};

    fn report(name: String, filter: String) -> SubscriptionReport {
        SubscriptionReport {
            name: name.try_into().expect("a name"),
            incarnation: Incarnation(u64::MAX),
            filter,
            waiting_max: u64::MAX,
            waiting_is_exact: false,
            oldest_waiting: Some(WallMs(u64::MAX)),
            gone: u64::MAX,
            inactive_expiry_secs: 60,
            last_used: WallMs(1_000),
        }
    }

    #[test]
    fn the_longest_answer_fits_a_control_frame() {
        let longest = report("n".repeat(NAME_BYTES_MAX), "f".repeat(FILTER_BYTES_MAX));
        let session = SessionReport { epoch: SessionEpoch(u64::MAX), last_seen: WallMs(u64::MAX), is_open_here: true };
        let list = SubscriptionList {
            server_time: WallMs(u64::MAX),
            session,
            total: u32::MAX,
            subscriptions: vec![longest; SUBSCRIPTIONS_PER_ANSWER],
            more: true,
        };
        let mut frame = Vec::new();
        ToClient::from(list.clone()).encode(1, &mut frame);
        assert!(frame.len() - HEADER_BYTES <= CONTROL_FRAME_BYTES_MAX, "{} bytes", frame.len());
        assert_eq!(ToClient::decode(112, &frame[HEADER_BYTES..]).expect("decode"), list.into());
    }

    #[test]
    fn a_question_without_a_place_begins_at_the_first() {
        // An empty map.
        let ToBroker::ListSubscriptions(list) = ToBroker::decode(12, &[0x80]).expect("decode") else {
            panic!("not it")
        };
        assert_eq!(list.after, None);
    }

    #[test]
    fn ages_are_by_the_brokers_clock_and_never_negative() {
        let mut report = report("quakes".into(), String::new());
        report.oldest_waiting = Some(WallMs(5_000));
        assert_eq!(report.behind(WallMs(7_500)), Some(Duration::from_millis(2_500)));
        assert_eq!(report.behind(WallMs(4_000)), Some(Duration::ZERO));
        assert_eq!(report.expires(), WallMs(61_000));
    }
}
