//! The clients of the story, and what each of them asks for.

use std::time::Duration;

use anyhow::Result;
use anyport_client::Start;
use serde_json::Value;

use super::brokers::{A, B, Brokers, C};
use crate::drive::{Access, Attending};

pub struct Actor {
    pub name: &'static str,
    pub filter: &'static str,
    /// The same filter in Rust, for the oracle: written apart, so that the two check each other.
    matches: fn(&Value) -> bool,
    /// The brokers that it knows, in the order in which it tries them.
    brokers: [usize; 3],
}

const PHONE: usize = 0;

pub const ACTORS: [Actor; 3] = [
    Actor {
        name: "phone",
        filter: "type = 'gov.usgs.quake' AND data.mag >= 4.5",
        matches: |event| {
            event["type"] == "gov.usgs.quake" && event["data"]["mag"].as_f64().is_some_and(|mag| mag >= 4.5)
        },
        brokers: [A, B, C],
    },
    Actor {
        name: "alaska",
        filter: "subject = 'Alaska' AND data.depth_km > 50",
        matches: |event| event["subject"] == "Alaska" && event["data"]["depth_km"].as_f64().is_some_and(|km| km > 50.0),
        brokers: [B, C, A],
    },
    Actor { name: "archive", filter: "EXISTS id", matches: |_| true, brokers: [C, A, B] },
];

/// All of them, connected and subscribed.
pub struct Cast(Vec<Attending>);

impl Cast {
    pub async fn enter(access: &Access, brokers: &Brokers) -> Result<Self> {
        let mut cast = Vec::new();
        for actor in &ACTORS {
            let access = Access { servers: brokers.servers(&actor.brokers), ..access.clone() };
            let filter = access.oracle.filter(actor.matches);
            cast.push(access.filtered_listener(actor.name, Start::Latest, actor.filter, filter).await?);
        }
        Ok(Self(cast))
    }

    /// In the order of [`ACTORS`].
    pub fn all(&self) -> impl Iterator<Item = &Attending> {
        self.0.iter()
    }

    pub fn phone(&self) -> &Attending {
        &self.0[PHONE]
    }

    pub async fn leave(self, patience: Duration) -> Result<()> {
        for attending in self.0 {
            // What is outstanding after this is what the verdict calls lost.
            if let Err(error) = attending.has_everything(patience).await {
                tracing::error!("{error:#}");
            }
            attending.leave().await?;
        }
        Ok(())
    }
}
