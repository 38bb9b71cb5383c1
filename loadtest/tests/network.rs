//! Networks as they are: addresses that change, lines that lose and reorder and are cut, readers that do not keep up, and
//! brokers that were there a moment ago.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anyport_client::{Notice, Status, SubscribeOptions};
use anyport_loadtest::drive::{ListenerOptions, Pace, until};
use anyport_loadtest::fault_proxy::{Cut, FaultProxy, Faults};
use anyport_loadtest::raw::{RawClient, RawFeed, RawStream};
use anyport_loadtest::workload::Seed;
use anyport_protocol::event::{Event, framed};
use anyport_protocol::limits::FRAME_BYTES_MAX;
use anyport_protocol::message::feed::{FeedContent, FeedFrame};
use anyport_protocol::message::publish::Published;
use anyport_protocol::message::{FrameBuffer, Hello, Start, StreamKind, SubscriptionState};
use anyport_protocol::{Incarnation, OffsetRange, PartitionId};
use bytes::Bytes;
use support::{Attending, PATIENCE, Producer, Scene, earliest};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

const BATCH: u32 = 4000;
const PARTITIONS: u64 = 8;

/// A framed batch of small events.
fn batch(count: u32) -> Bytes {
    let mut run = Vec::new();
    for n in 0..count {
        let event = Event::builder(n.to_string(), "/network", "small")
            .json("{\"fill\":\"0123456789012345678901234567890123456789\"}");
        framed::push(&mut run, &event.build().expect("valid").encode());
    }
    run.into()
}

/// Publishes this many batches, round robin over all partitions, by a producer of which that many are stored already.
async fn fill(publish: &mut RawStream, stored: u64, batches: u64) -> Result<()> {
    let framed = batch(BATCH);
    for n in stored..stored + batches {
        let (partition, round) = (u16::try_from(n % PARTITIONS)?, n / PARTITIONS);
        let outcome = publish.publish(partition, round * u64::from(BATCH), framed.clone(), BATCH).await?;
        ensure!(matches!(outcome, Published::Stored { .. }), "{outcome:?}");
    }
    Ok(())
}

/// What came of one subscription, by whichever streams: streams race, so its chain is checked when all is there.
#[derive(Debug, Default)]
struct Received(BTreeMap<PartitionId, Vec<(OffsetRange, usize)>>);

impl Received {
    fn take(&mut self, frame: &FeedFrame) {
        let events = if let FeedContent::Events(events) = &frame.content { events.len() } else { 0 };
        self.0.entry(frame.feed.partition).or_default().push((frame.covers, events));
    }

    fn events(&self) -> u64 {
        self.0.values().flatten().map(|(_, events)| *events as u64).sum()
    }

    /// Every offset from where the subscription was is covered once, without a hole.
    fn assert_chained(mut self, state: &SubscriptionState) {
        for feed in &state.feeds {
            let frames = self.0.entry(feed.partition).or_default();
            frames.sort_unstable_by_key(|(covers, _)| covers.start);
            let mut next = feed.position.offset;
            for (covers, _) in frames {
                assert_eq!(covers.start, next, "partition {}: a hole or an overlap", feed.partition);
                next = covers.end;
            }
        }
    }
}

/// Reads every stream that the broker has opened or will open, each by itself: one that is slow to begin holds up no other.
fn read_all(connection: quinn::Connection) -> mpsc::UnboundedReceiver<FeedFrame> {
    let (frames, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok(stream) = connection.accept_uni().await {
            tokio::spawn(read(stream, frames.clone()));
        }
    });
    received
}

async fn read(mut stream: quinn::RecvStream, frames: mpsc::UnboundedSender<FeedFrame>) -> Result<()> {
    stream.read_exact(&mut [0]).await?;
    let mut buffer = FrameBuffer::new(FRAME_BYTES_MAX);
    while let Some(chunk) = stream.read_chunk(1 << 16, true).await? {
        buffer.extend(&chunk.bytes);
        while let Some((header, body)) = buffer.next_frame()? {
            frames.send(FeedFrame::decode(header.message_type, body)?)?;
        }
    }
    Ok(())
}

/// What one reader may cost beyond its neighbours: a chunk read and one waiting (256 KiB each), the window of live frames
/// (512 KiB) and the connection's send window (1 MiB) come to two megabytes. The rest is for what allocator and store do
/// meanwhile, and all of it is small beside the hundred megabytes that wait.
const SLOW_READER_BYTES: u64 = 32 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_with_a_million_events_behind_it_costs_little_loses_nothing_and_delays_nobody() -> Result<()> {
    let scene = Scene::set().await?;
    let slow = RawClient::connect(&scene.broker).await?;
    let mut control = slow.control().await?;
    control.open_session(1).await?;
    let mut publish = slow.open(StreamKind::Publish).await?;
    fill(&mut publish, 0, 1_000_000 / u64::from(BATCH)).await?;
    let fast = scene.client("fast").await?;
    let fast = scene.attend(fast, SubscribeOptions::new("new", "source = '/story'"), scene.everything).await?;
    let producer = scene.producer().await?;

    let before = scene.resident_bytes()?;
    let state = control.subscribe("all", "source = '/network'", Start::Earliest).await?;
    assert_eq!(state.waiting_max(), 1_000_000);
    control.credit(&state, u64::MAX).await?;
    let mut replay = RawFeed::accept(&slow).await?;
    let mut received = Received::default();
    let (mut slowest, mut most) = (Duration::ZERO, 0);
    for n in 0..40 {
        received.take(&replay.next().await?.context("a frame")?);
        let begun = Instant::now();
        producer.publish(n..n + 1).await?;
        fast.has_received(n + 1).await?;
        slowest = slowest.max(begun.elapsed());
        most = most.max(scene.resident_bytes()?.saturating_sub(before));
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(received.events() < 500_000, "it is a slow reader");
    assert!(slowest < Duration::from_secs(2), "a fast reader beside it waited {slowest:?}");
    assert!(most < SLOW_READER_BYTES, "a slow reader made the broker grow by {most} bytes");

    while received.events() < 1_000_000 {
        let frame = timeout(PATIENCE, replay.next()).await.context("the replay stands still")??;
        received.take(&frame.context("a frame")?);
    }
    assert_eq!(received.events(), 1_000_000);
    received.assert_chained(&state);
    fast.leave().await?;
    scene.assert_clean();
    Ok(())
}

/// Half of them never give credit again after the first byte; the others give it without end and never read.
const STALLED: u64 = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_that_stop_taking_fall_back_to_storage_and_catch_up_later() -> Result<()> {
    let scene = Scene::set().await?;
    let client = RawClient::connect(&scene.broker).await?;
    let mut control = client.control().await?;
    control.open_session(1).await?;
    let mut states = BTreeMap::<Incarnation, SubscriptionState>::new();
    for n in 0..STALLED {
        // Filters that differ, so that no two followers share what they are sent.
        let state = control.subscribe(&n.to_string(), &format!("'{n}' = '{n}'"), Start::Latest).await?;
        control.credit(&state, if n % 2 == 0 { 1 } else { u64::MAX }).await?;
        states.insert(state.incarnation, state);
    }
    let publishing = RawClient::connect(&scene.broker).await?;
    let mut publishing_control = publishing.control().await?;
    publishing_control.open_session(2).await?;
    let mut publish = publishing.open(StreamKind::Publish).await?;
    fill(&mut publish, 0, PARTITIONS).await?;

    let before = scene.resident_bytes()?;
    let missed = u64::try_from(batch(BATCH).len())? * 4 * PARTITIONS;
    fill(&mut publish, PARTITIONS, 4 * PARTITIONS).await?;
    let grown = scene.resident_bytes()?.saturating_sub(before);
    // The store's write buffers and tail caches hold the log's end once, whoever follows: that much and some, not that much
    // for every follower.
    assert!(grown < missed * STALLED / 4, "{STALLED} followers that each miss {missed} bytes cost {grown} bytes");

    for state in states.values() {
        control.credit(state, u64::MAX).await?;
    }
    let mut frames = read_all(client.connection.clone());
    let total = 5 * PARTITIONS * u64::from(BATCH);
    let mut received: BTreeMap<_, Received> =
        states.keys().map(|incarnation| (*incarnation, Received::default())).collect();
    while received.values().any(|received| received.events() < total) {
        let frame = timeout(PATIENCE, frames.recv()).await.context("some do not catch up")?.context("streams go on")?;
        received.get_mut(&frame.feed.incarnation).context("a known subscription")?.take(&frame);
    }
    for (incarnation, received) in received {
        assert_eq!(received.events(), total);
        received.assert_chained(&states[&incarnation]);
    }
    Ok(())
}

/// Some twelve megabytes: three times what a client is sent ahead of what it takes.
const BACKLOG: u64 = 40_000;

#[tokio::test]
async fn a_client_whose_address_changes_in_mid_replay_loses_nothing_and_keeps_its_connection() -> Result<()> {
    let scene = Scene::set().await?;
    scene.producer().await?.publish(0..BACKLOG).await?;
    let proxy = FaultProxy::start(scene.broker.address(), Seed::announced()).await?;
    let client = scene.client_at(proxy.address(), "phone").await?;
    let (subscription, declared) = scene.subscribe(&client, earliest("all", ""), scene.everything).await?;
    let slow = ListenerOptions { batch_events: 512, pause: Duration::from_millis(10), ..ListenerOptions::default() };
    let phone = Attending::begin(client, subscription, declared, &scene.oracle, slow);
    let sessions = scene.sessions_opened().await?;

    phone.has_received(BACKLOG / 8).await?;
    proxy.rebind().await?;
    phone.has_received(BACKLOG / 4).await?;
    phone.client.network_changed().await?;
    phone.has_received(BACKLOG / 3).await?;
    // Both at once, as when a phone leaves the house.
    proxy.rebind().await?;
    phone.client.network_changed().await?;
    assert!(phone.received() < BACKLOG, "the replay is still going on");
    scene.settled(declared).await?;
    assert_eq!(scene.sessions_opened().await?, sessions, "nobody had to connect anew");
    let listened = phone.leave().await?;
    assert!(!listened.notices.iter().any(|notice| matches!(notice, Notice::Reconnecting { .. })));
    scene.assert_clean();
    Ok(())
}

#[tokio::test]
async fn a_connection_that_is_dead_on_the_new_network_is_given_up_soon() -> Result<()> {
    let scene = Scene::set().await?;
    let proxy = FaultProxy::start(scene.broker.address(), Seed::announced()).await?;
    let phone = scene.client_at(proxy.address(), "phone").await?;
    let phone = scene.attend(phone, SubscribeOptions::new("all", ""), scene.everything).await?;
    let producer = scene.producer().await?;
    producer.publish(0..10).await?;
    scene.settled(phone.declared).await?;

    proxy.cut(Cut::Both).await?;
    phone.client.network_changed().await?;
    let is_seeking = || matches!(phone.client.status(), Status::Connecting { .. });
    // By itself a connection to the only broker is given up after thirty seconds of silence.
    until("the dead connection is given up", Duration::from_secs(10), is_seeking).await?;
    producer.publish(10..20).await?;
    proxy.heal().await?;
    phone.client.network_changed().await?;
    scene.settled(phone.declared).await?;
    phone.leave().await?;
    scene.assert_clean();
    Ok(())
}

#[tokio::test]
async fn a_broker_that_was_killed_and_restarted_is_noticed_at_the_next_packet() -> Result<()> {
    let mut scene = Scene::set().await?;
    let raw = RawClient::connect(&scene.broker).await?;
    let mut control = raw.control().await?;
    let phone = scene.attend(scene.client("phone").await?, SubscribeOptions::new("all", ""), scene.everything).await?;
    let producer = scene.producer().await?;
    producer.publish(0..10).await?;
    scene.settled(phone.declared).await?;
    scene.broker.restart().await?;
    assert_eq!(raw.connection.close_reason(), None, "nothing was said, so nothing is known");

    control.tell(Hello::of_this_version("again").into()).await?;
    let closed = timeout(Duration::from_secs(2), raw.connection.closed()).await;
    assert_eq!(closed.context("it waits for a time-out")?, quinn::ConnectionError::Reset);

    // The same for the SDK, which asks at least every few seconds: nothing here waits for its idle time-out of thirty.
    let begun = Instant::now();
    producer.publish(10..20).await?;
    scene.settled(phone.declared).await?;
    assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());
    phone.leave().await?;
    scene.assert_clean();
    Ok(())
}

#[tokio::test]
async fn a_bad_line_that_is_cut_and_healed_delays_events_and_loses_none() -> Result<()> {
    const EVENTS: u64 = 1500;
    let scene = Scene::set().await?;
    let seed = Seed::announced();
    let proxy = FaultProxy::start(scene.broker.address(), seed).await?;
    let phone = scene.client_at(proxy.address(), "phone").await?;
    let phone = scene.attend(phone, SubscribeOptions::new("all", ""), scene.everything).await?;
    let producer = Producer::of(scene.client_at(proxy.address(), "producer").await?, &scene.oracle);
    let bad = Faults { delay_ms: 50, jitter_ms: 20, loss: 0.05, duplicate: 0.01, reorder: 0.05, reorder_ms: 30 };
    proxy.set(bad).await?;

    let publishing = producer.publish_at(0..EVENTS, Pace::PerSecond(200.0));
    let cutting = async {
        phone.has_received(EVENTS / 4).await?;
        proxy.cut(Cut::Both).await?;
        let (had, cut) = (phone.received(), Instant::now());
        tokio::time::sleep(Duration::from_secs(3)).await;
        ensure!(phone.received() < had + 100, "a cut line delivers nothing but what had arrived");
        proxy.heal().await?;
        until("events come again", PATIENCE, || phone.received() > had + 100).await?;
        Ok(cut.elapsed())
    };
    let (published, back) = tokio::join!(publishing, cutting);
    published?;
    ensure!(back? < Duration::from_secs(20), "long after the line was healed");
    scene.settled(phone.declared).await?;
    let counts = proxy.counts().await?;
    assert!(counts.dropped > 0 && counts.held_back > 0, "a bad line: {counts:?}");
    proxy.set(Faults::default()).await?;
    phone.leave().await?;
    scene.assert_clean();
    Ok(())
}
