//! A client that sleeps for longer than the log remembers: it is told exactly what it will never get, and gets the rest.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use anyport_client::{Notice, PublisherOptions, Start};
use anyport_loadtest::drive::{Attending, Pace, Stage, publish};
use anyport_loadtest::raw::{RawClient, RawStream};
use anyport_loadtest::runner::BrokerOptions;
use anyport_loadtest::workload::{Seed, Synthetic};
use anyport_protocol::message::{Subscribe, ToClient};
use anyport_protocol::{Offset, OffsetRange, PartitionId};
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(30);

/// The broker looks every ten seconds for what is to be forgotten.
const TRIM_WITHIN: Duration = Duration::from_secs(40);

const EVENT_BYTES: usize = 300;

/// Where each partition's log begins and ends, asked as any client could.
struct Bounds {
    _client: RawClient,
    control: RawStream,
}

impl Bounds {
    async fn of(stage: &Stage) -> Result<Self> {
        let client = RawClient::connect(&stage.broker).await?;
        let mut control = client.control().await?;
        control.open_session(1).await?;
        Ok(Self { _client: client, control })
    }

    async fn ask(&mut self) -> Result<BTreeMap<PartitionId, OffsetRange>> {
        let subscribe = Subscribe { seek: true, ..Subscribe::new("bounds".parse()?, "", Start::Earliest) };
        let ToClient::Subscribed(subscribed) = self.control.ask(subscribe.into()).await? else { bail!("not told") };
        let feeds = subscribed.state.feeds.iter();
        Ok(feeds.map(|feed| (feed.partition, OffsetRange::new(feed.start.offset, feed.tail))).collect())
    }

    /// Waits until every partition's log looks so.
    async fn until(&mut self, holds: impl Fn(PartitionId, OffsetRange) -> bool) -> Result<()> {
        let deadline = Instant::now() + TRIM_WITHIN;
        loop {
            let bounds = self.ask().await?;
            if bounds.iter().all(|(partition, range)| holds(*partition, *range)) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "nothing is forgotten within {TRIM_WITHIN:?}: {bounds:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A broker with this retention, and a client that has had a first few hundred events and then fell asleep.
struct Night {
    stage: Stage,
    sleeper: Attending,
    bounds: Bounds,
    /// Where the sleeper has got to, by partition.
    asleep_at: BTreeMap<PartitionId, Offset>,
    events: Synthetic,
}

impl Night {
    async fn fall(retention: [&str; 2]) -> Result<Self> {
        let arguments = retention.map(str::to_owned).to_vec();
        let stage = Stage::set(BrokerOptions { arguments, ..BrokerOptions::default() }).await?;
        let sleeper = stage.listener("sleeper", Start::Latest).await?;
        let mut bounds = Bounds::of(&stage).await?;
        let mut events = Synthetic::new(Seed::announced(), EVENT_BYTES, 40);
        publish_some(&stage, &mut events, 400).await?;
        sleeper.has_everything(PATIENCE).await?;
        sleeper.client.suspend().await?;
        let asleep_at = bounds.ask().await?.into_iter().map(|(partition, range)| (partition, range.end)).collect();
        Ok(Self { stage, sleeper, bounds, asleep_at, events })
    }

    async fn publish(&mut self, count: usize) -> Result<()> {
        publish_some(&self.stage, &mut self.events, count).await
    }

    /// The sleeper returns. It must be told one unbroken range for each partition, from where it was to where the log now
    /// begins, and get everything after that.
    async fn morning(mut self) -> Result<()> {
        let before = self.bounds.ask().await?;
        self.sleeper.client.resume().await?;
        let deadline = Instant::now() + PATIENCE;
        while self.sleeper.listener.progress.resumed() < 2 || !self.sleeper.listener.is_caught_up() {
            ensure!(Instant::now() < deadline, "the sleeper has not caught up");
            sleep(Duration::from_millis(10)).await;
        }
        let gaps = gaps(&self.sleeper.leave().await?)?;
        let after = self.bounds.ask().await?;
        let mut forgotten = 0;
        for (partition, asleep_at) in self.asleep_at {
            let gap = gaps.get(&partition).with_context(|| format!("no gap in partition {partition}"))?;
            assert_eq!(gap.start, asleep_at);
            // A trim may fall between asking and returning, but the log never remembers again.
            let heads = before[&partition].start..=after[&partition].start;
            assert!(heads.contains(&gap.end), "partition {partition} begins at {heads:?}, the gap is {gap}");
            self.stage.oracle.log_lost(partition, OffsetRange::new(Offset::ZERO, gap.end));
            forgotten += gap.len();
        }
        let verdict = self.stage.verdict();
        verdict.assert_clean();
        assert_eq!(verdict.subscription("sleeper").context("it was there")?.gap, forgotten);
        Ok(())
    }
}

async fn publish_some(stage: &Stage, events: &mut Synthetic, count: usize) -> Result<()> {
    let client = stage.client("producer").await?;
    let publisher = client.publisher(PublisherOptions::default());
    let report = publish(&publisher, &stage.oracle, 0, events.take(count), Pace::AsFastAsAcked, |_| {}).await?;
    assert_eq!(report.acked, count as u64);
    client.close().await?;
    Ok(())
}

/// What was told, each partition's ranges joined; an error if they leave a hole.
fn gaps(notices: &[Notice]) -> Result<BTreeMap<PartitionId, OffsetRange>> {
    let mut gaps = BTreeMap::new();
    for notice in notices {
        let Notice::Gap { partition, range, .. } = notice else { continue };
        let joined = gaps.entry(*partition).or_insert(OffsetRange::new(range.start, range.start));
        ensure!(joined.end == range.start, "partition {partition}: {joined}, then {range}");
        joined.end = range.end;
    }
    Ok(gaps)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleeper_passed_by_retention_in_bytes_is_told_the_exact_gap_and_gets_the_rest() -> Result<()> {
    const KEPT_BYTES: u64 = 64 << 10;
    let mut night = Night::fall(["--retention-bytes", &KEPT_BYTES.to_string()]).await?;
    night.publish(40_000).await?;
    // Whole entries are forgotten, so that more is kept than asked for, but less than one entry more.
    let kept_max = (KEPT_BYTES + (512 << 10)) / (EVENT_BYTES as u64 / 2);
    let asleep_at = night.asleep_at.clone();
    night.bounds.until(|partition, log| log.start > asleep_at[&partition] && log.len() < kept_max).await?;
    night.morning().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleeper_passed_by_retention_by_age_is_told_the_exact_gap_and_gets_what_is_fresh() -> Result<()> {
    let mut night = Night::fall(["--retention-age", "2s"]).await?;
    night.publish(2_000).await?;
    let asleep_at = night.asleep_at.clone();
    night.bounds.until(|partition, log| log.start > asleep_at[&partition]).await?;
    night.publish(500).await?;
    night.morning().await
}
