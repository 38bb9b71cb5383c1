//! Sessions: who has one, who takes it over, and how few round trips it takes to be back.

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use anyport_client::{Error, Notice, SubscribeOptions};
use anyport_loadtest::drive::{ListenerOptions, until};
use anyport_loadtest::fault_proxy::{Cut, FaultProxy, Faults};
use anyport_loadtest::raw::{ChainCheck, RawClient, RawFeed, RawStream};
use anyport_loadtest::workload::Seed;
use anyport_protocol::event::{Event, framed};
use anyport_protocol::message::feed::{FeedContent, FeedFrame};
use anyport_protocol::message::publish::{PublishBatch, Published};
use anyport_protocol::message::{
    Ack, Hello, Login, Register, Start, StreamKind, SubscriptionState, TakenOver, ToClient,
};
use anyport_protocol::{
    Code, Cursor, Incarnation, LogEpoch, Nonce, Number, Offset, PartitionId, ProducerId, SessionEpoch,
};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use support::{Attending, PATIENCE, Scene, connect, earliest, wire};
use tokio::time::{Instant, timeout};

/// Some five megabytes: more than a client is sent ahead of what it takes.
const BACKLOG: u64 = 20_000;

/// What another device needs to be the same client.
fn copy_home(from: &Path, to: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_home(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(to.to_owned())
}

#[tokio::test]
async fn who_is_taken_over_in_mid_replay_stops_and_the_other_gets_all_that_was_not_acked() -> Result<()> {
    let scene = Scene::set().await?;
    scene.producer().await?.publish(0..BACKLOG).await?;
    let client = scene.client("phone").await?;
    let (subscription, declared) = scene.subscribe(&client, earliest("all", ""), scene.everything).await?;
    let slow = ListenerOptions { batch_events: 256, pause: Duration::from_millis(20), ..ListenerOptions::default() };
    let first = Attending::begin(client, subscription, declared, &scene.oracle, slow);
    first.has_received(BACKLOG / 5).await?;

    let elsewhere = copy_home(&scene.broker.home(), &scene.folder().join("elsewhere"))?;
    let client = connect(scene.broker.address(), elsewhere, "phone").await?;
    let subscription = client.subscribe(earliest("all", "")).await?;
    let second = Attending::begin(client, subscription, declared, &scene.oracle, ListenerOptions::default());
    until("the first is told", PATIENCE, || first.listener.is_over()).await?;
    assert!(first.received() < BACKLOG, "it was still replaying");
    let listened = first.listener.stop().await?;
    assert_eq!(listened.notices.last(), Some(&Notice::TakenOver));
    assert!(matches!(listened.subscription.ended(), Some(Error::TakenOver)));
    let refused = first.client.subscribe(SubscribeOptions::new("more", "")).await.expect_err("it does not fight back");
    assert!(matches!(refused, Error::TakenOver), "{refused}");

    scene.settled(declared).await?;
    assert!(second.received() < BACKLOG, "what the first had acked does not come again");
    second.leave().await?;
    scene.assert_clean();
    Ok(())
}

/// Everything below the end of this frame is done with.
fn ack_of(incarnation: Incarnation, frame: &FeedFrame) -> Ack {
    let cursor = Cursor { epoch: LogEpoch(0), offset: frame.covers.end };
    Ack { cursors: vec![(incarnation, vec![(frame.feed.partition, cursor)])] }
}

/// Takes frames, stream after stream, until everything up to the tails is covered.
async fn drain(client: &RawClient, state: &SubscriptionState) -> Result<ChainCheck> {
    let mut check = ChainCheck::new(state);
    let tails: u64 = state.feeds.iter().map(|feed| feed.tail.0).sum();
    while check.covered() < tails {
        let mut feed = RawFeed::accept(client).await?;
        while let Some(frame) = feed.next().await? {
            check.take(&frame)?;
        }
    }
    Ok(check)
}

#[tokio::test]
async fn an_ack_that_comes_after_the_takeover_is_refused_and_moves_nothing() -> Result<()> {
    let scene = Scene::set().await?;
    scene.producer().await?.publish(0..BACKLOG).await?;
    let first = RawClient::connect(&scene.broker).await?;
    let mut first_control = first.control().await?;
    let own = wire::register(&mut first_control).await?;
    wire::open(&mut first_control, 1, 1).await?;
    let state = first_control.subscribe("all", "", Start::Earliest).await?;
    first_control.credit(&state, u64::MAX).await?;
    let mut replay = RawFeed::accept(&first).await?;
    let acked = replay.next().await?.context("a frame")?;
    let late = replay.next().await?.context("another frame")?;
    let answer = first_control.ask(ack_of(state.incarnation, &acked).into()).await?;
    ensure!(matches!(answer, ToClient::Acked(_)), "{answer:?}");

    let second = RawClient::connect(&scene.broker).await?;
    let mut second_control = second.control().await?;
    assert_eq!(wire::log_in(&mut second_control, &own.token).await?.client, own.client);
    let opened = wire::open(&mut second_control, 2, 2).await?;
    let told = wire::pushed(&mut first_control).await?;
    assert_eq!(told, TakenOver { epoch: SessionEpoch(2), nonce: Nonce([2; 16]) }.into());
    let refused = first_control.refused(ack_of(state.incarnation, &late).into()).await?;
    assert!(refused.is(Code::StaleEpoch) && refused.value == Some(2), "{refused}");
    // The streams of the first are reset, so its replay ends short of the log's end.
    let rest = timeout(PATIENCE, async { while let Ok(Some(_)) = replay.next().await {} }).await;
    rest.context("the first's replay goes on")?;
    assert!(replay.credited_bytes < 2 << 20, "{} bytes reached the first", replay.credited_bytes);

    let [resumed] = opened.subscriptions.as_slice() else { bail!("not one subscription: {opened:?}") };
    for feed in &resumed.feeds {
        let expected = if feed.partition == acked.feed.partition { acked.covers.end } else { Offset::ZERO };
        assert_eq!(feed.position.offset, expected, "partition {}", feed.partition);
    }
    second_control.credit(resumed, u64::MAX).await?;
    let rest = drain(&second, resumed).await?;
    assert_eq!(rest.events + acked.covers.len(), BACKLOG);
    Ok(())
}

#[tokio::test]
async fn an_opening_that_is_repeated_is_answered_alike_and_a_lower_epoch_learns_the_current_one() -> Result<()> {
    let scene = Scene::set().await?;
    let client = RawClient::connect(&scene.broker).await?;
    let mut control = client.control().await?;
    let own = wire::register(&mut control).await?;
    wire::open(&mut control, 5, 1).await?;
    control.subscribe("all", "", Start::Latest).await?;
    let before = wire::open(&mut control, 5, 1).await?;

    let other = RawClient::connect(&scene.broker).await?;
    let mut other_control = other.control().await?;
    wire::log_in(&mut other_control, &own.token).await?;
    let again = wire::open(&mut other_control, 5, 1).await?;
    assert_eq!((again.epoch, &again.subscriptions), (before.epoch, &before.subscriptions));
    for (epoch, nonce) in [(5, 2), (4, 1), (0, 1)] {
        let refused = wire::open_refused(&mut other_control, epoch, nonce).await?;
        assert!(refused.is(Code::StaleEpoch) && refused.value == Some(5), "epoch {epoch}: {refused}");
    }
    assert_eq!(wire::open(&mut other_control, 6, 2).await?.epoch, SessionEpoch(6));
    let refused = wire::open_refused(&mut control, 5, 1).await?;
    assert!(refused.is(Code::StaleEpoch) && refused.value == Some(6), "{refused}");
    Ok(())
}

#[tokio::test]
async fn a_changed_filter_ends_the_deliveries_of_the_subscriptions_earlier_life() -> Result<()> {
    let scene = Scene::set().await?;
    let producer = scene.producer().await?;
    let client = RawClient::connect(&scene.broker).await?;
    let mut control = client.control().await?;
    control.open_session(1).await?;
    let old = control.subscribe("all", "", Start::Latest).await?;
    control.credit(&old, u64::MAX).await?;
    producer.publish(0..100).await?;
    RawFeed::accept(&client).await?.next().await?.context("a live frame")?;
    let new = control.subscribe("all", "EXISTS id", Start::Latest).await?;
    assert_ne!(new.incarnation, old.incarnation);

    control.credit(&new, u64::MAX).await?;
    producer.publish(100..200).await?;
    // Nothing was acked, so the new life begins where the old one did.
    let (mut events, mut streams) = (0, 0);
    while events < 200 {
        streams += 1;
        ensure!(streams < 10, "{events} events in {streams} streams");
        // A stream of the earlier life may still come, reset; no frame of it goes beyond the change.
        let Ok(mut feed) = RawFeed::accept(&client).await else { continue };
        while let Ok(Ok(Some(frame))) = timeout(QUIET, feed.next()).await {
            let change = new.feeds[usize::from(frame.feed.partition.0)].tail;
            match &frame.content {
                FeedContent::Events(got) if frame.feed.incarnation == new.incarnation => events += got.len(),
                content => assert!(frame.covers.end <= change, "the earlier life goes on: {content:?}"),
            }
        }
    }
    assert_eq!(events, 200);
    Ok(())
}

/// A stream on which nothing has come for so long has nothing to bring here.
const QUIET: Duration = Duration::from_millis(500);

/// One way. Long beside anything else that happens on the way back.
const DISTANCE: Duration = Duration::from_millis(250);

#[tokio::test]
async fn a_client_that_was_here_before_is_back_after_one_round_trip_and_has_what_it_missed_after_two() -> Result<()> {
    let scene = Scene::set().await?;
    let proxy = FaultProxy::start(scene.broker.address(), Seed::announced()).await?;
    let phone = scene.client_at(proxy.address(), "phone").await?;
    let phone = scene.attend(phone, SubscribeOptions::new("all", ""), scene.everything).await?;
    phone.client.suspend().await?;
    scene.producer().await?.publish(0..30).await?;

    let delay_ms = u64::try_from(DISTANCE.as_millis())?;
    proxy.set(Faults { delay_ms, ..Faults::default() }).await?;
    let sessions = phone.listener.progress.resumed();
    let begun = Instant::now();
    phone.client.resume().await?;
    until("the session is resumed", PATIENCE, || phone.listener.progress.resumed() > sessions).await?;
    let back = begun.elapsed();
    until("what was missed has come", PATIENCE, || phone.received() == 30).await?;
    let served = begun.elapsed();
    // A handshake before the first request would take a round trip of its own, and asking for events after it a third. What
    // does not fit what QUIC lets a server send at first comes with the second.
    assert!(back >= 2 * DISTANCE && back < 4 * DISTANCE, "back after {back:?}");
    assert!(served < 5 * DISTANCE, "had everything after {served:?}, back after {back:?}");
    proxy.set(Faults::default()).await?;
    phone.leave().await?;
    scene.assert_clean();
    Ok(())
}

/// A client that remembers TLS sessions, as phones do.
fn remembering_config(authority: &Path) -> Result<quinn::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority)?)?;
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"anyport/1".to_vec()];
    tls.enable_early_data = true;
    Ok(quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?)))
}

fn one_event() -> Result<PublishBatch> {
    let mut run = Vec::new();
    framed::push(&mut run, &Event::builder("1", "/early", "t").build()?.encode());
    let (producer, partition) = (ProducerId([3; 16]), PartitionId(0));
    Ok(PublishBatch { producer, partition, count: 1, first_number: Number(0), framed: run.into() })
}

/// Whoever records early data can send it again: an opening harms nobody, but a registration or a publish must wait until the
/// handshake has shown that the client is there. The broker's answers are cut off, so here it never is.
#[tokio::test]
async fn early_data_opens_a_session_but_registers_and_publishes_only_once_the_handshake_is_done() -> Result<()> {
    let scene = Scene::set().await?;
    let proxy = FaultProxy::start(scene.broker.address(), Seed::announced()).await?;
    let config = remembering_config(&scene.authority())?;
    let endpoint = quinn::Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let connection = endpoint.connect_with(config.clone(), proxy.address(), "localhost")?.await?;
    let first = RawClient { endpoint: endpoint.clone(), connection };
    let own = wire::register(&mut first.control().await?).await?;
    first.connection.close(0_u32.into(), b"");

    proxy.cut(Cut::ToClient).await?;
    let counters = ["anyport_clients_registered_total", "anyport_stored_events_total", "anyport_sessions_opened_total"];
    let mut before = Vec::new();
    for name in counters {
        before.push(scene.metric(name).await?);
    }
    let connecting = endpoint.connect_with(config, proxy.address(), "localhost")?;
    let Ok((connection, accepted)) = connecting.into_0rtt() else { bail!("nothing is remembered of the first") };
    let early = RawClient { endpoint, connection };
    let mut control = early.open(StreamKind::Control).await?;
    control.tell(Hello::of_this_version("early").into()).await?;
    control.tell(Login { token: own.token }.into()).await?;
    control.tell(wire::opening(1, 1).into()).await?;
    let registration = control.tell(Register {}.into()).await?;
    let mut publish = early.open(StreamKind::Publish).await?;
    let mut frame = Vec::new();
    one_event()?.encode(1, &mut frame);
    publish.send(&frame).await?;

    let deadline = Instant::now() + PATIENCE;
    while scene.metric(counters[2]).await? == before[2] {
        ensure!(Instant::now() < deadline, "the session is not opened by early data");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What must not happen cannot be awaited; a broker that would do it has had the same packets all this time.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(scene.metric(counters[0]).await?, before[0], "registered by early data");
    assert_eq!(scene.metric(counters[1]).await?, before[1], "published by early data");

    proxy.heal().await?;
    assert!(timeout(PATIENCE, accepted).await?, "early data was refused");
    answered(&mut control, registration).await?;
    let stored = Published::decode(&publish.receive().await?.1)?;
    assert!(matches!(stored, Published::Stored { .. }), "{stored:?}");
    Ok(())
}

async fn answered(control: &mut RawStream, request: u32) -> Result<()> {
    loop {
        let (header, body) = control.receive().await?;
        let answer = ToClient::decode(header.message_type, &body)?;
        ensure!(!matches!(answer, ToClient::Refused(_)), "{answer:?}");
        if header.request == request {
            return Ok(());
        }
    }
}

#[tokio::test]
async fn connections_that_say_nothing_are_closed_after_their_time_and_others_are_served_meanwhile() -> Result<()> {
    const SILENT: usize = 200;
    let scene = Scene::set().await?;
    let producer = scene.producer().await?;
    let phone = scene.attend(scene.client("phone").await?, SubscribeOptions::new("all", ""), scene.everything).await?;
    let mut silent = Vec::new();
    let begun = Instant::now();
    for _ in 0..SILENT {
        silent.push(RawClient::connect(&scene.broker).await?);
    }
    producer.publish(0..300).await?;
    scene.settled(phone.declared).await?;
    assert!(silent.iter().all(|client| client.connection.close_reason().is_none()), "they have their time");
    for client in &silent {
        let (code, text) = client.closed_by_broker().await?;
        assert_eq!(code, Code::OutOfTurn as u16, "{text}");
    }
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(9) && took < Duration::from_secs(20), "closed after {took:?}");
    producer.publish(300..600).await?;
    scene.settled(phone.declared).await?;
    let listened = phone.leave().await?;
    assert_eq!(listened.notices.len(), 1, "the others were not disturbed: {:?}", listened.notices);
    scene.assert_clean();
    Ok(())
}
