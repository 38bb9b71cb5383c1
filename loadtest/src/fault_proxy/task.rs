//! The task that moves bytes between clients and target as the core decides. It owns all sockets; each client's socket
//! has a reader task of its own, which ends with it.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::core::{Counts, Cut, Direction, FaultCore, Faults};
use super::delay_line::DelayLine;
use super::hops::Hops;
use crate::workload::Seed;

/// The largest UDP payload: nothing is ever cut short.
const PACKET_BYTES_MAX: usize = 65_535;

/// Packets held back at once. Ten thousand of 1,200 bytes are a second at 100 Mbit/s.
const DELAYED_PACKETS_MAX: usize = 10_000;

/// Answers read from the target and not yet handled; beyond that they wait in the sockets' own buffers.
const ANSWERS_MAX: usize = 256;

/// Each has a socket; a further client's packets are dropped.
const CLIENTS_MAX: usize = 1024;

#[derive(Debug)]
pub(super) enum Command {
    Set(Faults, oneshot::Sender<()>),
    Cut(Cut, oneshot::Sender<()>),
    Rebind(oneshot::Sender<io::Result<()>>),
    Count(oneshot::Sender<Counts>),
    CountHops(oneshot::Sender<()>),
    Hops(oneshot::Sender<Hops>),
}

/// Cheap to clone: the bytes are shared.
#[derive(Clone, Debug)]
struct Packet {
    direction: Direction,
    client: SocketAddr,
    bytes: Bytes,
    /// Its place in a chain of packets, from when it is taken.
    hop: u32,
}

/// A client's socket towards the target.
#[derive(Debug)]
struct Upstream {
    socket: Arc<UdpSocket>,
    reader: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

#[derive(Debug)]
pub(super) struct ProxyTask {
    target: SocketAddr,
    downstream: UdpSocket,
    upstreams: HashMap<SocketAddr, Upstream>,
    answers: mpsc::Sender<Packet>,
    answered: mpsc::Receiver<Packet>,
    core: FaultCore,
    line: DelayLine<Packet>,
    hops: Hops,
    /// The core's times count from here.
    start: Instant,
}

impl ProxyTask {
    pub(super) async fn bind(target: SocketAddr, seed: Seed) -> io::Result<Self> {
        let (answers, answered) = mpsc::channel(ANSWERS_MAX);
        Ok(Self {
            target,
            downstream: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?,
            upstreams: HashMap::new(),
            answers,
            answered,
            core: FaultCore::new(seed),
            line: DelayLine::new(DELAYED_PACKETS_MAX),
            hops: Hops::default(),
            start: Instant::now(),
        })
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.downstream.local_addr()
    }

    /// Runs until its handle is gone.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        loop {
            let due = self.line.next_due();
            tokio::select! {
                biased;
                command = inbox.recv() => match command {
                    Some(command) => self.on_command(command).await,
                    None => return,
                },
                () = sleep_until(self.start + due.unwrap_or_default()), if due.is_some() => {}
                received = self.downstream.recv_from(&mut buffer) => {
                    if let Ok((length, client)) = received {
                        let bytes = Bytes::copy_from_slice(&buffer[..length]);
                        self.on_packet(Packet { direction: Direction::ToTarget, client, bytes, hop: 0 });
                    }
                }
                Some(packet) = self.answered.recv() => self.on_packet(packet),
            }
            self.deliver_due().await;
        }
    }

    async fn on_command(&mut self, command: Command) {
        // A caller that no longer waits for the answer loses nothing.
        match command {
            Command::Set(faults, done) => {
                self.core.set(faults);
                done.send(()).ok();
            }
            Command::Cut(cut, done) => {
                self.core.cut(cut);
                self.line.retain(|packet| !cut.blocks(packet.direction));
                done.send(()).ok();
            }
            Command::Rebind(done) => {
                done.send(self.rebind().await).ok();
            }
            Command::Count(done) => {
                done.send(self.core.counts()).ok();
            }
            Command::CountHops(done) => {
                self.hops = Hops::default();
                done.send(()).ok();
            }
            Command::Hops(done) => {
                done.send(self.hops).ok();
            }
        }
    }

    fn on_packet(&mut self, packet: Packet) {
        let now = self.start.elapsed();
        let packet = Packet { hop: self.hops.handle_sent(packet.direction), ..packet };
        for due in self.core.handle_packet(now, packet.direction) {
            if !self.line.push(due, packet.clone()) {
                tracing::warn!("the fault proxy's delay line is full: a packet is dropped");
            }
        }
    }

    async fn deliver_due(&mut self) {
        let now = self.start.elapsed();
        while let Some(packet) = self.line.pop_due(now) {
            self.hops.handle_delivered(packet.direction, packet.hop);
            if let Err(error) = self.deliver(&packet).await {
                // A dead target refuses, and a network does not report that to the sender's socket either.
                tracing::debug!(%error, "the fault proxy could not deliver a packet");
            }
        }
    }

    async fn deliver(&mut self, packet: &Packet) -> io::Result<()> {
        if packet.direction == Direction::ToClient {
            self.downstream.send_to(&packet.bytes, packet.client).await?;
            return Ok(());
        }
        if !self.upstreams.contains_key(&packet.client) && self.upstreams.len() < CLIENTS_MAX {
            let upstream = self.upstream(packet.client).await?;
            self.upstreams.insert(packet.client, upstream);
        }
        let upstream = self.upstreams.get(&packet.client).ok_or(io::ErrorKind::QuotaExceeded)?;
        upstream.socket.send(&packet.bytes).await?;
        Ok(())
    }

    /// New sockets are bound while the old ones still hold their ports, so that none gets its old port again.
    async fn rebind(&mut self) -> io::Result<()> {
        let mut moved = HashMap::new();
        for &client in self.upstreams.keys() {
            moved.insert(client, self.upstream(client).await?);
        }
        self.upstreams = moved;
        Ok(())
    }

    async fn upstream(&self, client: SocketAddr) -> io::Result<Upstream> {
        let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
        socket.connect(self.target).await?;
        let reader = tokio::spawn(read(Arc::clone(&socket), client, self.answers.clone()));
        Ok(Upstream { socket, reader })
    }
}

/// Hands on what the target answers, until the task is gone.
async fn read(socket: Arc<UdpSocket>, client: SocketAddr, answers: mpsc::Sender<Packet>) {
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    loop {
        let length = match socket.recv(&mut buffer).await {
            Ok(length) => length,
            // A target that is down: each refused packet is reported once, and the next may find it up again.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => {
                tracing::warn!(%error, "the fault proxy stops reading answers to {client}");
                return;
            }
        };
        let bytes = Bytes::copy_from_slice(&buffer[..length]);
        if answers.send(Packet { direction: Direction::ToClient, client, bytes, hop: 0 }).await.is_err() {
            return;
        }
    }
}
