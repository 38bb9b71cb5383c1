//! `anyport advertise`: somebody's service is on the map for as long as the command runs.

use std::time::Duration;

use serde_json::json;

use super::args::{Advertise, Common};
use super::exit::{Exit, Failure};
use super::interrupt::Interrupt;
use super::tell;
use crate::Client;
use crate::protocol::map::{ServicePoint, Sphere, SphereEpoch};

/// Said again so often in the time of a lease that it outlives a broker that is lost.
const PER_LEASE: u32 = 3;

/// How long it is tried to take the row off the map at the end. It leaves by itself, too.
const WITHDRAW: Duration = Duration::from_secs(2);

pub(super) async fn run(common: &Common, args: Advertise, interrupt: &mut Interrupt) -> Result<Exit, Failure> {
    let client = match super::connect_to_work(common, interrupt).await? {
        Ok(client) => client,
        Err(exit) => return Ok(exit),
    };
    let (lease, point) = (Duration::from_secs(args.lease.get()), point(&client, args));
    client.advertise(point.clone(), lease).await?;
    let (service, place) = (point.service.to_string(), point.host.to_string());
    let text = format!("{service} at {place} is on the map; Ctrl-C takes it off");
    tell::note("advertised", &text, json!({ "service": service, "address": place }));
    let exit = loop {
        tokio::select! {
            exit = interrupt.wait() => break exit,
            () = tokio::time::sleep(lease / PER_LEASE) => {}
        }
        tokio::select! {
            exit = interrupt.wait() => break exit,
            said = client.advertise(point.clone(), lease) => said?,
        }
    };
    let _ = tokio::time::timeout(WITHDRAW, client.withdraw(point.key())).await;
    super::close(client).await;
    Ok(exit)
}

fn point(client: &Client, args: Advertise) -> ServicePoint {
    let own = || client.id().to_string().parse().expect("the text of an id is a good name");
    let sphere = Sphere { provider: args.provider.unwrap_or_else(own), epoch: SphereEpoch(args.epoch) };
    ServicePoint {
        version: args.service_version,
        zone: args.zone.unwrap_or_default(),
        weight: args.weight,
        data: args.data.unwrap_or_default(),
        backups: args.backup,
        policy: args.policy,
        ..ServicePoint::new(args.service, sphere, args.address)
    }
}
