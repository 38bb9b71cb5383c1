use anyport_protocol::message::feed::FeedId;
use anyport_protocol::message::{FeedState, LostEnd};
use anyport_protocol::{LogEpoch, Offset, OffsetRange};
use proptest::prelude::*;

use super::*;

const INCARNATION: Incarnation = Incarnation(7);
const PARTITION: PartitionId = PartitionId(0);

fn at(offset: u64) -> Cursor {
    Cursor { epoch: LogEpoch(0), offset: Offset(offset) }
}

fn state(position: u64, tail: u64) -> SubscriptionState {
    SubscriptionState {
        name: "quakes".parse().expect("a name"),
        incarnation: INCARNATION,
        filter: String::new(),
        inactive_expiry_secs: 600,
        feeds: vec![FeedState {
            partition: PARTITION,
            start: at(0),
            position: at(position),
            tail: Offset(tail),
            acked: at(position),
            lost: None,
        }],
    }
}

/// An inbox that has said `Resumed` already.
fn inbox(position: u64, tail: u64) -> Inbox {
    let mut inbox = Inbox::new(&state(position, tail), Vec::new(), Instant::now());
    inbox.pop(1);
    inbox.poll_credit();
    inbox
}

fn frame(start: u64, end: u64, content: FeedContent) -> FeedFrame {
    let feed = FeedId { incarnation: INCARNATION, partition: PARTITION };
    FeedFrame { feed, covers: range(start, end), content }
}

fn range(start: u64, end: u64) -> OffsetRange {
    OffsetRange::new(Offset(start), Offset(end))
}

fn events(offsets: &[u64]) -> FeedContent {
    FeedContent::Events(offsets.iter().map(|offset| (Offset(*offset), Bytes::from(offset.to_string()))).collect())
}

fn receive(inbox: &mut Inbox, start: u64, end: u64, content: FeedContent) {
    assert!(inbox.handle_frame(frame(start, end, content), true, Instant::now()));
}

fn taken(inbox: &mut Inbox) -> Vec<Delivery> {
    inbox.pop(usize::MAX).map(|batch| batch.deliveries).unwrap_or_default()
}

fn offsets(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.offset.0).collect()
}

#[test]
fn deliveries_are_acked_and_the_cursor_follows() {
    let mut inbox = inbox(0, 10);
    receive(&mut inbox, 0, 10, events(&[2, 5]));
    let deliveries = taken(&mut inbox);
    assert_eq!(offsets(&deliveries), [2, 5]);
    assert_eq!(inbox.cursors(), [at(2)]);
    assert!(!inbox.ack(&deliveries[1]));
    assert!(inbox.ack(&deliveries[0]));
    assert_eq!(inbox.poll_cursors(Instant::now()), Some(vec![(PARTITION, at(10))]));
    assert_eq!(inbox.poll_cursors(Instant::now()), None);
    assert!(!inbox.is_confirmed(&[at(10)]));
    inbox.handle_acked(&[(PARTITION, at(10))]);
    assert!(inbox.is_confirmed(&[at(10)]));
}

#[test]
fn a_new_session_hands_nothing_out_again() {
    let mut inbox = inbox(0, 10);
    receive(&mut inbox, 0, 6, events(&[2, 5]));
    let before = taken(&mut inbox);
    inbox.handle_disconnected("lost");
    inbox.handle_session(&state(0, 12), Instant::now());
    receive(&mut inbox, 0, 12, events(&[2, 5, 8]));
    assert_eq!(offsets(&taken(&mut inbox)), [8]);
    assert!(!inbox.ack(&before[1]), "acks of before the cut still count");
    assert!(inbox.ack(&before[0]));
    assert_eq!(inbox.cursors(), [at(8)]);
}

#[test]
fn acks_that_were_on_their_way_are_sent_again() {
    let mut inbox = inbox(0, 10);
    receive(&mut inbox, 0, 3, events(&[2]));
    let deliveries = taken(&mut inbox);
    inbox.ack(&deliveries[0]);
    assert!(inbox.poll_cursors(Instant::now()).is_some());
    inbox.handle_disconnected("lost");
    assert_eq!(inbox.poll_cursors(Instant::now()), Some(vec![(PARTITION, at(3))]));
}

#[test]
fn a_gap_is_passed_only_when_it_has_been_told() {
    let mut inbox = inbox(0, 10);
    receive(&mut inbox, 0, 8, FeedContent::Gap);
    assert_eq!(inbox.cursors(), [at(0)]);
    let batch = inbox.pop(1).expect("a notice");
    assert_eq!(batch.notices, [Notice::Gap { partition: PARTITION, epoch: LogEpoch(0), range: range(0, 8) }]);
    assert_eq!(inbox.cursors(), [at(8)]);
    assert!(inbox.has_acks_due());
}

#[test]
fn progress_alone_waits_some_minutes() {
    let now = Instant::now();
    let mut inbox = inbox(0, 10);
    receive(&mut inbox, 0, 9, events(&[]));
    assert_eq!(inbox.poll_cursors(now), None);
    assert_eq!(inbox.poll_cursors(inbox.cursors_due_at()), Some(vec![(PARTITION, at(9))]));
}

#[test]
fn between_two_sessions_nobody_is_caught_up() {
    let mut inbox = inbox(10, 10);
    assert!(inbox.is_caught_up());
    inbox.handle_disconnected("lost");
    assert!(!inbox.is_caught_up(), "what has come since is not known yet");
    inbox.handle_session(&state(10, 12), Instant::now());
    assert!(!inbox.is_caught_up(), "10 and 11 are missed");
    receive(&mut inbox, 10, 12, events(&[]));
    assert!(inbox.is_caught_up());
}

#[test]
fn caught_up_means_taken_by_the_application() {
    let mut inbox = inbox(0, 10);
    receive(&mut inbox, 0, 9, events(&[2]));
    assert!(!inbox.is_caught_up());
    receive(&mut inbox, 9, 12, events(&[11]));
    assert!(!inbox.is_caught_up(), "2 is still queued");
    inbox.pop(1);
    assert!(inbox.is_caught_up(), "11 lies past the tail of then");
}

#[test]
fn credit_is_given_as_the_application_takes() {
    let mut inbox = Inbox::new(&state(0, 10), Vec::new(), Instant::now());
    assert_eq!(inbox.poll_credit(), Some(WINDOW_BYTES));
    assert_eq!(inbox.poll_credit(), None);
    let large = Bytes::from(vec![0; WINDOW_BYTES as usize - EVENT_HEADER_BYTES as usize]);
    receive(&mut inbox, 0, 1, FeedContent::Events(vec![(Offset(0), large)]));
    assert_eq!(inbox.poll_credit(), None, "what is queued takes the window");
    inbox.pop(10);
    assert!(inbox.is_credit_due());
    assert_eq!(inbox.poll_credit(), Some(2 * WINDOW_BYTES));
}

#[test]
fn a_broker_that_sends_without_credit_is_noticed() {
    let mut inbox = Inbox::new(&state(0, 10), Vec::new(), Instant::now());
    let large = FeedContent::Events(vec![(Offset(0), Bytes::from(vec![0; OVERDRAFT_BYTES as usize]))]);
    assert!(!inbox.handle_frame(frame(0, 1, large), true, Instant::now()));
}

#[test]
fn after_a_takeover_there_is_only_the_notice() {
    let mut inbox = inbox(0, 10);
    receive(&mut inbox, 0, 3, events(&[2]));
    inbox.handle_over(Error::TakenOver, Some(Notice::TakenOver));
    let batch = inbox.pop(10).expect("a notice");
    assert_eq!((batch.deliveries.len(), batch.notices), (0, vec![Notice::TakenOver]));
    assert!(inbox.pop(10).is_none());
}

#[test]
fn a_token_names_the_cursor_as_if_its_events_were_acked() {
    let mut inbox = inbox(0, 10);
    receive(&mut inbox, 0, 6, events(&[2, 5]));
    let deliveries = taken(&mut inbox);
    assert_eq!(inbox.cursors_after(&deliveries[..1]), [at(5)]);
    assert_eq!(inbox.cursors(), [at(2)]);
}

#[test]
fn acks_of_an_earlier_incarnation_change_nothing() {
    let mut inbox = inbox(0, 10);
    receive(&mut inbox, 0, 6, events(&[2]));
    let mut delivery = taken(&mut inbox).remove(0);
    delivery.incarnation = Incarnation(6);
    assert!(!inbox.ack(&delivery));
}

#[test]
fn a_new_owner_begins_behind_the_last_ack_even_if_the_session_began_further_on() {
    let now = Instant::now();
    let mut inbox = inbox(0, 10);
    receive(&mut inbox, 0, 6, events(&[2, 5]));
    let deliveries = taken(&mut inbox);
    inbox.ack(&deliveries[0]);
    inbox.handle_disconnected("lost");
    // The client has named its own position, so the session begins there.
    inbox.handle_session(&state(6, 10), Instant::now());
    inbox.abandon();
    assert_eq!(inbox.positions(), [at(5)]);
    let mut next = inbox.begin_again(&state(6, 10), &[], now);
    assert_eq!(next.positions(), [at(5)]);
    receive(&mut next, 5, 10, events(&[5]));
    assert_eq!(offsets(&taken(&mut next)), [5]);
}

#[test]
fn a_new_owner_begins_at_its_resume_token_if_that_is_further() {
    let mut inbox = inbox(0, 10);
    receive(&mut inbox, 0, 6, events(&[2, 5]));
    taken(&mut inbox);
    inbox.abandon();
    let mut next = inbox.begin_again(&state(0, 10), &[at(5)], Instant::now());
    assert_eq!((next.positions(), next.cursors()), (vec![at(5)], vec![at(5)]));
    assert!(next.has_acks_due(), "what the token says is done with, and the broker does not know it");
    receive(&mut next, 5, 10, events(&[5]));
    assert_eq!(offsets(&taken(&mut next)), [5]);
}

#[test]
fn acks_that_an_earlier_process_could_not_say_are_said() {
    let mut state = state(5, 10);
    state.feeds[0].acked = at(2);
    let mut inbox = Inbox::new(&state, vec![at(5)], Instant::now());
    assert_eq!(inbox.poll_cursors(Instant::now()), Some(vec![(PARTITION, at(5))]));
}

#[test]
fn frames_that_come_before_their_session_was_heard_of_wait_for_it() {
    let mut inbox = inbox(0, 10);
    receive(&mut inbox, 0, 6, events(&[2]));
    inbox.handle_disconnected("lost");
    inbox.pop(10);
    inbox.poll_credit();
    receive(&mut inbox, 8, 10, events(&[8]));
    assert!(taken(&mut inbox).is_empty());
    inbox.handle_session(&state(8, 10), Instant::now());
    assert_eq!(offsets(&taken(&mut inbox)), [8]);
    assert_eq!(inbox.patience_ends(), None, "nothing is missing");
}

/// The state of a session after the log has lost [6, 10) and holds other events there.
fn state_after_loss() -> SubscriptionState {
    let mut state = state(0, 12);
    let position = Cursor { epoch: LogEpoch(1), offset: Offset(6) };
    let lost = Some(LostEnd { epoch: LogEpoch(0), range: range(6, 10) });
    state.feeds[0] = FeedState { position, acked: position, lost, ..state.feeds[0] };
    state
}

#[test]
fn a_lost_end_is_told_as_a_gap_and_what_is_stored_there_now_is_delivered() {
    let mut inbox = inbox(0, 10);
    receive(&mut inbox, 0, 10, events(&[2, 8]));
    let old = taken(&mut inbox);
    inbox.handle_disconnected("the machine went down");
    inbox.pop(10);
    inbox.poll_credit();
    inbox.handle_session(&state_after_loss(), Instant::now());
    receive(&mut inbox, 6, 12, events(&[8, 11]));
    let batch = inbox.pop(10).expect("what came");
    assert!(batch.notices.contains(&Notice::Gap { partition: PARTITION, epoch: LogEpoch(0), range: range(6, 10) }));
    assert_eq!(offsets(&batch.deliveries), [8, 11]);

    assert!(!inbox.ack(&old[1]), "an ack of the lost event at 8 is none of the event that is there now");
    assert_eq!(inbox.cursors(), [at(2)], "kept, handed on and not acked");
    assert!(inbox.ack(&old[0]));
    assert!(inbox.ack(&batch.deliveries[0]));
    assert_eq!(inbox.cursors(), [Cursor { epoch: LogEpoch(1), offset: Offset(11) }]);
}

#[test]
fn a_lost_end_is_told_again_until_the_application_has_taken_it() {
    let mut inbox = Inbox::new(&state_after_loss(), vec![at(10)], Instant::now());
    inbox.poll_credit();
    receive(&mut inbox, 6, 12, events(&[]));
    assert_eq!(inbox.cursors(), [at(10)], "the old epoch's: a later process is told again");
    inbox.abandon();
    let mut next = inbox.begin_again(&state_after_loss(), &[], Instant::now());
    assert_eq!(next.positions(), [Cursor { epoch: LogEpoch(1), offset: Offset(6) }]);
    let notices = next.pop(1).expect("notices").notices;
    assert!(notices.contains(&Notice::Gap { partition: PARTITION, epoch: LogEpoch(0), range: range(6, 10) }));
    assert_eq!(next.cursors(), [Cursor { epoch: LogEpoch(1), offset: Offset(6) }]);
}

#[test]
fn frames_of_a_subscription_that_is_being_resumed_wait_for_the_first_answer() {
    let name = "quakes".parse().expect("a name");
    let mut inbox = Inbox::awaiting(name, String::new(), INCARNATION, vec![at(5)], Instant::now());
    assert_eq!(inbox.poll_credit(), Some(WINDOW_BYTES));
    receive(&mut inbox, 5, 10, events(&[7]));
    assert!(taken(&mut inbox).is_empty());
    let mut state = state(5, 10);
    state.feeds[0].acked = at(2);
    inbox.handle_session(&state, Instant::now());
    assert_eq!(offsets(&taken(&mut inbox)), [7]);
    assert!(inbox.has_acks_due(), "the earlier process had acked more than the broker knows");
}

#[test]
fn what_a_broker_says_of_times_and_places_is_no_panic() {
    let mut inbox = inbox(0, 10);
    receive(&mut inbox, 0, 6, events(&[5]));
    let mut absurd = state(u64::MAX, u64::MAX);
    absurd.inactive_expiry_secs = u64::MAX;
    absurd.feeds[0].lost = Some(LostEnd { epoch: LogEpoch(0), range: range(1, 2) });
    inbox.handle_disconnected("lost");
    inbox.handle_session(&absurd, Instant::now());
    assert!(inbox.cursors_due_at() > Instant::now());
    assert_eq!(offsets(&taken(&mut inbox)), [5]);
}

/// What may happen to a subscription, in any order.
#[derive(Clone, Debug)]
enum Turn {
    /// A frame over this range: new, known, ahead, or partly each.
    Frame(u64, u64),
    Take(usize),
    /// One of the deliveries taken so far is acked, perhaps again.
    Ack(prop::sample::Index),
    /// The connection is lost, and the next session begins so far behind the client's cursor.
    Reconnect(u64),
    /// The patience with a hole is over.
    Reopen,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        6 => (0_u64..60, 0_u64..20).prop_map(|(start, length)| Turn::Frame(start, length)),
        3 => (0_usize..6).prop_map(Turn::Take),
        4 => any::<prop::sample::Index>().prop_map(Turn::Ack),
        1 => (0_u64..10).prop_map(Turn::Reconnect),
        1 => Just(Turn::Reopen),
    ]
}

proptest! {
    /// Of a log that has an event at every even offset.
    #[test]
    fn each_event_is_handed_out_once_and_in_order_and_the_cursor_is_what_is_acked_without_a_hole(
        turns in prop::collection::vec(turn(), 0..120),
    ) {
        let mut inbox = inbox(0, 80);
        let (mut deliveries, mut acked): (Vec<Delivery>, Vec<u64>) = (Vec::new(), Vec::new());
        for turn in turns {
            match turn {
                Turn::Frame(start, length) => {
                    let even: Vec<u64> = (start..start + length).filter(|offset| offset % 2 == 0).collect();
                    receive(&mut inbox, start, start + length, events(&even));
                }
                Turn::Take(count) => deliveries.extend(inbox.pop(count).map(|batch| batch.deliveries).unwrap_or_default()),
                Turn::Ack(index) if !deliveries.is_empty() => {
                    let delivery = index.get(&deliveries);
                    inbox.ack(delivery);
                    acked.push(delivery.offset.0);
                }
                Turn::Ack(_) => {}
                Turn::Reconnect(behind) => {
                    let cursor = inbox.cursors()[0].offset.0;
                    inbox.handle_disconnected("lost");
                    inbox.handle_session(&state(cursor.saturating_sub(behind), 80), Instant::now());
                }
                Turn::Reopen => {
                    let late = Instant::now() + Duration::from_secs(60);
                    let reopened = inbox.poll_reopens(late);
                    prop_assert!(reopened.iter().all(|(_, at)| *at == inbox.positions()[0]));
                }
            }
            let position = inbox.positions()[0].offset.0;
            let handed_out = offsets(&deliveries);
            prop_assert!(handed_out.iter().copied().eq((0..position).step_by(2).take(handed_out.len())), "{:?}", handed_out);
            let first_not_acked = (0..position).step_by(2).find(|offset| !acked.contains(offset));
            prop_assert_eq!(inbox.cursors()[0], at(first_not_acked.unwrap_or(position)));
        }
    }
}
