//! A broker that is there, receives, and gets nothing done, because its disk hangs.
//!
//! The sync that hangs is the committer's: to everything above it a stuck committer and a hanging disk are the same, so one way of injecting it
//! stands for both.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use anyport_client::{Client, Start, Status};
use anyport_loadtest::drive::until;
use anyport_loadtest::runner::{ClusterOptions, ClusterProcesses, preload};
use anyport_protocol::message::admin::GroupName;
use tokio::time::Instant;

use super::scene::{PATIENCE, Scene, leads};

/// Makes a process's syncs hang while a certain file is there. Nothing else: what is only read or written goes on.
const HANGING_SYNC: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static void hang(void) {
    const char *sign = getenv("SYNC_HANGS_WHILE_THIS_IS_THERE");
    while (sign && access(sign, F_OK) == 0) usleep(10000);
}
int fsync(int fd) { hang(); return (int)syscall(SYS_fsync, fd); }
int fdatasync(int fd) { hang(); return (int)syscall(SYS_fdatasync, fd); }
"#;

/// The lease of 3 s must run out, on a clock that is looked at every second; clients then go elsewhere in a round trip or two. The rest is for a
/// busy machine.
const SERVED_ELSEWHERE: Duration = Duration::from_secs(15);

/// The file that says whether the disk of the one broker hangs.
struct Sign(PathBuf);

impl Sign {
    fn hang(&self) -> Result<()> {
        std::fs::write(&self.0, "").context("have the disk hang")
    }

    fn work(&self) -> Result<()> {
        std::fs::remove_file(&self.0).context("have the disk work")
    }
}

/// Three brokers, and the sign for the disk of one. None without a C compiler.
async fn set(folder: &Path, hanging: usize) -> Result<Option<(Scene, Sign)>> {
    let sign = folder.join("hanging");
    let loaded = preload(folder, HANGING_SYNC, "SYNC_HANGS_WHILE_THIS_IS_THERE", &sign)?;
    let Some(environment) = loaded else { return Ok(None) };
    let mut cluster = ClusterProcesses::prepare(&folder.join("cluster"), ClusterOptions::of(3)).await?;
    for at in 0..3 {
        cluster.add_in(if at == hanging { &environment } else { &[] }).await?;
    }
    cluster.settle().await?;
    Ok(Some((Scene::of(cluster), Sign(sign))))
}

/// Waits until clients that began at this broker are at another.
async fn have_left(clients: &[&Client], broker: &str) -> Result<()> {
    let is_elsewhere = |client: &&Client| matches!(client.status(), Status::Connected { server } if server != broker);
    until("its clients are at another broker", PATIENCE, || clients.iter().all(is_elsewhere)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_whose_disk_hangs_is_counted_out_and_its_clients_go_elsewhere_until_it_is_well_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some((scene, sign)) = set(folder.path(), 2).await? else { return Ok(()) };
    let (number, address) = (scene.cluster.number_of(2).await?, scene.cluster.broker(2).address().to_string());
    let listener = scene.access_to(&[2, 0, 1]).listener("listener", Start::Latest).await?;
    // Who knows no other broker has to wait, and then goes on.
    let loyal = scene.access_to(&[2]).listener("loyal", Start::Latest).await?;
    let publishing = scene.publishing(&scene.access_to(&[2, 1, 0])).await?;
    publishing.acked_more(200).await?;
    scene.cluster.status_until("led by that broker too", |status| leads(status, number) > 0).await?;

    sign.hang()?;
    let hung = Instant::now();
    have_left(&[&listener.client, &publishing.client], &address).await?;
    publishing.acked_more(200).await?;
    let had = listener.listener.progress.total();
    until("events at another broker", PATIENCE, || listener.listener.progress.total() > had + 100).await?;
    assert!(hung.elapsed() < SERVED_ELSEWHERE, "it took {:?}", hung.elapsed());
    let is_out = scene.cluster.status_until("without the broker that is stuck", |status| {
        status.broker(number).is_some_and(|record| record.away_for_ms.is_some()) && leads(status, number) == 0
    });
    is_out.await?;

    sign.work()?;
    scene.cluster.settle().await?;
    publishing.acked_more(200).await?;
    scene.end(publishing, vec![listener, loyal]).await
}

/// Nobody counts leases until the metadata has another leader, who then grants them all anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_of_the_metadatas_leader_may_hang_too() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some((scene, sign)) = set(folder.path(), 0).await? else { return Ok(()) };
    let (number, address) = (scene.cluster.number_of(0).await?, scene.cluster.broker(0).address().to_string());
    let led_there = scene.cluster.status().await?.group(GroupName::Metadata).and_then(|group| group.leader);
    assert_eq!(led_there, Some(number), "the first broker made the metadata");
    let listener = scene.access_to(&[0, 1, 2]).listener("listener", Start::Latest).await?;
    let publishing = scene.publishing(&scene.access_to(&[0, 2, 1])).await?;
    publishing.acked_more(200).await?;

    sign.hang()?;
    let hung = Instant::now();
    have_left(&[&listener.client, &publishing.client], &address).await?;
    publishing.acked_more(200).await?;
    assert!(hung.elapsed() < SERVED_ELSEWHERE, "it took {:?}", hung.elapsed());

    sign.work()?;
    scene.cluster.settle().await?;
    publishing.acked_more(200).await?;
    scene.end(publishing, vec![listener]).await
}
