//! Which of its own replicas this broker serves from.
//!
//! A replica that lags would have clients wait for what others have, and a fresh one would show them a log that ends too early. So a
//! replica is *placed*, served from, once it has all that its leader last said there is, and taken back when it has lagged for a second.
//! Where no leader is heard of, a voter serves what it has committed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_protocol::Offset;
use anyport_storage::GroupId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::controller::Roll;
use super::replicas::{Part, Running, RunningReplicas};
use crate::registry::RegistryHandle;
use crate::serving::Partitions;

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long a replica may lag before others are asked instead.
const LAG_MAX: Duration = Duration::from_secs(1);

/// What leaders said earlier than this says nothing of today.
const ROLL_AGE_MAX: Duration = Duration::from_secs(5);

pub(super) struct Placing {
    running: watch::Receiver<Arc<RunningReplicas>>,
    roll: watch::Receiver<Option<(Instant, Roll)>>,
    partitions: Partitions,
    registry: RegistryHandle,
    /// Nobody else has anything.
    alone: bool,
    stays: BTreeMap<GroupId, Stay>,
}

/// How one replica is doing.
#[derive(Clone, Debug, Default)]
struct Stay {
    generation: u32,
    placed: bool,
    lags_since: Option<Instant>,
}

impl Placing {
    pub(super) fn new(
        running: watch::Receiver<Arc<RunningReplicas>>,
        roll: watch::Receiver<Option<(Instant, Roll)>>,
        partitions: Partitions,
        registry: RegistryHandle,
        alone: bool,
    ) -> Self {
        Self { running, roll, partitions, registry, alone, stays: BTreeMap::new() }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
                changed = self.running.changed() => if changed.is_err() { return },
            }
            self.look(Instant::now());
        }
    }

    pub(super) fn look(&mut self, now: Instant) {
        let running = Arc::clone(&self.running.borrow_and_update());
        self.stays.retain(|group, _| running.contains_key(group));
        let roll = self.roll.borrow().clone().filter(|(at, _)| now.saturating_duration_since(*at) < ROLL_AGE_MAX);
        for (group, replica) in running.iter() {
            let generation = replica.group.replica().generation();
            let stay = self.stays.entry(*group).or_default();
            if stay.generation != generation {
                *stay = Stay { generation, ..Stay::default() };
            }
            let said = roll.as_ref().and_then(|(at, roll)| Some((*at, tail(roll, *group)?)));
            let wanted = self.alone || stay.judge(replica, said, now);
            if wanted != stay.placed {
                stay.placed = wanted;
                tracing::debug!(%group, placed = wanted, "serve from this replica");
                set(&self.partitions, &self.registry, *group, replica, wanted);
            }
        }
    }
}

fn tail(roll: &Roll, group: GroupId) -> Option<Offset> {
    let GroupId::Partition(id) = group else { return None };
    roll.tails.iter().find(|(partition, _)| *partition == id).map(|(_, tail)| *tail)
}

pub(super) fn set(partitions: &Partitions, registry: &RegistryHandle, group: GroupId, replica: &Running, placed: bool) {
    match (group, &replica.part, placed) {
        (GroupId::Partition(_), Part::Partition(handle), true) => partitions.place(handle.clone()),
        (GroupId::Partition(id), _, false) => partitions.remove(id),
        (GroupId::Registry(shard), Part::Shard(handle), true) => registry.place(shard, handle.clone()),
        (GroupId::Registry(shard), _, false) => registry.remove(shard),
        _ => unreachable!("a replica is of its group's kind, and the metadata's is not served from"),
    }
}

impl Stay {
    /// Whether to serve from the replica. `said` is the tail of which its leader last spoke, and when.
    fn judge(&mut self, replica: &Running, said: Option<(Instant, Offset)>, now: Instant) -> bool {
        let (leads, votes) = (replica.group.leadership().is_leader(), replica.votes());
        let Part::Partition(handle) = &replica.part else { return leads || votes || self.placed };
        self.judge_tail(leads, votes, handle.bounds().tail, said, now)
    }

    fn judge_tail(
        &mut self,
        leads: bool,
        votes: bool,
        tail: Offset,
        said: Option<(Instant, Offset)>,
        now: Instant,
    ) -> bool {
        let lacks = said.filter(|(_, said)| *said > tail);
        match lacks {
            Some((at, _)) if !leads => {
                let since = *self.lags_since.get_or_insert(at);
                self.placed && now.saturating_duration_since(since) <= LAG_MAX
            }
            _ => {
                self.lags_since = None;
                leads || self.placed || votes || said.is_some()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_fresh_replica_is_served_from_once_it_has_what_its_leader_has() {
        let (mut stay, now) = (Stay::default(), Instant::now());
        let said = |tail| Some((now, Offset(tail)));
        assert!(!stay.judge_tail(false, false, Offset(0), None, now), "nobody has said how much there is");
        assert!(!stay.judge_tail(false, false, Offset(5), said(100), now));
        assert!(stay.judge_tail(false, false, Offset(100), said(100), now));
    }

    #[test]
    fn a_replica_that_lags_for_over_a_second_is_not_served_from_until_it_has_caught_up() {
        let (mut stay, start) = (Stay { placed: true, ..Stay::default() }, Instant::now());
        let said = |at, tail| Some((start + at, Offset(tail)));
        assert!(stay.judge_tail(false, true, Offset(90), said(SECOND, 100), start + SECOND));
        assert!(stay.judge_tail(false, true, Offset(95), said(2 * SECOND, 110), start + 2 * SECOND));
        stay.placed = stay.judge_tail(false, true, Offset(99), said(3 * SECOND, 120), start + 3 * SECOND);
        assert!(!stay.placed);
        assert!(!stay.judge_tail(false, true, Offset(110), said(4 * SECOND, 120), start + 4 * SECOND));
        assert!(stay.judge_tail(false, true, Offset(120), said(4 * SECOND, 120), start + 5 * SECOND));
    }

    #[test]
    fn a_voter_without_a_leader_serves_what_it_has_and_a_leader_never_lags() {
        let (mut stay, now) = (Stay::default(), Instant::now());
        assert!(stay.judge_tail(false, true, Offset(7), None, now));
        assert!(stay.judge_tail(true, true, Offset(7), Some((now, Offset(9))), now));
    }
}
