//! The session as the client knows it: what it asked for, what was answered, what is to be said next.
//!
//! A plain state machine. Inputs: `want`, `leave`, `handle_connected`, `handle_message`, `handle_disconnected`, `handle_over`.
//! Output: `pump` appends the requests that are due to a buffer, and `handle_message` returns what the driver must do. Before
//! `push_open` the driver calls `choose_epoch` and saves the state: an epoch is on disk before it is used.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_protocol::message::{
    Ack, CloseSession, Credit, OpenSession, Reopen, SessionOpened, SubscriptionState, ToBroker, ToClient,
};
use anyport_protocol::{ClientId, Code, Cursor, Fault, Incarnation, Nonce, PartitionId, SessionEpoch};
use tokio::sync::Notify;

use super::wanted::{Leaving, Wanted};
use crate::Error;
use crate::home::{ResumeState, SavedSubscription};
use crate::subscription::{Notice, Shared};

/// A broker that answers nothing for so long is left for another.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Others that open sessions of this identity just now may be in the way so often.
const STALE_EPOCHS_MAX: u32 = 3;

/// For a refusal that names no time.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(200);

pub(super) type Moves = Vec<(Incarnation, Vec<(PartitionId, Cursor)>)>;

#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Option<ClientId>,
    /// Told when an inbox has something for `pump`.
    pub(super) due: Arc<Notify>,
    nonce: Nonce,
    /// The one this process uses; none before its first session.
    epoch: Option<SessionEpoch>,
    /// Whether a session has ever been open in this process.
    established: bool,
    /// Of the connection.
    is_open: bool,
    requests: HashMap<u32, (Request, Instant)>,
    next_request: u32,
    /// What was saved by an earlier process, kept up to date by `snapshot`.
    pub(super) saved: ResumeState,
    /// The client's record as the broker told it.
    pub(super) record: Vec<SubscriptionState>,
    pub(super) active: HashMap<Incarnation, Active>,
    pub(super) wanted: Vec<Wanted>,
    pub(super) leaving: Vec<Leaving>,
    /// Requests that came of an answer, to go out with the next that are due.
    pub(super) postponed: Vec<u8>,
    /// How often the broker knew a higher epoch before the first session was open.
    stale_epochs: u32,
    over: Option<Error>,
    /// `active` has changed, so those who route frames must learn of it.
    pub(super) are_routes_stale: bool,
    /// Something that the saved state should know has changed.
    pub(super) is_dirty: bool,
}

/// A subscription of this process.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) shared: Arc<Shared>,
    pub(super) temporary: bool,
}

/// What an answer will be about.
#[derive(Debug)]
pub(super) enum Request {
    Identify,
    Open,
    Subscribe { wanted: u64 },
    Unsubscribe { leaving: u64 },
    Ack(Moves),
    Close(Moves),
}

/// What the driver must do after a message.
#[derive(Debug)]
pub(super) enum Next {
    GoOn,
    /// Of the handshake; the driver keeps the identity.
    Handshake(ToClient),
    GoAway {
        after: Duration,
    },
    SessionClosed,
    /// Leave this connection and try again, not before the time if one is named.
    Leave {
        reason: String,
        wait: Option<Duration>,
    },
    /// Nothing can be done with this client.
    Over(Error),
}

impl Session {
    pub(super) fn new(nonce: Nonce, due: Arc<Notify>) -> Self {
        Self {
            client: None,
            due,
            nonce,
            epoch: None,
            established: false,
            is_open: false,
            requests: HashMap::new(),
            next_request: 1,
            saved: ResumeState::default(),
            record: Vec::new(),
            active: HashMap::new(),
            wanted: Vec::new(),
            leaving: Vec::new(),
            postponed: Vec::new(),
            stale_epochs: 0,
            over: None,
            are_routes_stale: false,
            is_dirty: false,
        }
    }

    pub(super) fn over(&self) -> Option<&Error> {
        self.over.as_ref()
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether a session must be opened on this connection: a client that only publishes has none.
    pub(super) fn must_open(&self) -> bool {
        let opening = self.requests.values().any(|(request, _)| matches!(request, Request::Open));
        let is_needed = !self.active.is_empty() || !self.wanted.is_empty() || !self.leaving.is_empty();
        is_needed && !self.is_open && !opening && self.over.is_none()
    }

    /// Fixes the epoch of this process. The state must be saved before it is used.
    pub(super) fn choose_epoch(&mut self) -> SessionEpoch {
        *self.epoch.get_or_insert_with(|| {
            self.saved.epoch = SessionEpoch(self.saved.epoch.0.saturating_add(1));
            self.saved.epoch
        })
    }

    pub(super) fn request(&mut self, request: Request, message: impl Into<ToBroker>, now: Instant, out: &mut Vec<u8>) {
        let number = self.next_request;
        self.next_request = self.next_request.wrapping_add(1).max(1);
        self.requests.insert(number, (request, now));
        message.into().encode(number, out);
    }

    /// Opens the session, and gives credit to what is known already, all in one flight.
    pub(super) fn push_open(&mut self, now: Instant, out: &mut Vec<u8>) {
        let epoch = self.epoch.expect("the driver chooses and saves an epoch first");
        let resume = self.resume_points();
        let open = OpenSession { epoch, nonce: self.nonce, resume, registry_seen: self.saved.registry_seen };
        self.request(Request::Open, open, now, out);
        self.push_credits(out);
    }

    /// Everything that is due, while the session is open.
    pub(super) fn pump(&mut self, now: Instant, out: &mut Vec<u8>) {
        if !self.is_open || self.over.is_some() {
            return;
        }
        out.append(&mut self.postponed);
        self.push_ack(now, out);
        self.push_wanted(now, out);
        self.push_leaving(now, out);
        self.push_credits(out);
        self.push_reopens(now, out);
    }

    fn push_credits(&self, out: &mut Vec<u8>) {
        for (incarnation, active) in &self.active {
            if let Some(bytes_total) = active.shared.inbox().poll_credit() {
                // Not answered, unless refused.
                ToBroker::from(Credit { incarnation: *incarnation, bytes_total }).encode(0, out);
            }
        }
    }

    fn push_reopens(&self, now: Instant, out: &mut Vec<u8>) {
        for (incarnation, active) in &self.active {
            for (partition, position) in active.shared.inbox().poll_reopens(now) {
                tracing::debug!(%incarnation, %partition, position = position.offset.0, "reopen a feed");
                ToBroker::from(Reopen { incarnation: *incarnation, partition, position }).encode(0, out);
            }
        }
    }

    /// One ack is on its way at a time; what is acked meanwhile goes with the next.
    pub(super) fn push_ack(&mut self, now: Instant, out: &mut Vec<u8>) {
        if self.is_acking() {
            return;
        }
        let due = |(incarnation, active): (&Incarnation, &Active)| {
            Some((*incarnation, active.shared.inbox().poll_cursors(now)?))
        };
        let cursors: Moves = self.active.iter().filter_map(due).collect();
        if !cursors.is_empty() {
            self.is_dirty = true;
            self.request(Request::Ack(cursors.clone()), Ack { cursors }, now, out);
        }
    }

    pub(super) fn is_acking(&self) -> bool {
        self.requests.values().any(|(request, _)| matches!(request, Request::Ack(_)))
    }

    /// Ends the session in good order.
    pub(super) fn push_close(&mut self, now: Instant, out: &mut Vec<u8>) {
        let moved =
            |(incarnation, active): (&Incarnation, &Active)| (*incarnation, active.shared.inbox().moved_cursors());
        let cursors: Moves = self.active.iter().map(moved).filter(|(_, moved)| !moved.is_empty()).collect();
        self.request(Request::Close(cursors.clone()), CloseSession { cursors }, now, out);
    }

    /// When `pump` has something to do although nothing happens.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        let of_inbox = |active: &Active| {
            let inbox = active.shared.inbox();
            inbox.patience_ends().into_iter().chain([inbox.cursors_due_at()]).min()
        };
        let inboxes = self.active.values().filter_map(of_inbox);
        let wanted = self.wanted.iter().filter_map(|wanted| wanted.not_before);
        let leaving = self.leaving.iter().filter_map(|leaving| leaving.not_before);
        let overdue = self.requests.values().map(|(_, since)| *since + ANSWER_TIMEOUT);
        inboxes.chain(wanted).chain(leaving).chain(overdue).min()
    }

    pub(super) fn is_unanswered(&self, now: Instant) -> bool {
        self.requests.values().any(|(_, since)| now >= *since + ANSWER_TIMEOUT)
    }

    pub(super) fn handle_message(&mut self, number: u32, message: ToClient, now: Instant) -> Next {
        let request = self.requests.remove(&number).map(|(request, _)| request);
        match (message, request) {
            (message, Some(Request::Identify)) if !matches!(message, ToClient::Refused(_)) => Next::Handshake(message),
            (ToClient::SessionOpened(opened), Some(Request::Open)) => self.on_opened(opened, now),
            (ToClient::Subscribed(answer), Some(Request::Subscribe { wanted })) => {
                self.on_subscribed(wanted, answer, now)
            }
            (ToClient::Unsubscribed(answer), Some(Request::Unsubscribe { leaving })) => {
                self.saw(answer.registry_index);
                self.on_unsubscribed(leaving)
            }
            (ToClient::Acked(answer), Some(Request::Ack(moves))) => {
                self.saw(answer.registry_index);
                self.on_acked(&moves)
            }
            (ToClient::SessionClosed(_), Some(Request::Close(moves))) => {
                self.is_open = false;
                self.on_acked(&moves);
                Next::SessionClosed
            }
            (ToClient::Refused(refused), request) => self.on_refused(refused.fault, request.as_ref(), now),
            (ToClient::TakenOver(taken), None) if taken.nonce != self.nonce => self.on_taken_over(),
            (ToClient::GoAway(away), None) => {
                Next::GoAway { after: Duration::from_millis(away.reconnect_after_ms.into()) }
            }
            (ToClient::SubscriptionEnded(ended), None) => self.on_ended(ended.incarnation),
            (other, request) => {
                tracing::debug!(name = other.name(), ?request, "a message that is not expected now");
                Next::GoOn
            }
        }
    }

    fn saw(&mut self, registry_index: u64) {
        self.saved.registry_seen = self.saved.registry_seen.max(registry_index);
    }

    fn on_opened(&mut self, opened: SessionOpened, now: Instant) -> Next {
        self.is_open = true;
        self.established = true;
        self.is_dirty = true;
        self.saw(opened.registry_index);
        self.record = opened.subscriptions;
        let incarnations: Vec<_> = self.active.keys().copied().collect();
        for incarnation in incarnations {
            match self.record.iter().find(|state| state.incarnation == incarnation) {
                Some(state) => self.active[&incarnation].shared.inbox().handle_session(state),
                None => drop(self.on_ended(incarnation)),
            }
        }
        tracing::debug!(subscriptions = self.record.len(), elapsed = ?now.elapsed(), "session open");
        Next::GoOn
    }

    fn on_acked(&mut self, moves: &Moves) -> Next {
        for (incarnation, cursors) in moves {
            if let Some(active) = self.active.get(incarnation) {
                active.shared.inbox().handle_acked(cursors);
            }
        }
        Next::GoOn
    }

    /// The broker has ended a subscription, or it is not in the record any more.
    fn on_ended(&mut self, incarnation: Incarnation) -> Next {
        self.record.retain(|state| state.incarnation != incarnation);
        if let Some(active) = self.active.remove(&incarnation) {
            self.are_routes_stale = true;
            let mut inbox = active.shared.inbox();
            self.saved.subscriptions.remove(inbox.name());
            let cause = Error::SubscriptionExpired { name: inbox.name().to_string() };
            inbox.handle_over(cause, Some(Notice::SubscriptionExpired));
        }
        self.is_dirty = true;
        Next::GoOn
    }

    /// Final: fighting back would have two sessions take over from each other for ever.
    fn on_taken_over(&mut self) -> Next {
        self.handle_over(&Error::TakenOver);
        Next::GoOn
    }

    fn on_refused(&mut self, fault: Fault, request: Option<&Request>, now: Instant) -> Next {
        match request {
            Some(Request::Identify) if fault.retry() => leave(&fault),
            Some(Request::Identify) => Next::Over(Error::Refused(fault)),
            Some(Request::Open) => self.on_open_refused(fault),
            Some(Request::Subscribe { wanted }) => self.on_subscribe_refused(*wanted, fault, now),
            Some(Request::Unsubscribe { leaving }) => self.on_unsubscribe_refused(*leaving, fault, now),
            Some(Request::Ack(_) | Request::Close(_)) if fault.is(Code::StaleEpoch) || fault.is(Code::TakenOver) => {
                self.on_taken_over()
            }
            Some(Request::Close(_)) => Next::SessionClosed,
            Some(Request::Ack(_)) => leave(&fault),
            // Credit given in the first flight to what turns out to have ended, or to a session that was refused.
            None if fault.is(Code::UnknownSubscription) || fault.is(Code::NoSession) => Next::GoOn,
            None => {
                tracing::warn!(%fault, "the broker reports");
                Next::GoOn
            }
        }
    }

    fn on_open_refused(&mut self, fault: Fault) -> Next {
        match fault.value {
            // Only this process's saved state is behind: it was lost, or the identity was used elsewhere. This session is the newer.
            Some(current) if fault.is(Code::StaleEpoch) && !self.established => {
                self.stale_epochs += 1;
                if self.stale_epochs > STALE_EPOCHS_MAX {
                    return self.on_taken_over();
                }
                self.saved.epoch = SessionEpoch(current.saturating_add(1));
                self.epoch = Some(self.saved.epoch);
                Next::GoOn
            }
            _ if fault.is(Code::StaleEpoch) || fault.is(Code::TakenOver) => self.on_taken_over(),
            _ if fault.retry() || fault.is(Code::NoSession) => leave(&fault),
            _ => {
                self.handle_over(&Error::Refused(fault));
                Next::GoOn
            }
        }
    }

    /// The first flight has not arrived, or nobody will answer it.
    pub(super) fn handle_attempt_failed(&mut self) {
        self.requests.clear();
        for active in self.active.values() {
            active.shared.inbox().handle_credit_lost();
        }
    }

    pub(super) fn handle_disconnected(&mut self, reason: &str) {
        self.is_open = false;
        self.requests.clear();
        self.handle_unanswered();
        self.postponed.clear();
        self.update_saved();
        // Of those that nobody holds any more, only acks on their way are of interest.
        self.active.retain(|_, active| {
            let inbox = active.shared.inbox();
            !inbox.is_abandoned() || !inbox.moved_cursors().is_empty()
        });
        self.are_routes_stale = true;
        for active in self.active.values() {
            active.shared.inbox().handle_disconnected(reason);
        }
    }

    /// No session of this process will be open again.
    pub(super) fn handle_over(&mut self, cause: &Error) {
        self.is_open = false;
        self.over.get_or_insert_with(|| cause.clone());
        let notice = matches!(cause, Error::TakenOver).then_some(Notice::TakenOver);
        for active in self.active.values() {
            active.shared.inbox().handle_over(cause.clone(), notice.clone());
        }
        self.wanted.drain(..).for_each(|wanted| wanted.answer(Err(cause.clone())));
        self.leaving.drain(..).for_each(|leaving| leaving.answer(Err(cause.clone())));
    }

    /// What a later process must know.
    pub(super) fn snapshot(&mut self) -> ResumeState {
        self.update_saved();
        self.is_dirty = false;
        self.saved.clone()
    }

    fn update_saved(&mut self) {
        for active in self.active.values().filter(|active| !active.temporary) {
            let inbox = active.shared.inbox();
            let saved = SavedSubscription {
                filter: inbox.filter().to_owned(),
                incarnation: inbox.incarnation(),
                cursors: inbox.cursors(),
            };
            self.saved.subscriptions.insert(inbox.name().clone(), saved);
        }
    }
}

pub(super) fn leave(fault: &Fault) -> Next {
    let wait = fault.retry_after_ms.map(|ms| Duration::from_millis(ms.into()));
    Next::Leave { reason: fault.to_string(), wait }
}

#[cfg(test)]
#[path = "session_stories.rs"]
mod stories;
