//! What the broker's answers and pushes mean for the session.

use std::time::{Duration, Instant};

use anyport_protocol::message::{GoAway, MapAnswer, SessionOpened, SubscriptionEnded, ToClient};
use anyport_protocol::{Code, Fault, Incarnation, SessionEpoch};

use super::session::{Active, Moves, Request, Session};
use super::wanted::wait_of;
use crate::Error;
use crate::impatience::is_of_this_broker;
use crate::subscription::Notice;

/// Others that open sessions of this identity just now may be in the way so often.
const STALE_EPOCHS_MAX: u32 = 3;

/// What the driver must do after a message.
#[derive(Debug)]
pub(super) enum Next {
    GoOn,
    /// Of the handshake; the driver keeps the identity.
    Handshake(ToClient),
    Map(MapAnswer),
    GoAway {
        after: Duration,
        to: Option<String>,
        spread: Duration,
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
    pub(super) fn handle_message(&mut self, number: u32, message: ToClient, now: Instant) -> Next {
        let request = self.requests.remove(&number).map(|(request, asked_at)| {
            if matches!(request, Request::Open | Request::Ack(_) | Request::Ping | Request::Map) {
                self.answered_in = Some(now.saturating_duration_since(asked_at));
            }
            request
        });
        match (message, request) {
            (_, Some(Request::Ping)) => Next::GoOn,
            (ToClient::MapAnswer(answer), _) => Next::Map(answer),
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
            (answer, Some(Request::Inquiry { id })) => self.on_inquiry_answered(id, answer),
            (ToClient::TakenOver(taken), None) if taken.nonce != self.nonce => self.on_taken_over(),
            (ToClient::GoAway(away), None) => {
                let GoAway { reconnect_after_ms, to, spread_over_ms } = away;
                let [after, spread] = [reconnect_after_ms, spread_over_ms].map(|ms| Duration::from_millis(ms.into()));
                Next::GoAway { after, to, spread }
            }
            (ToClient::SubscriptionEnded(ended), None) if ended.fault.is(Code::SubscriptionRemoved) => {
                self.on_removed(&ended)
            }
            (ToClient::SubscriptionEnded(ended), None) => self.on_ended(ended.incarnation),
            (other, request) => {
                tracing::debug!(name = other.name(), ?request, "a message that is not expected now");
                Next::GoOn
            }
        }
    }

    pub(super) fn saw(&mut self, registry_index: u64) {
        self.saved.registry_seen = self.saved.registry_seen.max(registry_index);
    }

    fn on_opened(&mut self, opened: SessionOpened, now: Instant) -> Next {
        self.is_open = true;
        if opened.unfenced {
            self.impatience.handle_refused(now);
        } else {
            self.impatience.handle_done();
        }
        self.established = true;
        self.is_dirty = true;
        self.saw(opened.registry_index);
        self.record = opened.subscriptions;
        let incarnations: Vec<_> = self.active.keys().copied().collect();
        for incarnation in incarnations {
            match self.record.iter().find(|state| state.incarnation == incarnation) {
                Some(state) => self.active[&incarnation].shared.inbox().handle_session(state, now),
                None => drop(self.on_ended(incarnation)),
            }
        }
        tracing::debug!(subscriptions = self.record.len(), elapsed = ?now.elapsed(), "session open");
        Next::GoOn
    }

    fn on_acked(&mut self, moves: &Moves) -> Next {
        self.impatience.handle_done();
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
        self.update_saved();
        if let Some(Active { shared, temporary }) = self.active.remove(&incarnation) {
            self.are_routes_stale = true;
            let cause = Error::SubscriptionExpired { name: shared.inbox().name().to_string() };
            shared.inbox().handle_over(cause, Some(Notice::SubscriptionExpired));
            if !temporary {
                self.ended.push(shared);
            }
        }
        self.is_dirty = true;
        Next::GoOn
    }

    /// Another command of this client has removed it: nobody need be told again, when it is subscribed to anew.
    fn on_removed(&mut self, ended: &SubscriptionEnded) -> Next {
        if let Some(active) = self.active.get(&ended.incarnation) {
            let cause = Error::SubscriptionRemoved { name: ended.name.to_string() };
            active.shared.inbox().handle_over(cause, Some(Notice::SubscriptionExpired));
        }
        self.saved.subscriptions.retain(|_, saved| saved.incarnation != ended.incarnation);
        self.on_ended(ended.incarnation)
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
            Some(Request::Inquiry { id }) => self.on_inquiry_refused(*id, fault, now),
            Some(Request::Ack(_) | Request::Close(_)) if fault.is(Code::StaleEpoch) || fault.is(Code::TakenOver) => {
                self.on_taken_over()
            }
            Some(Request::Close(_)) => Next::SessionClosed,
            // A broker of an earlier version has no map.
            Some(Request::Ping | Request::Map) => Next::GoOn,
            Some(Request::Ack(moves)) if fault.retry() => {
                if is_of_this_broker(&fault) {
                    self.impatience.handle_refused(now);
                }
                self.handle_ack_postponed(moves, now + wait_of(&fault));
                Next::GoOn
            }
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
}

pub(super) fn leave(fault: &Fault) -> Next {
    let wait = fault.retry_after_ms.map(|ms| Duration::from_millis(ms.into()));
    Next::Leave { reason: fault.to_string(), wait }
}
