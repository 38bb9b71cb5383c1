//! The way to nobody.

use std::collections::BTreeSet;

use anyport_protocol::BrokerId;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::{Call, Link, PeerError, PeerStream, PeerStreamKind, Transport};

/// What a broker has that is its whole cluster.
#[derive(Debug)]
pub struct Alone(watch::Sender<BTreeSet<BrokerId>>);

impl Default for Alone {
    fn default() -> Self {
        Self(watch::Sender::new(BTreeSet::new()))
    }
}

fn unreachable(to: BrokerId) -> PeerError {
    PeerError::Unreachable { to, why: "this broker is alone".into() }
}

impl Transport for Alone {
    fn call(&self, to: BrokerId, _: Link, _: Call, _: Bytes) -> BoxFuture<'static, Result<Bytes, PeerError>> {
        Box::pin(async move { Err(unreachable(to)) })
    }

    fn open(&self, to: BrokerId, _: PeerStreamKind, _: Bytes) -> BoxFuture<'static, Result<PeerStream, PeerError>> {
        Box::pin(async move { Err(unreachable(to)) })
    }

    fn reached(&self) -> watch::Receiver<BTreeSet<BrokerId>> {
        self.0.subscribe()
    }
}
