//! Subscriptions that the application has asked for, or asked to end, until they are answered. Requests outlive connections: both
//! can be asked again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_protocol::message::{Credit, Reopen, Subscribe, Subscribed, SubscriptionState, ToBroker, Unsubscribe};
use anyport_protocol::{ClientId, Code, Cursor, Fault, Incarnation, Outcome, SubscriptionName};
use tokio::sync::oneshot;

use super::answers::{Next, leave};
use super::session::{Active, RETRY_AFTER, Request, Session};
use crate::Error;
use crate::home::{ResumeToken, larger};
use crate::subscription::{Inbox, Shared, SubscribeOptions, Subscription};

const OTHER_CLIENT: &str = "it is of another client";

#[derive(Debug)]
pub(super) struct Wanted {
    id: u64,
    name: SubscriptionName,
    options: SubscribeOptions,
    token: Option<ResumeToken>,
    reply: oneshot::Sender<Result<Subscription, Error>>,
    /// Takes what the broker sends in the flight that opens the session: an earlier process has left the subscription as it is wanted.
    resuming: Option<(Incarnation, Arc<Shared>)>,
    pub(super) is_asked: bool,
    pub(super) not_before: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Leaving {
    id: u64,
    name: SubscriptionName,
    reply: oneshot::Sender<Result<(), Error>>,
    /// Asked before, on a connection that broke.
    was_asked: bool,
    pub(super) is_asked: bool,
    pub(super) not_before: Option<Instant>,
}

impl Wanted {
    /// Whoever asked may have stopped waiting.
    pub(super) fn answer(self, answer: Result<Subscription, Error>) {
        let _ = self.reply.send(answer);
    }

    fn request(&self, expired: Option<Incarnation>) -> Subscribe {
        Subscribe {
            name: self.name.clone(),
            filter: self.options.filter.clone(),
            start: self.options.start,
            seek: self.options.seek,
            inactive_expiry_secs: self.options.inactive_expiry.map_or(0, |expiry| expiry.as_secs().max(1)),
            expired,
            temporary: self.options.temporary,
        }
    }

    /// Whether the subscription as it is in the record is what is wanted.
    fn is_met_by(&self, state: &SubscriptionState) -> bool {
        let asked = self.options.inactive_expiry.map(|expiry| expiry.as_secs());
        state.name == self.name
            && state.filter == self.options.filter
            && !self.options.seek
            && asked.is_none_or(|secs| secs == state.inactive_expiry_secs)
    }
}

impl Leaving {
    pub(super) fn answer(self, answer: Result<(), Error>) {
        let _ = self.reply.send(answer);
    }
}

impl Session {
    pub(super) fn want(
        &mut self,
        id: u64,
        options: SubscribeOptions,
        reply: oneshot::Sender<Result<Subscription, Error>>,
    ) {
        let checked = self.check(&options);
        match checked {
            Ok((name, token)) => {
                let (resuming, is_asked, not_before) = (None, false, None);
                self.wanted.push(Wanted { id, name, options, token, reply, resuming, is_asked, not_before });
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn check(&self, options: &SubscribeOptions) -> Result<(SubscriptionName, Option<ResumeToken>), Error> {
        if let Some(over) = self.over() {
            return Err(over.clone());
        }
        let name: SubscriptionName = options.name.parse()?;
        let bad = |reason| Error::BadResumeToken { reason };
        let token = options.resume_token.as_deref().map(|bytes| ResumeToken::decode(bytes).map_err(bad)).transpose()?;
        match &token {
            Some(token) if token.name != name => Err(bad("it is of another subscription")),
            Some(token) if self.client.is_some_and(|client| client != token.client) => Err(bad(OTHER_CLIENT)),
            _ => Ok((name, token)),
        }
    }

    /// Who this client is, which is not known before the identity is read. What was wanted before is looked at again.
    pub(super) fn handle_client(&mut self, client: ClientId) {
        self.client = Some(client);
        let is_of_another = |wanted: &mut Wanted| wanted.token.as_ref().is_some_and(|token| token.client != client);
        for wanted in self.wanted.extract_if(.., is_of_another) {
            wanted.answer(Err(Error::BadResumeToken { reason: OTHER_CLIENT }));
        }
    }

    pub(super) fn leave(&mut self, id: u64, name: &str, reply: oneshot::Sender<Result<(), Error>>) {
        let name = name.parse::<SubscriptionName>().map_err(Error::from);
        match (name, self.over()) {
            (Ok(name), None) => {
                let leaving = Leaving { id, name, reply, was_asked: false, is_asked: false, not_before: None };
                self.leaving.push(leaving);
            }
            (Err(error), _) => drop(reply.send(Err(error))),
            (_, Some(over)) => drop(reply.send(Err(over.clone()))),
        }
    }

    /// By incarnation, how far the client itself knows to be.
    pub(super) fn resume_points(&self) -> Vec<anyport_protocol::message::ResumePoint> {
        let active = self.active.iter().map(|(incarnation, active)| (*incarnation, active.shared.inbox().positions()));
        let saved = self.saved.subscriptions.values().map(|saved| (saved.incarnation, saved.cursors.clone()));
        let tokens = self.wanted.iter().filter_map(|wanted| wanted.token.as_ref());
        let tokens = tokens.map(|token| (token.subscription.incarnation, token.subscription.cursors.clone()));
        let mut points = std::collections::BTreeMap::<Incarnation, Vec<Cursor>>::new();
        for (incarnation, cursors) in saved.chain(tokens).chain(active) {
            larger(points.entry(incarnation).or_default(), &cursors);
        }
        let point = |(incarnation, cursors)| anyport_protocol::message::ResumePoint { incarnation, cursors };
        points.into_iter().map(point).collect()
    }

    /// Credit for what an earlier process has left, in the flight that opens the session: so what was missed comes with its answer.
    pub(super) fn push_resuming(&mut self, now: Instant, out: &mut Vec<u8>) {
        for wanted in &mut self.wanted {
            let Some(saved) = self.saved.subscriptions.get(&wanted.name) else { continue };
            let incarnation = saved.incarnation;
            if wanted.options.seek || saved.filter != wanted.options.filter || self.active.contains_key(&incarnation) {
                continue;
            }
            let mut own = saved.cursors.clone();
            if let Some(token) = wanted.token.as_ref().filter(|token| token.subscription.incarnation == incarnation) {
                larger(&mut own, &token.subscription.cursors);
            }
            let mut inbox = Inbox::awaiting(wanted.name.clone(), saved.filter.clone(), incarnation, own, now);
            if let Some(bytes_total) = inbox.poll_credit() {
                ToBroker::from(Credit { incarnation, bytes_total }).encode(0, out);
            }
            wanted.resuming = Some((incarnation, Arc::new(Shared::new(inbox, Arc::clone(&self.due)))));
            self.are_routes_stale = true;
        }
    }

    /// The inboxes of everything that frames may come for.
    pub(super) fn inboxes(&self) -> impl Iterator<Item = (Incarnation, Arc<Shared>)> {
        let active = self.active.iter().map(|(incarnation, active)| (*incarnation, Arc::clone(&active.shared)));
        active.chain(self.wanted.iter().filter_map(|wanted| wanted.resuming.clone()))
    }

    pub(super) fn push_wanted(&mut self, now: Instant, out: &mut Vec<u8>) {
        self.settle_ended();
        let mut index = 0;
        while index < self.wanted.len() {
            let wanted = &mut self.wanted[index];
            if wanted.not_before.is_some_and(|time| now < time) || wanted.is_asked {
                index += 1;
                continue;
            }
            wanted.not_before = None;
            if self.meet(index, now, out) {
                // The next one is at this index now.
                continue;
            }
            index += 1;
        }
    }

    /// Answers or asks for one wanted subscription. Returns whether it is answered.
    fn meet(&mut self, index: usize, now: Instant, out: &mut Vec<u8>) -> bool {
        let name = &self.wanted[index].name;
        let active =
            self.active.values().find(|active| active.shared.inbox().name() == name).map(|active| &active.shared);
        let abandoned = active.map(|shared| shared.inbox().is_abandoned());
        if abandoned == Some(false) {
            let name = name.to_string();
            self.wanted.remove(index).answer(Err(Error::AlreadyOpen { name }));
            return true;
        }
        let is_there = self.record.iter().any(|state| state.name == *name);
        let known = self.saved.subscriptions.get(name).map(|saved| saved.incarnation);
        if let Some(incarnation) = known.filter(|_| !is_there) {
            self.tell_expired(index, incarnation);
            return true;
        }
        let met = self.record.iter().find(|state| self.wanted[index].is_met_by(state)).cloned();
        match met {
            Some(state) => {
                let wanted = self.wanted.remove(index);
                self.attach(wanted, &state, now, out);
                true
            }
            None => {
                self.ask(index, now, out);
                false
            }
        }
    }

    /// Never a silent fresh start: the application is told, and only then may the next request say that it knows.
    fn tell_expired(&mut self, index: usize, incarnation: Incarnation) {
        let wanted = self.wanted.remove(index);
        let error = Error::SubscriptionExpired { name: wanted.name.to_string() };
        if wanted.reply.send(Err(error)).is_ok() {
            self.saved.expiry_told(&wanted.name, incarnation);
            self.is_dirty = true;
        }
    }

    fn ask(&mut self, index: usize, now: Instant, out: &mut Vec<u8>) {
        let name = &self.wanted[index].name;
        if let Some(old) = self.active.values().find(|active| active.shared.inbox().name() == name) {
            // A change takes effect from where the old life has got to, so the broker must know that first. Its answer leads here
            // again.
            if self.is_acking() {
                return;
            }
            let mut inbox = old.shared.inbox();
            inbox.ask_for_cursors();
            let settled = !inbox.has_acks_due();
            drop(inbox);
            if !settled {
                return self.push_ack(now, out);
            }
        }
        let expired = self.saved.expired.get(name).copied();
        let (request, id) = (self.wanted[index].request(expired), self.wanted[index].id);
        self.wanted[index].is_asked = true;
        self.request(Request::Subscribe { wanted: id }, request, now, out);
    }

    /// Hands out a subscription that is in the record.
    fn attach(&mut self, wanted: Wanted, state: &SubscriptionState, now: Instant, out: &mut Vec<u8>) {
        let mut own = match self.saved.subscriptions.get(&wanted.name) {
            Some(saved) if saved.incarnation == state.incarnation => saved.cursors.clone(),
            _ => Vec::new(),
        };
        if let Some(token) = &wanted.token {
            if token.subscription.incarnation != state.incarnation {
                let reason = "the subscription has begun anew since, by a seek or another filter";
                return wanted.answer(Err(Error::BadResumeToken { reason }));
            }
            larger(&mut own, &token.subscription.cursors);
        }
        let resuming = wanted.resuming.as_ref().filter(|(incarnation, _)| *incarnation == state.incarnation);
        let shared = match (self.active.remove(&state.incarnation), resuming) {
            (Some(before), _) => {
                let inbox = before.shared.inbox().begin_again(state, &own, now);
                // The broker has sent more than was taken; it must begin again behind the last ack.
                for (feed, position) in state.feeds.iter().zip(inbox.positions()) {
                    let (incarnation, partition) = (state.incarnation, feed.partition);
                    ToBroker::from(Reopen { incarnation, partition, position }).encode(0, out);
                }
                Arc::new(Shared::new(inbox, Arc::clone(&self.due)))
            }
            (None, Some((_, shared))) => {
                shared.inbox().handle_session(state, now);
                Arc::clone(shared)
            }
            (None, None) => Arc::new(Shared::new(Inbox::new(state, own, now), Arc::clone(&self.due))),
        };
        let temporary = wanted.options.temporary;
        self.active.insert(state.incarnation, Active { shared: Arc::clone(&shared), temporary });
        self.saved.expired.remove(&wanted.name);
        (self.is_dirty, self.are_routes_stale) = (true, true);
        let client = self.client.expect("a session is open, so the client is known");
        wanted.answer(Ok(Subscription::new(shared, client)));
    }

    pub(super) fn on_subscribed(&mut self, id: u64, answer: Subscribed, now: Instant) -> Next {
        let state = answer.state;
        self.saved.registry_seen = self.saved.registry_seen.max(answer.registry_index);
        self.record.retain(|known| known.name != state.name);
        self.record.push(state.clone());
        // An earlier life of it, which nobody holds any more.
        self.are_routes_stale = true;
        self.active.retain(|incarnation, active| {
            *incarnation == state.incarnation || active.shared.inbox().name() != &state.name
        });
        let Some(at) = self.wanted.iter().position(|wanted| wanted.id == id) else { return Next::GoOn };
        let wanted = self.wanted.remove(at);
        let mut requests = std::mem::take(&mut self.postponed);
        self.attach(wanted, &state, now, &mut requests);
        self.postponed = requests;
        Next::GoOn
    }

    pub(super) fn on_subscribe_refused(&mut self, id: u64, fault: Fault, now: Instant) -> Next {
        if fault.is(Code::StaleEpoch) || fault.is(Code::TakenOver) {
            self.handle_over(&Error::TakenOver);
            return Next::GoOn;
        }
        if fault.is(Code::NoSession) {
            return leave(&fault);
        }
        let Some(at) = self.wanted.iter().position(|wanted| wanted.id == id) else { return Next::GoOn };
        if let Some(incarnation) = fault.value.filter(|_| fault.is(Code::SubscriptionExpired)) {
            self.tell_expired(at, Incarnation(incarnation));
        } else if fault.retry() {
            self.wanted[at].is_asked = false;
            self.wanted[at].not_before = Some(now + wait_of(&fault));
        } else {
            self.wanted.remove(at).answer(Err(Error::Refused(fault)));
        }
        Next::GoOn
    }

    pub(super) fn push_leaving(&mut self, now: Instant, out: &mut Vec<u8>) {
        for index in 0..self.leaving.len() {
            let leaving = &mut self.leaving[index];
            if leaving.is_asked || leaving.not_before.is_some_and(|time| now < time) {
                continue;
            }
            (leaving.is_asked, leaving.not_before) = (true, None);
            let (id, name) = (leaving.id, leaving.name.clone());
            self.request(Request::Unsubscribe { leaving: id }, Unsubscribe { name }, now, out);
        }
    }

    pub(super) fn on_unsubscribed(&mut self, id: u64) -> Next {
        let Some(at) = self.leaving.iter().position(|leaving| leaving.id == id) else { return Next::GoOn };
        let leaving = self.leaving.remove(at);
        self.record.retain(|state| state.name != leaving.name);
        self.saved.subscriptions.remove(&leaving.name);
        self.saved.expired.remove(&leaving.name);
        (self.is_dirty, self.are_routes_stale) = (true, true);
        self.active.retain(|_, active| {
            let mut inbox = active.shared.inbox();
            let is_it = inbox.name() == &leaving.name;
            if is_it {
                inbox.handle_over(Error::SubscriptionExpired { name: leaving.name.to_string() }, None);
            }
            !is_it
        });
        leaving.answer(Ok(()));
        Next::GoOn
    }

    pub(super) fn on_unsubscribe_refused(&mut self, id: u64, fault: Fault, now: Instant) -> Next {
        if fault.is(Code::StaleEpoch) || fault.is(Code::TakenOver) {
            self.handle_over(&Error::TakenOver);
            return Next::GoOn;
        }
        if fault.is(Code::NoSession) {
            return leave(&fault);
        }
        let Some(at) = self.leaving.iter().position(|leaving| leaving.id == id) else { return Next::GoOn };
        if fault.is(Code::UnknownSubscription) && self.leaving[at].was_asked {
            // The first attempt did it; only its answer was lost.
            return self.on_unsubscribed(id);
        }
        if fault.retry() {
            self.leaving[at].is_asked = false;
            self.leaving[at].was_asked |= fault.code().is_some_and(|code| code.outcome() == Outcome::Maybe);
            self.leaving[at].not_before = Some(now + wait_of(&fault));
        } else {
            self.leaving.remove(at).answer(Err(Error::Refused(fault)));
        }
        Next::GoOn
    }

    /// What was asked on the connection that broke may have been done.
    pub(super) fn handle_unanswered(&mut self) {
        for wanted in &mut self.wanted {
            (wanted.is_asked, wanted.resuming) = (false, None);
        }
        for leaving in &mut self.leaving {
            leaving.was_asked |= leaving.is_asked;
            leaving.is_asked = false;
        }
    }
}

pub(super) fn wait_of(fault: &Fault) -> Duration {
    fault.retry_after_ms.map_or(RETRY_AFTER, |ms| Duration::from_millis(ms.into()))
}
