//! Every limit passed by one: a row for each constant of `protocol/src/limits.rs`, and for the limits of time and memory beside it.
//!
//! What is exactly at a limit is taken; what is one beyond is refused, and the error names the limit and what passed it. A constant
//! without a row fails a test here, and so does a row that points to a test which is not there.

mod broker;
mod elsewhere;
mod values;

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use anyport_protocol::limits::*;

use broker::{Ask, Stage};

const LIMITS: &str = include_str!("../../../protocol/src/limits.rs");

struct Row {
    name: &'static str,
    limit: u64,
    beyond: u64,
    shown: Shown,
    says: Says,
}

/// How it is shown that a limit is kept.
#[derive(Clone, Copy)]
enum Shown {
    /// By a function of values, which a broker would only call.
    Values(fn(usize) -> values::Outcome),
    /// By a broker.
    Broker(Ask),
}

/// What the refusal of one beyond must name.
#[derive(Clone, Copy, PartialEq)]
enum Says {
    LimitAndValue,
    /// Reading ends at the limit, so nobody knows how far it goes on.
    Limit,
    /// Not an error of ours, or one that is counted and told to nobody; the reason stands in the row.
    Neither,
}

/// `limit: how it is shown, what the refusal names`.
macro_rules! rows {
    ($($name:ident: $shown:expr, $says:ident;)*) => {
        vec![$(Row { name: stringify!($name), limit: $name as u64, beyond: $name as u64 + 1, shown: $shown, says: Says::$says },)*]
    };
}

fn rows() -> Vec<Row> {
    let mut rows = rows! {
        EVENT_BYTES_MAX: Shown::Broker(Ask::Event), LimitAndValue;
        ATTRIBUTES_BYTES_MAX: Shown::Values(values::attributes_bytes), LimitAndValue;
        ATTRIBUTES_MAX: Shown::Values(values::attributes), LimitAndValue;
        ATTRIBUTE_NAME_BYTES_MAX: Shown::Values(values::attribute_name), LimitAndValue;
        NAME_BYTES_MAX: Shown::Values(values::subscription_name), LimitAndValue;
        FILTER_BYTES_MAX: Shown::Broker(Ask::Filter), LimitAndValue;
        FILTER_DEPTH_MAX: Shown::Values(values::filter_depth), Limit;
        FILTER_STEPS_MAX: Shown::Values(values::filter_steps), LimitAndValue;
        FILTER_IN_MAX: Shown::Values(values::filter_in_list), Limit;
        FILTER_LIKE_SEGMENT_MAX: Shown::Values(values::filter_like_segment), LimitAndValue;
        FILTER_DOCUMENT_BYTES_MAX: Shown::Values(values::filter_document), LimitAndValue;
        // By the standard a function that cannot be computed is an error of the evaluation: the event does not pass.
        FILTER_TEXT_BYTES_MAX: Shown::Values(values::filter_text), Neither;
        SUBSCRIPTIONS_PER_CLIENT_MAX: Shown::Broker(Ask::Subscriptions), Limit;
        FRAME_BYTES_MAX: Shown::Broker(Ask::Frame), LimitAndValue;
        CONTROL_FRAME_BYTES_MAX: Shown::Broker(Ask::ControlFrame), LimitAndValue;
        BATCH_EVENTS_MAX: Shown::Broker(Ask::Batch), LimitAndValue;
        HTTP_BODY_BYTES_MAX: Shown::Broker(Ask::HttpBody), LimitAndValue;
        // Hyper refuses it with a bare 431 before it is a request.
        HTTP_HEAD_BYTES_MAX: Shown::Broker(Ask::HttpHead), Neither;
        PARTITIONS_MAX: Shown::Broker(Ask::Partitions), LimitAndValue;
        INACTIVE_EXPIRY_SECS_MIN: Shown::Broker(Ask::Expiry), LimitAndValue;
        INACTIVE_EXPIRY_SECS_MAX: Shown::Broker(Ask::Expiry), LimitAndValue;
    };
    for row in rows.iter_mut().filter(|row| row.name.ends_with("_MIN")) {
        row.beyond = row.limit - 1;
    }
    rows
}

fn judge(row: &Row, at: &values::Outcome, beyond: &values::Outcome) -> Result<()> {
    let Row { name, limit, beyond: value, says, .. } = row;
    ensure!(*at == Ok(()), "{name}: {limit} is not taken: {at:?}");
    let Err(text) = beyond else { anyhow::bail!("{name}: {value} is taken") };
    let (limit, value) = (limit.to_string(), value.to_string());
    let (names_limit, names_value) = (text.contains(&limit), text.contains(&value));
    ensure!(names_limit || *says == Says::Neither, "{name}: the refusal does not name the limit {limit}: {text}");
    ensure!(names_value || *says != Says::LimitAndValue, "{name}: the refusal does not name {value}: {text}");
    Ok(())
}

#[test]
fn what_is_at_a_limit_of_values_is_taken_and_one_beyond_is_refused() -> Result<()> {
    for row in rows() {
        if let Shown::Values(attempt) = row.shown {
            judge(&row, &attempt(usize::try_from(row.limit)?), &attempt(usize::try_from(row.beyond)?))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_at_a_limit_of_the_broker_is_taken_and_one_beyond_is_refused() -> Result<()> {
    let stage = Stage::set().await?;
    for row in rows() {
        if let Shown::Broker(ask) = row.shown {
            let (at, beyond) = (stage.ask(ask, row.limit).await?, stage.ask(ask, row.beyond).await?);
            judge(&row, &at, &beyond)?;
        }
    }
    // Whatever was refused, the broker is as it was.
    assert_eq!(stage.ask(Ask::Event, 100).await?, Ok(()));
    Ok(())
}

#[test]
fn every_constant_has_a_row() {
    let constants: BTreeSet<&str> =
        LIMITS.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next()).collect();
    let rows = rows();
    let shown = rows.iter().map(|row| row.name).chain(elsewhere::CONSTANTS.map(|row| row.name));
    assert_eq!(shown.collect::<BTreeSet<_>>(), constants);
}
