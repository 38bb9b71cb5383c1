//! A copy of a stopped store, put back: what docs/operations.md tells an operator to do, and what comes of it.

mod support;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use anyport_loadtest::runner::{BrokerProcess, Cli};
use support::{PATIENCE, Scene};

/// Events as a file has them, all of one key and so of one partition.
fn events(numbers: std::ops::Range<u32>) -> String {
    numbers.map(|n| format!("{{\"specversion\":\"1.0\",\"id\":\"{n}\",\"source\":\"/s\",\"type\":\"t\"}}\n")).collect()
}

async fn publish(broker: &BrokerProcess, numbers: std::ops::Range<u32>) -> Result<()> {
    let done =
        Cli::of(broker)?.run(&["pub", "--client", "producer", "--file", "-"], &events(numbers), PATIENCE).await?;
    ensure!(done.code == Some(0), "{}", done.stderr);
    Ok(())
}

async fn received(broker: &BrokerProcess) -> Result<Vec<u32>> {
    Ok(received_and_told(broker).await?.0)
}

/// The ids of what a client gets and acks, typing the same command each time, and what it is told beside.
async fn received_and_told(broker: &BrokerProcess) -> Result<(Vec<u32>, String)> {
    let sub = ["sub", "--client", "phone", "--name", "all", "--from", "earliest", "--until-caught-up"];
    let done = Cli::of(broker)?.run(&sub, "", PATIENCE).await?;
    ensure!(done.code == Some(0), "{}", done.stderr);
    let id = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line)?;
        Ok(event["id"].as_str().context("an id")?.parse()?)
    };
    Ok((done.stdout.lines().map(id).collect::<Result<_>>()?, done.stderr))
}

/// Copies a folder with all that is in it, as `cp -a` does.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().context("run cp")?;
    ensure!(status.success(), "cp -a {} {}: {status}", from.display(), to.display());
    Ok(())
}

/// A broker that has served ten events, was stopped and copied, and has served ten more since; it is stopped again.
async fn copied_and_run_on() -> Result<Scene> {
    let mut scene = Scene::set().await?;
    publish(&scene.broker, 0..10).await?;
    assert_eq!(received(&scene.broker).await?, Vec::from_iter(0..10));
    scene.broker.terminate().await?;
    copy(&scene.broker.data(), &scene.folder().join("copy"))?;
    scene.broker.start_again().await?;
    publish(&scene.broker, 10..20).await?;
    assert_eq!(received(&scene.broker).await?, Vec::from_iter(10..20));
    scene.broker.terminate().await?;
    Ok(scene)
}

/// Moves the present data away and puts the copy in its place.
fn restore(scene: &Scene) -> Result<()> {
    std::fs::rename(scene.broker.data(), scene.folder().join("moved-away"))?;
    copy(&scene.folder().join("copy"), &scene.broker.data())
}

#[tokio::test]
async fn a_copy_of_a_stopped_store_goes_on_where_it_was() -> Result<()> {
    let mut scene = Scene::set().await?;
    publish(&scene.broker, 0..10).await?;
    assert_eq!(received(&scene.broker).await?, Vec::from_iter(0..10));
    publish(&scene.broker, 10..20).await?;
    scene.broker.terminate().await?;
    copy(&scene.broker.data(), &scene.folder().join("copy"))?;
    restore(&scene)?;
    scene.broker.start_again().await?;
    publish(&scene.broker, 20..30).await?;
    assert_eq!(received(&scene.broker).await?, Vec::from_iter(10..30));
    Ok(())
}

#[tokio::test]
async fn after_a_step_back_in_time_a_client_is_told_what_is_gone_and_gets_all_that_comes() -> Result<()> {
    let mut scene = copied_and_run_on().await?;
    restore(&scene)?;
    scene.broker.start_again_with(&["--restored"]).await?;
    publish(&scene.broker, 20..25).await?;
    let (ids, notices) = received_and_told(&scene.broker).await?;
    assert_eq!(ids, Vec::from_iter(20..25));
    assert!(notices.contains("offsets [10, 20)"), "{notices}");
    // It is for one start: the next one goes on in the same epoch.
    scene.broker.terminate().await?;
    scene.broker.start_again_with(&[]).await?;
    publish(&scene.broker, 25..30).await?;
    let (ids, notices) = received_and_told(&scene.broker).await?;
    assert_eq!(ids, Vec::from_iter(25..30));
    assert!(!notices.contains("offsets ["), "{notices}");
    Ok(())
}

#[tokio::test]
async fn a_store_under_the_mark_of_a_later_one_or_under_none_is_refused() -> Result<()> {
    let mut scene = copied_and_run_on().await?;
    restore(&scene)?;
    std::fs::copy(scene.folder().join("moved-away/synced.mark"), scene.broker.data().join("synced.mark"))?;
    let refused = scene.broker.start_again().await.expect_err("its end is missing").to_string();
    assert!(refused.contains("its end is lost") && refused.contains("from one and the same copy"), "{refused}");
    std::fs::remove_file(scene.broker.data().join("synced.mark"))?;
    let refused = scene.broker.start_again().await.expect_err("nobody can tell").to_string();
    assert!(refused.contains("mark file is missing"), "{refused}");
    Ok(())
}
