use std::time::Duration;

use anyhow::{Context, Result};
use anyport_client::{Start, Status};
use anyport_loadtest::runner::ClusterOptions;
use tokio::time::{Instant, sleep};

use super::namespaces::{Network, with_network};
use crate::scene::{PATIENCE, Scene, leads};

async fn scene(network: &Network) -> Result<Scene> {
    Scene::set_with(ClusterOptions { places: network.places(), ..ClusterOptions::of(0) }).await
}

#[test]
fn a_broker_split_from_the_other_two_stores_nothing_and_its_producers_go_to_them() -> Result<()> {
    with_network(3, |network| async move {
        let scene = scene(&network).await?;
        let listener = scene.access_to(&[1, 2]).listener("listener", Start::Latest).await?;
        let at_the_minority = scene.access_to(&[0, 1, 2]).listener("at-the-minority", Start::Latest).await?;
        let publishing = scene.publishing(&scene.access_to(&[0, 1, 2])).await?;
        publishing.acked_more(400).await?;

        network.split(&[0], &[1, 2])?;
        let split = Instant::now();
        publishing.acked_more(400).await?;
        // An election, the patience of a publisher with a broker that takes nothing, and what a busy machine adds.
        assert!(split.elapsed() < Duration::from_secs(25), "it took {:?}", split.elapsed());
        let number = scene.cluster.number_of(0).await?;
        let is_out = scene.cluster.status_until("led by the majority", |status| leads(status, number) == 0);
        is_out.await?;

        network.heal()?;
        scene.cluster.settle().await?;
        publishing.acked_more(200).await?;
        scene.end(publishing, vec![listener, at_the_minority]).await
    })
}

#[test]
fn one_direction_cut_stops_nobody_for_long() -> Result<()> {
    with_network(3, |network| async move {
        let scene = scene(&network).await?;
        let listener = scene.access_to(&[0, 1, 2]).listener("listener", Start::Latest).await?;
        let publishing = scene.publishing(&scene.access_to(&[1, 2, 0])).await?;
        publishing.acked_more(200).await?;
        network.cut(0, 1)?;
        let cut = Instant::now();
        publishing.acked_more(400).await?;
        assert!(cut.elapsed() < Duration::from_secs(25), "it took {:?}", cut.elapsed());
        network.heal()?;
        scene.cluster.settle().await?;
        publishing.acked_more(200).await?;
        scene.end(publishing, vec![listener]).await
    })
}

#[test]
fn a_line_that_comes_and_goes_moves_no_client_and_loses_nothing() -> Result<()> {
    with_network(3, |network| async move {
        let scene = scene(&network).await?;
        let listener = scene.access_to(&[1]).listener("listener", Start::Latest).await?;
        let publishing = scene.publishing(&scene.access_to(&[1])).await?;
        publishing.acked_more(200).await?;
        for _ in 0..10 {
            network.split(&[0], &[1, 2])?;
            sleep(Duration::from_millis(400)).await;
            network.heal()?;
            sleep(Duration::from_millis(400)).await;
        }
        publishing.acked_more(400).await?;
        assert!(matches!(listener.client.status(), Status::Connected { .. }));
        scene.cluster.settle().await?;
        listener.has_everything(PATIENCE).await.context("after the last cut")?;
        scene.end(publishing, vec![listener]).await
    })
}
