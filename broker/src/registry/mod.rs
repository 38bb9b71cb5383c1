//! The registry's shards: commands go in, each shard's task puts many into one entry, and replies come out once applied.
//!
//! The rules are the store's ([`anyport_storage::registry`]); here is only the way there. A [`RegistryHandle`] is what others
//! have. Each shard has two tasks: one proposes commands, the other keeps house (it ends what nobody uses, and purges the log).

mod handle;
mod housekeeping;
mod remote;
mod task;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyport_storage::registry::RegistryReader;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use crate::cluster::{EndCause, Ended};
pub use handle::{Outcome, RegistryHandle, Shard};
pub use housekeeping::Housekeeping;

use crate::cluster::Group;
use handle::COMMANDS_MAX;
use housekeeping::HousekeepingTask;
use task::ShardTask;

/// Starts the tasks of one shard, whose group runs.
pub(crate) fn spawn_shard(
    group: Group,
    reader: RegistryReader,
    log_bytes: Arc<AtomicU64>,
    housekeeping: Housekeeping,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Shard {
    let (commands, commands_in) = mpsc::channel(COMMANDS_MAX);
    let shard = Shard { commands, reader: reader.clone(), group: group.clone() };
    let keeper = HousekeepingTask::new(group.clone(), reader, log_bytes, shard.clone(), housekeeping);
    tasks.spawn(keeper.run(stop.clone()));
    tasks.spawn(ShardTask::new(group, commands_in).run(stop.clone()));
    shard
}
