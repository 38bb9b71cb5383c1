//! Publishing a workload, telling the oracle of each event before it is handed over and of its fate after.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Result};
use anyport_client::{Publisher, Receipt};
use anyport_protocol::Outcome;
use anyport_protocol::event::Event;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::oracle::{EventRef, Oracle, Position};

/// Receipts looked at together once so many wait: each is a look at a cell that its batch shares.
const RECEIPTS_WAITING_MAX: usize = 4096;

/// How fast to publish.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    AsFastAsAcked,
    PerSecond(f64),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishReport {
    pub acked: u64,
    pub unknown: u64,
    pub refused: u64,
}

/// Publishes all events in order and waits for their fates. `each` is called after each event is handed over.
pub async fn publish(
    publisher: &Publisher,
    oracle: &Oracle,
    producer: u32,
    events: impl Iterator<Item = Value>,
    pace: Pace,
    mut each: impl FnMut(u64),
) -> Result<PublishReport> {
    let mut waiting = VecDeque::new();
    let mut report = PublishReport::default();
    let begun = Instant::now();
    let mut encoded = Vec::new();
    for (event, nth) in events.zip(1u64..) {
        if let Pace::PerSecond(rate) = pace {
            sleep_until(begun + Duration::from_secs_f64(nth as f64 / rate)).await;
        }
        let published = oracle.published(producer, &event);
        encoded.clear();
        Event::from_json(event.to_string().as_bytes()).context("an event of the workload")?.encode_into(&mut encoded);
        match publisher.publish_encoded(&encoded).await {
            Ok(receipt) => waiting.push_back((published, receipt)),
            Err(error) => report.failed(oracle, published, error.outcome()),
        }
        if waiting.len() >= RECEIPTS_WAITING_MAX {
            settle(oracle, &mut waiting, RECEIPTS_WAITING_MAX / 2, &mut report).await;
        }
        each(nth);
    }
    settle(oracle, &mut waiting, 0, &mut report).await;
    Ok(report)
}

async fn settle(
    oracle: &Oracle,
    waiting: &mut VecDeque<(EventRef, Receipt)>,
    until: usize,
    report: &mut PublishReport,
) {
    while waiting.len() > until {
        let Some((event, receipt)) = waiting.pop_front() else { return };
        match receipt.await {
            Ok(acked) => {
                let position = acked.offset.map(|offset| Position { partition: acked.partition, offset });
                oracle.acked(event, position);
                report.acked += 1;
            }
            Err(error) => report.failed(oracle, event, error.outcome()),
        }
    }
}

impl PublishReport {
    fn failed(&mut self, oracle: &Oracle, event: EventRef, outcome: Outcome) {
        match outcome {
            Outcome::Maybe => {
                oracle.unknown(event);
                self.unknown += 1;
            }
            Outcome::SurelyNot => {
                oracle.surely_not(event);
                self.refused += 1;
            }
        }
    }
}
