//! `anyport sub`.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;
use uuid::Uuid;

use super::args::{Common, Subscribe};
use super::exit::{Exit, Failure};
use super::filter::{self, TypedFilter};
use super::interrupt::Interrupt;
use super::output::{self, Written};
use super::tell::{self, events, note, say};
use crate::protocol::event::EncodedEvent;
use crate::protocol::filter::{Dialect, Filter};
use crate::{Batch, Client, Delivery, Error, Notice, SubscribeOptions, Subscription};

/// Events printed, flushed and acked together.
const BATCH_EVENTS: usize = 512;

/// A temporary subscription whose command was killed ends by itself so soon.
const TEMPORARY_EXPIRY: Duration = Duration::from_secs(600);

/// How long ending in good order may take.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Nothing to wait for but events.
const FOR_EVER: Duration = Duration::from_secs(3600);

pub(super) async fn run(common: &Common, options: Subscribe, interrupt: &mut Interrupt) -> Result<Exit, Failure> {
    let typed = TypedFilter { text: &options.filter, like: options.like.as_deref() };
    let filter = filter::read(typed, Dialect::Extended).await?;
    let filter = filter.map_err(|bad| bad.into_failure("try it with `anyport filter check`"))?;
    let client = match super::connect_to_work(common, interrupt).await? {
        Ok(client) => client,
        Err(exit) => return Ok(exit),
    };
    let wanted = subscription_options(&options, filter);
    let name = wanted.name.clone();
    let subscription = tokio::select! {
        subscription = client.subscribe(wanted) => subscription,
        exit = interrupt.wait() => return Ok(exit),
    };
    let subscription = match subscription {
        Ok(subscription) => subscription,
        Err(error) => {
            // Saves that it was told, if an expired subscription is the reason: the same command then begins a new one.
            let _ = timeout(END_TIMEOUT, client.close()).await;
            return Err(error.into());
        }
    };
    let mut printer =
        Printer { left: options.count.map(std::num::NonZeroU64::get), until_caught_up: options.until_caught_up };
    let ended = printer.run(&subscription, interrupt).await;
    end(client, &subscription, &name, options.name.is_none()).await;
    ended
}

fn subscription_options(options: &Subscribe, filter: Filter) -> SubscribeOptions {
    let temporary = options.name.is_none();
    SubscribeOptions {
        name: options.name.clone().unwrap_or_else(|| format!("temporary-{}", Uuid::now_v7())),
        filter: filter.into(),
        start: options.from,
        inactive_expiry: temporary.then_some(TEMPORARY_EXPIRY),
        temporary,
        ..SubscribeOptions::default()
    }
}

/// Leaves nothing behind but, for a named subscription, its position.
async fn end(client: Client, subscription: &Subscription, name: &str, is_temporary: bool) {
    let in_good_order = async {
        if subscription.ended().is_none() {
            if is_temporary {
                client.unsubscribe(name).await?;
            } else {
                subscription.acked().await?;
            }
        }
        client.close().await
    };
    match timeout(END_TIMEOUT, in_good_order).await {
        Ok(Ok(()) | Err(Error::Closed)) => {}
        Ok(Err(error)) => tracing::debug!(%error, "end"),
        Err(_) => {
            say("the broker did not answer in time; what was printed last may be printed again by the next command");
        }
    }
}

/// Prints until there is a reason to end.
struct Printer {
    /// Events still to be printed, if they are counted.
    left: Option<u64>,
    until_caught_up: bool,
}

impl Printer {
    async fn run(&mut self, subscription: &Subscription, interrupt: &mut Interrupt) -> Result<Exit, Failure> {
        loop {
            let max = self.left.map_or(BATCH_EVENTS, |left| left.min(BATCH_EVENTS as u64) as usize);
            let batch = tokio::select! {
                biased;
                exit = interrupt.wait() => return Ok(exit),
                batch = subscription.next_batch(max, FOR_EVER) => batch,
                // What is caught up with may hold nothing that matches.
                caught_up = subscription.wait_caught_up(), if self.until_caught_up => match caught_up {
                    Ok(()) => return Ok(Exit::Done),
                    Err(_) => return ended(subscription),
                },
            };
            let Some(batch) = batch else { return ended(subscription) };
            let Batch { deliveries, notices } = batch;
            notices.iter().for_each(tell_notice);
            let written = tokio::select! {
                biased;
                written = output::write(lines(&deliveries)) => written,
                // What is half printed is not acked.
                exit = interrupt.wait() => return Ok(exit),
            };
            match written {
                Ok(Written::All) => subscription.ack_batch(&deliveries),
                Ok(Written::Closed) => return Ok(Exit::Done),
                Err(error) => return Err(output::unwritable(&error)),
            }
            self.left = self.left.map(|left| left - deliveries.len() as u64);
            if self.left == Some(0) || (self.until_caught_up && subscription.caught_up()) {
                return Ok(Exit::Done);
            }
        }
    }
}

fn ended(subscription: &Subscription) -> Result<Exit, Failure> {
    Err(subscription.ended().unwrap_or(Error::Closed).into())
}

fn lines(deliveries: &[Delivery]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(deliveries.iter().map(|delivery| 2 * delivery.event.len()).sum());
    for delivery in deliveries {
        match EncodedEvent::check(&delivery.event) {
            Ok(event) => {
                event.to_json(&mut lines);
                lines.push(b'\n');
            }
            Err(error) => {
                let (partition, offset) = (delivery.partition, delivery.offset);
                say(&format!("the event at offset {offset} of partition {partition} cannot be shown: {error}"));
            }
        }
    }
    lines
}

fn tell_notice(notice: &Notice) {
    match notice {
        Notice::Gap { partition, range, .. } => {
            let lost = events(range.len());
            let text = format!("gap: the log no longer has offsets {range} of partition {partition} (at most {lost})");
            note("gap", &text, json!({ "partition": partition, "start": range.start, "end": range.end }));
        }
        Notice::Omitted { partition, range, count } => {
            let left_out = events((*count).into());
            let text = format!("omitted: {left_out} of offsets {range} of partition {partition}, as asked for");
            let facts = json!({ "partition": partition, "start": range.start, "end": range.end, "count": count });
            note("omitted", &text, facts);
        }
        Notice::Reconnecting { reason } => tell::reconnecting(reason),
        Notice::Resumed { waiting_max } => {
            let text = match waiting_max {
                0 => "subscribed; nothing is waiting".to_owned(),
                waiting => format!("subscribed; at most {} waiting", events(*waiting)),
            };
            note("subscribed", &text, json!({ "waiting_max": waiting_max }));
        }
        // The command ends with these, and says so.
        Notice::SubscriptionExpired | Notice::TakenOver => {}
    }
}
