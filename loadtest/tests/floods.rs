//! Many at once who mean no good, while a client that means well publishes and gets everything.
//!
//! `make test` has two thousand silent connections, `make torture` ten thousand. Each is closed after ten seconds, so of the ten thousand as
//! many are open at once as the machine's handshakes of ten seconds.

mod support;

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use anyport_loadtest::raw::{RawClient, client_config};
use anyport_loadtest::workload::Seed;
use anyport_protocol::Code;
use quinn::{Connection, ConnectionError, Endpoint};
use rand::RngCore;
use support::{Attending, PATIENCE, Scene, earliest};
use tokio::task::JoinSet;

/// Where one was seen to take 38 KiB.
const BYTES_PER_CONNECTION_MAX: u64 = 64 << 10;

/// What the broker may grow by beside, since it serves a client meanwhile.
const BYTES_BESIDE_MAX: u64 = 32 << 20;

/// Handshakes under way at a time; each costs both sides a signature.
const HANDSHAKES: usize = 64;

/// A silent connection is closed after ten seconds; a busy machine may be late.
const CLOSED_WITHIN: Duration = Duration::from_secs(60);

fn silent_connections() -> usize {
    if std::env::var_os("ANYPORT_TORTURE").is_some() { 10_000 } else { 2_000 }
}

fn endpoint() -> Result<Endpoint> {
    Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).context("bind a socket")
}

/// Connections of one socket, on which nothing is said. One whose handshake is so slow that the broker has given it up meanwhile is left out.
async fn connect_silently(count: usize, to: SocketAddr, authority: &Path) -> Result<(Endpoint, Vec<Connection>)> {
    let (endpoint, config) = (endpoint()?, client_config(authority)?);
    let (mut shaking, mut connections) = (JoinSet::new(), Vec::with_capacity(count));
    for n in 0..count {
        if n >= HANDSHAKES {
            connections.extend(shaking.join_next().await.context("one is under way")??);
        }
        let connecting = endpoint.connect_with(config.clone(), to, "localhost")?;
        shaking.spawn(async move { connecting.await.ok() });
    }
    while let Some(connection) = shaking.join_next().await {
        connections.extend(connection?);
    }
    Ok((endpoint, connections))
}

/// A client that means well, and publishes while the flood lasts.
async fn attending(scene: &Scene) -> Result<Attending> {
    scene.attend(scene.client("well-meaning").await?, earliest("everything", ""), scene.everything).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_send_nothing_cost_little_and_are_closed() -> Result<()> {
    let scene = Scene::set().await?;
    let attending = attending(&scene).await?;
    let producer = scene.producer().await?;
    producer.publish(0..500).await?;
    let before = scene.resident_bytes()?;

    let (count, begun) = (silent_connections(), Instant::now());
    let (endpoint, connections) = connect_silently(count, scene.broker.address(), &scene.authority()).await?;
    let (took, open) = (begun.elapsed(), endpoint.open_connections());
    ensure!(connections.len() > count / 10 * 9, "{} of {count} connected", connections.len());
    producer.publish(500..1_500).await?;
    attending.has_received(1_500).await?;
    let grown = scene.resident_bytes()?.saturating_sub(before);
    eprintln!(
        "{count} connections in {took:?}, {open} of them open at once; the broker has grown by {} KiB",
        grown >> 10
    );
    ensure!(
        grown <= count as u64 * BYTES_PER_CONNECTION_MAX + BYTES_BESIDE_MAX,
        "{count} connections took {grown} bytes"
    );

    let deadline = tokio::time::Instant::now() + CLOSED_WITHIN;
    let mut told = 0;
    for connection in &connections {
        let closed = tokio::time::timeout_at(deadline, connection.closed()).await.context("one is still open")?;
        match &closed {
            ConnectionError::ApplicationClosed(close) => {
                assert_eq!(close.error_code.into_inner(), Code::OutOfTurn as u64, "{closed}");
                told += 1;
            }
            // The one datagram that says so was lost: so many come at once that they do not fit a socket's buffer.
            ConnectionError::TimedOut => {}
            other => anyhow::bail!("closed otherwise: {other}"),
        }
    }
    ensure!(told > count / 2, "{told} of {count} were told that nothing was said");
    producer.publish(1_500..2_000).await?;
    scene.settled(attending.declared).await?;
    attending.leave().await?;
    scene.assert_clean();
    Ok(())
}

/// Their first packets go to the broker from a socket that answers nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_many_handshakes_stay_open_a_sender_must_first_show_its_address() -> Result<()> {
    // More than the 256 that may be open, in portions that a socket's buffer holds.
    const PORTIONS: usize = 12;
    const PORTION: usize = 50;
    let scene = Scene::set().await?;
    let mut silent = Silent { socket: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, seen: HashSet::new() };
    silent.socket.set_read_timeout(Some(PATIENCE))?;
    let (endpoint, config) = (endpoint()?, client_config(&scene.authority())?);
    let (to, broker) = (silent.socket.local_addr()?, scene.broker.address());
    let mut begun = Vec::new();
    for portion in 1..=PORTIONS {
        for _ in 0..PORTION {
            begun.push(endpoint.connect_with(config.clone(), to, "localhost")?);
        }
        silent = tokio::task::spawn_blocking(move || silent.forward(broker, portion * PORTION)).await??;
    }
    // Who can show its address is let in.
    let deadline = Instant::now() + PATIENCE;
    while scene.metric("anyport_addresses_validated_total").await? == 0.0 {
        RawClient::connect(&scene.broker).await?.control().await?;
        ensure!(Instant::now() < deadline, "no address had to be shown");
    }
    drop(begun);
    Ok(())
}

/// Where handshakes are begun and never answered.
struct Silent {
    socket: UdpSocket,
    /// How the connections named the broker in their first packets.
    seen: HashSet<Vec<u8>>,
}

impl Silent {
    /// Sends first packets on to the broker, until there have been those of so many connections.
    fn forward(mut self, broker: SocketAddr, connections: usize) -> Result<Self> {
        let mut datagram = [0; 2048];
        while self.seen.len() < connections {
            let length = self.socket.recv(&mut datagram).context("a first packet")?;
            self.socket.send_to(&datagram[..length], broker)?;
            // A long header has the broker's id behind its length, which is the sixth byte.
            let id_end = 6 + usize::from(datagram[5]);
            self.seen.insert(datagram[6..id_end].to_vec());
        }
        Ok(self)
    }
}

/// What a flood is made of: bytes without sense, and bytes that look like the beginning of a QUIC packet.
fn garbage(random: &mut impl RngCore, n: usize, datagram: &mut [u8]) {
    random.fill_bytes(datagram);
    if let [first, version @ ..] = datagram {
        match n % 3 {
            // A long header of version 1, an Initial among them.
            0 if version.len() >= 4 => {
                *first |= 0xc0;
                version[..4].copy_from_slice(&1_u32.to_be_bytes());
            }
            // A short header of a connection that there is not.
            1 => *first = *first & 0x3f | 0x40,
            _ => {}
        }
    }
}

/// Sends until it is told to stop, but no more than so many.
fn flood(to: SocketAddr, seed: Seed, stop: &AtomicBool, sent: &AtomicUsize) -> Result<()> {
    const DATAGRAMS_MAX: usize = 2_000_000;
    let (socket, mut random) = (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, seed.rng());
    for n in 0..DATAGRAMS_MAX {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let mut datagram = vec![0; n % 1_400];
        garbage(&mut random, n, &mut datagram);
        // Where the socket's buffer is full a datagram is dropped, which is as good.
        let _ = socket.send_to(&datagram, to);
        sent.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_flood_of_garbage_datagrams_a_client_publishes_and_gets_everything() -> Result<()> {
    const DATAGRAMS_MIN: usize = 50_000;
    let scene = Scene::set().await?;
    let attending = attending(&scene).await?;
    let producer = scene.producer().await?;
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (to, seed) = (scene.broker.address(), Seed::announced());
    let flooding = tokio::task::spawn_blocking({
        let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
        move || flood(to, seed, &stop, &sent)
    });
    // The client goes on for as long as it takes to have been in a flood.
    let mut published = 0;
    while published < 2_000 || (sent.load(Ordering::Relaxed) < DATAGRAMS_MIN && !flooding.is_finished()) {
        producer.publish(published..published + 200).await?;
        published += 200;
    }
    // One that comes while it lasts is let in, too.
    RawClient::connect(&scene.broker).await?.control().await?;
    attending.has_received(published).await?;
    stop.store(true, Ordering::Relaxed);
    flooding.await??;
    eprintln!("{published} events in a flood of {} datagrams", sent.load(Ordering::Relaxed));
    scene.settled(attending.declared).await?;
    attending.leave().await?;
    scene.assert_clean();
    Ok(())
}
