//! Disks that fill up, and a disk that fails: publishes are refused or the broker ends, loudly, and nothing acked is lost.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use anyport_client::{PublisherOptions, Start};
use anyport_loadtest::drive::{Attending, Ongoing, Pace, Stage};
use anyport_loadtest::oracle::Oracle;
use anyport_loadtest::raw::{RawClient, RawStream};
use anyport_loadtest::runner::{BrokerOptions, SmallDisk, preload};
use anyport_loadtest::workload::{Seed, Synthetic};
use anyport_protocol::event::{Event, framed};
use anyport_protocol::message::publish::Published;
use anyport_protocol::message::{Register, StreamKind, ToClient};
use anyport_protocol::{Code, Fault, Outcome};
use serde_json::json;
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;

/// The prober's number as a producer; the other one's is 0.
const PROBER: u32 = 1;

fn broker(arguments: &[&str]) -> BrokerOptions {
    BrokerOptions { arguments: arguments.iter().map(ToString::to_string).collect(), ..BrokerOptions::default() }
}

/// Publishers that wait for room for as long as a test may take.
fn patient() -> PublisherOptions {
    PublisherOptions { patience: Duration::from_secs(600), ..PublisherOptions::default() }
}

/// Publishes single events into one partition without an SDK's patience.
struct Prober {
    oracle: Arc<Oracle>,
    _client: RawClient,
    _control: RawStream,
    stream: RawStream,
    next: u64,
}

impl Prober {
    async fn of(stage: &Stage) -> Result<Self> {
        let client = RawClient::connect(&stage.broker).await?;
        let mut control = client.control().await?;
        let ToClient::Registered(_) = control.ask(Register {}.into()).await? else { bail!("not registered") };
        let stream = client.open(StreamKind::Publish).await?;
        Ok(Self { oracle: Arc::clone(&stage.oracle), _client: client, _control: control, stream, next: 0 })
    }

    async fn publish(&mut self) -> Result<Result<(), Fault>> {
        let id = self.next.to_string();
        let event = json!({"specversion": "1.0", "id": id, "source": "/prober", "type": "probe"});
        let told = self.oracle.published(PROBER, &event);
        let mut run = Vec::new();
        framed::push(&mut run, &Event::from_json(event.to_string().as_bytes())?.encode());
        match self.stream.publish(0, self.next, run.into(), 1).await? {
            Published::Refused(fault) => {
                self.oracle.surely_not(told);
                Ok(Err(fault))
            }
            Published::Stored { .. } | Published::AlreadyStored { .. } => {
                self.oracle.acked(told, None);
                self.next += 1;
                Ok(Ok(()))
            }
        }
    }

    /// Waits until a publish is refused because the disk is full.
    async fn refused(&mut self) -> Result<Fault> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.publish().await? {
                Err(fault) if fault.is(Code::StorageFull) => return Ok(fault),
                Err(fault) => bail!("refused otherwise: {fault}"),
                Ok(()) => ensure!(Instant::now() < deadline, "publishes are still taken"),
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_free_space_mark_publishes_are_refused_and_all_else_goes_on() -> Result<()> {
    let mut stage = Stage::set(broker(&[])).await?;
    let mut events = Synthetic::new(Seed::announced(), 256, 10);
    let publishing = Ongoing::begin(&stage, events.clone().take(1000), Pace::AsFastAsAcked, patient()).await?;
    publishing.acked_more(1000).await?;
    publishing.end().await?;
    stage.broker.kill().await?;
    // No disk has so much free.
    stage.start_otherwise(broker(&["--free-space-min", &u64::MAX.to_string()])).await?;

    let fault = Prober::of(&stage).await?.refused().await?;
    assert!(fault.retry() && fault.retry_after_ms.is_some(), "{fault}");
    let client = stage.client("producer").await?;
    let hasty = client.publisher(PublisherOptions { patience: Duration::ZERO, ..PublisherOptions::default() });
    let event = Event::from_json(events.nth(1000).context("endless")?.to_string().as_bytes())?;
    let error = hasty.publish(&event).await?.await.expect_err("there is no room");
    assert_eq!((error.code(), error.outcome()), (Code::StorageFull as u16, Outcome::SurelyNot), "{error}");

    // Subscribing writes to the registry, and so do acks; replay reads.
    let listener = stage.listener("listener", Start::Earliest).await?;
    listener.has_everything(PATIENCE).await?;
    assert_eq!(listener.listener.progress.total(), 1000);
    listener.leave().await?;
    stage.verdict().assert_clean();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_full_disk_has_room_again_publishing_goes_on_by_itself() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(disk) = SmallDisk::mount(&folder.path().join("data"), 1024 * MIB)? else { return Ok(()) };
    let stage = Stage::set_in(folder.path(), broker(&["--free-space-min", &(512 * MIB).to_string()])).await?;
    let listener = stage.listener("listener", Start::Latest).await?;
    let events = Synthetic::new(Seed::announced(), 256, 10);
    let publishing = Ongoing::begin(&stage, events, Pace::PerSecond(2000.0), patient()).await?;
    publishing.acked_more(1000).await?;

    disk.resize(400 * MIB)?;
    let mut prober = Prober::of(&stage).await?;
    prober.refused().await?;
    assert!(stage.log().await?.len() > 1000, "the log can be read while the disk is full");
    let stuck_at = publishing.publisher.counts().acked;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(publishing.publisher.counts().acked, stuck_at, "nothing is acked while the disk is full");

    disk.resize(1024 * MIB)?;
    publishing.acked_more(1000).await?;
    let report = publishing.end().await?;
    assert_eq!((report.unknown, report.refused), (0, 0));
    listener.has_everything(PATIENCE).await?;
    listener.leave().await?;
    stage.verdict().assert_clean();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_filled_to_its_last_byte_ends_the_broker_loudly_and_nothing_acked_is_lost() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(disk) = SmallDisk::mount(&folder.path().join("data"), 112 * MIB)? else { return Ok(()) };
    let mut stage = Stage::set_in(folder.path(), broker(&["--free-space-min", "0"])).await?;
    let listener = stage.listener("listener", Start::Latest).await?;
    let events = Synthetic::new(Seed::announced(), 16 << 10, 10);
    let publishing = Ongoing::begin(&stage, events, Pace::AsFastAsAcked, patient()).await?;

    let status = stage.broker.ended(PATIENCE).await?;
    assert_eq!(status.code(), Some(1));
    let log = std::fs::read_to_string(stage.broker.log())?;
    assert!(log.contains("the store failed") && log.contains("No space left on device"), "{log}");

    disk.resize(1024 * MIB)?;
    stage.broker.start_again().await?;
    publishing.acked_more(1).await?;
    judge_after_the_failure(&stage, publishing, listener).await
}

/// Makes a process's syncs fail while a certain file is there.
const BROKEN_SYNC: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int broken(void) {
    const char *sign = getenv("SYNC_IS_BROKEN_WHILE_THIS_IS_THERE");
    if (sign && access(sign, F_OK) == 0) { errno = EIO; return 1; }
    return 0;
}
int fsync(int fd) { return broken() ? -1 : (int)syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return broken() ? -1 : (int)syscall(SYS_fdatasync, fd); }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_ends_the_broker_loudly_and_nothing_acked_is_lost() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sign = folder.path().join("broken");
    let loaded = preload(folder.path(), BROKEN_SYNC, "SYNC_IS_BROKEN_WHILE_THIS_IS_THERE", &sign)?;
    let Some(environment) = loaded else { return Ok(()) };
    let mut stage = Stage::set_in(folder.path(), BrokerOptions { environment, ..BrokerOptions::default() }).await?;
    let listener = stage.listener("listener", Start::Latest).await?;
    let events = Synthetic::new(Seed::announced(), 256, 10);
    let publishing = Ongoing::begin(&stage, events, Pace::PerSecond(2000.0), patient()).await?;
    publishing.acked_more(500).await?;

    std::fs::write(&sign, "")?;
    let status = stage.broker.ended(PATIENCE).await?;
    assert_eq!(status.code(), Some(1));
    let log = std::fs::read_to_string(stage.broker.log())?;
    // A writer may hear of the failed sync before the committer does.
    assert!(log.contains("the store failed") && log.contains("While fdatasync"), "{log}");

    // The disk works again, but nobody knows what it holds: somebody has to look at it first.
    std::fs::remove_file(&sign)?;
    let note = stage.broker.data().join("distrusted.txt");
    let refused = stage.broker.start_again().await.expect_err("the store is not trusted").to_string();
    for said in ["the store is not trusted", "Input/output error", &note.display().to_string()] {
        assert!(refused.contains(said), "{said}: {refused}");
    }
    std::fs::remove_file(&note)?;
    stage.broker.start_again().await?;
    publishing.acked_more(500).await?;
    judge_after_the_failure(&stage, publishing, listener).await
}

async fn judge_after_the_failure(stage: &Stage, publishing: Ongoing, listener: Attending) -> Result<()> {
    let report = publishing.end().await?;
    assert_eq!((report.unknown, report.refused), (0, 0), "what failed was sent again");
    listener.has_everything(PATIENCE).await?;
    listener.leave().await?;
    stage.verdict().assert_clean();
    let log = stage.log().await?;
    log.assert_dense_and_unique();
    assert_eq!(log.len() as u64, report.acked);
    Ok(())
}
