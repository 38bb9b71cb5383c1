//! A broker without copies, near its clients.

use anyhow::{Context, Result};
use anyport_client::Start;
use anyport_client::admin::picture;

use super::scene::{PATIENCE, Scene};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_an_edge_clients_publish_follow_and_replay_and_it_can_be_thrown_away() -> Result<()> {
    let mut scene = Scene::set(3).await?;
    let edge = scene.cluster.add(&["--edge"]).await?;
    let number = scene.cluster.number_of(edge).await?;
    let status = scene.cluster.status().await?;
    assert!(status.broker(number).context("it has joined")?.edge);
    assert!(status.is_drained(number), "it has no copies: {}", picture(&status));

    let through = scene.access_to(&[edge, 0, 1, 2]);
    let mut listeners =
        vec![through.listener("live-1", Start::Latest).await?, through.listener("live-2", Start::Latest).await?];
    let publishing = scene.publishing(&through).await?;
    publishing.acked_more(400).await?;
    let late = through.listener("replayed", Start::Earliest).await?;
    late.listener.progress.resumed();
    publishing.acked_more(200).await?;
    late.has_everything(PATIENCE).await?;
    assert!(late.listener.progress.replayed() >= 400, "what was there came from elsewhere");
    listeners.push(late);

    scene.cluster.remove(edge).await?;
    publishing.acked_more(200).await?;
    scene.end(publishing, listeners).await
}
