//! A subscription being delivered, as its session holds it: started, given credit, dropped.

use anyport_protocol::filter::Filter;
use anyport_protocol::{Fault, Incarnation, Offset, PartitionId};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::task::DeliveryTask;
use crate::net::Connection;
use crate::serving::Way;
use crate::spans::number;

/// Commands of one subscription in flight; more wait on the control stream.
const INBOX: usize = 16;

#[derive(Debug)]
pub struct DeliveryOptions {
    pub incarnation: Incarnation,
    pub filter: Filter,
    pub positions: Vec<(Way, Offset)>,
    pub connection: Connection,
    /// Told of what a person must look at.
    pub troubles: mpsc::UnboundedSender<Trouble>,
}

/// A feed cannot go on for now: the log is damaged, the store failed, or no replica is within reach.
#[derive(Debug)]
pub struct Trouble {
    pub incarnation: Incarnation,
    pub partition: PartitionId,
    pub fault: Fault,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    Credit { bytes_total: u64 },
    Reopen { partition: PartitionId, position: Offset },
}

/// Owns the task; dropping it ends the deliveries at once and resets their streams.
#[derive(Debug)]
pub struct DeliveryHandle {
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

impl DeliveryHandle {
    pub fn start(options: DeliveryOptions) -> Self {
        let (commands, inbox) = mpsc::channel(INBOX);
        let span = tracing::debug_span!("delivery", incarnation = number(options.incarnation.0));
        let task = tokio::spawn(DeliveryTask::new(options, inbox).run().instrument(span));
        Self { commands, task }
    }

    pub async fn credit(&self, bytes_total: u64) {
        // A task that has ended has no connection to deliver to.
        let _ = self.commands.send(Command::Credit { bytes_total }).await;
    }

    pub async fn reopen(&self, partition: PartitionId, position: Offset) {
        let _ = self.commands.send(Command::Reopen { partition, position }).await;
    }
}

impl Drop for DeliveryHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}
