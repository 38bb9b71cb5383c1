//! The Service Point Map in real clusters: what is on it, who hears of a change, and what clients do because of it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use anyport_client::protocol::map::{Map, ServiceId, ServicePoint, Sphere, SphereEpoch};
use anyport_client::{Client, ClientOptions, Start, Status};
use anyport_loadtest::drive::Attending;
use anyport_loadtest::runner::ClusterOptions;
use anyport_protocol::WallMs;
use tokio::time::{sleep, timeout};

use super::scene::{PATIENCE, Scene};

/// Where sessions can be had, by the map.
fn sessions(map: &Map) -> Vec<String> {
    map.of(ServiceId::SESSION, WallMs(0)).map(|point| point.host.address()).collect()
}

/// Waits until this holds of the client's map.
async fn map_until(client: &Client, what: &str, holds: impl Fn(&Map) -> bool) -> Result<Arc<Map>> {
    let mut changes = client.watch_map();
    let seen = async {
        loop {
            match client.map() {
                Some(map) if holds(&map) => return Ok(map),
                _ => drop(changes.next().await.context("the client has ended")?),
            }
        }
    };
    match timeout(PATIENCE, seen).await {
        Ok(map) => map,
        Err(_) => bail!("no map in time with {what}; the client has {:?}", client.map()),
    }
}

async fn until_at(client: &Client, server: &str) -> Result<()> {
    let arrived = async {
        while !matches!(client.status(), Status::Connected { server: at } if at == server) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, arrived).await.with_context(|| format!("never at {server} but {:?}", client.status()))
}

fn options(scene: &Scene, name: &str, servers: Vec<String>) -> ClientOptions {
    ClientOptions { servers, home: scene.cluster.home(), name: name.to_owned(), ..ClientOptions::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_come_onto_the_map_and_leave_it_and_every_client_hears_of_it() -> Result<()> {
    let mut scene = Scene::set(3).await?;
    let servers = scene.access().servers;
    let mut clients = Vec::new();
    for (at, server) in servers.iter().enumerate() {
        clients.push(Client::connect(options(&scene, &format!("at-{at}"), vec![server.clone()])).await?);
    }
    let mut first = Vec::new();
    for client in &clients {
        first.push(map_until(client, "three brokers", |map| sessions(map).len() == 3).await?);
    }
    // One that stops in good order is off the map before its clients look for another; and no restart begins an epoch.
    let at_the_stopped = clients.remove(2);
    let stopped = scene.cluster.broker_mut(2).terminate().await?;
    assert!(stopped.success(), "{stopped}");
    for client in &clients {
        map_until(client, "two brokers", |map| !sessions(map).contains(&servers[2])).await?;
    }
    scene.cluster.broker_mut(2).start_again().await?;
    for client in clients.iter().chain([&at_the_stopped]) {
        let map = map_until(client, "three again", |map| sessions(map).len() == 3).await?;
        assert!(map.points().iter().all(|point| point.sphere.epoch == SphereEpoch(0)), "a restart begins no epoch");
        assert!(map.revision > first[0].revision);
    }
    // One that is killed is off it when its lease ends; one that joins is on it.
    scene.cluster.remove(2).await?;
    let added = scene.cluster.add(&[]).await?;
    let newcomer = scene.cluster.broker(added).address().to_string();
    for client in &clients {
        let has = |map: &Map| !sessions(map).contains(&servers[2]) && sessions(map).contains(&newcomer);
        map_until(client, "the newcomer instead of the killed one", has).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_finds_a_broker_by_its_saved_map_when_every_server_it_was_given_is_gone() -> Result<()> {
    let mut scene = Scene::set(3).await?;
    let only = scene.access_to(&[0]).servers;
    let client = Client::connect(options(&scene, "phone", only.clone())).await?;
    map_until(&client, "three brokers", |map| sessions(map).len() == 3).await?;
    client.close().await?;
    scene.cluster.remove(0).await?;
    let client = Client::connect(options(&scene, "phone", only.clone())).await?;
    let Status::Connected { server } = client.status() else { bail!("{:?}", client.status()) };
    assert_ne!(server, only[0]);
    // Whoever has no map of this cluster has nothing but what it is given.
    let brief = ClientOptions { connect_timeout: Duration::from_secs(3), ..options(&scene, "stranger", only) };
    assert!(Client::connect(brief).await.is_err());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_do_what_a_new_epoch_says_and_lose_nothing() -> Result<()> {
    let scene = Scene::set(3).await?;
    let access = scene.access_to(&[0]);
    let listeners = [access.listener("one", Start::Latest).await?, access.listener("two", Start::Latest).await?];
    for listener in &listeners {
        map_until(&listener.client, "three brokers", |map| sessions(map).len() == 3).await?;
    }
    let publishing = scene.publishing(&scene.access_to(&[1])).await?;
    publishing.acked_more(100).await?;
    let goal = scene.access_to(&[2]).servers.remove(0);
    let commands = ["refetch".to_owned(), "wait=200".to_owned(), format!("move-to={goal}"), "resubscribe".to_owned()];
    let mut words = vec!["map", "epoch", "session"];
    words.extend(commands.iter().map(String::as_str));
    scene.cluster.operate(&words).await?;
    for listener in &listeners {
        until_at(&listener.client, &goal).await?;
    }
    publishing.acked_more(100).await?;
    scene.end(publishing, listeners.into()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_say_what_of_the_map_clients_are_told_and_how_they_choose() -> Result<()> {
    let scene = Scene::set(3).await?;
    let client = Client::connect(options(&scene, "phone", scene.access().servers)).await?;
    map_until(&client, "three brokers", |map| sessions(map).len() == 3).await?;
    scene.cluster.operate(&["map", "select", "least-loaded=1"]).await?;
    map_until(&client, "one of each", |map| sessions(map).len() == 1).await?;
    scene.cluster.operate(&["map", "select", "full"]).await?;
    scene.cluster.operate(&["map", "policy", "session", "sticky"]).await?;
    scene.cluster.operate(&["map", "by-shard", "session"]).await?;
    let map = map_until(&client, "shards", |map| {
        sessions(map).len() == 3 && map.of(ServiceId::SESSION, WallMs(0)).all(|point| point.bucket.is_some())
    });
    let map = map.await?;
    let best = map.of(ServiceId::SESSION, WallMs(0)).find(|point| {
        point.bucket.as_ref().is_some_and(|bucket| bucket.prefers(client.id())) && point.policy.to_string() == "sticky"
    });
    let best = best.context("somebody is to lead its shard")?.host.address();
    client.close().await?;
    // The next process begins by the map that this one has saved.
    let client = Client::connect(options(&scene, "phone", scene.access().servers)).await?;
    until_at(&client, &best).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_advertised_at_one_broker_is_seen_at_all_until_its_lease_is_over() -> Result<()> {
    const LEASE: Duration = Duration::from_secs(5);
    let scene = Scene::set(3).await?;
    let weather = Client::connect(options(&scene, "weather", scene.access_to(&[0]).servers)).await?;
    let watcher = Client::connect(options(&scene, "watcher", scene.access_to(&[2]).servers)).await?;
    let sphere = Sphere { provider: "weather".parse()?, epoch: SphereEpoch(1) };
    let point = ServicePoint {
        data: "hourly".into(),
        ..ServicePoint::new("forecast".parse()?, sphere, "w.example:80".parse()?)
    };
    weather.advertise(point.clone(), LEASE).await?;
    let is_on = |map: &Map| map.points().contains(&point);
    map_until(&watcher, "the forecast", is_on).await?;
    weather.withdraw(point.key()).await?;
    map_until(&watcher, "no forecast", |map| !is_on(map)).await?;
    weather.advertise(point.clone(), LEASE).await?;
    map_until(&watcher, "the forecast", is_on).await?;
    drop(weather);
    map_until(&watcher, "no forecast, because nobody advertises it any more", |map| !is_on(map)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_shared_with_a_broker_that_joins_and_leaves_one_that_is_drained() -> Result<()> {
    const CLIENTS: usize = 24;
    // So that one client is a percent of what a broker takes.
    let room = ["--connections-max", "100"];
    let mut scene = Scene::set_with(ClusterOptions::of(1).with(&room)).await?;
    let access = scene.access();
    let mut listeners = Vec::new();
    for nth in 0..CLIENTS {
        listeners.push(access.listener(&format!("phone-{nth}"), Start::Latest).await?);
    }
    let publishing = scene.publishing(&access).await?;
    let added = scene.cluster.add(&[]).await?;
    let newcomer = scene.cluster.broker(added).address().to_string();
    let at = |listeners: &[Attending], server: &str| {
        let is_there = |attending: &&Attending| matches!(attending.client.status(), Status::Connected { server: at } if at == server);
        listeners.iter().filter(is_there).count()
    };
    let share = CLIENTS / 2 - 3;
    let shared = async {
        while at(&listeners, &newcomer) < share {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, shared).await.with_context(|| format!("{} are at the newcomer", at(&listeners, &newcomer)))?;
    publishing.acked_more(100).await?;
    // Nobody is sent back and forth.
    sleep(Duration::from_secs(6)).await;
    let settled = at(&listeners, &newcomer);
    assert!((share..=CLIENTS / 2 + 3).contains(&settled), "{settled} of {CLIENTS} are at the newcomer");
    let number = scene.cluster.number_of(added).await?;
    scene.cluster.operate(&["drain", &number.0.to_string()]).await?;
    let drained = async {
        while at(&listeners, &access.servers[0]) < CLIENTS {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, drained).await.context("somebody stays at the broker that is drained")?;
    publishing.acked_more(100).await?;
    scene.end(publishing, listeners).await
}
