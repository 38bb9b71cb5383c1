//! What every session of a broker shares.

use std::sync::Arc;

use anyport_protocol::message::publish::{PublishBatch, Published};
use anyport_protocol::{ClusterId, Code, Fault, PartitionId};
use anyport_storage::registry::{Command, Refusal, Reply};
use rustls::crypto::CryptoProvider;

use crate::epochs::LogEpochs;
use crate::feed::ReadGrants;
use crate::identity::TokenAuthority;
use crate::partition::PartitionHandle;
use crate::registry::RegistryHandle;
use crate::session::SessionTable;

#[derive(Debug)]
pub struct Broker {
    pub cluster: ClusterId,
    /// By id.
    pub partitions: Vec<PartitionHandle>,
    pub registry: RegistryHandle,
    pub sessions: SessionTable,
    pub tokens: TokenAuthority,
    pub grants: ReadGrants,
    pub epochs: LogEpochs,
    /// Acks may come before the sync.
    pub relaxed: bool,
}

impl Broker {
    pub fn partition(&self, id: PartitionId) -> Option<&PartitionHandle> {
        self.partitions.get(usize::from(id.0))
    }

    pub fn partition_count(&self) -> u16 {
        u16::try_from(self.partitions.len()).expect("at most PARTITIONS_MAX")
    }

    /// Hands a batch to its partition before it returns, so that batches of one caller keep their order; the future is the outcome.
    pub fn publish(&self, batch: PublishBatch) -> impl Future<Output = Published> + Send + use<> {
        let id = batch.partition;
        let outcome = self
            .partition(id)
            .map(|partition| partition.publish(batch))
            .ok_or_else(|| Fault::new(Code::UnknownPartition, format!("partition {id} of {}", self.partitions.len())));
        async move {
            match outcome {
                Ok(outcome) => outcome.await,
                Err(fault) => Published::Refused(fault),
            }
        }
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
