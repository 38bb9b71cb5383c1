//! One partition: how an event gets its offset, how it is told to those who follow, and how it is forgotten.
//!
//! A [`PartitionHandle`] is what others have; the task behind it owns the [`sequencer`], the [`followers`] and the tail. What is
//! stored is applied by the group's state machine, which tells the task entry by entry; readers go to the store and may see
//! an applied entry before the task does, so only the task says who is at the tail.

mod budget;
pub mod followers;
mod handle;
mod live;
mod retention;
pub mod sequencer;
mod space;
mod task;
mod wall;

use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::PartitionId;
use anyport_storage::PartitionReader;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use budget::{LeaderBudget, PartitionBudget, Permit};
pub use handle::PartitionHandle;
pub use live::{FollowAnswer, FollowRequest, FollowerId, Live, LiveWindow};
pub use retention::Retention;
pub use space::{FreeSpace, SpaceTask, StorageFull};
pub use wall::Wall;

use crate::cluster::{Applied, Group};
use handle::PUBLISHES_MAX;
use retention::RetentionTask;
use sequencer::Sequencer;
use task::{Inboxes, PartitionTask};

/// Entries applied that the task has not looked at yet. More would only make acks late.
const APPLIED_MAX: usize = 64;

/// What a partition is made of, before its group runs.
#[derive(Debug)]
pub struct PartitionParts {
    pub id: PartitionId,
    pub reader: PartitionReader,
    pub wall: Wall,
    pub retention: Retention,
    pub budget: PartitionBudget,
    pub full: StorageFull,
    /// How long a proposal may take.
    pub overdue: Duration,
}

/// How the state machine tells the partition's tasks what it has done.
#[derive(Debug)]
pub struct MachineLinks {
    pub applied: mpsc::Sender<Applied>,
    /// Up to where the log may be purged.
    pub trimmed: watch::Sender<Option<u64>>,
}

/// A partition whose task runs and waits for its group.
#[derive(Debug)]
pub struct StartingPartition {
    handle: PartitionHandle,
    trimmed: watch::Receiver<Option<u64>>,
    group: oneshot::Sender<Group>,
    wall: Arc<Wall>,
    retention: Retention,
}

impl StartingPartition {
    /// Starts the task. It must run before the group does, because a group that starts applies what its log has.
    pub fn spawn(parts: PartitionParts, tasks: &mut JoinSet<()>, stop: CancellationToken) -> (Self, MachineLinks) {
        let PartitionParts { id, reader, wall, retention, budget, full, overdue } = parts;
        let (publishes, publishes_in) = mpsc::channel(PUBLISHES_MAX);
        let (requests, requests_in) = mpsc::unbounded_channel();
        let (applied, applied_in) = mpsc::channel(APPLIED_MAX);
        let (group, group_in) = oneshot::channel();
        let (open, open_seen) = watch::channel(false);
        let (trimmed, trimmed_seen) = watch::channel(None);
        let wall = Arc::new(wall);
        let inboxes = Inboxes { publishes: publishes_in, requests: requests_in, applied: applied_in };
        let sequencer = Sequencer::new(overdue);
        let task = PartitionTask::new(reader.clone(), sequencer, inboxes, Arc::clone(&wall), open, stop);
        tasks.spawn(task.run(group_in));
        let handle = PartitionHandle { id, reader, publishes, requests, budget, full, open: open_seen };
        let starting = Self { handle, trimmed: trimmed_seen, group, wall, retention };
        (starting, MachineLinks { applied, trimmed })
    }

    /// Gives the task its group, and starts retention.
    pub fn started(self, group: Group, tasks: &mut JoinSet<()>, stop: CancellationToken) -> PartitionHandle {
        let retention = RetentionTask {
            group: group.clone(),
            reader: self.handle.reader.clone(),
            wall: self.wall,
            retention: self.retention,
            trimmed: self.trimmed,
        };
        tasks.spawn(retention.run(stop));
        // The task waits for it, unless it was told to stop.
        let _ = self.group.send(group);
        self.handle
    }
}
