//! The session as the client knows it: what it asked for, what was answered, what is to be said next.
//!
//! A plain state machine, in four files: this one, `wanted`, `inquiry` and `answers`. Inputs: `want`, `leave`, `inquire`,
//! `handle_message`, `handle_disconnected`, `handle_over`. Output: `pump` appends the requests that are due to a buffer (and
//! `push_inquiries` those that need no session), and `handle_message` returns what the driver must do. Before `push_open` the driver
//! calls `choose_epoch` and saves the state: an epoch is on disk before it is used.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_protocol::message::{Ack, CloseSession, Credit, OpenSession, Reopen, SubscriptionState, ToBroker};
use anyport_protocol::{ClientId, Cursor, Incarnation, Nonce, PartitionId, SessionEpoch};
use tokio::sync::Notify;

use super::inquiry::Inquiry;
use super::wanted::{Leaving, Wanted};
use crate::Error;
use crate::home::{ResumeState, SavedSubscription};
use crate::impatience::Impatience;
use crate::subscription::{Notice, Shared};

/// A broker that answers nothing for so long is left for another.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// For a refusal that names no time.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(200);

pub(super) type Moves = Vec<(Incarnation, Vec<(PartitionId, Cursor)>)>;

#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Option<ClientId>,
    /// Told when an inbox has something for `pump`.
    pub(super) due: Arc<Notify>,
    pub(super) nonce: Nonce,
    /// The one this process uses; none before its first session.
    pub(super) epoch: Option<SessionEpoch>,
    /// Whether a session has ever been open in this process.
    pub(super) established: bool,
    /// Of the connection.
    pub(super) is_open: bool,
    pub(super) requests: HashMap<u32, (Request, Instant)>,
    /// How long the broker took for its last answer to what every broker answers alike.
    pub(super) answered_in: Option<Duration>,
    next_request: u32,
    /// What was saved by an earlier process, kept up to date by `snapshot`.
    pub(super) saved: ResumeState,
    /// The client's record as the broker told it.
    pub(super) record: Vec<SubscriptionState>,
    pub(super) active: HashMap<Incarnation, Active>,
    /// Subscriptions that expired in the application's hands and about which it may not have been told yet.
    pub(super) ended: Vec<Arc<Shared>>,
    pub(super) wanted: Vec<Wanted>,
    pub(super) leaving: Vec<Leaving>,
    pub(super) inquiries: Vec<Inquiry>,
    /// Requests that came of an answer, to go out with the next that are due.
    pub(super) postponed: Vec<u8>,
    /// The broker could not take the last ack, and named a time.
    ack_not_before: Option<Instant>,
    /// With a broker that delivers and cannot keep what is acked.
    pub(super) impatience: Impatience,
    /// How often the broker knew a higher epoch before the first session was open.
    pub(super) stale_epochs: u32,
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
    Inquiry { id: u64 },
    Ping,
    Map,
    Ack(Moves),
    Close(Moves),
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
            answered_in: None,
            next_request: 1,
            saved: ResumeState::default(),
            record: Vec::new(),
            active: HashMap::new(),
            ended: Vec::new(),
            wanted: Vec::new(),
            leaving: Vec::new(),
            inquiries: Vec::new(),
            postponed: Vec::new(),
            ack_not_before: None,
            impatience: Impatience::new(),
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
        self.is_needed()
            && !self.is_open
            && !self.is_asked(|request| matches!(request, Request::Open))
            && self.over.is_none()
    }

    fn is_needed(&self) -> bool {
        !self.active.is_empty() || !self.wanted.is_empty() || !self.leaving.is_empty()
    }

    /// Whether the broker knows who we are, and has opened the session if there is to be one.
    pub(super) fn is_served(&self) -> bool {
        self.is_open || (!self.is_needed() && !self.is_asked(|request| matches!(request, Request::Identify)))
    }

    fn is_asked(&self, request: impl Fn(&Request) -> bool) -> bool {
        self.requests.values().any(|(asked, _)| request(asked))
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
        self.push_resuming(now, out);
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
        if self.is_acking() || self.ack_not_before.is_some_and(|time| now < time) {
            return;
        }
        self.ack_not_before = None;
        let due = |(incarnation, active): (&Incarnation, &Active)| {
            Some((*incarnation, active.shared.inbox().poll_cursors(now)?))
        };
        let cursors: Moves = self.active.iter().filter_map(due).collect();
        if !cursors.is_empty() {
            self.is_dirty = true;
            self.request(Request::Ack(cursors.clone()), Ack { cursors }, now, out);
        }
    }

    /// The cursors of an ack that was refused for now are due again, with what is acked until then.
    pub(super) fn handle_ack_postponed(&mut self, moves: &Moves, until: Instant) {
        self.ack_not_before = Some(until);
        for (incarnation, _) in moves {
            if let Some(active) = self.active.get(incarnation) {
                active.shared.inbox().ask_for_cursors();
            }
        }
    }

    pub(super) fn is_acking(&self) -> bool {
        self.is_asked(|request| matches!(request, Request::Ack(_)))
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
        let overdue = self.requests.values().map(|(_, since)| *since + ANSWER_TIMEOUT);
        let without_session = overdue.chain(self.inquiries.iter().filter_map(|inquiry| inquiry.not_before));
        if !self.is_open || self.over.is_some() {
            return without_session.min();
        }
        // While an ack is on its way the next one waits for its answer: a due time that nothing acts on would be due for ever.
        let may_ack = !self.is_acking();
        let of_inbox = |active: &Active| {
            let inbox = active.shared.inbox();
            let cursors_due = || self.ack_not_before.unwrap_or_else(|| inbox.cursors_due_at());
            inbox.patience_ends().into_iter().chain(may_ack.then(cursors_due)).min()
        };
        let inboxes = self.active.values().filter_map(of_inbox);
        let wanted = self.wanted.iter().filter_map(|wanted| wanted.not_before);
        let leaving = self.leaving.iter().filter_map(|leaving| leaving.not_before);
        inboxes.chain(wanted).chain(leaving).chain(without_session).chain(self.impatience.ends()).min()
    }

    pub(super) fn is_unanswered(&self, now: Instant) -> bool {
        self.requests.values().any(|(_, since)| now >= *since + ANSWER_TIMEOUT)
    }

    /// The first flight has not arrived, or nobody will answer it.
    pub(super) fn handle_attempt_failed(&mut self) {
        self.requests.clear();
        self.handle_unanswered();
        for active in self.active.values() {
            active.shared.inbox().handle_credit_lost();
        }
    }

    pub(super) fn handle_disconnected(&mut self, reason: &str) {
        self.is_open = false;
        self.requests.clear();
        self.handle_unanswered();
        self.handle_inquiries_unanswered();
        self.postponed.clear();
        self.ack_not_before = None;
        self.impatience.handle_disconnected();
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
        self.inquiries.drain(..).for_each(|inquiry| inquiry.answer(Err(cause.clone())));
    }

    /// What a later process must know.
    pub(super) fn snapshot(&mut self) -> ResumeState {
        self.update_saved();
        self.is_dirty = false;
        self.saved.clone()
    }

    pub(super) fn update_saved(&mut self) {
        self.settle_ended();
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

    /// What expired stays saved as if it were there until the application knows, so that whoever asks for it next is told: in this
    /// process or, if this one dies first, in a later one.
    pub(super) fn settle_ended(&mut self) {
        let saved = &mut self.saved;
        self.ended.retain(|shared| {
            let inbox = shared.inbox();
            let is_told = inbox.is_end_told();
            if is_told {
                saved.expiry_told(inbox.name(), inbox.incarnation());
            }
            // Nobody else holds one that was dropped, so nothing more will be learnt of it.
            !is_told && Arc::strong_count(shared) > 1
        });
    }
}

#[cfg(test)]
#[path = "session_stories.rs"]
mod stories;
