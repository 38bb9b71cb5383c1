//! A cluster forms, and only who belongs to it does.

use std::time::Duration;

use anyhow::Result;
use anyport_client::Start;
use anyport_client::admin::picture;
use anyport_loadtest::runner::{ClusterOptions, ClusterProcesses};
use anyport_protocol::message::admin::ReplicaRole;

use super::scene::Scene;

/// How long one that must not join is let try.
const WHILE: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_brokers_form_a_cluster_and_each_of_them_serves_every_client() -> Result<()> {
    let scene = Scene::set(3).await?;
    let (said, healthy) = scene.cluster.operate(&["status"]).await?;
    assert!(healthy, "{said}");
    let status = scene.cluster.status().await?;
    for group in &status.groups {
        assert_eq!(group.voters().count(), 3, "{}", group.group);
    }
    let mut listeners = Vec::new();
    for at in 0..3 {
        listeners.push(scene.access_to(&[at]).listener(&format!("listener-{at}"), Start::Latest).await?);
    }
    let publishing = scene.publishing(&scene.access_to(&[0])).await?;
    publishing.acked_more(500).await?;
    let by_all = scene
        .cluster
        .status_until("led by all", |status| status.brokers.iter().all(|broker| status.leads(broker.broker) > 0));
    by_all.await?;
    scene.end(publishing, listeners).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_broker_has_copies_and_no_vote_until_there_is_a_third() -> Result<()> {
    let mut scene = Scene::set(2).await?;
    scene.publish(&scene.access(), 500).await?;
    let status = scene.cluster.status().await?;
    for group in &status.groups {
        let roles = |role| group.replicas.iter().filter(|replica| replica.role == role).count();
        assert_eq!((roles(ReplicaRole::Voter), roles(ReplicaRole::Learner)), (1, 1), "{}", group.group);
    }
    scene.cluster.add(&[]).await?;
    scene.cluster.settle().await?;
    let status = scene.cluster.status().await?;
    assert!(status.groups.iter().all(|group| group.voters().count() == 3), "{}", picture(&status));
    let late = scene.access_to(&[2]).listener("late", Start::Earliest).await?;
    scene.judge(vec![late]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_cannot_join() -> Result<()> {
    let mut scene = Scene::set(1).await?;
    // Somebody else's keys, good in themselves.
    let others = tempfile::tempdir()?;
    let other = ClusterProcesses::start(others.path(), ClusterOptions::of(1)).await?;
    let foreign = other.keys().join("broker-1.pem");
    let refused = scene.cluster.try_to_add(&foreign, WHILE).await.expect_err("of another authority");
    assert!(format!("{refused:#}").contains("UnknownIssuer"), "{refused:#}");

    // The keys of a broker that is alive belong to it.
    let stolen = scene.cluster.keys().join("broker-1.pem");
    let refused = scene.cluster.try_to_add(&stolen, WHILE).await.expect_err("in use");
    assert!(format!("{refused:#}").contains("which is alive"), "{refused:#}");

    let status = scene.cluster.status().await?;
    assert_eq!(status.brokers.len(), 1, "{}", picture(&status));
    scene.publish(&scene.access(), 10).await?;
    scene.judge(Vec::new()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_brokers_all_went_down_is_what_it_was_when_they_are_back() -> Result<()> {
    let mut scene = Scene::set(3).await?;
    let listener = scene.access().listener("listener", Start::Latest).await?;
    let publishing = scene.publishing(&scene.access()).await?;
    publishing.acked_more(500).await?;
    let mut before = Vec::new();
    for at in 0..3 {
        before.push(scene.cluster.number_of(at).await?);
    }
    for at in 0..3 {
        scene.cluster.broker_mut(at).kill().await?;
    }
    for at in 0..3 {
        scene.cluster.broker_mut(at).start_again().await?;
    }
    scene.cluster.settle().await?;
    for (at, number) in before.into_iter().enumerate() {
        assert_eq!(scene.cluster.number_of(at).await?, number);
    }
    publishing.acked_more(500).await?;
    scene.end(publishing, vec![listener]).await
}
