//! A broker in relaxed mode on a machine that goes down: what the disk had is there again, what it had not is told.

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use anyport_client::{Client, Delivery, Notice, PublisherOptions, Subscription};
use anyport_loadtest::runner::{BrokerOptions, BrokerProcess};
use anyport_protocol::event::Event;
use anyport_protocol::{LogEpoch, Offset, OffsetRange, PartitionId};
use support::{PATIENCE, connect, earliest, events};

const PARTITION: PartitionId = PartitionId(0);

/// Where the mark file says which boot of the machine wrote it; a checksum ends the file (see `storage/src/mark.rs`).
const MARK_BOOT_ID: std::ops::Range<usize> = 20..56;

/// A machine with one broker of one partition, and what its disk had when that was last looked at.
struct Machine {
    broker: BrokerProcess,
    folder: tempfile::TempDir,
}

impl Machine {
    async fn boot() -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder for a broker")?;
        let arguments = ["--partitions", "1", "--fsync", "interval=50"].map(str::to_owned).to_vec();
        let options = BrokerOptions { arguments, ..BrokerOptions::default() };
        let broker = BrokerProcess::start(folder.path(), options).await?;
        Ok(Self { broker, folder })
    }

    fn disk(&self) -> std::path::PathBuf {
        self.folder.path().join("what-the-disk-had")
    }

    async fn remember_disk(&mut self) -> Result<()> {
        self.broker.kill().await?;
        copy(&self.broker.data(), &self.disk())?;
        self.broker.start_again().await
    }

    /// Everything since the disk was remembered is gone, and the system has been booted anew.
    async fn crash(&mut self) -> Result<()> {
        self.broker.kill().await?;
        fs::remove_dir_all(self.broker.data())?;
        copy(&self.disk(), &self.broker.data())?;
        mark_as_of_another_boot(&self.broker.data().join("synced.mark"))?;
        self.broker.start_again().await
    }

    async fn client(&self, name: &str) -> Result<Client> {
        connect(self.broker.address(), self.broker.home(), name).await
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn mark_as_of_another_boot(path: &Path) -> Result<()> {
    let mut mark = fs::read(path)?;
    mark[MARK_BOOT_ID].fill(b'0');
    let checksum = crc32c::crc32c(&mark[..MARK_BOOT_ID.end]);
    mark[MARK_BOOT_ID.end..].copy_from_slice(&checksum.to_le_bytes());
    Ok(fs::write(path, mark)?)
}

/// Publishes from a publisher of its own: a lost log has also lost who had published what.
async fn publish(machine: &Machine, range: std::ops::Range<u64>) -> Result<()> {
    let client = machine.client("producer").await?;
    let publisher = client.publisher(PublisherOptions::default());
    let mut receipts = Vec::new();
    for event in events(range) {
        receipts.push(publisher.publish(&Event::from_json(event.to_string().as_bytes())?).await?);
    }
    for receipt in receipts {
        receipt.await?;
    }
    client.close().await?;
    Ok(())
}

/// Takes until so many events are here; returns them, with what was said meanwhile.
async fn take(subscription: &Subscription, count: usize) -> Result<(Vec<Delivery>, Vec<Notice>)> {
    let (mut deliveries, mut notices) = (Vec::new(), Vec::new());
    let until = Instant::now() + PATIENCE;
    while deliveries.len() < count {
        ensure!(Instant::now() < until, "{} of {count} events came, and {notices:?}", deliveries.len());
        let batch = subscription.next_batch(count, Duration::from_millis(100)).await.context("it goes on")?;
        deliveries.extend(batch.deliveries);
        notices.extend(batch.notices);
    }
    Ok((deliveries, notices))
}

fn offsets(deliveries: &[Delivery]) -> Vec<(u32, u64)> {
    deliveries.iter().map(|delivery| (delivery.epoch.0, delivery.offset.0)).collect()
}

fn lost(notices: &[Notice]) -> Vec<Notice> {
    notices.iter().filter(|notice| matches!(notice, Notice::Gap { .. })).cloned().collect()
}

fn gap(start: u64, end: u64) -> Notice {
    let range = OffsetRange::new(Offset(start), Offset(end));
    Notice::Gap { partition: PARTITION, epoch: LogEpoch(0), range }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_told_of_the_end_that_the_log_lost_and_gets_what_is_stored_there_now() -> Result<()> {
    let mut machine = Machine::boot().await?;
    publish(&machine, 0..100).await?;
    // The subscription is part of what the disk had.
    let phone = machine.client("phone").await?;
    let subscription = phone.subscribe(earliest("all", "")).await?;
    machine.remember_disk().await?;
    publish(&machine, 100..150).await?;
    let (before, notices) = take(&subscription, 150).await?;
    assert_eq!((before.len(), lost(&notices)), (150, vec![]));
    // One event that the disk had is not done with, nor is one that it had not.
    let (kept_open, lost_open) = (&before[90], &before[120]);
    let done: Vec<_> = before.iter().filter(|event| ![kept_open, lost_open].contains(event)).cloned().collect();
    subscription.ack_batch(&done);

    machine.crash().await?;
    // The same offsets, other events.
    publish(&machine, 1000..1060).await?;
    let (after, notices) = take(&subscription, 60).await?;
    assert_eq!(lost(&notices), [gap(100, 150)]);
    assert_eq!(offsets(&after), (100..160).map(|offset| (1, offset)).collect::<Vec<_>>());

    subscription.ack(lost_open);
    subscription.ack_batch(&after[..20]);
    phone.close().await?;
    drop(subscription);

    // Another process goes on behind what was acked: before the event that was kept and is not done with.
    let phone = machine.client("phone").await?;
    let subscription = phone.subscribe(earliest("all", "")).await?;
    let (again, notices) = take(&subscription, 70).await?;
    assert_eq!(lost(&notices), [], "told once");
    assert_eq!(offsets(&again), (90..160).map(|offset| (1, offset)).collect::<Vec<_>>());
    subscription.ack_batch(&again);
    subscription.acked().await?;
    phone.close().await?;

    let phone = machine.client("phone").await?;
    let subscription = phone.subscribe(earliest("all", "")).await?;
    subscription.wait_caught_up().await?;
    assert_eq!(subscription.next_batch(10, Duration::ZERO).await.context("it goes on")?.deliveries, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_was_away_when_the_log_lost_its_end_is_told_when_it_returns() -> Result<()> {
    let mut machine = Machine::boot().await?;
    publish(&machine, 0..10).await?;
    let phone = machine.client("phone").await?;
    let subscription = phone.subscribe(earliest("all", "")).await?;
    machine.remember_disk().await?;
    publish(&machine, 10..30).await?;
    let (before, _) = take(&subscription, 30).await?;
    subscription.ack_batch(&before);
    subscription.acked().await?;
    phone.close().await?;
    drop(subscription);

    machine.crash().await?;
    publish(&machine, 1000..1003).await?;
    // A process that ends before it has looked at anything has not been told.
    let phone = machine.client("phone").await?;
    drop(phone.subscribe(earliest("all", "")).await?);
    phone.close().await?;

    let phone = machine.client("phone").await?;
    let subscription = phone.subscribe(earliest("all", "")).await?;
    let (after, notices) = take(&subscription, 3).await?;
    assert_eq!(lost(&notices), [gap(10, 30)]);
    assert_eq!(offsets(&after), [(1, 10), (1, 11), (1, 12)]);
    Ok(())
}
