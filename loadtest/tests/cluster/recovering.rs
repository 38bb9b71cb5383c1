//! A majority that is lost for good, and the operator who goes on without it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anyport_client::{Client, Notice, PublisherOptions, Start, SubscribeOptions, Subscription};
use anyport_loadtest::drive::{Ongoing, Pace};
use anyport_loadtest::workload::Synthetic;
use anyport_protocol::event::{EncodedEvent, Event};
use anyport_protocol::message::admin::ClusterStatus;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::scene::{PATIENCE, Scene};

/// The one copy that is left leads everything, as far as anybody is left to vote.
fn goes_on(status: &ClusterStatus) -> bool {
    status.groups.iter().all(|group| group.leader.is_some() && group.voters().count() == 1)
}

/// Kills two of three for good. What the last one has by then is all that is left.
async fn lose_two(scene: &mut Scene) -> Result<()> {
    for at in [1, 2] {
        scene.cluster.remove(at).await?;
    }
    Ok(())
}

async fn recover(scene: &Scene) -> Result<()> {
    scene.cluster.operate(&["recover", "--yes"]).await?;
    scene.cluster.status_until("going on from what is left", goes_on).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_are_lost_for_good_and_the_third_goes_on_and_is_three_again() -> Result<()> {
    let mut scene = Scene::set(3).await?;
    let survivor = scene.access_to(&[0]);
    let listener = survivor.listener("listener", Start::Latest).await?;
    scene.publish(&survivor, 500).await?;
    has(&scene, 500).await?;
    lose_two(&mut scene).await?;

    let (plan, _) = scene.cluster.operate(&["recover", "--json"]).await?;
    ensure!(plan.contains("\"may_lose\":\"events from "), "without --yes the plan is shown: {plan}");
    recover(&scene).await?;
    let events = Synthetic::new(scene.seed.part(1), 256, 200);
    let pace = Pace::PerSecond(200.0);
    let publishing = Ongoing::begin_at(&survivor, events, pace, PublisherOptions::default()).await?;
    publishing.acked_more(200).await?;
    for _ in 0..2 {
        scene.cluster.add(&[]).await?;
    }
    scene.cluster.settle().await?;
    publishing.acked_more(200).await?;
    let report = publishing.end().await?;
    assert_eq!((report.unknown, report.refused), (0, 0));
    scene.judge(vec![listener]).await
}

/// Waits until the one that will be left has so many events.
async fn has(scene: &Scene, events: u32) -> Result<()> {
    let begun = Instant::now();
    while scene.cluster.broker(0).metric("anyport_stored_events_total").await? < f64::from(events) {
        ensure!(begun.elapsed() < PATIENCE, "the survivor does not hear of what is committed");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Positions in a lost end are told from those of today, which are of other events.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_had_come_further_than_what_is_left_is_told_so_and_misses_nothing_that_comes_later() -> Result<()> {
    let mut scene = Scene::set(3).await?;
    let client = scene.access_to(&[1, 2, 0]).client("reader").await?;
    let mut subscription =
        client.subscribe(SubscribeOptions { start: Start::Latest, ..SubscribeOptions::new("all", "") }).await?;
    publish(&scene.access_to(&[0, 1, 2]).client("first").await?, "kept", 0..100).await?;
    take(&mut subscription, 100).await?;
    has(&scene, 100).await?;

    // What comes now the last broker never sees.
    scene.cluster.broker(0).freeze().await?;
    publish(&scene.access_to(&[1, 2]).client("second").await?, "lost", 0..100).await?;
    take(&mut subscription, 100).await?;
    subscription.acked().await?;
    client.suspend().await?;
    lose_two(&mut scene).await?;
    scene.cluster.broker(0).thaw().await?;
    recover(&scene).await?;

    // As many as were lost, so that the offsets come to be used again.
    publish(&scene.access().client("third").await?, "new", 0..100).await?;
    client.move_to(scene.access().servers[0].as_str()).await?;
    client.resume().await?;
    let (mut lost, mut new) = (0, 0);
    let deadline = Instant::now() + PATIENCE;
    while new < 100 {
        ensure!(Instant::now() < deadline, "{new} of 100 new events came, {lost} were told lost");
        let batch = subscription.next_batch(1000, Duration::from_millis(100)).await.context("it goes on")?;
        subscription.ack_batch(&batch.deliveries);
        for delivery in &batch.deliveries {
            let mut json = Vec::new();
            EncodedEvent::check(&delivery.event)?.to_json(&mut json);
            let event: Value = serde_json::from_slice(&json)?;
            ensure!(event["type"] == "new", "an event of before comes again: {event}");
            new += 1;
        }
        for notice in &batch.notices {
            if let Notice::Gap { range, .. } = notice {
                lost += range.len();
            }
        }
    }
    assert_eq!((lost, new), (100, 100), "each of the lost is told of, and each of the new comes once");
    client.close().await?;
    Ok(())
}

/// Some groups have lost a majority, some every copy, some neither; of the metadata two of five are left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_of_five_are_lost_for_good_and_what_is_left_goes_on() -> Result<()> {
    let mut scene = Scene::set(5).await?;
    let left = scene.access_to(&[0, 1]);
    publish(&left.client("before").await?, "before", 0..200).await?;
    for at in [2, 3, 4] {
        scene.cluster.remove(at).await?;
    }
    recover(&scene).await?;

    let client = left.client("after").await?;
    let mut subscription =
        client.subscribe(SubscribeOptions { start: Start::Latest, ..SubscribeOptions::new("all", "") }).await?;
    publish(&left.client("producer").await?, "after", 0..200).await?;
    take(&mut subscription, 200).await?;
    scene.cluster.add(&[]).await?;
    scene.cluster.settle().await?;
    client.close().await?;
    Ok(())
}

/// Over several partitions.
async fn publish(client: &Client, ty: &str, numbers: std::ops::Range<u32>) -> Result<()> {
    let publisher = client.publisher(PublisherOptions::default());
    for number in numbers {
        let event = Event::builder(format!("{ty}-{number}"), "/recovering", ty).subject(format!("s{}", number % 20));
        drop(publisher.publish(&event.build()?).await?);
    }
    publisher.flush().await?;
    client.close().await?;
    Ok(())
}

async fn take(subscription: &mut Subscription, count: usize) -> Result<()> {
    let (mut taken, deadline) = (0, Instant::now() + PATIENCE);
    while taken < count {
        ensure!(Instant::now() < deadline, "{taken} of {count} came");
        let batch = subscription.next_batch(count - taken, Duration::from_millis(100)).await.context("it goes on")?;
        subscription.ack_batch(&batch.deliveries);
        taken += batch.deliveries.len();
    }
    Ok(())
}
