//! What copies cost: three brokers beside one that runs the same code, in one run.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use anyport_client::{Client, ClientOptions, PublisherOptions, SubscribeOptions, Subscription};
use anyport_protocol::event::{EncodedEvent, Event};
use anyport_protocol::message::admin::GroupName;
use tokio::time::{sleep, timeout};

use super::usage::{CpuTime, anonymous_bytes};
use super::{EVENT_BYTES, events, say};
use crate::runner::{ClusterOptions, ClusterProcesses};

/// As many as a cluster may come to have that was made for growth.
const IDLE_PARTITIONS: u16 = 64;
const IDLE: Duration = Duration::from_secs(20);

const LAG_EVENTS: usize = 2000;
const LAG_EVERY: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn run(folder: &Path, count: u64) -> Result<()> {
    let alone = ClusterProcesses::start(&folder.join("one"), ClusterOptions::of(1)).await?;
    let one = publish(&alone, count).await?;
    drop(alone);
    let mut three = ClusterProcesses::start(&folder.join("three"), ClusterOptions::of(3)).await?;
    let rate = publish(&three, count).await?;
    say(&format!(
        "cluster   {count} events of {EVENT_BYTES} bytes, one producer, acked after the fsync of a majority: three brokers {rate:.0} events/s, \
         one {one:.0}; ratio {:.2}",
        rate / one
    ));
    lag(&three).await?;
    rebuild(&mut three, count * EVENT_BYTES as u64).await?;
    drop(three);
    idle(&folder.join("idle")).await
}

/// Acked events a second.
async fn publish(cluster: &ClusterProcesses, count: u64) -> Result<f64> {
    let client = connect(cluster, cluster.servers(), "producer").await?;
    let publisher = client.publisher(PublisherOptions::default());
    let events = events(1000);
    let begun = Instant::now();
    for event in events.iter().cycle().take(usize::try_from(count)?) {
        drop(publisher.publish_encoded(event).await?);
    }
    publisher.flush().await?;
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    ensure!(publisher.counts().acked == count, "acked {:?} of {count}", publisher.counts());
    client.close().await?;
    Ok(rate)
}

/// How much later an event is with a client of a broker that follows its partition than with one of the broker that leads it.
async fn lag(cluster: &ClusterProcesses) -> Result<()> {
    let event = Event::builder("lag", "/bench/lag", "bench.lag").build()?.encode();
    let producer = connect(cluster, cluster.servers(), "producer").await?;
    let publisher = producer.publisher(PublisherOptions::default());
    let partition = publisher.partition_of(&EncodedEvent::check(&event)?);
    let status = cluster.status().await?;
    let leader = status.group(GroupName::Partition(partition)).and_then(|group| group.leader).context("it is led")?;
    let leader = cluster.place_of(&status, leader).context("one of ours")?;
    let follower = cluster.present().find(|at| *at != leader).context("there are three")?;

    let mut watches = Vec::new();
    for at in [leader, follower] {
        let client = connect(cluster, cluster.servers_in_order(&[at]), &format!("watch-{at}")).await?;
        let subscription = client.subscribe(SubscribeOptions::new("lag", "type = 'bench.lag'")).await?;
        watches.push(tokio::spawn(arrivals(client, subscription)));
    }
    for _ in 0..LAG_EVENTS {
        drop(publisher.publish_encoded(&event).await?);
        sleep(LAG_EVERY).await;
    }
    publisher.flush().await?;
    let mut arrived = Vec::new();
    for watch in watches {
        arrived.push(timeout(PATIENCE, watch).await.context("not all events come")???);
    }
    let mut lags: Vec<_> =
        arrived[0].iter().zip(&arrived[1]).map(|(led, followed)| followed.saturating_duration_since(*led)).collect();
    lags.sort();
    let of = |share: f64| lags[((lags.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    say(&format!(
        "lag       {LAG_EVENTS} events, {:.0} a second: at a broker that follows {:.1} ms later than at the leader, p99 {:.1} ms, longest {:.1} ms",
        1.0 / LAG_EVERY.as_secs_f64(),
        of(0.5),
        of(0.99),
        of(1.0)
    ));
    producer.close().await?;
    Ok(())
}

async fn arrivals(client: Client, subscription: Subscription) -> Result<Vec<Instant>> {
    let mut arrived = Vec::new();
    while arrived.len() < LAG_EVENTS {
        let batch = subscription.next_batch(1024, PATIENCE).await.context("it goes on")?;
        let now = Instant::now();
        arrived.extend(batch.deliveries.iter().map(|_| now));
        subscription.ack_batch(&batch.deliveries);
    }
    client.close().await?;
    Ok(arrived)
}

/// One broker is lost for good, and an empty one takes its place.
async fn rebuild(cluster: &mut ClusterProcesses, bytes: u64) -> Result<()> {
    let number = cluster.number_of(0).await?;
    cluster.remove(0).await?;
    let is_away = cluster.status_until("aware of the loss", |status| {
        status.broker(number).is_none_or(|broker| broker.away_for_ms.is_some())
    });
    is_away.await?;
    cluster.add(&[]).await?;
    let begun = Instant::now();
    cluster.operate(&["remove", &number.0.to_string()]).await?;
    cluster.settle().await?;
    let (took, gigabytes) = (begun.elapsed().as_secs_f64(), bytes as f64 / 1e9);
    say(&format!(
        "rebuild   a lost broker with {gigabytes:.2} GB of events is made good on an empty one in {took:.1} s: {:.0} s per GB",
        took / gigabytes
    ));
    Ok(())
}

/// What brokers cost that have nothing to do.
async fn idle(folder: &Path) -> Result<()> {
    let partitions = IDLE_PARTITIONS.to_string();
    let cluster = ClusterProcesses::start(folder, ClusterOptions::of(3).with(&["--partitions", &partitions])).await?;
    // What the start has left to do is not idling.
    sleep(Duration::from_secs(5)).await;
    let pids: Vec<_> = cluster.present().map(|at| cluster.broker(at).pid()).collect();
    let before = pids.iter().map(|pid| CpuTime::of(*pid)).collect::<Result<Vec<_>>>()?;
    sleep(IDLE).await;
    for (at, (pid, before)) in pids.into_iter().zip(before).enumerate() {
        let share = CpuTime::of(pid)?.micros_since(before) / IDLE.as_micros() as f64;
        let mib = anonymous_bytes(pid)? >> 20;
        say(&format!(
            "idle      broker {at} of three with {IDLE_PARTITIONS} partitions: {:.1} % of a core over {} s, {mib} MiB of memory",
            share * 100.0,
            IDLE.as_secs()
        ));
    }
    Ok(())
}

async fn connect(cluster: &ClusterProcesses, servers: Vec<String>, name: &str) -> Result<Client> {
    let options = ClientOptions { servers, home: cluster.home(), name: name.to_owned(), ..ClientOptions::default() };
    Ok(Client::connect(options).await?)
}
