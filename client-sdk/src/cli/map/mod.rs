//! `anyport map`: the Service Point Map as a table, once or as it changes, and how a client would choose by it.

mod explain;
mod table;

use std::time::Duration;

use serde_json::json;

use super::args::{Common, MapArgs, MapVerb};
use super::exit::{Exit, Failure};
use super::{output, tell};
use crate::map_view::{MapView, MapViewOptions};

/// For each broker that is asked.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Between two attempts to find a broker again.
const RETRY: Duration = Duration::from_millis(500);

pub(super) async fn run(common: &Common, args: MapArgs) -> Result<Exit, Failure> {
    match &args.verb {
        Some(MapVerb::Explain) => explain::run(common, &view_options(common, &args)).await,
        None if args.watch => watch(common, &args).await,
        None => {
            let view = MapView::open(&view_options(common, &args)).await?;
            show(common, &args, &view).await?;
            Ok(Exit::Done)
        }
    }
}

fn view_options(common: &Common, args: &MapArgs) -> MapViewOptions {
    MapViewOptions {
        servers: common.server.clone(),
        home: common.home(),
        timeout: TIMEOUT,
        zone: args.zone.clone(),
        service: args.service.clone(),
    }
}

/// Until it is interrupted. A broker that is lost is as good as any other.
async fn watch(common: &Common, args: &MapArgs) -> Result<Exit, Failure> {
    let mut options = view_options(common, args);
    let mut view = MapView::open(&options).await?;
    loop {
        show(common, args, &view).await?;
        // Whoever follows finds the others by what it follows.
        for point in view.map().points() {
            let address = point.host.address();
            if point.service.as_str() == crate::protocol::map::ServiceId::MAP && !options.servers.contains(&address) {
                options.servers.push(address);
            }
        }
        if let Err(error) = view.changed().await {
            let lost = view.server().to_owned();
            tell::note("reconnecting", &format!("{lost} is lost: {error}"), json!({ "server": lost }));
            // The one that was lost is tried last.
            options.servers.sort_by_key(|server| *server == lost);
            view = loop {
                match MapView::open(&options).await {
                    Ok(view) => break view,
                    Err(_) => tokio::time::sleep(RETRY).await,
                }
            };
        }
    }
}

async fn show(common: &Common, args: &MapArgs, view: &MapView) -> Result<(), Failure> {
    let is_wanted = |service: &str| args.service.as_ref().is_none_or(|wanted| wanted.as_str() == service);
    let points: Vec<_> = view.map().points().iter().filter(|point| is_wanted(point.service.as_str())).collect();
    if common.json {
        let rows: Vec<_> = points.iter().map(|point| table::as_json(point)).collect();
        return output::print_json(&json!({ "revision": view.map().revision, "server": view.server(), "rows": rows }))
            .await;
    }
    if points.is_empty() {
        tell::say(&format!("the map of {} has no such row", view.server()));
        return Ok(());
    }
    let head = format!("revision {} at {}\n", view.map().revision, view.server());
    output::print(head + &table::of(&points, view.server_time()) + if args.watch { "\n" } else { "" }).await
}
