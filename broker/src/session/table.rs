//! Which session of each client is live on this broker, so that what concerns a client can be pushed to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyport_protocol::message::{GoAway, SubscriptionEnded, TakenOver};
use anyport_protocol::{ClientId, Nonce, SessionEpoch};
use tokio::sync::mpsc;

/// Said to a live session without being asked.
#[derive(Clone, Debug)]
pub enum Push {
    TakenOver(TakenOver),
    SubscriptionEnded(SubscriptionEnded),
    GoAway(GoAway),
}

/// Pushes waiting for one session. One more than fits is dropped: a session that far behind is broken anyway, and everything
/// a push says is also said by the answer to the session's next request.
pub const PUSHES: usize = 64;

#[derive(Clone, Debug, Default)]
pub struct SessionTable {
    live: Arc<Mutex<HashMap<ClientId, Live>>>,
}

#[derive(Debug)]
struct Live {
    connection: usize,
    pushes: mpsc::Sender<Push>,
}

impl SessionTable {
    /// The registry has accepted this session; any other live one of the client has been taken over, and is told.
    pub fn opened(
        &self,
        client: ClientId,
        epoch: SessionEpoch,
        nonce: Nonce,
        connection: usize,
        pushes: mpsc::Sender<Push>,
    ) {
        let before = self.lock().insert(client, Live { connection, pushes });
        if let Some(before) = before.filter(|before| before.connection != connection) {
            let _ = before.pushes.try_send(Push::TakenOver(TakenOver { epoch, nonce }));
        }
    }

    pub fn closed(&self, client: ClientId, connection: usize) {
        let mut live = self.lock();
        if live.get(&client).is_some_and(|session| session.connection == connection) {
            live.remove(&client);
        }
    }

    pub fn push(&self, client: ClientId, push: Push) {
        if let Some(session) = self.lock().get(&client) {
            let _ = session.pushes.try_send(push);
        }
    }

    pub fn push_to_all(&self, push: &Push) {
        for session in self.lock().values() {
            let _ = session.pushes.try_send(push.clone());
        }
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ClientId, Live>> {
        // Every critical section is one map operation, so a panic elsewhere leaves the map whole.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: ClientId = ClientId([1; 16]);

    fn open(table: &SessionTable, connection: usize) -> mpsc::Receiver<Push> {
        let (pushes, inbox) = mpsc::channel(PUSHES);
        table.opened(CLIENT, SessionEpoch(connection as u64), Nonce([connection as u8; 16]), connection, pushes);
        inbox
    }

    #[test]
    fn the_older_session_is_told_who_took_over() {
        let table = SessionTable::default();
        let mut older = open(&table, 1);
        let mut newer = open(&table, 2);
        let Ok(Push::TakenOver(taken)) = older.try_recv() else { panic!("nothing pushed") };
        assert_eq!(taken, TakenOver { epoch: SessionEpoch(2), nonce: Nonce([2; 16]) });
        assert!(newer.try_recv().is_err());
    }

    #[test]
    fn a_late_close_of_the_older_session_leaves_the_newer_one() {
        let table = SessionTable::default();
        let _older = open(&table, 1);
        let _newer = open(&table, 2);
        table.closed(CLIENT, 1);
        assert_eq!(table.len(), 1);
        table.closed(CLIENT, 2);
        assert!(table.is_empty());
    }
}
