//! Brokers in one process that reach each other without a network: each question is asked of the other's `Serving`, and links can be
//! cut.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use anyport_broker::Broker;
use anyport_broker::cluster::Leaders;
use anyport_broker::net;
use anyport_broker::peer::{Call, Link, PeerError, PeerStream, PeerStreamKind, Transport};
use anyport_broker::serving::{Links, Replicas, Serving};
use anyport_protocol::BrokerId;
use anyport_protocol::limits::FRAME_BYTES_MAX;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What a stream holds that nobody reads.
const STREAM_BYTES: usize = 64 << 10;

#[derive(Clone, Default)]
pub struct Wires(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    brokers: BTreeMap<BrokerId, Joined>,
    calls: Vec<(BrokerId, Call)>,
    streams: Vec<(BrokerId, PeerStreamKind)>,
    refused: Option<Call>,
}

struct Joined {
    serving: Option<Serving>,
    reached: watch::Sender<BTreeSet<BrokerId>>,
    /// Ends what is under way to this broker.
    cut: CancellationToken,
}

impl Wires {
    /// How a broker of this number reaches those that are here, from when it serves.
    pub fn links(&self, own: BrokerId) -> Links {
        let reached = watch::Sender::new(BTreeSet::new());
        let joined = Joined { serving: None, reached, cut: CancellationToken::new() };
        self.0.lock().expect("whole").brokers.insert(own, joined);
        let peers = Arc::new(Wire { own, wires: self.clone() });
        Links { own, peers, leaders: Leaders::default(), replicas: Replicas::default() }
    }

    pub fn serve(&self, own: BrokerId, broker: &Arc<Broker>) {
        self.0.lock().expect("whole").brokers.get_mut(&own).expect("joined").serving =
            Some(Serving::new(Arc::clone(broker)));
        self.connect();
    }

    /// Everybody reaches everybody who serves and is not cut off.
    fn connect(&self) {
        let state = self.0.lock().expect("whole");
        let there = |joined: &&Joined| joined.serving.is_some() && !joined.cut.is_cancelled();
        let all: BTreeSet<_> = state.brokers.iter().filter(|(_, joined)| there(joined)).map(|(id, _)| *id).collect();
        for (own, joined) in &state.brokers {
            let others = all.iter().copied().filter(|id| id != own).collect();
            joined.reached.send_replace(if joined.cut.is_cancelled() { BTreeSet::new() } else { others });
        }
    }

    /// Nobody reaches this broker any more, and what was under way is lost.
    pub fn cut(&self, broker: BrokerId) {
        self.0.lock().expect("whole").brokers[&broker].cut.cancel();
        self.connect();
    }

    pub fn heal(&self, broker: BrokerId) {
        self.0.lock().expect("whole").brokers.get_mut(&broker).expect("joined").cut = CancellationToken::new();
        self.connect();
    }

    /// From here on nobody hears questions of this kind.
    pub fn refuse(&self, call: Option<Call>) {
        self.0.lock().expect("whole").refused = call;
    }

    pub fn calls(&self, call: Call) -> usize {
        self.0.lock().expect("whole").calls.iter().filter(|(_, made)| *made == call).count()
    }

    /// Who was asked for a stream of this kind, in order.
    pub fn streams(&self, kind: PeerStreamKind) -> Vec<BrokerId> {
        let state = self.0.lock().expect("whole");
        state.streams.iter().filter(|(_, opened)| *opened == kind).map(|(to, _)| *to).collect()
    }

    /// The other's side, and what ends when the link to it is cut.
    fn to(&self, to: BrokerId, own: BrokerId) -> Result<(Serving, CancellationToken), PeerError> {
        let state = self.0.lock().expect("whole");
        let unreachable = || PeerError::Unreachable { to, why: "cut off".into() };
        if state.brokers[&own].cut.is_cancelled() {
            return Err(unreachable());
        }
        let joined = state.brokers.get(&to).filter(|joined| !joined.cut.is_cancelled()).ok_or_else(unreachable)?;
        let serving = joined.serving.clone().ok_or_else(unreachable)?;
        Ok((serving, joined.cut.clone()))
    }
}

struct Wire {
    own: BrokerId,
    wires: Wires,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wire of {}", self.own)
    }
}

impl Transport for Wire {
    fn call(&self, to: BrokerId, _: Link, call: Call, body: Bytes) -> BoxFuture<'static, Result<Bytes, PeerError>> {
        self.wires.0.lock().expect("whole").calls.push((to, call));
        let is_refused = self.wires.0.lock().expect("whole").refused == Some(call);
        let (own, other) = (self.own, self.wires.to(to, self.own));
        Box::pin(async move {
            let (serving, cut) = other?;
            if is_refused {
                return Err(PeerError::Unreachable { to, why: "refused".into() });
            }
            tokio::select! {
                answer = serving.call(own, call, body) => answer.map_err(|fault| PeerError::Refused { to, fault }),
                () = cut.cancelled() => Err(PeerError::Lost { to, why: "cut off".into() }),
            }
        })
    }

    fn open(
        &self,
        to: BrokerId,
        kind: PeerStreamKind,
        opening: Bytes,
    ) -> BoxFuture<'static, Result<PeerStream, PeerError>> {
        self.wires.0.lock().expect("whole").streams.push((to, kind));
        let (own, other) = (self.own, self.wires.to(to, self.own));
        Box::pin(async move {
            let (serving, cut) = other?;
            let (near_reader, far_writer) = net::pipe(STREAM_BYTES, FRAME_BYTES_MAX, &cut);
            let (far_reader, near_writer) = net::pipe(STREAM_BYTES, FRAME_BYTES_MAX, &cut);
            let far = PeerStream { reader: far_reader, writer: far_writer, opening };
            tokio::spawn(async move { serving.stream(own, kind, far).await });
            Ok(PeerStream { reader: near_reader, writer: near_writer, opening: Bytes::new() })
        })
    }

    fn reached(&self) -> watch::Receiver<BTreeSet<BrokerId>> {
        self.wires.0.lock().expect("whole").brokers[&self.own].reached.subscribe()
    }
}
