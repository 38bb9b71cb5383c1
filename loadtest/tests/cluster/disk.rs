//! A disk that is full on one broker of three.

use anyhow::Result;
use anyport_client::{PublisherOptions, Start};
use anyport_loadtest::drive::{Ongoing, Pace};
use anyport_loadtest::runner::{ClusterOptions, SmallDisk};
use anyport_loadtest::workload::Synthetic;

use super::scene::{PATIENCE, Scene};

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_filled_to_its_last_byte_ends_that_broker_alone_and_it_catches_up_when_there_is_room() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(disk) = SmallDisk::mount(&folder.path().join("broker-2/data"), 1024 * MIB)? else { return Ok(()) };
    let options = ClusterOptions::of(3).with(&["--free-space-min", "0"]);
    let mut scene = Scene::set_in(folder.path(), options).await?;
    let listener = scene.access_to(&[0, 1]).listener("listener", Start::Latest).await?;
    // Large ones: files are given room long before they need it, which must be filled first.
    let events = Synthetic::new(scene.seed, 16 << 10, 200);
    let pace = Pace::PerSecond(1000.0);
    let publishing = Ongoing::begin_at(&scene.access_to(&[0, 1]), events, pace, PublisherOptions::default()).await?;
    publishing.acked_more(200).await?;

    disk.resize(disk.used_bytes()? + MIB / 2)?;
    let status = scene.cluster.broker_mut(2).ended(PATIENCE).await?;
    assert_eq!(status.code(), Some(1));
    publishing.acked_more(400).await?;

    disk.resize(1024 * MIB)?;
    scene.cluster.broker_mut(2).start_again().await?;
    scene.cluster.settle().await?;
    publishing.acked_more(200).await?;
    scene.end(publishing, vec![listener]).await
}
