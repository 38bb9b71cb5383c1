//! Leaders that are killed while their partitions are written.

use std::time::Duration;

use anyhow::{Context, Result};
use anyport_client::Start;
use tokio::time::Instant;

use super::scene::{Scene, leader_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_leader_is_killed_another_takes_over_and_nothing_acked_is_lost() -> Result<()> {
    let mut scene = Scene::set(3).await?;
    let status = scene.cluster.status().await?;
    let number = leader_of(&status, 0).context("partition 0 has a leader")?;
    let leader = scene.cluster.place_of(&status, number).context("it is one of ours")?;
    let others: Vec<_> = (0..3).filter(|at| *at != leader).collect();
    let listener = scene.access_to(&others).listener("listener", Start::Latest).await?;
    let publishing = scene.publishing(&scene.access_to(&others)).await?;
    publishing.acked_more(200).await?;

    scene.cluster.broker_mut(leader).kill().await?;
    let killed = Instant::now();
    let elected = scene.cluster.status_until("led by others", |status| {
        status.groups.iter().all(|group| group.leader.is_some_and(|leader| leader != number))
    });
    elected.await?;
    // An election takes a second and a half; the rest is for a busy machine.
    assert!(killed.elapsed() < Duration::from_secs(10), "it took {:?}", killed.elapsed());
    publishing.acked_more(400).await?;

    scene.cluster.broker_mut(leader).start_again().await?;
    scene.cluster.settle().await?;
    publishing.acked_more(200).await?;
    scene.end(publishing, vec![listener]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_killed_and_started_again_lose_nothing() -> Result<()> {
    let mut scene = Scene::set(3).await?;
    let listener = scene.access_to(&[2]).listener("listener", Start::Latest).await?;
    let publishing = scene.publishing(&scene.access_to(&[2])).await?;
    publishing.acked_more(200).await?;
    for at in [0, 1] {
        scene.cluster.broker_mut(at).kill().await?;
    }
    for at in [0, 1] {
        scene.cluster.broker_mut(at).start_again().await?;
    }
    publishing.acked_more(200).await?;
    scene.cluster.settle().await?;
    scene.end(publishing, vec![listener]).await
}
