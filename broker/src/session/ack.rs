//! Acks: cursors that move.

use anyport_protocol::Fault;
use anyport_protocol::message::{Ack, Acked};
use anyport_storage::registry::Command;

use super::control::{Control, Next, refused};
use crate::clock;

impl Control {
    /// Answered when durable, out of turn: a commit must not hold up credit.
    pub(super) fn on_ack(&self, ack: Ack) -> Result<Next, Fault> {
        let session = self.session()?;
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
}
