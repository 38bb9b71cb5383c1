//! What every session of a broker shares.

use std::sync::Arc;

use anyport_protocol::message::publish::{PublishBatch, Published};
use anyport_protocol::{ClusterId, Code, Fault};
use anyport_storage::registry::{Command, Refusal, Reply};
use futures_util::future::{self, Either};
use rustls::crypto::CryptoProvider;
use tokio::sync::watch;

use crate::cluster::Health;
use crate::epochs::LogEpochs;
use crate::identity::TokenAuthority;
use crate::map::{Advertising, ServiceMap};
use crate::registry::RegistryHandle;
use crate::serving::{Notifier, Partitions};
use crate::session::SessionTable;

#[derive(Debug)]
pub struct Broker {
    pub cluster: ClusterId,
    pub partitions: Partitions,
    pub registry: RegistryHandle,
    pub sessions: SessionTable,
    /// Of other brokers' sessions.
    pub notifier: Notifier,
    pub tokens: TokenAuthority,
    pub epochs: LogEpochs,
    /// Acks may come before the sync.
    pub relaxed: bool,
    pub health: watch::Receiver<Health>,
    pub map: ServiceMap,
    pub advertising: Advertising,
}

/// A broker that is stuck looks about so often whether it is well again.
pub(crate) const STUCK_RETRY_MS: u32 = 1000;

impl Broker {
    /// Hands a batch to its partition before it returns, so that batches of one caller keep their order; the future is the outcome.
    pub fn publish(&self, batch: PublishBatch) -> impl Future<Output = Published> + Send + use<> {
        match self.not_stuck() {
            Ok(()) => Either::Left(self.partitions.publish(batch)),
            Err(fault) => Either::Right(future::ready(Published::Refused(fault))),
        }
    }

    /// What another broker would do is refused while this one makes no progress.
    pub fn not_stuck(&self) -> Result<(), Fault> {
        if self.health.borrow().is_stuck() {
            let text = "this broker makes no progress: its disk may hang; another broker takes this";
            return Err(Fault::retry_after(Code::NotReady, STUCK_RETRY_MS, text));
        }
        Ok(())
    }

    /// Changes a client's record; a refusal comes back as the fault to answer with.
    pub async fn command(&self, command: Command) -> Result<(Reply, u64), Fault> {
        match self.registry.apply(command).await? {
            (Reply::Refused(refusal), _) => Err(fault(&refusal)),
            done => Ok(done),
        }
    }
}

fn fault(refusal: &Refusal) -> Fault {
    let text = refusal.to_string();
    match refusal {
        Refusal::UnknownClient => Fault::new(Code::UnknownClient, text),
        Refusal::StaleEpoch { current } => Fault::new(Code::StaleEpoch, text).with_value(current.0),
        Refusal::NotOpen { current } => Fault::new(Code::NoSession, text).with_value(current.0),
        Refusal::LimitReached { limit, .. } => Fault::new(Code::TooManySubscriptions, text).with_value(*limit as u64),
        Refusal::UnknownSubscription { .. } => Fault::new(Code::UnknownSubscription, text),
        Refusal::Expired { incarnation, .. } => Fault::new(Code::SubscriptionExpired, text).with_value(incarnation.0),
        Refusal::OtherIncarnation { current, .. } => Fault::new(Code::UnknownSubscription, text).with_value(current.0),
        Refusal::TooEarly { .. } => Fault::new(Code::RetryAfter, text),
    }
}

/// The one place that chooses who does the cryptography.
pub fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
