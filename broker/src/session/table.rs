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
    epoch: SessionEpoch,
    nonce: Nonce,
    connection: usize,
    pushes: mpsc::Sender<Push>,
}

impl Live {
    fn taken_over_by(&self, winner: &Self) {
        let _ = self.pushes.try_send(Push::TakenOver(TakenOver { epoch: winner.epoch, nonce: winner.nonce }));
    }
}

impl SessionTable {
    /// The registry has accepted this session. Of it and another live one of the client the one with the higher epoch stays,
    /// in whichever order they are announced, and the other is told.
    pub fn opened(
        &self,
        client: ClientId,
        epoch: SessionEpoch,
        nonce: Nonce,
        connection: usize,
        pushes: mpsc::Sender<Push>,
    ) {
        let session = Live { epoch, nonce, connection, pushes };
        let mut live = self.lock();
        match live.get(&client).filter(|other| other.connection != connection) {
            Some(newer) if newer.epoch > epoch => return session.taken_over_by(newer),
            Some(older) => older.taken_over_by(&session),
            None => {}
        }
        live.insert(client, session);
    }

    /// The registry has not accepted this session yet, so it ends no other; but if it is the only one, what concerns the client is
    /// pushed to it.
    pub fn opened_unfenced(
        &self,
        client: ClientId,
        epoch: SessionEpoch,
        nonce: Nonce,
        connection: usize,
        pushes: mpsc::Sender<Push>,
    ) {
        self.lock().entry(client).or_insert(Live { epoch, nonce, connection, pushes });
    }

    /// Another broker has opened a session of this client: an older one here is told. It stays until its connection lets go of it.
    pub fn opened_elsewhere(&self, client: ClientId, epoch: SessionEpoch, nonce: Nonce) {
        if let Some(older) = self.lock().get(&client).filter(|session| session.epoch < epoch) {
            let _ = older.pushes.try_send(Push::TakenOver(TakenOver { epoch, nonce }));
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

    /// To so many, or to all if there are not more: whoever comes first in a table that has no order.
    pub fn push_to_some(&self, count: usize, away: &GoAway) {
        for session in self.lock().values().take(count) {
            let _ = session.pushes.try_send(Push::GoAway(away.clone()));
        }
    }

    /// Of the client's session that is live here.
    pub fn epoch(&self, client: ClientId) -> Option<SessionEpoch> {
        self.lock().get(&client).map(|session| session.epoch)
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
        assert_eq!(table.epoch(CLIENT), Some(SessionEpoch(2)));
        assert!(newer.try_recv().is_err());
    }

    #[test]
    fn an_older_session_that_is_announced_late_is_the_one_taken_over() {
        let table = SessionTable::default();
        let mut newer = open(&table, 2);
        let mut older = open(&table, 1);
        let Ok(Push::TakenOver(taken)) = older.try_recv() else { panic!("nothing pushed") };
        assert_eq!(taken.epoch, SessionEpoch(2));
        assert!(newer.try_recv().is_err());
        table.closed(CLIENT, 1);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_session_that_is_not_accepted_yet_ends_none_and_hears_of_a_newer_one() {
        let table = SessionTable::default();
        let mut accepted = open(&table, 1);
        let (pushes, mut early) = mpsc::channel(PUSHES);
        table.opened_unfenced(CLIENT, SessionEpoch(2), Nonce([2; 16]), 2, pushes.clone());
        assert!(accepted.try_recv().is_err());
        table.closed(CLIENT, 1);
        table.opened_unfenced(CLIENT, SessionEpoch(2), Nonce([2; 16]), 2, pushes);
        table.opened_elsewhere(CLIENT, SessionEpoch(3), Nonce([3; 16]));
        let Ok(Push::TakenOver(taken)) = early.try_recv() else { panic!("nothing pushed") };
        assert_eq!(taken.epoch, SessionEpoch(3));
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
        assert_eq!(table.epoch(CLIENT), None);
    }
}
