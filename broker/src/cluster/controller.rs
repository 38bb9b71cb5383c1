//! What the broker that leads the metadata does for the whole cluster: it counts leases, removes brokers that are away for good, and
//! places replicas. All of it as entries of the metadata; whoever leads next goes on from there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyport_protocol::{BrokerId, Code, Fault, Offset, PartitionId};
use anyport_storage::GroupId;
use anyport_storage::metadata::{ClusterState, Command, Reply};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::lease::{Leases, Verdict};
use super::metadata_link::MetadataLink;
use super::placement;
use super::timing::lease_length;
use crate::clock;
use crate::peer::body;

/// How often leases are counted. The metadata's changes are looked at as they come.
const COUNT_EVERY: Duration = Duration::from_millis(250);

/// What a broker says of itself when it renews its lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Renewal {
    pub(super) broker: BrokerId,
    pub(super) start: u64,
    /// The groups it leads, and of partitions where the next event goes.
    pub(super) led: Vec<(GroupId, Option<Offset>)>,
}

/// What all brokers said lately, told to each that renews.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Roll {
    pub(super) leaders: Vec<(GroupId, BrokerId)>,
    pub(super) tails: Vec<(PartitionId, Offset)>,
}

/// What is known only while this broker leads the metadata.
#[derive(Debug)]
struct Term {
    leases: Leases,
    renewals: BTreeMap<BrokerId, Renewal>,
}

/// Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Controller {
    metadata: MetadataLink,
    state: watch::Receiver<Arc<ClusterState>>,
    term: Arc<Mutex<Option<Term>>>,
    /// The state in which nothing is to be placed anew: planning is work, and mostly nothing has changed.
    at_rest: Option<Arc<ClusterState>>,
}

impl Controller {
    pub(super) fn new(metadata: MetadataLink, state: watch::Receiver<Arc<ClusterState>>) -> Self {
        Self { metadata, state, term: Arc::default(), at_rest: None }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(COUNT_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
                changed = self.state.changed() => if changed.is_err() { return },
            }
            self.turn().await;
        }
    }

    async fn turn(&mut self) {
        let state = Arc::clone(&self.state.borrow_and_update());
        let Some(facts) = &state.facts else { return };
        if !self.metadata.is_led_here() {
            *self.lock() = None;
            return;
        }
        let (length, replace_after) = (lease_length(facts.timing), Duration::from_millis(facts.replace_after_ms));
        let verdicts = {
            let mut term = self.lock();
            let now = Instant::now();
            let fresh = || Term { leases: Leases::granted(length), renewals: BTreeMap::new() };
            term.get_or_insert_with(fresh).leases.verdicts(&state, replace_after, now)
        };
        let spoken = verdicts.into_iter().filter_map(|verdict| command(verdict, &state));
        let due = if self.at_rest.as_ref().is_some_and(|at_rest| Arc::ptr_eq(at_rest, &state)) {
            Vec::new()
        } else {
            placement::plan(&state)
        };
        if due.is_empty() {
            self.at_rest = Some(Arc::clone(&state));
        }
        for command in spoken.chain(due) {
            match self.metadata.propose_here(command.clone()).await {
                Ok(Reply::Refused(refusal)) => tracing::debug!(?command, %refusal, "keep the cluster"),
                Ok(_) => tracing::info!(?command, "keep the cluster"),
                // Whoever leads next looks again, and so does this broker if it is that one.
                Err(fault) => return tracing::debug!(%fault, "keep the cluster"),
            }
        }
    }

    /// A broker renews its lease; it is told what all have said. Only the leader of the metadata may answer.
    pub(super) fn renew(&self, renewal: Renewal) -> Result<Roll, Fault> {
        let state = self.state.borrow();
        if state.removed.contains_key(&renewal.broker) {
            return Err(Fault::new(Code::UnknownBroker, "this broker was removed from the cluster"));
        }
        let mut term = self.lock();
        let Some(term) = term.as_mut().filter(|_| self.metadata.is_led_here()) else {
            return Err(Fault::retry_after(Code::NotReady, 200, "this broker does not lead the metadata"));
        };
        term.leases.renew(renewal.broker, renewal.start, Instant::now());
        term.renewals.insert(renewal.broker, renewal);
        Ok(roll(term.renewals.values().filter(|renewal| state.is_alive(renewal.broker))))
    }

    pub(super) fn answer_renewal(&self, from: BrokerId, body: &Bytes) -> Result<Bytes, Fault> {
        let (renewal, _) = body::decode::<Renewal>(body)?;
        if renewal.broker != from {
            return Err(Fault::new(Code::MalformedFrame, "a broker renews its own lease"));
        }
        self.renew(renewal).map(|roll| body::encode(&roll))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Term>> {
        self.term.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn command(verdict: Verdict, state: &ClusterState) -> Option<Command> {
    let start = |broker: &BrokerId| state.brokers.get(broker).map(|record| record.start);
    let now = clock::wall();
    Some(match verdict {
        Verdict::Ended(broker) => Command::LeaseEnded { broker, start: start(&broker)?, now },
        Verdict::Begun(broker) => Command::LeaseBegun { broker, start: start(&broker)? },
        Verdict::Replace(broker) => Command::Remove { broker, now },
    })
}

fn roll<'a>(renewals: impl Iterator<Item = &'a Renewal>) -> Roll {
    let mut roll = Roll::default();
    for renewal in renewals {
        for (group, tail) in &renewal.led {
            roll.leaders.push((*group, renewal.broker));
            if let (GroupId::Partition(partition), Some(tail)) = (group, tail) {
                roll.tails.push((*partition, *tail));
            }
        }
    }
    roll
}
