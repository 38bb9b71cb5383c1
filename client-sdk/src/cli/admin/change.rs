//! `anyport admin drain` and `remove`: what is asked of the cluster, and what it comes to.

use serde_json::json;

use super::super::args::Common;
use super::super::exit::{Exit, Failure};
use super::super::output;
use super::super::tell::say;
use super::args::{Drain, Remove};
use super::draining::{drain_and_wait, warn};
use crate::protocol::BrokerId;

pub(super) async fn drain(common: &Common, options: Drain) -> Result<Exit, Failure> {
    let broker = BrokerId(options.broker);
    if options.wait {
        drain_and_wait(&options.reach, broker).await?;
    } else {
        let operator = options.reach.connect().await?;
        operator.drain(broker, !options.undo).await?;
        // One that is empty already may have ended by now.
        if !options.undo
            && let Ok(status) = operator.status().await
        {
            warn(&status, broker);
        }
    }
    let told = match (options.undo, options.wait) {
        (true, _) => format!("broker {broker} may have replicas again"),
        (false, true) => format!("broker {broker} is drained"),
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

pub(super) async fn remove(common: &Common, options: Remove) -> Result<Exit, Failure> {
    let broker = BrokerId(options.broker);
    options.reach.connect().await?.remove(broker).await?;
    if common.json {
        output::print_json(&json!({ "removed": broker })).await?;
    } else {
        output::print(format!("broker {broker} is given up for good; what it had is rebuilt elsewhere\n")).await?;
        say(&format!(
            "started again it joins as new, with the token it has; its old store is then in lost-broker-{broker} of its data folder"
        ));
    }
    Ok(Exit::Done)
}
