//! Register and login.

use anyport_protocol::message::{LoggedIn, Login, Registered};
use anyport_protocol::{ClientId, Fault};
use anyport_storage::registry::Command;
use uuid::Uuid;

use super::control::{Control, Next};
use crate::clock;

impl Control {
    /// Issues a new identity: an id unique in space and time with no shared state, its record, and a token for it.
    pub(super) async fn on_register(&mut self) -> Result<Next, Fault> {
        // Replayed early data would make records that nobody owns.
        self.not_replayed().await?;
        let client = ClientId::from_bytes(*Uuid::now_v7().as_bytes());
        let now = clock::wall();
        self.broker.command(Command::Register { client, now }).await?;
        let (token, expires) = self.broker.tokens.issue(client, now);
        metrics::counter!("anyport_clients_registered_total").increment(1);
        self.set_client(client);
        Ok(Next::Answer(Registered { client, token, expires }.into()))
    }

    pub(super) fn on_login(&mut self, login: &Login) -> Result<Next, Fault> {
        let now = clock::wall();
        let verified = self.broker.tokens.verify(&login.token, now)?;
        let client = verified.client;
        let renewed = verified.past_half_life(now).then(|| self.broker.tokens.issue(client, now));
        let expires = renewed.as_ref().map_or(verified.expires, |(_, expires)| *expires);
        self.set_client(client);
        Ok(Next::Answer(LoggedIn { client, expires, renewed: renewed.map(|(token, _)| token) }.into()))
    }

    fn set_client(&mut self, client: ClientId) {
        if self.client.is_some_and(|before| before != client) {
            self.end_session();
        }
        self.client = Some(client);
        self.login.send_replace(Some(client));
    }
}
