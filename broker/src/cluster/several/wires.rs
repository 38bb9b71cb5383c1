//! Wires between brokers in one process, which can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyport_protocol::{BrokerId, Fault};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::super::inbox::RaftInbox;
use crate::peer::{Call, Link, PeerError, PeerStream, PeerStreamKind, Transport};

/// What the wires do to a body on its way; none lets it be lost.
type Tamper = Box<dyn Fn(Bytes) -> Option<Bytes> + Send>;

#[derive(Default)]
pub(super) struct Wires {
    state: Mutex<State>,
    pub(super) calls: AtomicU64,
}

#[derive(Default)]
struct State {
    inboxes: BTreeMap<BrokerId, RaftInbox>,
    reached: BTreeMap<BrokerId, watch::Sender<BTreeSet<BrokerId>>>,
    cut: BTreeSet<BrokerId>,
    delay: Duration,
    /// Of bulk connections.
    tamper: Option<Tamper>,
}

impl Wires {
    pub(super) fn plug(self: &Arc<Self>, broker: BrokerId, inbox: RaftInbox) -> Wire {
        let mut state = self.lock();
        state.inboxes.insert(broker, inbox);
        state.reached.entry(broker).or_default();
        state.tell();
        Wire { from: broker, wires: Arc::clone(self) }
    }

    pub(super) fn unplug(&self, broker: BrokerId) {
        let mut state = self.lock();
        state.inboxes.remove(&broker);
        state.tell();
    }

    /// Nothing comes or goes, and everybody notices.
    pub(super) fn cut(&self, broker: BrokerId) {
        let mut state = self.lock();
        state.cut.insert(broker);
        state.tell();
    }

    pub(super) fn mend(&self) {
        let mut state = self.lock();
        (state.tamper, state.delay) = (None, Duration::ZERO);
        state.cut.clear();
        state.tell();
    }

    pub(super) fn delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    pub(super) fn tamper(&self, tamper: impl Fn(Bytes) -> Option<Bytes> + Send + 'static) {
        self.lock().tamper = Some(Box::new(tamper));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn joined(&self, one: BrokerId, other: BrokerId) -> bool {
        one != other && [one, other].iter().all(|end| self.inboxes.contains_key(end) && !self.cut.contains(end))
    }

    fn tell(&self) {
        for (broker, reached) in &self.reached {
            reached.send_replace(self.inboxes.keys().copied().filter(|other| self.joined(*broker, *other)).collect());
        }
    }
}

/// One broker's end.
pub(super) struct Wire {
    from: BrokerId,
    wires: Arc<Wires>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wire({})", self.from)
    }
}

impl Transport for Wire {
    fn call(&self, to: BrokerId, link: Link, _: Call, body: Bytes) -> BoxFuture<'static, Result<Bytes, PeerError>> {
        let (from, wires) = (self.from, Arc::clone(&self.wires));
        Box::pin(async move {
            wires.calls.fetch_add(1, Ordering::Relaxed);
            let lost = |why: &str| PeerError::Lost { to, why: why.into() };
            let (inbox, delay, body) = {
                let state = wires.lock();
                let Some(inbox) = state.inboxes.get(&to).filter(|_| state.joined(from, to)).cloned() else {
                    return Err(PeerError::Unreachable { to, why: "the wire is cut".into() });
                };
                let body = match &state.tamper {
                    Some(tamper) if link == Link::Bulk => tamper(body).ok_or_else(|| lost("tampered with"))?,
                    _ => body,
                };
                (inbox, state.delay, body)
            };
            // What was sent arrives, whether the sender still waits or not.
            let arrives = tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                inbox.call(from, body).await
            });
            let answered = arrives.await.expect("no panic");
            if !wires.lock().joined(from, to) {
                return Err(lost("the wire was cut"));
            }
            answered.map_err(|fault: Fault| PeerError::Refused { to, fault })
        })
    }

    fn open(&self, to: BrokerId, _: PeerStreamKind, _: Bytes) -> BoxFuture<'static, Result<PeerStream, PeerError>> {
        Box::pin(async move { Err(PeerError::Unreachable { to, why: "calls alone".into() }) })
    }

    fn reached(&self) -> watch::Receiver<BTreeSet<BrokerId>> {
        self.wires.lock().reached[&self.from].subscribe()
    }
}
