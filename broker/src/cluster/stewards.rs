//! Does what [`super::steward`] says for every group that is led here, one step of a group at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::ReplicaId;
use anyport_storage::GroupId;
use anyport_storage::metadata::{ClusterState, Command, Timing};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::answers::Elect;
use super::group::Group;
use super::leadership::Leadership;
use super::metadata_link::MetadataLink;
use super::replicas::RunningReplicas;
use super::steward::{Seen, Step, next_step, successor};
use super::timing::Pace;
use crate::peer::{Call, Link, Peers, body};

/// How often a leader compares its group with the assignment.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What the stewards of all groups share.
#[derive(Clone, Debug)]
pub(super) struct Stewards {
    pub(super) metadata: MetadataLink,
    pub(super) running: watch::Receiver<Arc<RunningReplicas>>,
    pub(super) state: watch::Receiver<Arc<ClusterState>>,
    pub(super) peers: Peers,
    pub(super) timing: Timing,
}

impl Stewards {
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut steps: JoinSet<GroupId> = JoinSet::new();
        let mut busy = BTreeSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(done) = steps.join_next(), if !steps.is_empty() => match done {
                    Ok(group) => drop(busy.remove(&group)),
                    Err(failed) => {
                        tracing::error!(%failed, "a step of a group's members");
                        // Which one it was is not known any more: all are looked at anew.
                        busy.clear();
                    }
                },
                _ = ticks.tick() => {
                    for (group, step) in self.due(&busy) {
                        busy.insert(group.id());
                        let steward = self.clone();
                        steps.spawn(async move { steward.take(group, step).await });
                    }
                }
            }
        }
    }

    fn groups(&self) -> Vec<Group> {
        let running = self.running.borrow().values().map(|running| running.group.clone()).collect::<Vec<_>>();
        running.into_iter().chain([self.metadata.group().clone()]).collect()
    }

    /// What is to be done for the groups that are led here.
    fn due(&self, busy: &BTreeSet<GroupId>) -> Vec<(Group, Step)> {
        let state = Arc::clone(&self.state.borrow());
        let led = |group: &Group| !busy.contains(&group.id()) && group.leadership().is_leader();
        let step = |group: Group| {
            let assignment = state.assignments.get(&group.id())?;
            let step = next_step(group.replica(), assignment, &self.seen(&group));
            (step != Step::Nothing).then_some((group, step))
        };
        self.groups().into_iter().filter(led).filter_map(step).collect()
    }

    fn seen(&self, group: &Group) -> Seen {
        let (members, progress) = (group.members(), group.progress().unwrap_or_default());
        let matched = progress.matched.into_iter().filter_map(|(replica, at)| Some((replica, at?)));
        Seen {
            voters: members.voters,
            learners: members.learners,
            is_joint: !members.settled,
            last_index: progress.last.unwrap_or(0),
            matched: matched.collect(),
            reached: self.peers.reached().borrow().clone(),
        }
    }

    async fn take(self, group: Group, step: Step) -> GroupId {
        let id = group.id();
        tracing::debug!(group = %id, ?step, "members");
        let done = match step {
            Step::Report { members } => self.report(id, members).await,
            Step::AddLearner(replica) => group.add_learner(replica).await.map_err(|error| error.to_string()),
            Step::ChangeVoters(voters) => {
                let members = group.members();
                let rest = members.voters.union(&members.learners).filter(|replica| !voters.contains(replica));
                let learners = rest.copied().collect();
                group.change_members(voters, learners).await.map_err(|error| error.to_string())
            }
            Step::RemoveLearners(gone) => {
                let members = group.members();
                let learners = members.learners.difference(&gone).copied().collect();
                group.change_members(members.voters, learners).await.map_err(|error| error.to_string())
            }
            Step::HandOver(to) => self.hand_over(&group, to).await,
            Step::Nothing => Ok(()),
        };
        if let Err(why) = done {
            tracing::debug!(group = %id, why, "change the members");
        }
        id
    }

    async fn report(&self, group: GroupId, members: Vec<ReplicaId>) -> Result<(), String> {
        let version = self.state.borrow().assignments.get(&group).map(|assignment| assignment.version);
        let Some(version) = version else { return Ok(()) };
        let settled = self.metadata.propose(Command::Settled { group, version, members }).await;
        settled.map(drop).map_err(|fault| fault.to_string())
    }

    /// Steps back for another voter. The engine has no such thing: while a leader is heard its followers refuse every election, so
    /// it takes no proposals and says nothing until their belief has run out, and then asks the other to stand.
    async fn hand_over(&self, group: &Group, to: ReplicaId) -> Result<(), String> {
        group.heartbeats(false);
        tokio::time::sleep(self.belief()).await;
        let body = body::encode(&Elect { group: group.id(), replica: to });
        let asked = self.peers.call(to.broker(), Link::Bulk, Call::Elect, body);
        let asked = tokio::time::timeout(self.belief(), asked).await;
        let mut leadership = group.leadership();
        let gone = async {
            while matches!(leadership.current(), Leadership::Leader { .. } | Leadership::Isolated { .. }) {
                leadership.changed().await;
            }
        };
        let outcome = tokio::time::timeout(self.belief(), gone).await;
        group.heartbeats(true);
        match (asked, outcome) {
            (_, Ok(())) => Ok(()),
            (Ok(Err(error)), _) => Err(error.to_string()),
            _ => Err(format!("{to} did not take over")),
        }
    }

    /// How long followers believe in a leader that they do not hear, and a little for the network.
    fn belief(&self) -> Duration {
        Pace::from(self.timing).election_max + Duration::from_millis(50)
    }

    /// Hands over whatever is led here, to whoever can take it, because this broker stops.
    pub(super) async fn hand_over_all(&self) {
        let state = Arc::clone(&self.state.borrow());
        let led = self.groups().into_iter().filter(|group| group.leadership().is_leader());
        let moves = led.filter_map(|group| {
            let preferred = state.assignments.get(&group.id())?.leader;
            let to = successor(group.replica(), preferred, &self.seen(&group))?;
            Some((group, to))
        });
        let all = moves.map(|(group, to)| async move {
            if let Err(why) = self.hand_over(&group, to).await {
                tracing::info!(group = %group.id(), why, "hand the group over");
            }
        });
        futures_util::future::join_all(all).await;
    }
}
