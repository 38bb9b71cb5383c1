use serde::{Deserialize, Serialize};

use crate::{Cursor, Incarnation, LogEpoch, Nonce, Offset, OffsetRange, PartitionId, SessionEpoch, SubscriptionName};

/// Opens the session and resumes every subscription, in one request.
///
/// The client names the epoch, above any it has used, and a nonce. The registry takes a higher epoch, answers the same
/// (epoch, nonce) alike, and refuses the rest with `StaleEpoch`: so a late or repeated open harms nobody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenSession {
    pub epoch: SessionEpoch,
    pub nonce: Nonce,
    /// Where the client itself has got to; for each cursor the larger of the client's and the registry's wins.
    pub resume: Vec<ResumePoint>,
    /// The highest registry index the client has seen: what one broker acknowledged another must not deny.
    #[serde(default)]
    pub registry_seen: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResumePoint {
    pub incarnation: Incarnation,
    /// By partition; a missing tail means "nothing known".
    pub cursors: Vec<Cursor>,
}

/// The client's record as the registry now has it, and what will come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionOpened {
    pub epoch: SessionEpoch,
    pub registry_index: u64,
    pub subscriptions: Vec<SubscriptionState>,
    /// The registry has not taken the opening yet: events are delivered, and acks refused until it has.
    #[serde(default)]
    pub unfenced: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubscriptionState {
    pub name: SubscriptionName,
    pub incarnation: Incarnation,
    pub filter: String,
    pub inactive_expiry_secs: u64,
    /// One per partition, in order.
    pub feeds: Vec<FeedState>,
}

impl SubscriptionState {
    /// How many offsets lie between where the subscription is and the tails: no more events than this are waiting.
    pub fn waiting_max(&self) -> u64 {
        let waiting = self.feeds.iter().map(|feed| feed.tail.0.saturating_sub(feed.position.offset.0));
        waiting.fold(0, u64::saturating_add)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeedState {
    pub partition: PartitionId,
    /// From here delivery is guaranteed, for as long as this incarnation lives.
    pub start: Cursor,
    /// The next frame of this feed begins here.
    pub position: Cursor,
    /// The partition's tail when this was answered: a feed that has covered it has caught up. The greatest offset there is where
    /// the tail could not be learnt in time.
    pub tail: Offset,
    /// What the registry has, in today's log epoch. The client may be further, and then says so again.
    #[serde(default)]
    pub acked: Cursor,
    /// The client had come to a place that the log has lost: to be told as a gap.
    #[serde(default)]
    pub lost: Option<LostEnd>,
}

impl FeedState {
    /// Stands for a tail that could not be learnt: no feed has covered it.
    pub const TAIL_UNKNOWN: Offset = Offset(u64::MAX);
}

/// Offsets of an earlier log epoch that a client had passed and the log does not have any more. In today's epoch other events
/// have them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LostEnd {
    pub epoch: LogEpoch,
    pub range: OffsetRange,
}

/// Moves cursors: everything below is done with. Answered when durable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ack {
    pub cursors: Vec<(Incarnation, Vec<(PartitionId, Cursor)>)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acked {
    pub registry_index: u64,
}

/// Ends the session in good order, with the last cursors. The record stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CloseSession {
    pub cursors: Vec<(Incarnation, Vec<(PartitionId, Cursor)>)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionClosed {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_counted_up_to_the_greatest_number_and_no_panic() {
        let (start, partition) = (Cursor::default(), PartitionId(0));
        let feed =
            FeedState { partition, start, position: start, tail: Offset(u64::MAX - 1), acked: start, lost: None };
        let name = "quakes".parse().expect("a good name");
        let state = |feeds| SubscriptionState {
            name,
            incarnation: Incarnation(1),
            filter: String::new(),
            inactive_expiry_secs: 60,
            feeds,
        };
        assert_eq!(state(vec![feed; 2]).waiting_max(), u64::MAX);
    }
}
