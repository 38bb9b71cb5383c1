//! Brokers whose data is gone or not what it was.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use anyport_client::Start;
use anyport_loadtest::runner::ClusterOptions;

use super::scene::Scene;

/// A broker that is lost is made good soon.
fn options() -> ClusterOptions {
    ClusterOptions::of(3).with(&["--replace-after", "5s"])
}

/// Three brokers with some events; one of them is killed, harmed, and started again. It must come to have all copies again, and alone
/// must serve all that was acked.
async fn is_made_good(harm: impl FnOnce(&mut Scene) -> Result<()>) -> Result<()> {
    const HARMED: usize = 1;
    let mut scene = Scene::set_with(options()).await?;
    let publishing = scene.publishing(&scene.access_to(&[0, 2])).await?;
    publishing.acked_more(400).await?;
    scene.cluster.broker_mut(HARMED).kill().await?;
    harm(&mut scene)?;
    scene.cluster.broker_mut(HARMED).start_again().await?;
    publishing.acked_more(200).await?;
    scene.cluster.settle().await?;
    let reader = scene.access_to(&[HARMED]).listener("reader", Start::Earliest).await?;
    scene.end(publishing, vec![reader]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_whose_folder_was_wiped_joins_as_a_new_one_and_gets_all_its_copies() -> Result<()> {
    is_made_good(|scene| scene.cluster.wipe(1)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_with_a_corrupted_file_is_made_good_from_the_others() -> Result<()> {
    is_made_good(|scene| {
        let file = largest(&scene.cluster.broker(1).data(), &["log", "sst"])?;
        let bytes = std::fs::metadata(&file)?.len();
        // In the middle, where no torn write of a crash can be.
        let harmed = OpenOptions::new().write(true).open(&file)?;
        Ok(harmed.write_all_at(&[0x5a; 64], bytes / 2)?)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_with_a_truncated_log_is_made_good_from_the_others() -> Result<()> {
    is_made_good(|scene| {
        let file = largest(&scene.cluster.broker(1).data(), &["log"])?;
        let bytes = std::fs::metadata(&file)?.len();
        Ok(OpenOptions::new().write(true).open(&file)?.set_len(bytes / 2)?)
    })
    .await
}

/// The largest file below a folder that ends like one of these: RocksDB's write-ahead logs are `log`, its tables `sst`.
fn largest(folder: &Path, ends: &[&str]) -> Result<PathBuf> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.retain(|(_, file)| file.extension().is_some_and(|end| ends.iter().any(|wanted| end == *wanted)));
    let (bytes, file) = files.into_iter().max().with_context(|| format!("no such file in {}", folder.display()))?;
    ensure!(bytes > 4096, "{} has only {bytes} bytes", file.display());
    Ok(file)
}

fn collect(folder: &Path, files: &mut Vec<(u64, PathBuf)>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push((std::fs::metadata(&path)?.len(), path));
        }
    }
    Ok(())
}
