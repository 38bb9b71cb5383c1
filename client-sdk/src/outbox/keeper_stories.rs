use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use anyport_protocol::event::Event;
use anyport_protocol::message::publish::Published;
use anyport_protocol::{Code, Fault, Offset, Outcome, ProducerId};
use proptest::prelude::*;

use super::*;
use crate::home::Home;
use crate::publisher::{BatchReceipt, Queues, Receipt, Sending};

const PARTITIONS: u16 = 2;

/// A broker that knows the rule of numbers, and refuses events whose type is "bad".
#[derive(Default)]
struct Sequencers {
    logs: BTreeMap<PartitionId, Vec<String>>,
    next: HashMap<(ProducerId, PartitionId), u64>,
}

impl Sequencers {
    fn take(&mut self, partition: PartitionId, sending: &Sending) -> Published {
        let events: Vec<_> = framed::iter(&sending.framed).map(|event| event.expect("whole")).collect();
        let events: Vec<_> = events.into_iter().map(|event| EncodedEvent::check(event).expect("an event")).collect();
        // As a broker does, before it looks at numbers.
        if let Some(place) = events.iter().position(|event| event.event_type() == "bad") {
            return Published::Refused(Fault::new(Code::BadEvent, "bad").with_value(place as u64));
        }
        let known = self.next.get(&(sending.producer, partition)).copied();
        let next = known.unwrap_or_default();
        let (first, end) = (sending.first.0, sending.first.0 + u64::from(sending.count));
        if known.is_none() && first > 0 {
            return Published::Refused(Fault::new(Code::ProducerUnknown, "unknown"));
        }
        if end <= next {
            return Published::AlreadyStored { first: None };
        }
        if first != next {
            return Published::Refused(Fault::new(Code::OutOfSequence, "").with_value(next));
        }
        let log = self.logs.entry(partition).or_default();
        let first = Offset(log.len() as u64);
        log.extend(events.iter().map(|event| event.id().to_owned()));
        self.next.insert((sending.producer, partition), end);
        Published::Stored { first }
    }

    fn stored(&self) -> Vec<String> {
        self.logs.values().flatten().cloned().collect()
    }
}

/// One outbox over several processes, each with a keeper of its own.
struct Story {
    root: tempfile::TempDir,
    keeper: Option<Keeper>,
    waiting: watch::Sender<Waiting>,
    shared: Option<Arc<Shared>>,
    broker: Sequencers,
    next_id: u32,
}

impl Story {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("temporary folder");
        let (waiting, _) = watch::channel(Waiting::default());
        let mut story = Self { root, keeper: None, waiting, shared: None, broker: Sequencers::default(), next_id: 0 };
        story.start();
        story
    }

    fn start(&mut self) {
        let home = Home::new(self.root.path().into(), "phone").expect("a good name");
        let (folder, events) = Folder::open(&home).expect("sound");
        let waiting = Waiting { events, bytes: folder.bytes(), ..Waiting::default() };
        self.waiting = watch::channel(waiting).0;
        self.keeper = Some(Keeper::new(folder, self.waiting.clone(), 64 << 20));
    }

    /// The process is killed, and another is started. What is on the disk is there.
    fn crash(&mut self) {
        (self.keeper, self.shared) = (None, None);
        self.start();
    }

    fn command(&mut self, command: Command) {
        let keeper = self.keeper.as_mut().expect("alive");
        let mut group = Vec::new();
        keeper.on_command(command, &mut group);
        if !group.is_empty() {
            keeper.commit(group);
        }
    }

    /// Events of one key keep their order; their ids begin with it.
    fn publish_as(&mut self, event_type: &str, key: &str) -> Receipt {
        self.next_id += 1;
        let event = Event::builder(format!("{key}{}", self.next_id), "/phone", event_type).subject(key);
        let event = Bytes::from(event.build().expect("valid").encode());
        self.waiting.send_modify(|waiting| waiting.bytes += reserved_bytes(&event));
        let receipt = Arc::new(BatchReceipt::default());
        let (reply, mut answer) = oneshot::channel();
        self.command(Command::Publish(Publish { event, follower: Arc::downgrade(&receipt), reply }));
        answer.try_recv().expect("answered").expect("written");
        Receipt::new(receipt, 0)
    }

    fn publish(&mut self, keys: &str) -> Vec<Receipt> {
        keys.chars().map(|key| self.publish_as("good", &key.to_string())).collect()
    }

    fn attach(&mut self) {
        let shared = Arc::new(Shared::new(Queues::of_outbox(PARTITIONS, self.waiting.clone())));
        let (reply, mut answer) = oneshot::channel();
        let (_, link) = watch::channel(Link::Waiting);
        self.command(Command::Attach { shared: Arc::clone(&shared), partitions: PARTITIONS, link, reply });
        assert_eq!(answer.try_recv(), Ok(true));
        self.shared = Some(shared);
    }

    fn shared(&self) -> Arc<Shared> {
        Arc::clone(self.shared.as_ref().expect("attached"))
    }

    fn next_to_send(&self) -> Option<(u32, PartitionId, Sending)> {
        self.shared().queues().next_to_send(Instant::now())
    }

    fn answer(&mut self, request: u32, answer: Published) {
        let shared = self.shared();
        let fresh = ProducerId([9; 16]);
        shared.queues().handle_answer(request, answer, Instant::now(), fresh);
        if shared.queues().progress() != Progress::Sending {
            self.command(Command::Look { reply: None });
        }
    }

    /// Sends and answers until there is nothing to send.
    fn drain(&mut self) {
        while let Some((request, partition, sending)) = self.next_to_send() {
            let answer = self.broker.take(partition, &sending);
            self.answer(request, answer);
        }
    }

    fn disconnect(&mut self) {
        self.shared().queues().handle_disconnected();
        self.command(Command::Disconnected(self.shared()));
    }

    /// The client ends.
    fn detach(&mut self) {
        let (reply, _) = oneshot::channel();
        self.command(Command::Detach { shared: self.shared(), reply });
        let ended = PublishError::Ended { cause: Error::Closed, outcome: Outcome::Maybe };
        self.shared().queues().handle_over(&ended);
        self.shared = None;
    }

    fn waiting(&self) -> u64 {
        self.waiting.borrow().events
    }

    fn refused(&self) -> usize {
        let path = self.keeper.as_ref().expect("alive").folder.path().join(refused::FILE);
        std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
    }
}

fn is_stored(receipt: &Receipt) -> bool {
    receipt.get().expect("settled").is_ok()
}

#[test]
fn what_is_published_without_a_broker_is_sent_by_the_next_process_in_order() {
    let mut story = Story::new();
    story.publish("aab");
    story.crash();
    story.publish("a");
    assert_eq!(story.waiting(), 4);
    story.attach();
    let receipts = story.publish("a");
    story.drain();
    assert!(is_stored(&receipts[0]));
    assert_eq!(story.waiting(), 0);
    let mut stored = story.broker.stored();
    stored.retain(|id| id.starts_with('a'));
    assert_eq!(stored, ["a1", "a2", "a4", "a5"]);
}

#[test]
fn a_receipt_given_offline_tells_where_the_event_was_stored() {
    let mut story = Story::new();
    let receipts = story.publish("aaa");
    assert!(receipts.iter().all(|receipt| receipt.get().is_none()));
    story.attach();
    story.drain();
    let offsets: Vec<_> =
        receipts.iter().map(|receipt| receipt.get().expect("settled").expect("stored").offset).collect();
    assert_eq!(offsets, [Some(Offset(0)), Some(Offset(1)), Some(Offset(2))]);
}

#[test]
fn an_answer_that_the_process_did_not_live_to_hear_makes_nothing_twice() {
    let mut story = Story::new();
    story.publish("aa");
    story.attach();
    let (_, partition, sending) = story.next_to_send().expect("something");
    story.broker.take(partition, &sending);
    story.publish("a");
    story.crash();
    story.attach();
    story.drain();
    assert_eq!((story.broker.stored().len(), story.waiting()), (3, 0));
}

#[test]
fn batches_of_another_size_than_in_the_earlier_process_are_cut_where_it_had_come_to() {
    let mut story = Story::new();
    story.attach();
    story.publish("a");
    let (_, partition, sending) = story.next_to_send().expect("something");
    story.broker.take(partition, &sending);
    story.publish("aa");
    story.crash();
    story.attach();
    let (request, partition, sending) = story.next_to_send().expect("something");
    assert_eq!(sending.count, 3);
    let answer = story.broker.take(partition, &sending);
    story.answer(request, answer);
    story.drain();
    assert_eq!(story.broker.stored(), ["a1", "a2", "a3"]);
}

#[test]
fn an_event_that_is_refused_for_good_is_kept_aside_and_holds_nobody_up() {
    let mut story = Story::new();
    story.publish("a");
    let bad = story.publish_as("bad", "a");
    let after = story.publish("ab");
    story.attach();
    story.drain();
    assert_eq!((story.broker.stored().len(), story.waiting(), story.refused()), (3, 0, 1));
    assert_eq!(bad.get().expect("settled").expect_err("refused").outcome(), Outcome::SurelyNot);
    assert!(after.iter().all(is_stored));
    assert!(story.waiting.borrow().refused.is_some());
    story.crash();
    assert_eq!(story.waiting(), 0);
}

#[test]
fn however_long_the_client_was_away_its_offline_events_are_taken() {
    let mut story = Story::new();
    story.attach();
    story.publish("a");
    story.drain();
    story.disconnect();
    let offline = story.publish("a");
    // Retention has removed all that the broker knew of the producer.
    story.broker.next.clear();
    story.drain();
    assert!(is_stored(&offline[0]));
    assert_eq!((story.broker.stored().len(), story.refused()), (2, 0));
}

#[test]
fn a_producer_forgotten_while_it_is_connected_goes_on_with_what_was_never_stored() {
    let mut story = Story::new();
    story.attach();
    story.publish("a");
    story.drain();
    story.broker.next.clear();
    let later = story.publish("a");
    story.drain();
    assert!(is_stored(&later[0]));
    assert_eq!((story.broker.stored().len(), story.refused()), (2, 0));
}

#[test]
fn what_may_be_stored_and_nobody_knows_any_more_is_kept_aside_as_such() {
    let mut story = Story::new();
    story.attach();
    story.publish("a");
    story.drain();
    let doubtful = story.publish("a");
    story.next_to_send().expect("sent, and no answer");
    story.disconnect();
    story.broker.next.clear();
    let offline = story.publish("a");
    story.drain();
    assert_eq!(doubtful[0].get().expect("settled").expect_err("unknown").outcome(), Outcome::Maybe);
    assert!(is_stored(&offline[0]));
    assert_eq!((story.refused(), story.waiting()), (1, 0));
}

#[test]
fn what_is_settled_is_not_sent_by_the_next_process() {
    let mut story = Story::new();
    story.attach();
    story.publish("ab");
    story.drain();
    story.crash();
    assert_eq!(story.waiting(), 0);
    story.attach();
    assert!(story.next_to_send().is_none());
    assert!(story.keeper.as_ref().expect("alive").folder.first().is_none(), "its file is gone");
}

#[test]
fn who_ends_sending_leaves_the_rest_to_another() {
    let mut story = Story::new();
    let receipts = story.publish("a");
    story.attach();
    story.detach();
    assert!(!is_stored(&receipts[0]));
    assert_eq!(story.waiting(), 1);
    story.attach();
    story.drain();
    assert_eq!((story.broker.stored().len(), story.waiting()), (1, 0));
}

#[test]
fn what_another_client_sends_again_is_counted_once() {
    let mut story = Story::new();
    story.attach();
    story.publish("a");
    let (request, partition, sending) = story.next_to_send().expect("something");
    story.publish("a");
    let answer = story.broker.take(partition, &sending);
    story.answer(request, answer);
    assert_eq!(story.waiting(), 1);
    story.detach();
    assert_eq!(story.waiting(), 2, "the file has both");
    story.attach();
    story.drain();
    assert_eq!((story.broker.stored().len(), story.waiting()), (2, 0));
}

#[test]
fn a_client_that_never_sent_detaches_nobody() {
    let mut story = Story::new();
    story.attach();
    let stranger = Arc::new(Shared::new(Queues::of_outbox(PARTITIONS, story.waiting.clone())));
    let (reply, _) = oneshot::channel();
    story.command(Command::Detach { shared: stranger, reply });
    let receipts = story.publish("a");
    story.drain();
    assert!(is_stored(&receipts[0]));
}

#[test]
fn of_what_may_be_stored_nothing_is_sent_under_other_numbers() {
    let mut story = Story::new();
    story.publish("a");
    story.attach();
    story.drain();
    story.publish(&"a".repeat(100));
    while let Some((_, partition, sending)) = story.next_to_send() {
        story.broker.take(partition, &sending);
    }
    story.crash();
    story.broker.next.clear();
    story.attach();
    story.drain();
    assert_eq!(story.waiting(), 0);
    let stored = story.broker.stored();
    let unique: std::collections::HashSet<_> = stored.iter().collect();
    assert_eq!(unique.len(), stored.len(), "something is stored twice");
    assert_eq!(story.refused(), 100, "what is not stored for certain is kept aside");
}

#[derive(Clone, Debug)]
enum Step {
    Publish { bad: bool, key: bool },
    Attach,
    Taken,
    AnswerLost,
    Busy,
    Disconnect,
    Detach,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (prop::bool::weighted(0.1), any::<bool>()).prop_map(|(bad, key)| Step::Publish { bad, key }),
        2 => Just(Step::Attach),
        6 => Just(Step::Taken),
        2 => Just(Step::AnswerLost),
        1 => Just(Step::Busy),
        1 => Just(Step::Disconnect),
        1 => Just(Step::Detach),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever happens to answers, connections and processes: what was published is stored once and in order, or kept aside.
    #[test]
    fn everything_is_stored_once_and_in_order(steps in steps()) {
        let mut story = Story::new();
        let mut published: HashMap<&str, Vec<String>> = HashMap::new();
        let mut bad = 0;
        for step in steps {
            match step {
                Step::Publish { bad: is_bad, key } => {
                    let key = if key { "a" } else { "b" };
                    let _unheard = story.publish_as(if is_bad { "bad" } else { "good" }, key);
                    bad += usize::from(is_bad);
                    if !is_bad {
                        published.entry(key).or_default().push(format!("{key}{}", story.next_id));
                    }
                }
                Step::Attach if story.shared.is_none() => story.attach(),
                Step::Crash => story.crash(),
                _ if story.shared.is_none() => {}
                Step::Disconnect => story.disconnect(),
                Step::Detach => story.detach(),
                step => if let Some((request, partition, sending)) = story.next_to_send() {
                    match step {
                        Step::Busy => {
                            let busy = Published::Refused(Fault::retry_after(Code::RetryAfter, 0, ""));
                            story.answer(request, busy);
                        }
                        Step::AnswerLost => {
                            story.broker.take(partition, &sending);
                            story.disconnect();
                        }
                        _ => {
                            let answer = story.broker.take(partition, &sending);
                            story.answer(request, answer);
                        }
                    }
                },
            }
        }
        story.crash();
        story.attach();
        story.drain();
        prop_assert_eq!(story.waiting(), 0);
        prop_assert!(story.refused() >= bad, "a crash may keep one aside twice, never lose it");
        let stored = story.broker.stored();
        prop_assert_eq!(stored.len(), published.values().map(Vec::len).sum::<usize>());
        for (key, published) in published {
            let own: Vec<_> = stored.iter().filter(|id| id.starts_with(key)).cloned().collect();
            prop_assert_eq!(own, published);
        }
    }
}
