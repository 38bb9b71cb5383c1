//! Brokers that are there and do nothing: their process is stopped, their connections say nothing and do not end.

use std::time::Duration;

use anyhow::{Context, Result};
use anyport_client::Start;
use anyport_loadtest::raw::RawClient;
use anyport_protocol::event::{Event, framed};
use anyport_protocol::message::publish::Published;
use anyport_protocol::message::{Register, StreamKind, ToClient};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::scene::{PATIENCE, Scene, authority, leads};

/// The producer of one event, beside those of the workload.
const STRAY: u32 = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_broker_is_counted_out_and_its_clients_are_served_elsewhere() -> Result<()> {
    let scene = Scene::set(3).await?;
    let number = scene.cluster.number_of(2).await?;
    let listener = scene.access_to(&[2, 0, 1]).listener("listener", Start::Latest).await?;
    let publishing = scene.publishing(&scene.access_to(&[2, 1, 0])).await?;
    publishing.acked_more(200).await?;

    scene.cluster.broker(2).freeze().await?;
    let frozen = Instant::now();
    publishing.acked_more(200).await?;
    assert!(frozen.elapsed() < Duration::from_secs(15), "it took {:?}", frozen.elapsed());
    let is_out = scene.cluster.status_until("without the frozen broker", |status| {
        status.broker(number).is_some_and(|record| record.away_for_ms.is_some()) && leads(status, number) == 0
    });
    is_out.await?;

    scene.cluster.broker(2).thaw().await?;
    scene.cluster.settle().await?;
    publishing.acked_more(200).await?;
    scene.end(publishing, vec![listener]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_refuses_publishes_within_seconds_and_still_replays() -> Result<()> {
    let scene = Scene::set(3).await?;
    let survivor = scene.access_to(&[0]);
    let away = survivor.listener("away", Start::Latest).await?;
    away.client.suspend().await?;
    scene.publish(&survivor, 500).await?;
    // Of the last events only their leaders know at first that they are committed.
    let begun = Instant::now();
    while scene.cluster.broker(0).metric("anyport_stored_events_total").await? < 500.0 {
        assert!(begun.elapsed() < PATIENCE, "it does not hear of what is committed");
    }
    // Whoever is not registered yet cannot become so, nor can anybody while the shards' leaders take their places.
    let raw = RawClient::connect_to(scene.cluster.broker(0).address(), &authority(&scene.cluster.home())?).await?;
    let mut control = raw.control().await?;
    while !matches!(control.ask(Register {}.into()).await?, ToClient::Registered(_)) {
        assert!(begun.elapsed() < PATIENCE, "nobody is registered");
        sleep(Duration::from_millis(50)).await;
    }
    let mut stream = raw.open(StreamKind::Publish).await?;
    let event = json!({"specversion": "1.0", "id": "stray", "source": "/minority", "type": "stray"});
    let mut run = Vec::new();
    framed::push(&mut run, &Event::from_json(event.to_string().as_bytes())?.encode());
    let stray = scene.oracle.published(STRAY, &event);
    for at in [1, 2] {
        scene.cluster.broker(at).freeze().await?;
    }
    let begun = Instant::now();
    match stream.publish(0, 0, run.into(), 1).await.context("publish at the minority")? {
        Published::Refused(fault) => assert!(fault.retry(), "{fault}"),
        other => panic!("a minority has stored it: {other:?}"),
    }
    assert!(begun.elapsed() < Duration::from_secs(8), "it took {:?}", begun.elapsed());
    // In the minority's log, where a majority may find it later, or drop it.
    scene.oracle.unknown(stray);

    away.client.resume().await?;
    let replayed = away.has_everything(PATIENCE).await;
    replayed.with_context(|| format!("replay needs no majority; the client is {:?}", away.client.status()))?;
    for at in [1, 2] {
        scene.cluster.broker(at).thaw().await?;
    }
    // Acks were kept, and are durable once there is a majority again.
    scene.judge(vec![away]).await?;
    scene.cluster.settle().await
}
