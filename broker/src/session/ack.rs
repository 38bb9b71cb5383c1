//! Acks: cursors that move.

use anyport_protocol::limits::SUBSCRIPTIONS_PER_CLIENT_MAX;
use anyport_protocol::message::{Ack, Acked};
use anyport_protocol::{Code, Cursor, Fault, Incarnation, PartitionId};
use anyport_storage::registry::Command;

use super::control::{Control, Next, refused};
use crate::clock;

impl Control {
    /// Answered when durable, out of turn: a commit must not hold up credit.
    pub(super) fn on_ack(&self, ack: Ack) -> Result<Next, Fault> {
        let session = self.fenced_session()?;
        self.check_moves(&ack.cursors)?;
        let command =
            Command::Cursors { client: session.client, epoch: session.epoch, cursors: ack.cursors, now: clock::wall() };
        let broker = self.broker.clone();
        Ok(Next::Later(Box::pin(async move {
            match broker.command(command).await {
                Ok((_, registry_index)) => Acked { registry_index }.into(),
                Err(fault) => refused(fault),
            }
        })))
    }

    /// What is said of cursors must be no more than there can be: a short list on the wire is a long one in memory.
    pub(super) fn check_moves(&self, moves: &[(Incarnation, Vec<(PartitionId, Cursor)>)]) -> Result<(), Fault> {
        let partitions = usize::from(self.broker.partitions.count());
        let most = moves.iter().map(|(_, cursors)| cursors.len()).max().unwrap_or_default();
        if moves.len() > SUBSCRIPTIONS_PER_CLIENT_MAX || most > partitions {
            let text = format!(
                "an ack names at most {SUBSCRIPTIONS_PER_CLIENT_MAX} subscriptions and {partitions} partitions of each, not {} and {most}",
                moves.len()
            );
            return Err(Fault::new(Code::LimitPassed, text));
        }
        Ok(())
    }
}
