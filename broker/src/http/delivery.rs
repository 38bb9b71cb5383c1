//! From a request's events to what became of each.

use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::message::publish::PublishBatch;
use anyport_protocol::{Code, Fault, Number, Offset, PartitionId, ProducerId};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::lanes::{Lane, Lanes};
use super::settling::{Place, Settling};
use super::sorted::{Portion, Sorted};
use crate::Broker;

/// The time of a sync or two, in which a partition opens.
const PAUSE: Duration = Duration::from_millis(50);

/// What became of one event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fate {
    pub(super) partition: PartitionId,
    pub(super) outcome: Result<Stored, Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// Not known of an event that was stored long ago.
    pub(super) offset: Option<Offset>,
    /// By an earlier request with the same numbers.
    pub(super) is_earlier: bool,
}

/// Where events go.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) broker: Arc<Broker>,
    lanes: Lanes,
    /// How long a request may wait to learn whether it is stored.
    fate_timeout: Duration,
}

impl Delivery {
    pub(super) fn new(broker: Arc<Broker>, fate_timeout: Duration) -> Self {
        let lanes = Lanes::new(broker.partitions.count());
        Self { broker, lanes, fate_timeout }
    }

    /// Stores the events, and returns their fates in their order. All partitions are asked at once.
    pub(super) async fn store(&self, own_lane: Option<Lane>, events: Sorted) -> Vec<Fate> {
        let mut fates = vec![None; events.count];
        let own_lane = own_lane.as_ref();
        let deliveries = events.by_partition.into_iter().map(|(partition, portions)| async move {
            let settling = match own_lane {
                Some(lane) => self.hand_over(partition, lane, &portions).await,
                None => self.by_any_lane(partition, &portions).await,
            };
            (partition, portions, settling)
        });
        for (partition, portions, settling) in join_all(deliveries).await {
            for (place, outcome) in outcomes(&portions, &settling) {
                fates[place] = Some(Fate { partition, outcome });
            }
        }
        let settled = "every event is in one portion, and every portion is settled";
        fates.into_iter().map(|fate| fate.expect(settled)).collect()
    }

    async fn by_any_lane(&self, partition: PartitionId, portions: &[Portion]) -> Settling {
        let mut lane = self.lanes.take(partition);
        let mut settling = self.hand_over(partition, &lane, portions).await;
        if settling.refusal.as_ref().is_some_and(|fault| fault.is(Code::ProducerUnknown)) {
            // Retention has removed all that this lane ever stored. These numbers of it had never been used, so nothing is stored.
            lane = Lane::fresh();
            settling = self.hand_over(partition, &lane, portions).await;
        }
        if settling.is_certain() {
            lane.next = number_after(lane.next, &portions[..settling.stored.len()]);
            self.lanes.put_back(partition, lane);
        }
        settling
    }

    /// Hands the portions over under the lane's numbers, until it is known what is stored or there is no time left.
    async fn hand_over(&self, partition: PartitionId, lane: &Lane, portions: &[Portion]) -> Settling {
        let give_up = Instant::now() + self.fate_timeout;
        let mut settling = Settling::default();
        loop {
            let (stored, rest) = portions.split_at(settling.stored.len());
            let batches = batches(lane.producer, partition, number_after(lane.next, stored), rest);
            // Collected first: each is handed over when it is made, before any is waited for.
            let answers: Vec<_> = batches.map(|batch| self.broker.publish(batch)).collect();
            if !settling.handle_answers(join_all(answers).await, Instant::now() < give_up) {
                return settling;
            }
            sleep(PAUSE).await;
        }
    }
}

fn batches(
    producer: ProducerId,
    partition: PartitionId,
    first: Number,
    portions: &[Portion],
) -> impl Iterator<Item = PublishBatch> {
    portions.iter().scan(first, move |next, portion| {
        let (count, first_number) = (portion.count(), *next);
        *next = next.plus(count.into());
        Some(PublishBatch { producer, partition, count, first_number, framed: portion.framed.clone() })
    })
}

fn number_after(first: Number, portions: &[Portion]) -> Number {
    first.plus(portions.iter().map(|portion| u64::from(portion.count())).sum())
}

/// The outcome of each event, by its place in the request.
fn outcomes(portions: &[Portion], settling: &Settling) -> Vec<(usize, Result<Stored, Fault>)> {
    let mut outcomes = Vec::new();
    for (index, portion) in portions.iter().enumerate() {
        let place = settling.stored.get(index);
        for (behind, at) in (0..).zip(&portion.places) {
            let outcome = match (place, &settling.refusal) {
                (Some(Place::At(first)), _) => Ok(Stored { offset: Some(first.plus(behind)), is_earlier: false }),
                (Some(Place::Earlier(first)), _) => {
                    Ok(Stored { offset: first.map(|first| first.plus(behind)), is_earlier: true })
                }
                (None, Some(fault)) => Err(fault.clone()),
                (None, None) => unreachable!("portions are settled as far as the first that is refused"),
            };
            outcomes.push((*at, outcome));
        }
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use anyport_protocol::message::publish::Published;

    use super::*;

    fn portion(places: &[usize]) -> Portion {
        Portion { places: places.to_vec(), ..Portion::default() }
    }

    #[test]
    fn batches_are_numbered_one_after_the_other() {
        let portions = [portion(&[0, 2]), portion(&[3]), portion(&[4, 5, 6])];
        let numbers = batches(ProducerId([1; 16]), PartitionId(3), Number(10), &portions)
            .map(|batch| (batch.partition, batch.first_number.0, batch.count));
        assert!(numbers.eq([(10, 2), (12, 1), (13, 3)].map(|(first, count)| (PartitionId(3), first, count))));
        assert_eq!(number_after(Number(10), &portions[..2]), Number(13));
    }

    #[test]
    fn every_event_is_told_where_it_is_or_why_it_is_not() {
        let fault = Fault::new(Code::RetryAfter, "busy");
        let mut settling = Settling::default();
        let answers = vec![
            Published::Stored { first: Offset(7) },
            Published::AlreadyStored { first: Some(Offset(3)) },
            Published::AlreadyStored { first: None },
            Published::Refused(fault.clone()),
        ];
        assert!(!settling.handle_answers(answers, true));
        let portions = [portion(&[0, 4]), portion(&[5]), portion(&[6]), portion(&[7]), portion(&[8])];
        let at = |offset, is_earlier| Ok(Stored { offset, is_earlier });
        assert_eq!(
            outcomes(&portions, &settling),
            [
                (0, at(Some(Offset(7)), false)),
                (4, at(Some(Offset(8)), false)),
                (5, at(Some(Offset(3)), true)),
                (6, at(None, true)),
                (7, Err(fault.clone())),
                (8, Err(fault)),
            ]
        );
    }
}
