//! Feeds as they look on the wire: credit, chains, cancelling, falling back to storage.

use std::time::Duration;

use anyhow::Result;
use anyport_loadtest::raw::{ChainCheck, RawClient, RawFeed};
use anyport_loadtest::runner::{BrokerOptions, BrokerProcess};
use anyport_protocol::event::{Event, framed};
use anyport_protocol::message::publish::Published;
use anyport_protocol::message::{Start, StreamKind};
use bytes::Bytes;

const BATCH: u32 = 4000;

async fn broker() -> Result<(tempfile::TempDir, BrokerProcess)> {
    let folder = tempfile::tempdir()?;
    let broker = BrokerProcess::start(folder.path(), BrokerOptions::default()).await?;
    Ok((folder, broker))
}

/// A batch of small events, framed.
fn batch(count: u32) -> Bytes {
    let mut run = Vec::new();
    for n in 0..count {
        let event = Event::builder(n.to_string(), "/feeds", if n % 2 == 0 { "even" } else { "odd" });
        framed::push(
            &mut run,
            &event.json("{\"fill\":\"0123456789012345678901234567890123456789\"}").build().expect("valid").encode(),
        );
    }
    run.into()
}

/// Publishes `batches` of [`BATCH`] events over all eight partitions.
async fn fill(client: &RawClient, batches: u64) -> Result<()> {
    let mut publish = client.open(StreamKind::Publish).await?;
    let framed = batch(BATCH);
    for n in 0..batches {
        let (partition, round) = (u16::try_from(n % 8)?, n / 8);
        let outcome = publish.publish(partition, round * u64::from(BATCH), framed.clone(), BATCH).await?;
        assert!(matches!(outcome, Published::Stored { .. }), "{outcome:?}");
    }
    Ok(())
}

#[tokio::test]
async fn without_credit_nothing_is_sent_and_credit_bounds_what_is() -> Result<()> {
    let (_folder, broker) = broker().await?;
    let client = RawClient::connect(&broker).await?;
    let mut control = client.control().await?;
    control.open_session(1).await?;
    fill(&client, 32).await?;
    let state = control.subscribe("all", "", Start::Earliest).await?;
    assert!(tokio::time::timeout(Duration::from_millis(300), client.connection.accept_uni()).await.is_err());

    control.credit(&state, 100_000).await?;
    let mut feed = RawFeed::accept(&client).await?;
    assert_eq!(feed.kind, StreamKind::Replay);
    while let Ok(frame) = tokio::time::timeout(Duration::from_millis(300), feed.next()).await {
        frame?;
    }
    // The last read may overdraw by what one turn reads, and one more may have been under way.
    assert!((100_000..700_000).contains(&feed.credited_bytes), "{} bytes", feed.credited_bytes);
    Ok(())
}

#[tokio::test]
async fn frames_chain_from_replay_into_live_delivery() -> Result<()> {
    let (_folder, broker) = broker().await?;
    let client = RawClient::connect(&broker).await?;
    let mut control = client.control().await?;
    control.open_session(1).await?;
    fill(&client, 8).await?;
    let state = control.subscribe("even", "type = 'even'", Start::Earliest).await?;
    control.credit(&state, u64::MAX).await?;
    let mut check = ChainCheck::new(&state);
    let mut replay = RawFeed::accept(&client).await?;
    // The stream is finished once all feeds follow.
    while let Some(frame) = replay.next().await? {
        check.take(&frame)?;
    }
    assert_eq!(check.events, u64::from(8 * BATCH / 2));

    let mut publish = client.open(StreamKind::Publish).await?;
    let outcome = publish.publish(3, u64::from(BATCH), batch(10), 10).await?;
    assert!(matches!(outcome, Published::Stored { .. }), "{outcome:?}");
    let mut live = RawFeed::accept(&client).await?;
    assert_eq!(live.kind, StreamKind::Live);
    let frame = live.next().await?.expect("a live frame");
    check.take(&frame)?;
    assert_eq!(check.events, u64::from(8 * BATCH / 2) + 5);
    Ok(())
}

/// A million events wait; the client takes a few, changes its mind, and gets at most a chunk and what was under way.
#[tokio::test]
async fn a_million_event_replay_is_cancelled_within_one_chunk() -> Result<()> {
    let (_folder, broker) = broker().await?;
    let client = RawClient::connect(&broker).await?;
    let mut control = client.control().await?;
    control.open_session(1).await?;
    fill(&client, 1_000_000 / u64::from(BATCH)).await?;
    let state = control.subscribe("all", "", Start::Earliest).await?;
    assert_eq!(state.waiting_max(), 1_000_000);
    control.credit(&state, u64::MAX).await?;
    let mut replay = RawFeed::accept(&client).await?;
    for _ in 0..4 {
        replay.next().await?.expect("a frame");
    }
    let received_before = client.connection.stats().udp_rx.bytes;
    replay.stream.stop(quinn::VarInt::from_u32(0))?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let after = client.connection.stats().udp_rx.bytes - received_before;
    let window = 1 << 20; // in flight at most: the broker's send window
    assert!(after < window + (256 << 10), "{after} bytes came after the cancel");

    // The session goes on: another subscription is served.
    let other = control.subscribe("later", "", Start::Latest).await?;
    control.credit(&other, u64::MAX).await?;
    let mut publish = client.open(StreamKind::Publish).await?;
    publish.publish(0, u64::from(BATCH) * 32, batch(1), 1).await?;
    let mut live = RawFeed::accept(&client).await?;
    assert_eq!(live.next().await?.expect("a frame").feed.incarnation, other.incarnation);
    Ok(())
}
