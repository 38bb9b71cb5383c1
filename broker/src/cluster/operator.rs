//! What operators ask of the cluster, answered by any broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::message::admin::{
    ClusterStatus, DrainQuestion, RecoverPlan, RecoverQuestion, RemoveQuestion, SelectQuestion, ShapeQuestion,
};
use anyport_protocol::{BrokerId, Code, Fault};
use anyport_storage::Store;
use anyport_storage::metadata::{ClusterState, Command, Refusal, Reply, ServiceChange};
use futures_util::future::{BoxFuture, join_all};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};

use super::metadata_link::MetadataLink;
use super::replicas::RunningReplicas;
use super::report::{self, Known, Report};
use crate::admin::cluster::AdminAnswers;
use crate::clock;
use crate::peer::{Call, Link, body};

/// How long the other brokers have to say how they are.
const REPORT_TIMEOUT: Duration = Duration::from_secs(1);

const AGENT: &str = concat!("anyportd/", env!("CARGO_PKG_VERSION"));

#[derive(Clone, Debug)]
pub(super) struct Operator {
    pub(super) metadata: MetadataLink,
    pub(super) running: watch::Receiver<Arc<RunningReplicas>>,
    pub(super) state: watch::Receiver<Arc<ClusterState>>,
    pub(super) store: Store,
    /// Told when this broker has to start anew, to go on from its own copies.
    pub(super) restart: Arc<Notify>,
}

impl Operator {
    pub(super) fn me(&self) -> BrokerId {
        self.metadata.group().replica().broker()
    }

    /// How this broker's own replicas are.
    pub(super) fn report(&self) -> Report {
        let running = self.running.borrow();
        let metadata = report::of_replica(self.metadata.group(), None);
        let others = running.values().map(|running| report::of_replica(&running.group, Some(running)));
        Report { agent: AGENT.to_owned(), replicas: std::iter::once(metadata).chain(others).collect() }
    }

    /// What each of the other brokers answers that is reached, and does in time.
    pub(super) async fn ask_all<T: DeserializeOwned>(&self, call: Call, within: Duration) -> BTreeMap<BrokerId, T> {
        let peers = self.metadata.peers();
        let reached = peers.reached().borrow().clone();
        let asked = reached.into_iter().map(|broker| {
            let asked = peers.call(broker, Link::Bulk, call, bytes::Bytes::new());
            async move {
                let answer = tokio::time::timeout(within, asked).await.ok()?.ok()?;
                Some((broker, body::decode(&answer).ok()?.0))
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    async fn cluster_status(&self) -> Result<ClusterStatus, Fault> {
        let mut reports = self.ask_all(Call::Status, REPORT_TIMEOUT).await;
        reports.insert(self.me(), self.report());
        let state = Arc::clone(&self.state.borrow());
        let facts = state.facts.as_ref().ok_or_else(|| Fault::new(Code::NotReady, "there is no cluster yet"))?;
        let known = Known { me: self.me(), now: clock::wall(), facts, state: &state, reports: &reports };
        Ok(report::status(&known))
    }

    async fn change(&self, command: Command) -> Result<(), Fault> {
        match self.metadata.decide(command).await? {
            Reply::Refused(refusal) => Err(told(&refusal)),
            _ => Ok(()),
        }
    }
}

/// What an operator is told who has asked for it.
fn told(refusal: &Refusal) -> Fault {
    let text = refusal.to_string();
    match refusal {
        Refusal::UnknownBroker { broker } | Refusal::Removed { broker } => {
            Fault::new(Code::UnknownBroker, text).with_value(u64::from(broker.0))
        }
        // Who answers is that broker.
        Refusal::LastBroker { broker } => Fault::new(Code::BrokerNotAway, text).with_value(u64::from(broker.0)),
        Refusal::NotOfBrokers { .. } => Fault::new(Code::BadMap, text),
        Refusal::NotCreated => Fault::new(Code::NotReady, text),
        // The others are about who is to have which replica, as whoever asked has seen it before.
        _ => Fault::new(Code::StalePlan, text),
    }
}

impl AdminAnswers for Operator {
    fn status(&self) -> BoxFuture<'_, Result<ClusterStatus, Fault>> {
        Box::pin(self.cluster_status())
    }

    fn drain(&self, question: DrainQuestion) -> BoxFuture<'_, Result<(), Fault>> {
        let DrainQuestion { broker, draining } = question;
        Box::pin(self.change(Command::Drain { broker, draining }))
    }

    fn remove(&self, question: RemoveQuestion) -> BoxFuture<'_, Result<(), Fault>> {
        let broker = question.broker;
        Box::pin(async move {
            if let Some(fault) = self.metadata.standstill() {
                return Err(fault);
            }
            if self.state.borrow().is_alive(broker) {
                let text = format!("broker {broker} holds a lease: it is alive");
                return Err(Fault::new(Code::BrokerNotAway, text).with_value(u64::from(broker.0)));
            }
            self.change(Command::Remove { broker, now: clock::wall() }).await
        })
    }

    fn shape(&self, question: ShapeQuestion) -> BoxFuture<'_, Result<(), Fault>> {
        let ShapeQuestion { service, policy, by_shard, new_epoch } = question;
        Box::pin(self.change(Command::Shape { service, change: ServiceChange { policy, by_shard, new_epoch } }))
    }

    fn select(&self, question: SelectQuestion) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(self.change(Command::Select { selection: question.selection }))
    }

    fn recover_plan(&self) -> BoxFuture<'_, Result<RecoverPlan, Fault>> {
        Box::pin(self.plan_recovery())
    }

    fn recover(&self, question: RecoverQuestion) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(self.carry_out(question))
    }
}
