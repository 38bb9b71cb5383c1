//! `anyport admin map`: how clients see the services of the brokers.

use serde_json::json;

use super::super::args::Common;
use super::super::exit::{Exit, Failure};
use super::super::output;
use super::args::{AdminMap, AdminMapVerb, Reach};
use crate::protocol::map::ServiceId;
use crate::protocol::message::admin::ShapeQuestion;

pub(super) async fn run(common: &Common, options: AdminMap) -> Result<Exit, Failure> {
    let (reach, question, told) = match options.verb {
        AdminMapVerb::Select { selection, reach } => {
            reach.connect().await?.select(selection).await?;
            return tell(common, &format!("clients are told: {selection}")).await;
        }
        AdminMapVerb::Policy { service, policy, reach } => {
            let told = format!("clients of {service} choose by {policy}");
            (reach, ShapeQuestion { policy: Some(policy), ..nothing(service) }, told)
        }
        AdminMapVerb::ByShard { service, off, reach } => {
            let told = match off {
                true => format!("clients of {service} prefer no broker for their shard"),
                false => format!("clients of {service} prefer the broker that leads their shard"),
            };
            (reach, ShapeQuestion { by_shard: Some(!off), ..nothing(service) }, told)
        }
        AdminMapVerb::Epoch { service, commands, reach } => {
            let steps: Vec<_> = commands.iter().map(ToString::to_string).collect();
            let told = format!("a new epoch of {service} has begun; clients: {}", steps.join(", then "));
            (reach, ShapeQuestion { new_epoch: Some(commands), ..nothing(service) }, told)
        }
    };
    shape(&reach, question).await?;
    tell(common, &told).await
}

fn nothing(service: ServiceId) -> ShapeQuestion {
    ShapeQuestion { service, policy: None, by_shard: None, new_epoch: None }
}

async fn shape(reach: &Reach, question: ShapeQuestion) -> Result<(), Failure> {
    Ok(reach.connect().await?.shape(question).await?)
}

async fn tell(common: &Common, told: &str) -> Result<Exit, Failure> {
    if common.json {
        output::print_json(&json!({ "done": told })).await?;
    } else {
        output::print(format!("{told}\n")).await?;
    }
    Ok(Exit::Done)
}
