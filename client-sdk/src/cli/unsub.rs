//! `anyport unsub`.

use serde_json::json;

use super::args::{Common, Unsub};
use super::exit::{Exit, Failure, unknown_subscription};
use super::tell::say;
use super::{output, words};
use crate::protocol::Code;
use crate::protocol::message::SubscriptionReport;
use crate::{Client, Error};

pub(super) async fn run(common: &Common, options: Unsub) -> Result<Exit, Failure> {
    let client = super::connect_registered(common).await?;
    let ended = match &options.name {
        Some(name) => remove_named(common, &client, name).await,
        None => remove_all(common, &client).await,
    };
    super::close(client).await;
    ended.map(|()| Exit::Done)
}

async fn remove_named(common: &Common, client: &Client, name: &str) -> Result<(), Failure> {
    // A wrong name is told apart from one that is not there, before anybody is asked.
    name.parse::<crate::protocol::SubscriptionName>().map_err(Error::from)?;
    loop {
        let there = super::in_time(common, client.subscriptions()).await?.subscriptions;
        let Some(report) = there.iter().find(|report| report.name.as_str() == name) else {
            return Err(not_there(common, name, &there));
        };
        match remove(common, client, report).await {
            // It has begun anew meanwhile, or somebody else was faster: what is there now is looked up again.
            Err(Error::Refused(fault)) if fault.is(Code::UnknownSubscription) => {}
            done => return tell(common, report, done).await,
        }
    }
}

async fn remove_all(common: &Common, client: &Client) -> Result<(), Failure> {
    let there = super::in_time(common, client.subscriptions()).await?.subscriptions;
    if there.is_empty() {
        say(&format!("client {:?} has no subscriptions", common.client));
    }
    for report in there {
        match remove(common, client, &report).await {
            // Somebody else was faster.
            Err(Error::Refused(fault)) if fault.is(Code::UnknownSubscription) => {}
            done => tell(common, &report, done).await?,
        }
    }
    Ok(())
}

async fn remove(common: &Common, client: &Client, report: &SubscriptionReport) -> Result<(), Error> {
    super::in_time(common, client.remove_subscription(report.name.clone(), report.incarnation)).await
}

async fn tell(common: &Common, report: &SubscriptionReport, removed: Result<(), Error>) -> Result<(), Failure> {
    removed?;
    if common.json {
        output::print_json(&json!({ "removed": report.name, "incarnation": report.incarnation })).await
    } else {
        output::print(format!("removed {}\n", report.name)).await
    }
}

fn not_there(common: &Common, name: &str, there: &[SubscriptionReport]) -> Failure {
    let client = &common.client;
    let names = || there.iter().map(|report| report.name.as_str());
    if there.is_empty() {
        return unknown_subscription(format!("client {client:?} has no subscriptions"))
            .with_next("check --client: nothing is left to remove for this one");
    }
    let list = names().collect::<Vec<_>>().join(", ");
    let failure = unknown_subscription(format!("client {client:?} has no subscription {name:?}; it has: {list}"));
    match words::nearest(name, names()) {
        Some(near) => failure.with_next(format!("did you mean {near:?}?")),
        None => failure,
    }
}
