//! What the engine does not do by itself, done at every heartbeat for each group: it sends the heartbeats of all groups in one go,
//! so that they share messages; it lets a replica stand for election only while that can be won; it notices a leader that no
//! majority answers; and it has every leader step back while this broker is stuck.
//!
//! The engine has no pre-vote: a replica that stands in vain raises its term, and deposes a good leader when it is heard again. For
//! the same reason one that was just started, or was cut off, first waits whether there is a leader, who needs a moment to find
//! it. And the engine's leader without a majority goes on for ever.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyport_protocol::{BrokerId, ReplicaId};
use openraft::{Membership, ServerState};
use tokio::sync::watch;

use super::group::Group;

/// After so long without a piece the snapshot is not coming any more. It is installed after the last piece, too.
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(10);

/// What is known of one group, and what is asked of it.
#[derive(Debug)]
pub(super) struct Oversight {
    /// Whether a leader hears from a majority. True of a replica that does not lead.
    quorum: watch::Sender<bool>,
    may_stand: AtomicBool,
    heartbeats: AtomicBool,
    /// When a piece of a snapshot came last. The leader sends nothing else meanwhile, and is not gone.
    received_at: Mutex<Option<Instant>>,
}

impl Default for Oversight {
    fn default() -> Self {
        Self {
            quorum: watch::Sender::new(true),
            may_stand: AtomicBool::new(true),
            heartbeats: AtomicBool::new(true),
            received_at: Mutex::default(),
        }
    }
}

impl Oversight {
    pub(super) fn quorum(&self) -> watch::Receiver<bool> {
        self.quorum.subscribe()
    }

    pub(super) fn allow_elections(&self, allowed: bool) {
        self.may_stand.store(allowed, Ordering::Relaxed);
    }

    /// A leader that sends none is as good as none: it takes nothing more from this moment.
    pub(super) fn allow_heartbeats(&self, allowed: bool) {
        self.heartbeats.store(allowed, Ordering::Relaxed);
        if !allowed {
            self.note_quorum(false);
        }
    }

    fn note_quorum(&self, heard: bool) {
        let has_quorum = heard && self.heartbeats.load(Ordering::Relaxed);
        self.quorum.send_if_modified(|known| std::mem::replace(known, has_quorum) != has_quorum);
    }

    fn may_stand(&self, now: Instant) -> bool {
        let received_at = *self.received_at.lock().unwrap_or_else(PoisonError::into_inner);
        let receives = received_at.is_some_and(|at| now.duration_since(at) < SNAPSHOT_PAUSE);
        self.may_stand.load(Ordering::Relaxed) && !receives
    }

    pub(super) fn receives_snapshot(&self, now: Instant) {
        *self.received_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }
}

/// One group under the eyes of the task that oversees all.
#[derive(Debug)]
pub(super) struct Overseen {
    pub(super) group: Group,
    /// The term this replica leads in, and since when the engine has heard nothing from a majority in it.
    silent: Option<(u64, Instant)>,
    /// Since when this replica reaches a majority.
    can_win_since: Option<Instant>,
}

impl Overseen {
    pub(super) fn new(group: Group) -> Self {
        Self { group, silent: None, can_win_since: None }
    }

    /// Called instead of [`Overseen::on_heartbeat`] while this broker is stuck. A leader that could sync nothing, and had nothing to, would
    /// be believed in for ever by its heartbeats, and what is proposed to it would wait for its disk. So it is silent until others have
    /// elected another, or it is well again.
    pub(super) fn on_stuck(&mut self) {
        // Well again, it first waits whether there is a leader.
        self.can_win_since = None;
        self.group.inner.raft.runtime_config().elect(false);
        self.group.inner.oversight.note_quorum(false);
    }

    /// Called at every heartbeat, with the brokers that are reached.
    pub(super) async fn on_heartbeat(&mut self, reached: &BTreeSet<BrokerId>, now: Instant) {
        let group = self.group.clone();
        let (raft, oversight) = (&group.inner.raft, &group.inner.oversight);
        let server = raft.server_metrics().borrow().clone();
        let stands = self.can_win(server.membership_config.membership(), reached, now) && oversight.may_stand(now);
        raft.runtime_config().elect(stands);
        let leads = (server.state == ServerState::Leader).then_some(server.vote.leader_id.term);
        self.note_quorum(leads, now);
        if leads.is_some() && oversight.heartbeats.load(Ordering::Relaxed) {
            // If the engine has stopped, that is told elsewhere.
            let _ = raft.trigger().heartbeat().await;
        }
    }

    /// Whether it could have won for so long that a leader would have been heard.
    fn can_win(&mut self, membership: &Membership<u64, ()>, reached: &BTreeSet<BrokerId>, now: Instant) -> bool {
        let replica = self.group.replica();
        if membership.voter_ids().eq([replica.0]) {
            return true;
        }
        if !reaches_majority(membership, reached, replica.broker()) {
            self.can_win_since = None;
            return false;
        }
        now.duration_since(*self.can_win_since.get_or_insert(now)) >= self.group.inner.pace.election_max
    }

    fn note_quorum(&mut self, leads: Option<u64>, now: Instant) {
        let inner = &self.group.inner;
        let heard_before = inner.raft.data_metrics().borrow().millis_since_quorum_ack.map(Duration::from_millis);
        let silent = match (leads, heard_before) {
            (None, _) => {
                self.silent = None;
                Duration::ZERO
            }
            (Some(_), Some(heard_before)) => {
                self.silent = None;
                heard_before
            }
            // Just elected, by a majority; or just started and leader before, which says nothing about now.
            (Some(term), None) => {
                let (_, since) = *self.silent.filter(|(of, _)| *of == term).get_or_insert((term, now));
                self.silent = Some((term, since));
                now.duration_since(since)
            }
        };
        inner.oversight.note_quorum(silent <= inner.pace.election_max);
    }
}

/// Whether those that are reached, and this broker, are a majority of the voters; of both configurations while they change.
fn reaches_majority(membership: &Membership<u64, ()>, reached: &BTreeSet<BrokerId>, own: BrokerId) -> bool {
    let is_reached = |voter: &&u64| {
        let broker = ReplicaId(**voter).broker();
        broker == own || reached.contains(&broker)
    };
    membership.get_joint_config().iter().all(|voters| voters.iter().filter(is_reached).count() * 2 > voters.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(brokers: &[u32]) -> BTreeSet<u64> {
        brokers.iter().map(|broker| ReplicaId::new(BrokerId(*broker), 7).0).collect()
    }

    fn wins(configs: &[&[u32]], reached: &[u32]) -> bool {
        let membership = Membership::new(configs.iter().map(|brokers| voters(brokers)).collect(), ());
        reaches_majority(&membership, &reached.iter().copied().map(BrokerId).collect(), BrokerId(0))
    }

    #[test]
    fn a_replica_stands_only_while_it_reaches_a_majority_of_the_voters_of_its_own_group() {
        assert!(wins(&[&[0]], &[]), "alone it is the majority");
        assert!(!wins(&[&[0, 1]], &[]));
        assert!(wins(&[&[0, 1]], &[1]));
        assert!(wins(&[&[0, 1, 2]], &[2]));
        assert!(!wins(&[&[0, 1, 2]], &[3, 4, 5]), "others do not count");
    }

    #[test]
    fn while_members_change_it_needs_a_majority_of_both() {
        assert!(!wins(&[&[0, 1, 2], &[0, 3, 4]], &[1, 2]));
        assert!(wins(&[&[0, 1, 2], &[0, 3, 4]], &[1, 3]));
    }
}
