//! A bad network in a box: a UDP proxy on a loopback port that delays, loses, doubles and reorders packets, moves
//! clients to other source ports and cuts the line, all decided by a seed and changed while it runs.
//!
//! ```text
//!   client a --\                 /-- socket of a --\
//!               proxy's port ---+                   +-- target (a broker)
//!   client b --/                 \-- socket of b --/
//! ```
//! Each client has a socket of its own towards the target, as behind a NAT; [`FaultProxy::rebind`] replaces these, so
//! that the target sees every client come from a new port. [`FaultCore`] decides and [`DelayLine`] holds packets back,
//! both without I/O or clock; the task around them only moves bytes. The n-th packet of a direction meets the same fate
//! for the same seed and faults, whatever happens in the other direction. What does not fit the delay line is dropped,
//! as routers do.

pub mod console;
mod core;
mod delay_line;
mod hops;
mod task;

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub use self::core::{Counts, Cut, Direction, FaultCore, Faults};
pub use self::delay_line::DelayLine;
pub use self::hops::Hops;
use self::task::{Command, ProxyTask};
use crate::workload::Seed;

/// A running proxy; it ends when this is dropped. When a call has returned, every packet that arrives from then on
/// meets the new state.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

impl FaultProxy {
    /// A proxy without faults in front of this address, which must be on 127.0.0.0/8: harm is for tests only.
    pub async fn start(target: SocketAddr, seed: Seed) -> Result<Self> {
        ensure!(target.is_ipv4() && target.ip().is_loopback(), "{target} is not on 127.0.0.0/8");
        let task = ProxyTask::bind(target, seed).await.context("bind the proxy's socket")?;
        let address = task.address().context("read the proxy's address")?;
        // Callers wait for each command to be done, so there are never more than there are callers.
        let (commands, inbox) = mpsc::channel(8);
        Ok(Self { address, commands, task: tokio::spawn(task.run(inbox)) })
    }

    /// What clients are given as the target's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub async fn set(&self, faults: Faults) -> Result<()> {
        self.ask(|done| Command::Set(faults, done)).await
    }

    /// Drops everything in this direction, packets under way included.
    pub async fn cut(&self, cut: Cut) -> Result<()> {
        self.ask(|done| Command::Cut(cut, done)).await
    }

    /// Ends a cut; the other faults stay as they are.
    pub async fn heal(&self) -> Result<()> {
        self.cut(Cut::None).await
    }

    /// Gives each client a new source port. Answers to the old one are lost.
    pub async fn rebind(&self) -> Result<()> {
        self.ask(Command::Rebind).await?.context("bind new sockets")
    }

    pub async fn counts(&self) -> Result<Counts> {
        self.ask(Command::Count).await
    }

    /// Counts hops from here on. Nothing should be under way.
    pub async fn count_hops(&self) -> Result<()> {
        self.ask(Command::CountHops).await
    }

    pub async fn hops(&self) -> Result<Hops> {
        self.ask(Command::Hops).await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T> {
        let (done, answer) = oneshot::channel();
        self.commands.send(command(done)).await.ok().context("the proxy has ended")?;
        answer.await.context("the proxy has ended")
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::time::Duration;
    use tokio::net::UdpSocket;
    use tokio::time::timeout;

    /// A target that tells each sender what it sent and from which port.
    async fn echo() -> SocketAddr {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind");
        let address = socket.local_addr().expect("bound");
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let text = String::from_utf8_lossy(&buffer[..length]);
                socket.send_to(format!("{text} {}", from.port()).as_bytes(), from).await.expect("send");
            }
        });
        address
    }

    struct Client(UdpSocket);

    impl Client {
        async fn of(proxy: &FaultProxy) -> Self {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind");
            socket.connect(proxy.address()).await.expect("connect");
            Self(socket)
        }

        async fn send(&self, text: &str) {
            self.0.send(text.as_bytes()).await.expect("send");
        }

        /// The next echo: what was sent, and the port that the target saw.
        async fn receive(&self) -> (String, u16) {
            let mut buffer = [0; 2048];
            let received = timeout(Duration::from_secs(10), self.0.recv(&mut buffer)).await;
            let length = received.expect("an echo within ten seconds").expect("receive");
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let (sent, port) = text.rsplit_once(' ').expect("as the echo writes it");
            (sent.to_owned(), port.parse().expect("a port"))
        }
    }

    #[tokio::test]
    async fn with_loss_exactly_the_packets_that_the_seed_spares_come_back() {
        let faults = Faults { loss: 0.3, ..Faults::default() };
        let proxy = FaultProxy::start(echo().await, Seed(5)).await.expect("start");
        proxy.set(faults).await.expect("set");
        let client = Client::of(&proxy).await;
        let mut foretold = FaultCore::new(Seed(5));
        foretold.set(faults);
        let mut spared = |direction| foretold.handle_packet(Duration::ZERO, direction).next().is_some();
        let mut returned = 0;
        for n in 0..200 {
            client.send(&n.to_string()).await;
            if spared(Direction::ToTarget) && spared(Direction::ToClient) {
                assert_eq!(client.receive().await.0, n.to_string());
                returned += 1;
            }
        }
        assert!((70..130).contains(&returned), "{returned} of 200 came back; about 98 should");
    }

    #[tokio::test]
    async fn after_a_rebinding_the_target_sees_another_port_and_the_client_still_gets_its_answers() {
        let proxy = FaultProxy::start(echo().await, Seed(1)).await.expect("start");
        let [one, other] = [Client::of(&proxy).await, Client::of(&proxy).await];
        one.send("a").await;
        other.send("b").await;
        let (before, before_other) = (one.receive().await.1, other.receive().await.1);
        assert_ne!(before, before_other, "each client has a port of its own");
        proxy.rebind().await.expect("rebind");
        one.send("c").await;
        let (text, after) = one.receive().await;
        assert_eq!(text, "c");
        assert_ne!(before, after);
    }

    #[tokio::test]
    async fn a_cut_drops_and_healing_resumes() {
        let proxy = FaultProxy::start(echo().await, Seed(1)).await.expect("start");
        let client = Client::of(&proxy).await;
        for cut in [Cut::Both, Cut::ToTarget, Cut::ToClient] {
            client.send("before").await;
            assert_eq!(client.receive().await.0, "before");
            proxy.cut(cut).await.expect("cut");
            let dropped = proxy.counts().await.expect("counts").dropped;
            client.send("during").await;
            while proxy.counts().await.expect("counts").dropped == dropped {
                tokio::task::yield_now().await;
            }
            proxy.heal().await.expect("heal");
            client.send("after").await;
            assert_eq!(client.receive().await.0, "after", "and nothing of the time of the cut");
        }
    }

    #[tokio::test]
    async fn delayed_packets_come_late_and_in_order() {
        let proxy = FaultProxy::start(echo().await, Seed(1)).await.expect("start");
        proxy.set(Faults { delay_ms: 20, jitter_ms: 20, ..Faults::default() }).await.expect("set");
        let client = Client::of(&proxy).await;
        let start = std::time::Instant::now();
        for n in 0..20 {
            client.send(&n.to_string()).await;
        }
        for n in 0..20 {
            assert_eq!(client.receive().await.0, n.to_string());
        }
        assert!(start.elapsed() >= Duration::from_millis(40), "there and back");
    }

    #[tokio::test]
    async fn only_loopback_targets_are_accepted() {
        let target = SocketAddr::from(([192, 0, 2, 1], 7400));
        assert!(FaultProxy::start(target, Seed(1)).await.is_err());
    }
}
