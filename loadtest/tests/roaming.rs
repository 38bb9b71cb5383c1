//! How a client goes from broker to broker: sent away, refused, cut off, or by its own wish. The brokers are scripted, so that each
//! thing happens by itself and at a known moment; what real clusters make of it is in `cluster`.

use std::time::Duration;

use anyhow::{Context, Result};
use anyport_client::{Client, ClientOptions, PublisherOptions, Status, SubscribeOptions, Subscription};
use anyport_loadtest::fault_proxy::{Cut, FaultProxy};
use anyport_loadtest::raw::{Authority, Manners, ScriptedBroker, Seen, polite};
use anyport_loadtest::workload::Seed;
use anyport_protocol::event::Event;
use anyport_protocol::message::feed::{DeliveryWriter, FeedId};
use anyport_protocol::message::{GoAway, ToBroker};
use anyport_protocol::{Code, Fault, Incarnation, Offset, PartitionId};
use tokio::time::{Instant, timeout};

const PATIENCE: Duration = Duration::from_secs(30);

/// Two brokers, each behind a line that can be cut, and a client that knows both.
struct Scene {
    brokers: [ScriptedBroker; 2],
    lines: [FaultProxy; 2],
    home: tempfile::TempDir,
}

impl Scene {
    async fn set(manners: [Manners; 2]) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let authority = Authority::trusted_in(home.path())?;
        let [first, second] = manners;
        let brokers = [ScriptedBroker::start(&authority, first)?, ScriptedBroker::start(&authority, second)?];
        let line =
            |broker: &ScriptedBroker| broker.address().map(|address| FaultProxy::start(address, Seed::announced()));
        let lines = [line(&brokers[0])?.await?, line(&brokers[1])?.await?];
        Ok(Self { brokers, lines, home })
    }

    async fn polite() -> Result<Self> {
        Self::set([Manners::default(), Manners::default()]).await
    }

    fn address(&self, broker: usize) -> String {
        self.lines[broker].address().to_string()
    }

    async fn client(&self) -> Result<Client> {
        let servers = vec![self.address(0), self.address(1)];
        let home = self.home.path().to_owned();
        Ok(Client::connect(ClientOptions { servers, home, ..ClientOptions::default() }).await?)
    }

    /// How long it takes from now until this broker is asked for a session.
    async fn arrives_at(&mut self, broker: usize) -> Result<Duration> {
        let begun = Instant::now();
        timeout(PATIENCE, self.brokers[broker].sees_opening()).await.context("nobody comes")??;
        Ok(begun.elapsed())
    }
}

fn all() -> SubscribeOptions {
    SubscribeOptions::new("all", "")
}

fn event() -> Event {
    Event::builder("1", "/story", "told").build().expect("a valid event")
}

#[tokio::test]
async fn a_broker_that_sends_its_clients_away_is_left_at_once_for_another() -> Result<()> {
    let mut scene = Scene::polite().await?;
    let client = scene.client().await?;
    let _subscription = client.subscribe(all()).await?;
    scene.arrives_at(0).await?;
    scene.brokers[0].push(GoAway { reconnect_after_ms: 20_000, ..GoAway::default() }).await?;
    let took = scene.arrives_at(1).await?;
    assert!(
        took < Duration::from_secs(2),
        "the time named is for coming back here, and nobody waits for the end: {took:?}"
    );
    client.close().await?;
    Ok(())
}

#[tokio::test]
async fn a_broker_that_has_fallen_silent_is_left_within_seconds() -> Result<()> {
    let mut scene = Scene::polite().await?;
    let client = scene.client().await?;
    let _subscription = client.subscribe(all()).await?;
    scene.arrives_at(0).await?;
    scene.lines[0].cut(Cut::Both).await?;
    let took = scene.arrives_at(1).await?;
    // Two until the next keep-alive, two of silence, and what a busy machine adds.
    assert!(took < Duration::from_secs(8), "it took {took:?}");
    client.close().await?;
    Ok(())
}

#[tokio::test]
async fn with_publishes_under_way_silence_is_noticed_without_waiting_for_a_keep_alive() -> Result<()> {
    let mut scene = Scene::polite().await?;
    let client = scene.client().await?;
    let publisher = client.publisher(PublisherOptions::default());
    publisher.publish(&event()).await?.await?;
    scene.lines[0].cut(Cut::Both).await?;
    let begun = Instant::now();
    publisher.publish(&event()).await?.await?;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(4), "sooner than QUIC gives up: {took:?}");
    let stored_at = timeout(PATIENCE, scene.brokers[1].sees(|seen| matches!(seen, Seen::Batch(_)))).await;
    stored_at.context("the other broker got it")??;
    Ok(())
}

#[tokio::test]
async fn a_network_that_stands_still_for_a_moment_moves_nobody() -> Result<()> {
    let scene = Scene::polite().await?;
    let client = scene.client().await?;
    let publisher = client.publisher(PublisherOptions::default());
    publisher.publish(&event()).await?.await?;
    for line in &scene.lines {
        line.cut(Cut::Both).await?;
    }
    let receipt = publisher.publish(&event()).await?;
    // So long that the other broker is being tried when it comes back.
    tokio::time::sleep(Duration::from_millis(2700)).await;
    for line in &scene.lines {
        line.heal().await?;
    }
    receipt.await?;
    let status = client.status();
    assert!(matches!(&status, Status::Connected { server } if *server == scene.address(0)), "{status:?}");
    client.close().await?;
    Ok(())
}

#[tokio::test]
async fn a_broker_that_opens_no_session_is_left_for_another_at_once() -> Result<()> {
    let busy = Fault::retry_after(Code::NotReady, 20_000, "no majority here");
    let mut scene = Scene::set([Manners::refusing_sessions(busy), Manners::default()]).await?;
    let client = scene.client().await?;
    let begun = Instant::now();
    let _subscription = client.subscribe(all()).await?;
    assert!(begun.elapsed() < Duration::from_secs(2), "the time named is for coming back here: {:?}", begun.elapsed());
    scene.arrives_at(1).await?;
    client.close().await?;
    Ok(())
}

#[tokio::test]
async fn where_no_broker_opens_a_session_all_are_asked_again_after_the_time_they_name() -> Result<()> {
    let busy = || Manners::refusing_sessions(Fault::retry_after(Code::NotReady, 700, "no majority anywhere"));
    let mut scene = Scene::set([busy(), busy()]).await?;
    let client = scene.client().await?;
    let subscribing =
        tokio::spawn(async move { client.subscribe(all()).await.map(|subscription| (client, subscription)) });
    scene.arrives_at(0).await?;
    scene.arrives_at(1).await?;
    let again = scene.arrives_at(0).await?;
    assert!(again >= Duration::from_millis(600), "asked again after {again:?}");
    scene.brokers[1].behave(Manners::default());
    let (client, _subscription) = timeout(PATIENCE, subscribing).await.context("nobody opens it")???;
    client.close().await?;
    Ok(())
}

#[tokio::test]
async fn a_broker_that_takes_no_publishes_for_long_is_left_for_one_that_does() -> Result<()> {
    let cut_off = Manners::refusing_publishes(Code::NotReady);
    let scene = Scene::set([cut_off, Manners::default()]).await?;
    let client = scene.client().await?;
    let publisher = client.publisher(PublisherOptions::default());
    let begun = Instant::now();
    let acked = timeout(PATIENCE, publisher.publish(&event()).await?).await.context("no ack")??;
    assert_eq!(acked.offset, Some(Offset(0)));
    assert!(begun.elapsed() > Duration::from_secs(5), "a leader is elected sooner than a client should move");
    Ok(())
}

#[tokio::test]
async fn a_broker_whose_sessions_stay_unfenced_is_left_for_another() -> Result<()> {
    let mut scene = Scene::set([Manners::leaving_sessions_unfenced(), Manners::default()]).await?;
    let client = scene.client().await?;
    let _subscription = client.subscribe(all()).await?;
    scene.arrives_at(0).await?;
    let took = scene.arrives_at(1).await?;
    assert!(took > Duration::from_secs(5), "a leader is elected sooner than a client should move: {took:?}");
    client.close().await?;
    Ok(())
}

#[tokio::test]
async fn a_client_goes_where_it_is_told_to_and_back() -> Result<()> {
    let mut scene = Scene::polite().await?;
    let client = scene.client().await?;
    let _subscription = client.subscribe(all()).await?;
    scene.arrives_at(0).await?;
    for broker in [1, 0] {
        client.move_to(scene.address(broker)).await?;
        let took = scene.arrives_at(broker).await?;
        assert!(took < Duration::from_secs(2), "it took {took:?}");
    }
    client.close().await?;
    Ok(())
}

#[tokio::test]
async fn a_suspended_client_that_is_told_to_move_goes_there_when_it_resumes() -> Result<()> {
    let mut scene = Scene::polite().await?;
    let client = scene.client().await?;
    let _subscription = client.subscribe(all()).await?;
    scene.arrives_at(0).await?;
    client.suspend().await?;
    timeout(PATIENCE, client.move_to(scene.address(1))).await.context("it waits for a connection")??;
    client.resume().await?;
    scene.arrives_at(1).await?;
    client.close().await?;
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_has_left_even_if_its_broker_is_lost_before_it_says_goodbye() -> Result<()> {
    let silent = |request: &ToBroker| match request {
        ToBroker::CloseSession(_) => None,
        other => polite(other),
    };
    let mut scene =
        Scene::set([Manners { request: Box::new(silent), ..Manners::default() }, Manners::default()]).await?;
    let client = scene.client().await?;
    let _subscription = client.subscribe(all()).await?;
    scene.arrives_at(0).await?;
    let lost = async {
        scene.brokers[0].sees(|seen| matches!(seen, Seen::Request(ToBroker::CloseSession(_)))).await?;
        scene.brokers[0].hang_up()
    };
    let (left, lost) = tokio::join!(timeout(PATIENCE, client.suspend()), lost);
    lost?;
    left.context("nobody is told that the client has left")??;
    assert!(matches!(client.status(), Status::Suspended), "{:?}", client.status());
    client.resume().await?;
    client.close().await?;
    Ok(())
}

/// A delivery that begins at an offset.
fn delivery(start: u64, offset: u64) -> Vec<u8> {
    let feed = FeedId { incarnation: Incarnation(1), partition: PartitionId(0) };
    let mut frame = Vec::new();
    let mut writer = DeliveryWriter::begin(&mut frame, feed, Offset(start));
    writer.push(Offset(offset), &event().encode());
    writer.finish(Offset(offset + 1));
    frame
}

#[tokio::test]
async fn what_a_cut_off_broker_still_sends_after_its_client_has_gone_elsewhere_reaches_nobody() -> Result<()> {
    let mut scene = Scene::polite().await?;
    let client = scene.client().await?;
    let subscription = client.subscribe(all()).await?;
    scene.arrives_at(0).await?;
    let mut stale = scene.brokers[0].live(&delivery(0, 0)).await?;
    assert_eq!(offsets_until(&subscription, |offsets| !offsets.is_empty()).await?, [0]);

    // What it has sent is on its way when the line is cut, and arrives when the client has a session elsewhere.
    scene.lines[0].cut(Cut::Both).await?;
    stale.write_all(&delivery(1, 1)).await?;
    scene.arrives_at(1).await?;
    scene.lines[0].heal().await?;
    scene.brokers[1].live(&delivery(1, 4)).await?;
    // Long enough for a packet that was lost in the cut to be sent again.
    let healed = Instant::now();
    let offsets = offsets_until(&subscription, |_| healed.elapsed() > Duration::from_secs(3)).await?;
    assert_eq!(offsets, [4], "of the two that say what begins at offset 1, only the broker of the session is heard");
    client.close().await?;
    Ok(())
}

/// What is delivered until that is enough.
async fn offsets_until(subscription: &Subscription, enough: impl Fn(&[u64]) -> bool) -> Result<Vec<u64>> {
    let mut offsets = Vec::new();
    while !enough(&offsets) {
        let batch = subscription.next_batch(10, Duration::from_millis(100)).await.context("it goes on")?;
        offsets.extend(batch.deliveries.iter().map(|delivery| delivery.offset.0));
    }
    Ok(offsets)
}
