//! `anyport admin drain` and `remove`: what is asked of the cluster, and how far it has come.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::super::args::Common;
use super::super::exit::{Exit, Failure};
use super::super::output;
use super::super::tell::{note, say};
use super::args::{Drain, Remove};
use super::health::drain_told;
use crate::admin::Operator;
use crate::protocol::BrokerId;

const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn drain(common: &Common, options: Drain) -> Result<Exit, Failure> {
    let (operator, broker) = (options.reach.connect().await?, BrokerId(options.broker));
    operator.drain(broker, !options.undo).await?;
    let told = match (options.undo, options.wait) {
        (true, _) => format!("broker {broker} may have replicas again"),
        (false, true) => {
            until_drained(&operator, broker).await?;
            format!("broker {broker} is drained")
        }
        (false, false) => format!("broker {broker} is draining"),
    };
    if common.json {
        output::print_json(
            &json!({ "broker": broker, "draining": !options.undo, "drained": options.wait && !options.undo }),
        )
        .await?;
    } else {
        output::print(format!("{told}\n")).await?;
        match (options.undo, options.wait) {
            (true, _) => {}
            (false, true) => say("it stops by itself and is removed; started again, it would join as new"),
            (false, false) => say("next: anyport admin status says how far it has come"),
        }
    }
    Ok(Exit::Done)
}

/// Says each step of it. Ends with an error if somebody takes the wish back, or the broker is not there any more.
async fn until_drained(operator: &Operator, broker: BrokerId) -> Result<(), Failure> {
    let mut last = String::new();
    loop {
        let status = operator.status().await?;
        let Some(record) = status.broker(broker) else {
            let text = format!("broker {broker} was removed while it was draining");
            return Err(Failure::new(Exit::Failed, text, "look which there are: anyport admin status"));
        };
        if !record.draining {
            let text = format!("broker {broker} is not to be drained any more: somebody has taken it back");
            return Err(Failure::new(Exit::Failed, text, format!("anyport admin drain {broker}")));
        }
        if status.is_drained(broker) {
            return Ok(());
        }
        let told = drain_told(&status, record);
        if told != last {
            note("draining", &told, json!({ "replicas": status.replicas_of(broker), "leads": status.leads(broker) }));
            last = told;
        }
        sleep(LOOK_EVERY).await;
    }
}

pub(super) async fn remove(common: &Common, options: Remove) -> Result<Exit, Failure> {
    let broker = BrokerId(options.broker);
    options.reach.connect().await?.remove(broker).await?;
    if common.json {
        output::print_json(&json!({ "removed": broker })).await?;
    } else {
        output::print(format!("broker {broker} is given up for good; what it had is rebuilt elsewhere\n")).await?;
        say("its machine can join again as a new broker, with an empty data folder: anyport admin join-token DIR");
    }
    Ok(Exit::Done)
}
