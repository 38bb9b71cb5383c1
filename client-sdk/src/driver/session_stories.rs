use anyport_protocol::message::feed::{FeedContent, FeedFrame, FeedId};
use anyport_protocol::message::{
    FeedState, FrameBuffer, OpenSession, Refused, SessionOpened, Subscribe, SubscribeOutcome, Subscribed,
    SubscriptionEnded, TakenOver, ToClient,
};
use anyport_protocol::{Code, Fault, LogEpoch, Offset, OffsetRange};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::super::answers::Next;
use super::*;
use crate::subscription::{SubscribeOptions, Subscription};

const OWN: Nonce = Nonce([1; 16]);
const OTHER: Nonce = Nonce([2; 16]);

/// A session, with a broker's messages given by hand.
struct Story {
    session: Session,
    now: Instant,
    sent: Vec<(u32, ToBroker)>,
}

impl Story {
    fn new() -> Self {
        let mut session = Session::new(OWN, Arc::new(Notify::new()));
        session.client = Some(ClientId([9; 16]));
        Self { session, now: Instant::now(), sent: Vec::new() }
    }

    /// Another process, with what this one has saved.
    fn later_process(&mut self) -> Self {
        let mut later = Self::new();
        later.session.saved = self.session.snapshot();
        later
    }

    /// Wants "quakes" of a broker that has no subscription of this client.
    fn want_what_is_gone(&mut self) -> oneshot::Receiver<Result<Subscription, Error>> {
        let answer = self.want(SubscribeOptions::new("quakes", "filter"));
        self.pump();
        if !self.session.is_open() {
            self.opened(Vec::new());
            self.pump();
        }
        answer
    }

    fn want(&mut self, options: SubscribeOptions) -> oneshot::Receiver<Result<Subscription, Error>> {
        let (reply, answer) = oneshot::channel();
        self.session.want(1, options, reply);
        answer
    }

    /// What the driver does before it writes. Keeps what was written.
    fn pump(&mut self) -> Vec<ToBroker> {
        let mut out = Vec::new();
        if self.session.must_open() {
            self.session.choose_epoch();
            self.session.push_open(self.now, &mut out);
        }
        self.session.pump(self.now, &mut out);
        let mut frames = FrameBuffer::new(1 << 20);
        frames.extend(&out);
        self.sent.clear();
        while let Some((header, body)) = frames.next_frame().expect("own frames") {
            let message = ToBroker::decode(header.message_type, &body).expect("own messages");
            self.sent.push((header.request, message));
        }
        self.sent.iter().map(|(_, message)| message.clone()).collect()
    }

    /// Answers the last request of this name.
    fn answer(&mut self, request: &str, message: impl Into<ToClient>) -> Next {
        let sent = self.sent.iter().rev().find(|(_, message)| message.name() == request);
        let (number, _) = sent.unwrap_or_else(|| panic!("no {request} was sent: {:?}", self.sent));
        self.session.handle_message(*number, message.into(), self.now)
    }

    fn opened(&mut self, subscriptions: Vec<SubscriptionState>) -> Next {
        let epoch = self.session.epoch.expect("sent");
        self.answer("OpenSession", SessionOpened { epoch, registry_index: 5, subscriptions, unfenced: false })
    }

    /// A session with the subscription "quakes", which has taken one event and not acked it.
    fn with_quakes() -> (Self, Subscription) {
        let mut story = Self::new();
        let mut answer = story.want(SubscribeOptions::new("quakes", "filter"));
        story.pump();
        story.opened(vec![state(7, 0)]);
        story.pump();
        let subscription = answer.try_recv().expect("answered").expect("attached");
        let feed = FeedId { incarnation: Incarnation(7), partition: PartitionId(0) };
        let content = FeedContent::Events(vec![(Offset(2), Bytes::from_static(b"event"))]);
        let frame = FeedFrame { feed, covers: OffsetRange::new(Offset(0), Offset(4)), content };
        let active = &story.session.active[&Incarnation(7)];
        assert!(active.shared.inbox().handle_frame(frame, true, story.now));
        (story, subscription)
    }
}

fn at(offset: u64) -> Cursor {
    Cursor { epoch: LogEpoch(0), offset: Offset(offset) }
}

fn state(incarnation: u64, position: u64) -> SubscriptionState {
    let (start, position, tail, partition) = (at(0), at(position), Offset(10), PartitionId(0));
    let feed = FeedState { partition, start, position, tail, acked: position, lost: None };
    SubscriptionState {
        name: "quakes".parse().expect("a name"),
        incarnation: Incarnation(incarnation),
        filter: "filter".into(),
        inactive_expiry_secs: 3600,
        feeds: vec![feed],
    }
}

fn ended() -> SubscriptionEnded {
    let fault = Fault::new(Code::SubscriptionExpired, "");
    SubscriptionEnded { name: "quakes".parse().expect("a name"), incarnation: Incarnation(7), fault }
}

fn refused(code: Code, value: u64) -> Refused {
    Refused { fault: Fault::new(code, "").with_value(value) }
}

fn open_of(messages: &[ToBroker]) -> OpenSession {
    let open = messages.iter().find_map(|message| match message {
        ToBroker::OpenSession(open) => Some(open.clone()),
        _ => None,
    });
    open.expect("a session is opened")
}

/// What the one subscription request says to be known as expired.
fn expired_in(sent: &[(u32, ToBroker)]) -> Option<Incarnation> {
    let subscribe = sent.iter().find_map(|(_, message)| match message {
        ToBroker::Subscribe(Subscribe { expired, .. }) => Some(*expired),
        _ => None,
    });
    subscribe.unwrap_or_else(|| panic!("nothing is subscribed to: {sent:?}"))
}

fn is_told_of_expiry(answer: &mut oneshot::Receiver<Result<Subscription, Error>>) -> bool {
    matches!(answer.try_recv(), Ok(Err(Error::SubscriptionExpired { .. })))
}

fn names(messages: &[ToBroker]) -> Vec<&'static str> {
    messages.iter().map(ToBroker::name).collect()
}

/// The last thing the application is told.
fn last_notice(subscription: &Subscription) -> Option<Notice> {
    let shared = subscription.shared_for_test();
    let batch = shared.inbox().pop(10);
    batch.and_then(|batch| batch.notices.last().cloned())
}

#[test]
fn a_client_that_only_publishes_opens_no_session() {
    let mut story = Story::new();
    assert_eq!(names(&story.pump()), [] as [&str; 0]);
}

#[test]
fn a_new_subscription_is_asked_for_and_given_credit() {
    let mut story = Story::new();
    let mut answer = story.want(SubscribeOptions::new("quakes", "filter"));
    assert_eq!(names(&story.pump()), ["OpenSession"]);
    story.opened(Vec::new());
    assert_eq!(names(&story.pump()), ["Subscribe"]);
    assert_eq!(names(&story.pump()), [] as [&str; 0], "asked once");
    // The second request, after the one that opened the session.
    let subscribed = Subscribed { outcome: SubscribeOutcome::Created, state: state(7, 0), registry_index: 6 };
    story.session.handle_message(2, subscribed.into(), story.now);
    assert_eq!(names(&story.pump()), ["Credit"]);
    answer.try_recv().expect("answered").expect("subscribed");
}

#[test]
fn a_subscription_that_is_there_needs_no_request_of_its_own() {
    let mut story = Story::new();
    let mut answer = story.want(SubscribeOptions::new("quakes", "filter"));
    story.pump();
    story.opened(vec![state(7, 3)]);
    assert_eq!(names(&story.pump()), ["Credit"]);
    let subscription = answer.try_recv().expect("answered").expect("attached");
    assert_eq!(last_notice(&subscription), Some(Notice::Resumed { waiting_max: 7 }));
}

#[test]
fn one_flight_resumes_from_where_frames_have_come() {
    let (mut story, subscription) = Story::with_quakes();
    story.session.handle_disconnected("lost");
    let flight = story.pump();
    assert_eq!(names(&flight), ["OpenSession", "Credit"]);
    let open = open_of(&flight);
    assert_eq!((open.epoch, open.nonce, open.registry_seen), (SessionEpoch(1), OWN, 5));
    assert_eq!((open.resume[0].incarnation, open.resume[0].cursors.as_slice()), (Incarnation(7), [at(4)].as_slice()));
    story.opened(vec![state(7, 0)]);
    assert_eq!(last_notice(&subscription), Some(Notice::Resumed { waiting_max: 10 }));
}

#[test]
fn a_later_process_goes_on_behind_the_last_ack() {
    let (mut story, subscription) = Story::with_quakes();
    let saved = story.session.snapshot();
    drop(subscription);
    let mut later = Story::new();
    later.session.saved = saved;
    let _answer = later.want(SubscribeOptions::new("quakes", "filter"));
    let open = open_of(&later.pump());
    assert_eq!((open.epoch, open.resume[0].cursors.as_slice()), (SessionEpoch(2), [at(2)].as_slice()));
}

#[test]
fn one_ack_is_on_its_way_at_a_time() {
    let (mut story, subscription) = Story::with_quakes();
    let batch = subscription.shared_for_test().inbox().pop(10).expect("an event");
    subscription.ack_batch(&batch.deliveries);
    assert_eq!(names(&story.pump()), ["Ack"]);
    let number = story.sent[0].0;
    story.session.active[&Incarnation(7)].shared.inbox().ask_for_cursors();
    assert_eq!(names(&story.pump()), [] as [&str; 0]);
    story.session.handle_message(number, anyport_protocol::message::Acked { registry_index: 8 }.into(), story.now);
    assert!(subscription.shared_for_test().inbox().is_confirmed(&[at(4)]));
}

#[test]
fn a_cold_start_with_an_old_epoch_takes_the_next_one() {
    let mut story = Story::new();
    let _answer = story.want(SubscribeOptions::new("quakes", "filter"));
    story.pump();
    story.answer("OpenSession", refused(Code::StaleEpoch, 41));
    assert_eq!(open_of(&story.pump()).epoch, SessionEpoch(42));
}

#[test]
fn a_running_session_that_is_taken_over_reports_and_stops() {
    let (mut story, subscription) = Story::with_quakes();
    let taken = TakenOver { epoch: SessionEpoch(9), nonce: OTHER };
    story.session.handle_message(0, taken.into(), story.now);
    assert_eq!(last_notice(&subscription), Some(Notice::TakenOver));
    story.session.handle_disconnected("lost");
    assert_eq!(names(&story.pump()), [] as [&str; 0], "it does not fight back");
    assert!(matches!(story.want(SubscribeOptions::new("x", "")).try_recv(), Ok(Err(Error::TakenOver))));
}

#[test]
fn a_reconnect_that_finds_a_newer_session_is_taken_over_too() {
    let (mut story, subscription) = Story::with_quakes();
    story.session.handle_disconnected("lost");
    story.pump();
    story.answer("OpenSession", refused(Code::StaleEpoch, 9));
    assert_eq!(last_notice(&subscription), Some(Notice::TakenOver));
}

#[test]
fn a_takeover_by_the_own_nonce_is_an_echo() {
    let (mut story, subscription) = Story::with_quakes();
    let taken = TakenOver { epoch: SessionEpoch(1), nonce: OWN };
    story.session.handle_message(0, taken.into(), story.now);
    assert_ne!(last_notice(&subscription), Some(Notice::TakenOver));
}

#[test]
fn an_expired_subscription_is_told_once_and_never_begun_anew_in_silence() {
    let (mut before, _subscription) = Story::with_quakes();
    let mut story = before.later_process();
    assert!(is_told_of_expiry(&mut story.want_what_is_gone()));
    let _again = story.want_what_is_gone();
    assert_eq!(expired_in(&story.sent), Some(Incarnation(7)));
}

#[test]
fn a_client_without_memory_is_told_by_the_broker_and_its_next_request_says_that_it_knows() {
    let mut story = Story::new();
    let mut answer = story.want_what_is_gone();
    assert_eq!(expired_in(&story.sent), None);
    story.answer("Subscribe", refused(Code::SubscriptionExpired, 4));
    assert!(is_told_of_expiry(&mut answer));

    let mut later = story.later_process();
    for story in [&mut story, &mut later] {
        let mut answer = story.want_what_is_gone();
        assert_eq!(expired_in(&story.sent), Some(Incarnation(4)));
        let subscribed = Subscribed { outcome: SubscribeOutcome::Created, state: state(7, 0), registry_index: 6 };
        story.answer("Subscribe", subscribed);
        answer.try_recv().expect("answered").expect("begun anew");
        assert_eq!(story.session.snapshot().expired.len(), 0, "that is over");
    }
}

#[test]
fn an_expiry_that_nobody_heard_of_is_told_again() {
    let mut story = Story::new();
    drop(story.want_what_is_gone());
    story.answer("Subscribe", refused(Code::SubscriptionExpired, 4));
    let _answer = story.want_what_is_gone();
    assert_eq!(expired_in(&story.sent), None);
}

#[test]
fn a_subscription_that_ends_under_its_reader_is_told_by_a_later_process_unless_the_reader_knows() {
    let (mut story, subscription) = Story::with_quakes();
    story.session.handle_message(0, ended().into(), story.now);
    let mut later = story.later_process();
    assert!(is_told_of_expiry(&mut later.want_what_is_gone()));

    assert!(subscription.ended().is_some());
    let mut later = story.later_process();
    for story in [&mut story, &mut later] {
        let _answer = story.want_what_is_gone();
        assert_eq!(expired_in(&story.sent), Some(Incarnation(7)));
    }
}

#[test]
fn a_subscription_that_ends_tells_its_reader() {
    let (mut story, subscription) = Story::with_quakes();
    story.session.handle_message(0, ended().into(), story.now);
    assert_eq!(last_notice(&subscription), Some(Notice::SubscriptionExpired));
    assert!(matches!(subscription.ended(), Some(Error::SubscriptionExpired { .. })));
}

#[test]
fn a_dropped_subscription_taken_up_again_begins_behind_its_last_ack() {
    let (mut story, subscription) = Story::with_quakes();
    drop(subscription);
    let mut answer = story.want(SubscribeOptions::new("quakes", "filter"));
    let messages = story.pump();
    let position = messages.iter().find_map(|message| match message {
        ToBroker::Reopen(reopen) => Some(reopen.position),
        _ => None,
    });
    assert_eq!(position, Some(at(2)));
    answer.try_recv().expect("answered").expect("attached again");
}

#[test]
fn a_subscription_has_one_reader() {
    let (mut story, _subscription) = Story::with_quakes();
    let mut second = story.want(SubscribeOptions::new("quakes", "other"));
    story.pump();
    assert!(matches!(second.try_recv(), Ok(Err(Error::AlreadyOpen { .. }))));
}

#[test]
fn a_bad_filter_is_the_callers_error_and_a_busy_broker_is_asked_again() {
    let mut story = Story::new();
    let mut answer = story.want(SubscribeOptions::new("quakes", "1 +"));
    story.pump();
    story.opened(Vec::new());
    story.pump();
    story.answer("Subscribe", Refused { fault: Fault::retry_after(Code::RetryAfter, 50, "") });
    assert_eq!(names(&story.pump()), [] as [&str; 0]);
    story.now += Duration::from_millis(50);
    assert_eq!(names(&story.pump()), ["Subscribe"]);
    story.answer("Subscribe", refused(Code::BadFilter, 0));
    assert!(matches!(answer.try_recv(), Ok(Err(Error::Refused(fault))) if fault.is(Code::BadFilter)));
}

#[test]
fn a_token_of_another_client_is_refused() {
    let (_story, subscription) = Story::with_quakes();
    let token = Some(subscription.resume_token());
    let mut other = Story::new();
    other.session.client = Some(ClientId([8; 16]));
    let options = SubscribeOptions { resume_token: token, ..SubscribeOptions::new("quakes", "filter") };
    assert!(matches!(other.want(options).try_recv(), Ok(Err(Error::BadResumeToken { .. }))));
}

#[test]
fn a_token_given_before_the_client_is_known_is_looked_at_once_it_is() {
    let (mut story, subscription) = Story::with_quakes();
    for (client, is_refused) in [(8, true), (9, false)] {
        let mut later = story.later_process();
        later.session.client = None;
        let token = Some(subscription.resume_token());
        let options = SubscribeOptions { resume_token: token, ..SubscribeOptions::new("quakes", "filter") };
        let mut answer = later.want(options);
        assert!(answer.try_recv().is_err(), "nobody can tell yet");
        later.session.handle_client(ClientId([client; 16]));
        assert_eq!(matches!(answer.try_recv(), Ok(Err(Error::BadResumeToken { .. }))), is_refused, "{client}");
    }
}

#[test]
fn a_silent_broker_is_noticed() {
    let mut story = Story::new();
    let _answer = story.want(SubscribeOptions::new("quakes", ""));
    story.pump();
    assert!(!story.session.is_unanswered(story.now));
    assert!(story.session.is_unanswered(story.session.next_wake().expect("an answer is awaited")));
}

#[test]
fn another_filter_is_asked_for_when_the_acks_of_the_old_one_are_durable() {
    let (mut story, subscription) = Story::with_quakes();
    let batch = subscription.shared_for_test().inbox().pop(10).expect("an event");
    subscription.ack_batch(&batch.deliveries);
    drop(subscription);
    let _answer = story.want(SubscribeOptions::new("quakes", "other"));
    assert_eq!(names(&story.pump()), ["Ack"]);
    story.answer("Ack", anyport_protocol::message::Acked { registry_index: 8 });
    assert_eq!(names(&story.pump()), ["Subscribe"]);
}

#[test]
fn an_ack_that_is_refused_for_now_is_sent_again_with_what_was_acked_since() {
    let (mut story, subscription) = Story::with_quakes();
    let batch = subscription.shared_for_test().inbox().pop(10).expect("an event");
    subscription.ack_batch(&batch.deliveries);
    assert_eq!(names(&story.pump()), ["Ack"]);
    let busy = Refused { fault: Fault::retry_after(Code::RetryAfter, 300, "busy") };
    assert!(matches!(story.answer("Ack", busy), Next::GoOn), "the connection is good");
    assert_eq!(names(&story.pump()), [] as [&str; 0], "not before the time that was named");
    story.now = story.session.next_wake().expect("a time to try again");
    assert_eq!(names(&story.pump()), ["Ack"]);
}

#[test]
fn a_due_time_that_nothing_acts_on_is_not_waited_for() {
    let (mut story, subscription) = Story::with_quakes();
    let batch = subscription.shared_for_test().inbox().pop(10).expect("an event");
    subscription.ack_batch(&batch.deliveries);
    assert_eq!(names(&story.pump()), ["Ack"]);
    // Cursors are due again long before this ack is given up, but they go with the next one.
    let given_up = story.now + ANSWER_TIMEOUT;
    assert_eq!(story.session.next_wake(), Some(given_up));

    let taken = TakenOver { epoch: SessionEpoch(9), nonce: OTHER };
    story.session.handle_message(0, taken.into(), story.now);
    story.answer("Ack", refused(Code::StaleEpoch, 9));
    assert_eq!(story.session.next_wake(), None, "a session that is over has nothing to do");
}
