//! Telling live sessions that a subscription has ended without them: for want of use, or by another command of the client.

use std::sync::Arc;

use anyport_protocol::message::SubscriptionEnded;
use anyport_protocol::{Code, Fault};
use tokio::sync::mpsc;

use super::Push;
use crate::Broker;
use crate::registry::{EndCause, Ended};
use crate::serving::Notice;

/// Runs until the registry stops.
pub async fn announce_ended(broker: Arc<Broker>, mut ended: mpsc::Receiver<Ended>) {
    while let Some(Ended { client, name, incarnation, cause }) = ended.recv().await {
        let fault = match cause {
            EndCause::Unused => Fault::new(
                Code::SubscriptionExpired,
                format!("nobody used subscription {name} for its inactive_expiry"),
            ),
            EndCause::Removed => {
                Fault::new(Code::SubscriptionRemoved, format!("another command removed subscription {name}"))
            }
        };
        let ended = SubscriptionEnded { name, incarnation, fault };
        // Every replica announces what it applies; for brokers that have none the leader does.
        if broker.registry.leads(client) {
            broker.notifier.tell(Notice::SubscriptionEnded { client, ended: ended.clone() });
        }
        broker.sessions.push(client, Push::SubscriptionEnded(ended));
    }
}
