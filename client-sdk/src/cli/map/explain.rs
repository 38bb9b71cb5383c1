//! `anyport map explain`: which broker this client would pick now, and why.

use std::time::{Duration, Instant};

use futures_core::future::BoxFuture;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::cli::args::Common;
use crate::cli::exit::{Exit, Failure};
use crate::cli::{output, words};
use crate::director::{Director, DirectorOptions, Explained};
use crate::home::Home;
use crate::map_view::{MapView, MapViewOptions};
use crate::probe::{ProbeOptions, probe};
use crate::protocol::map::ServiceId;
use crate::{ClientOptions, Error};

use super::table::percent;

/// Whoever takes longer is not measured.
const MEASURE: Duration = Duration::from_secs(2);

const TITLES: [&str; 6] = ["PLACE", "ZONE", "LOAD", "WEIGHT", "ROUND TRIP", "WHY"];

pub(super) async fn run(common: &Common, options: &MapViewOptions) -> Result<Exit, Failure> {
    let view = MapView::open(options).await?;
    let identity = Home::new(common.home(), &common.client)?.load_identity()?;
    let zone = options.zone.clone().or_else(|| ClientOptions::from_env().zone);
    let wish = DirectorOptions { seeds: common.server.clone(), client: identity.map(|identity| identity.client), zone };
    let mut director = Director::new(wish, rand::random()).ok_or(Error::NoServer)?;
    director.handle_map(view.map().clone(), view.server_time(), Instant::now());
    let places = view.map().of(ServiceId::SESSION, view.server_time()).map(|point| point.host.address());
    for (server, took) in measure(common, places).await {
        director.handle_answer_of(&server, took, Instant::now());
    }
    let explained = director.explain(Instant::now());
    if common.json {
        let lines = explained.iter().map(|one| format!("{}\n", as_json(one)));
        output::print(lines.collect::<String>()).await?;
    } else {
        output::print(table(&explained)).await?;
    }
    Ok(Exit::Done)
}

/// Round trips to those that answer, all at once.
async fn measure(common: &Common, places: impl Iterator<Item = String>) -> Vec<(String, Duration)> {
    let ask = |server: String| -> BoxFuture<'static, Option<(String, Duration)>> {
        let (home, name) = (common.home(), common.client.clone());
        Box::pin(async move {
            let options = ProbeOptions { server: server.clone(), home, name, timeout: MEASURE };
            probe(options).await.ok().map(|report| (server, report.round_trip))
        })
    };
    let asked: JoinSet<_> = places.map(ask).collect();
    asked.join_all().await.into_iter().flatten().collect()
}

fn table(explained: &[Explained]) -> String {
    let none = || "-".to_owned();
    let row = |one: &Explained| {
        [
            one.address.clone(),
            one.zone.clone().filter(|zone| !zone.is_empty()).unwrap_or_else(none),
            one.load.map_or_else(none, percent),
            one.weight.map_or_else(none, |weight| weight.to_string()),
            one.round_trip.map_or_else(none, words::millis),
            one.reason.clone(),
        ]
    };
    let rows: Vec<_> = std::iter::once(TITLES.map(str::to_owned)).chain(explained.iter().map(row)).collect();
    words::table(&rows)
}

/// Its members are a promise to scripts: see docs/cli.md.
fn as_json(one: &Explained) -> Value {
    json!({
        "address": one.address,
        "zone": one.zone,
        "load": one.load,
        "weight": one.weight,
        "round_trip_ms": one.round_trip.map(|took| took.as_secs_f64() * 1e3),
        "failures": one.failures,
        "left_alone_secs": one.left_alone.map(|alone| alone.as_secs_f64()),
        "reason": one.reason,
    })
}
