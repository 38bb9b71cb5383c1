//! Clients that change brokers, by wish and because theirs is gone for good.

use std::time::Duration;

use anyhow::Result;
use anyport_client::Start;
use tokio::time::{Instant, sleep};

use super::scene::{PATIENCE, Scene};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_from_broker_to_broker_gets_everything_once_and_in_order() -> Result<()> {
    let scene = Scene::set(3).await?;
    let access = scene.access();
    let roamer = access.listener("roamer", Start::Latest).await?;
    let publishing = scene.publishing(&access).await?;
    for round in 0..9 {
        publishing.acked_more(100).await?;
        roamer.client.move_to(access.servers[(round + 1) % 3].as_str()).await?;
    }
    publishing.acked_more(100).await?;
    scene.end(publishing, vec![roamer]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_broker_is_gone_for_good_goes_on_at_another_with_what_it_missed() -> Result<()> {
    let mut scene = Scene::set(3).await?;
    let phone = scene.access().listener("phone", Start::Latest).await?;
    let publishing = scene.publishing(&scene.access_to(&[1, 2])).await?;
    publishing.acked_more(200).await?;
    // Away, so that there is something to miss.
    phone.client.suspend().await?;
    scene.cluster.remove(0).await?;
    publishing.acked_more(200).await?;
    let begun = Instant::now();
    phone.client.resume().await?;
    assert!(begun.elapsed() < Duration::from_secs(10), "the other two are there: {:?}", begun.elapsed());
    publishing.acked_more(200).await?;
    scene.end(publishing, vec![phone]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_killed_broker_are_served_elsewhere_within_seconds() -> Result<()> {
    let mut scene = Scene::set(3).await?;
    let listener = scene.access_to(&[0, 1, 2]).listener("listener", Start::Latest).await?;
    let publishing = scene.publishing(&scene.access_to(&[1, 2])).await?;
    publishing.acked_more(200).await?;
    scene.cluster.broker_mut(0).kill().await?;
    let killed = Instant::now();
    let had = listener.listener.progress.resumed();
    while listener.listener.progress.resumed() == had {
        assert!(killed.elapsed() < PATIENCE, "no session elsewhere");
        sleep(Duration::from_millis(20)).await;
    }
    // At most six until it is noticed; the rest is for a busy machine.
    assert!(killed.elapsed() < Duration::from_secs(12), "it took {:?}", killed.elapsed());
    scene.cluster.broker_mut(0).start_again().await?;
    scene.cluster.settle().await?;
    scene.end(publishing, vec![listener]).await
}
