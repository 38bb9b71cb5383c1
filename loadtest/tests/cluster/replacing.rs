//! Brokers that are lost or replaced, one after the other, until none of the first is left; and one that is emptied first.

use anyhow::Result;
use anyport_client::Start;
use anyport_client::admin::picture;
use anyport_loadtest::runner::ClusterOptions;

use super::scene::{Scene, leads};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_was_away_while_every_broker_was_replaced_gets_what_it_missed() -> Result<()> {
    const BROKERS: usize = 5;
    const LOST: usize = 2;
    let mut scene = Scene::set_with(ClusterOptions::of(BROKERS).with(&["--replace-after", "5s"])).await?;
    let away = scene.access().listener("away", Start::Latest).await?;
    // The one broker that it will not find again is the only one it was at; it is told the new addresses as a person would.
    away.client.suspend().await?;
    let publishing = scene.publishing(&scene.access()).await?;
    publishing.acked_more(200).await?;
    let report = publishing.end().await?;
    assert_eq!((report.unknown, report.refused), (0, 0));

    // Nobody comes in their place, and nobody is told: the others make the lost copies good.
    for lost in 0..LOST {
        scene.cluster.remove(lost).await?;
        scene.cluster.settle().await?;
    }
    for old in LOST..BROKERS {
        scene.cluster.add(&[]).await?;
        let number = scene.cluster.number_of(old).await?;
        scene.cluster.remove(old).await?;
        give_up(&scene, number.0).await?;
        scene.cluster.settle().await?;
    }
    away.client.move_to(scene.access().servers[0].as_str()).await?;
    away.client.resume().await?;
    scene.judge(vec![away]).await?;
    let log = scene.access().log().await?;
    log.assert_dense_and_unique();
    assert_eq!(log.len() as u64, report.acked, "none of the brokers that acked it is there any more");
    Ok(())
}

/// Gives up a broker that was killed, as soon as the cluster has noticed that it is away.
async fn give_up(scene: &Scene, number: u32) -> Result<()> {
    let is_away = scene.cluster.status_until("aware of the loss", |status| {
        status.broker(anyport_protocol::BrokerId(number)).is_none_or(|record| record.away_for_ms.is_some())
    });
    is_away.await?;
    scene.cluster.operate(&["remove", &number.to_string()]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_drained_first_is_stopped_without_a_copy_being_missed() -> Result<()> {
    let mut scene = Scene::set(4).await?;
    let listener = scene.access_to(&[0, 1, 2, 3]).listener("listener", Start::Latest).await?;
    let publishing = scene.publishing(&scene.access_to(&[0, 1, 2, 3])).await?;
    publishing.acked_more(200).await?;
    let number = scene.cluster.number_of(0).await?;
    scene.cluster.operate(&["drain", &number.0.to_string()]).await?;
    let emptied =
        scene.cluster.status_until("drained", |status| status.is_drained(number) && leads(status, number) == 0);
    let status = emptied.await?;
    assert!(status.groups.iter().all(|group| !group.is_under_replicated()), "{}", picture(&status));
    let stopped = scene.cluster.broker_mut(0).terminate().await?;
    assert!(stopped.success(), "{stopped}");
    publishing.acked_more(200).await?;
    scene.cluster.remove(0).await?;
    scene.end(publishing, vec![listener]).await
}
