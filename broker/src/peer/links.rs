//! Which brokers are reached, by which connections: what asks finds its way here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyport_protocol::BrokerId;
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::watch;

use super::calls::Failure;
use super::connection::Connected;
use super::{Call, Link, PeerError, PeerStream, PeerStreamKind, Transport};
use crate::net::Goodbye;

pub(super) const NOT_NAMED: &str = "the directory does not name this broker with this key any more";

/// The live connections of this broker.
#[derive(Debug, Default)]
pub(super) struct Links {
    live: Mutex<BTreeMap<(BrokerId, Link), Arc<Connected>>>,
    reached: watch::Sender<BTreeSet<BrokerId>>,
}

impl Links {
    /// A connection is live until what this returns is dropped. The newer replaces the older: whoever opened it has given up that one.
    pub(super) fn begin(self: &Arc<Self>, broker: BrokerId, link: Link, connected: &Arc<Connected>) -> Lifetime {
        let mut live = self.live();
        if let Some(older) = live.insert((broker, link), Arc::clone(connected)) {
            older.wire.close(Goodbye::Replaced, "a newer connection has taken this one's place");
        }
        self.publish(&live);
        Lifetime { links: Arc::clone(self), broker, link, id: connected.wire.id() }
    }

    /// Hangs up on all who are not to be kept.
    pub(super) fn keep_only(&self, kept: impl Fn(BrokerId, &Connected) -> bool) {
        for ((broker, _), connected) in self.live().iter() {
            if !kept(*broker, connected) {
                connected.wire.close(Goodbye::UnknownBroker, NOT_NAMED);
            }
        }
    }

    /// Gives up a connection whose other side is not heard, without waiting for its own silence to be noticed.
    pub(super) fn hang_up(&self, broker: BrokerId, link: Link) {
        if let Some(connected) = self.live().get(&(broker, link)) {
            connected.wire.close(Goodbye::Silent, "its other connection has fallen silent");
        }
    }

    fn get(&self, to: BrokerId, link: Link) -> Result<Arc<Connected>, Failure> {
        let unreachable = || Failure::NotSent("there is no connection with it".into());
        self.live().get(&(to, link)).cloned().ok_or_else(unreachable)
    }

    fn publish(&self, live: &BTreeMap<(BrokerId, Link), Arc<Connected>>) {
        let reached: BTreeSet<_> =
            live.keys().filter(|(_, link)| *link == Link::Raft).map(|(broker, _)| *broker).collect();
        self.reached.send_if_modified(|known| {
            let is_new = *known != reached;
            *known = reached;
            is_new
        });
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<(BrokerId, Link), Arc<Connected>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of one connection, and of none that has replaced it.
#[derive(Debug)]
pub(super) struct Lifetime {
    links: Arc<Links>,
    broker: BrokerId,
    link: Link,
    id: usize,
}

impl Drop for Lifetime {
    fn drop(&mut self) {
        let mut live = self.links.live();
        if live.get(&(self.broker, self.link)).is_some_and(|connected| connected.wire.id() == self.id) {
            live.remove(&(self.broker, self.link));
            self.links.publish(&live);
        }
    }
}

/// The way to the other brokers over QUIC.
#[derive(Debug)]
pub(super) struct QuicPeers(pub(super) Arc<Links>);

impl Transport for QuicPeers {
    fn call(&self, to: BrokerId, link: Link, call: Call, body: Bytes) -> BoxFuture<'static, Result<Bytes, PeerError>> {
        let answer = self.0.get(to, link).map(|connected| connected.ask(call, body));
        async move {
            match answer {
                Ok(answer) => answer.await,
                Err(failure) => Err(failure),
            }
            .map_err(|failure| peer_error(to, failure))
        }
        .boxed()
    }

    fn open(
        &self,
        to: BrokerId,
        kind: PeerStreamKind,
        opening: Bytes,
    ) -> BoxFuture<'static, Result<PeerStream, PeerError>> {
        let connected = self.0.get(to, Link::Bulk);
        async move {
            match connected {
                Ok(connected) => connected.open(kind, opening).await,
                Err(failure) => Err(failure),
            }
            .map_err(|failure| peer_error(to, failure))
        }
        .boxed()
    }

    fn reached(&self) -> watch::Receiver<BTreeSet<BrokerId>> {
        self.0.reached.subscribe()
    }
}

fn peer_error(to: BrokerId, failure: Failure) -> PeerError {
    match failure {
        Failure::NotSent(why) => PeerError::Unreachable { to, why },
        Failure::Lost(why) => PeerError::Lost { to, why },
        Failure::Refused(fault) => PeerError::Refused { to, fault },
    }
}
