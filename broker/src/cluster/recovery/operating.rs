//! Planning a recovery and carrying it out, at the broker that the operator asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::message::admin::{GroupName, GroupRecovery, RecoverPlan, RecoverQuestion, Survivor};
use anyport_protocol::{BrokerId, Code, Fault, LogEpoch, Offset};
use anyport_storage::GroupId;
use anyport_storage::metadata::{BrokerRecord, ClusterFacts, ClusterState, Command, EpochBegan, Reply};
use bytes::Bytes;

use super::{Forced, Survey, forced, plan};
use crate::clock;
use crate::cluster::operator::Operator;
use crate::peer::{Call, Link, body};

/// How long another broker has to look at its replicas, or to note what is to be done.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

impl Operator {
    pub(in crate::cluster) async fn survey(&self) -> Survey {
        let running = Arc::clone(&self.running.borrow());
        Survey::of(&self.store, self.metadata.group(), &running).await
    }

    pub(in crate::cluster) async fn plan_recovery(&self) -> Result<RecoverPlan, Fault> {
        let mut surveys = self.ask_all(Call::Survey, CALL_TIMEOUT).await;
        surveys.insert(self.me(), self.survey().await);
        let state = Arc::clone(&self.state.borrow());
        Ok(plan::plan(facts(&state)?.cluster, &state, &surveys))
    }

    /// Carries out the plan of this name, if it is still the plan.
    pub(in crate::cluster) async fn carry_out(&self, question: RecoverQuestion) -> Result<(), Fault> {
        let plan = self.plan_recovery().await?;
        if plan.token != question.token {
            return Err(Fault::new(Code::StalePlan, "the cluster is not as it was when this plan was made"));
        }
        let metadata = plan.groups.iter().find(|group| group.group == GroupName::Metadata);
        let due: Vec<_> = match metadata {
            Some(metadata) if metadata.chosen.is_none() => {
                return Err(Fault::new(Code::NoMajority, "no copy of the metadata runs; start a broker that has one"));
            }
            Some(metadata) => vec![metadata],
            None => {
                self.agree(&plan).await?;
                plan.groups.iter().collect()
            }
        };
        self.force(due.into_iter().filter_map(|group| Some((group, chosen(group)?)))).await
    }

    /// Before any group goes on: who is lost never counts again, and where a partition may have lost its end a log epoch begins.
    async fn agree(&self, plan: &RecoverPlan) -> Result<(), Fault> {
        let state = Arc::clone(&self.state.borrow());
        let reached = self.metadata.peers().reached().borrow().clone();
        let is_lost = |broker: &BrokerId| {
            *broker != self.me() && !reached.contains(broker) && !state.removed.contains_key(broker)
        };
        let lost = plan.groups.iter().flat_map(|group| &group.lost).map(|replica| replica.broker());
        let lost: BTreeSet<_> = lost.filter(is_lost).collect();
        let is_host = |record: &&BrokerRecord| {
            !record.edge && !record.draining && (record.id == self.me() || reached.contains(&record.id))
        };
        let hosts = state.brokers.values().filter(is_host).map(|record| record.id).cycle();
        let gone = plan.groups.iter().filter(|group| chosen(group).is_none()).map(|group| group_id(group.group));
        let empty = gone.zip(hosts).collect();
        let goes_on = |group: &GroupRecovery| Some((group_id(group.group), chosen(group)?.replica));
        let mut groups: Vec<_> = plan.groups.iter().filter_map(goes_on).collect();
        if let [alone] = &self.metadata.group().members().voters.iter().copied().collect::<Vec<_>>()[..] {
            // It was recovered before all others, when nothing could be agreed on.
            groups.push((GroupId::Metadata, *alone));
        }
        let epoch = epoch(plan, &state)?;
        let recover = Command::Recover { lost: lost.into_iter().collect(), groups, empty, epoch, now: clock::wall() };
        match self.metadata.propose(recover).await? {
            Reply::Refused(refusal) => Err(Fault::new(Code::StalePlan, refusal.to_string())),
            _ => Ok(()),
        }
    }

    /// This broker last: it starts anew.
    async fn force(&self, chosen: impl Iterator<Item = (&GroupRecovery, &Survivor)>) -> Result<(), Fault> {
        let mut by_broker: BTreeMap<BrokerId, Vec<Forced>> = BTreeMap::new();
        for (group, survivor) in chosen {
            let Survivor { replica, last_term, last_index, .. } = *survivor;
            let forced = Forced { group: group_id(group.group), replica, last_term, last_index };
            by_broker.entry(replica.broker()).or_default().push(forced);
        }
        let own = by_broker.remove(&self.me());
        for (broker, forced) in by_broker {
            let asked = self.metadata.peers().call(broker, Link::Bulk, Call::Recover, body::encode(&forced));
            match tokio::time::timeout(CALL_TIMEOUT, asked).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(Fault::retry_after(Code::NotReady, 0, error.to_string())),
                Err(_) => return Err(Fault::new(Code::MaybeStored, format!("broker {broker} did not answer in time"))),
            }
        }
        own.map_or(Ok(()), |forced| self.note(&forced))
    }

    /// Another broker carries out a plan.
    pub(in crate::cluster) fn take_part(&self, body: &Bytes) -> Result<Bytes, Fault> {
        self.note(&body::decode::<Vec<Forced>>(body)?.0)?;
        Ok(Bytes::new())
    }

    fn note(&self, forced: &[Forced]) -> Result<(), Fault> {
        match forced::note(&self.store, forced) {
            Ok(Some(())) => {
                self.restart.notify_one();
                Ok(())
            }
            Ok(None) => Err(Fault::new(Code::StalePlan, "a replica is not as it was when this plan was made")),
            Err(error) => Err(Fault::new(Code::StoreFailed, error.to_string())),
        }
    }
}

fn facts(state: &ClusterState) -> Result<&ClusterFacts, Fault> {
    state.facts.as_ref().ok_or_else(|| Fault::new(Code::NotReady, "there is no cluster yet"))
}

/// Where a partition has lost nothing, every position stays good.
fn epoch(plan: &RecoverPlan, state: &ClusterState) -> Result<Option<EpochBegan>, Fault> {
    let mut tails = vec![Offset(u64::MAX); usize::from(facts(state)?.partitions)];
    for group in &plan.groups {
        if let GroupName::Partition(id) = group.group {
            tails[usize::from(id.0)] = chosen(group).and_then(|chosen| chosen.tail).unwrap_or_default();
        }
    }
    let epoch = LogEpoch(state.epochs.last().map_or(0, |last| last.epoch.0) + 1);
    Ok(tails.iter().any(|tail| tail.0 != u64::MAX).then_some(EpochBegan { epoch, tails }))
}

fn chosen(group: &GroupRecovery) -> Option<&Survivor> {
    group.survivors.iter().find(|survivor| Some(survivor.replica) == group.chosen)
}

fn group_id(name: GroupName) -> GroupId {
    match name {
        GroupName::Metadata => GroupId::Metadata,
        GroupName::Registry(shard) => GroupId::Registry(shard),
        GroupName::Partition(partition) => GroupId::Partition(partition),
    }
}
