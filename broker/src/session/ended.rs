//! Telling live sessions that a subscription has ended for want of use.

use std::sync::Arc;

use anyport_protocol::message::SubscriptionEnded;
use anyport_protocol::{Code, Fault};
use tokio::sync::mpsc;

use super::Push;
use crate::Broker;
use crate::registry::Expired;

/// Runs until the registry stops.
pub async fn announce_expired(broker: Arc<Broker>, mut expired: mpsc::Receiver<Expired>) {
    while let Some(Expired { client, name, incarnation }) = expired.recv().await {
        let fault =
            Fault::new(Code::SubscriptionExpired, format!("nobody used subscription {name} for its inactive_expiry"));
        broker.sessions.push(client, Push::SubscriptionEnded(SubscriptionEnded { name, incarnation, fault }));
    }
}
