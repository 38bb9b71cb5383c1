//! A session that lives long and quietly still uses its subscriptions: the registry is told, so that they do not expire under it.

use std::time::Duration;

use anyport_storage::registry::Command;
use tokio::time::Instant;

use super::control::Control;
use crate::clock;

/// Told this many times within the shortest expiry, so that one lost or late telling does no harm.
const TELLINGS: u32 = 3;

impl Control {
    /// The registry has just been told that every subscription of the session is in use.
    pub(super) fn touched(&mut self) {
        let least_secs = self.session.as_ref().and_then(super::open::Session::least_expiry_secs);
        self.touch_at = least_secs.map(|secs| Instant::now() + Duration::from_secs(secs) / TELLINGS);
    }

    pub(super) async fn touch(&mut self) {
        let Some(session) = self.session.as_ref().filter(|session| session.is_fenced) else { return };
        let cursors = session.incarnations().map(|incarnation| (incarnation, Vec::new())).collect();
        let command = Command::Cursors { client: session.client, epoch: session.epoch, cursors, now: clock::wall() };
        if let Err(fault) = self.broker.command(command).await {
            tracing::debug!(%fault, "tell the registry that a session lives");
        }
        self.touched();
    }
}

pub(super) async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
