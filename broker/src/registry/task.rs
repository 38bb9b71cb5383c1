//! The task of one registry shard: it proposes commands, many in one entry, and hands out the replies.
//!
//! While two entries are under way commands wait in the channel, and go together into the next one; when idle a command is
//! proposed at once. Replies need no order: a command's effect is decided where it is applied.

use anyport_protocol::{Code, Fault};
use anyport_storage::registry::{Command, CommandBatch};
use anyport_storage::{EntryData, LogId};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::handle::{Outcome, Request};
use crate::cluster::{Effect, Group, Leadership, LeadershipWatch, ProposeError};

/// The engine syncs one entry at a time; a second one is ready when it is done.
const PROPOSED_MAX: usize = 2;

/// Commands of one entry. A command is a few hundred bytes, and at most a filter and a position per partition.
const COMMANDS_PER_ENTRY: usize = 128;

const NOT_READY_RETRY_MS: u32 = 100;

type Applied = Result<(LogId, Effect), Fault>;

#[derive(Debug)]
pub(super) struct ShardTask {
    group: Group,
    leadership: LeadershipWatch,
    commands: mpsc::Receiver<Request>,
    proposed: FuturesUnordered<BoxFuture<'static, (Vec<oneshot::Sender<Outcome>>, Applied)>>,
    /// Taken from the channel for the next entry; kept for its memory.
    taken: Vec<Request>,
}

impl ShardTask {
    pub(super) fn new(group: Group, commands: mpsc::Receiver<Request>) -> Self {
        let leadership = group.leadership();
        Self { group, leadership, commands, proposed: FuturesUnordered::new(), taken: Vec::new() }
    }

    /// Runs until it is told to stop and has answered everybody.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let stopping = stop.is_cancelled();
            if stopping && self.proposed.is_empty() && self.commands.is_empty() {
                return;
            }
            tokio::select! {
                biased;
                () = stop.cancelled(), if !stopping => self.commands.close(),
                Some((waiters, applied)) = self.proposed.next(), if !self.proposed.is_empty() => tell(waiters, applied),
                taken = self.commands.recv_many(&mut self.taken, COMMANDS_PER_ENTRY),
                    if self.proposed.len() < PROPOSED_MAX => self.on_commands(taken),
            }
        }
    }

    fn on_commands(&mut self, taken: usize) {
        if taken == 0 {
            return;
        }
        let (commands, waiters): (Vec<Command>, Vec<_>) =
            self.taken.drain(..).map(|request| (request.command, request.outcome)).unzip();
        if let Err(fault) = self.check_leads() {
            return tell(waiters, Err(fault));
        }
        metrics::histogram!("anyport_registry_entry_commands").record(taken as f64);
        let overdue = self.group.overdue();
        let applied = self.group.submit(EntryData::from_bytes(CommandBatch { commands }.encode().into()));
        self.proposed.push(Box::pin(async move {
            let applied = match tokio::time::timeout(overdue, applied).await {
                Ok(applied) => applied.map_err(|error| fault(&error)),
                Err(_) => Err(Fault::new(Code::MaybeStored, "the registry did not commit in time")),
            };
            (waiters, applied)
        }));
    }

    /// What a replica that does not lead is not given is surely not stored; one without a majority would not answer.
    fn check_leads(&self) -> Result<(), Fault> {
        match self.leadership.current() {
            Leadership::Leader { .. } => Ok(()),
            Leadership::Isolated { .. } => Err(not_ready("no majority of the shard's replicas answers")),
            Leadership::Follower { leader: None } => Err(not_ready("the registry shard has no leader now")),
            Leadership::Follower { leader: Some(leader) } => {
                Err(not_ready(&format!("replica {leader} leads the registry shard, not this one")))
            }
            Leadership::Stopped { reason } => Err(fault(&ProposeError::Stopped { reason })),
        }
    }
}

fn tell(waiters: Vec<oneshot::Sender<Outcome>>, applied: Applied) {
    // A client that is gone asks again when it comes back.
    match applied {
        Ok((id, Effect::Registry(replies))) => {
            assert_eq!(replies.len(), waiters.len(), "one reply for each command of the entry");
            for (waiter, reply) in waiters.into_iter().zip(replies) {
                let _ = waiter.send(Ok((reply, id.index)));
            }
        }
        Ok((_, effect)) => unreachable!("a registry group applies commands, not {effect:?}"),
        Err(fault) => waiters.into_iter().for_each(|waiter| drop(waiter.send(Err(fault.clone())))),
    }
}

fn not_ready(why: &str) -> Fault {
    Fault::retry_after(Code::NotReady, NOT_READY_RETRY_MS, why)
}

fn fault(error: &ProposeError) -> Fault {
    match error {
        ProposeError::NotLeader { .. } => Fault::new(Code::MaybeStored, error.to_string()),
        ProposeError::Stopped { .. } => Fault::new(Code::StoreFailed, error.to_string()),
    }
}
