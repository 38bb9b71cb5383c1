use std::sync::Arc;

use anyport_protocol::PartitionId;
use proptest::prelude::*;

use super::*;

const FIRST_ID: ProducerId = ProducerId([1; 16]);
const FRESH_ID: ProducerId = ProducerId([2; 16]);
const PATIENCE: Duration = Duration::from_secs(10);

/// One partition of a publisher, with a broker's answers given by hand.
struct Story {
    numbering: Numbering,
    now: Instant,
}

impl Story {
    fn new() -> Self {
        Self::of(Numbers::Own)
    }

    fn of(numbers: Numbers) -> Self {
        Self { numbering: Numbering::new(PartitionId(0), FIRST_ID, numbers, PATIENCE), now: Instant::now() }
    }

    /// Puts in batches of these numbers of events; their content tells them apart.
    fn publish(mut self, counts: &[u32]) -> Self {
        for count in counts {
            let framed = Bytes::from(self.numbering.next_id.to_string());
            let receipt = Arc::default();
            self.numbering.handle_batch(Batch { framed, count: *count, receipt });
        }
        self
    }

    fn sendings(&mut self) -> Vec<Sending> {
        std::iter::from_fn(|| self.numbering.next_to_send(self.now)).collect()
    }

    /// The numbers with which batches go out now.
    fn sent(&mut self) -> Vec<(Attempt, u64)> {
        self.sendings().iter().map(|sending| (sending.attempt, sending.first.0)).collect()
    }

    fn answer(&mut self, attempt: Attempt, answer: Published) -> Vec<Result<Option<u64>, Outcome>> {
        let settled = self.numbering.handle_answer(attempt, answer, self.now, FRESH_ID);
        let shorten = |result: BatchResult| {
            result.map(|stored| stored.first.map(|first| first.0)).map_err(|error| error.outcome())
        };
        settled.into_iter().map(|(_, result)| shorten(result)).collect()
    }

    fn refuse(&mut self, attempt: Attempt, code: Code, value: u64) -> Vec<Result<Option<u64>, Outcome>> {
        self.answer(attempt, Published::Refused(Fault::new(code, "").with_value(value)))
    }
}

fn numbers(sent: &[(Attempt, u64)]) -> Vec<u64> {
    sent.iter().map(|(_, first)| *first).collect()
}

#[test]
fn batches_go_out_numbered_densely_a_few_at_a_time() {
    let mut story = Story::new().publish(&[3, 1, 2, 5, 1]);
    let sent = story.sent();
    assert_eq!(numbers(&sent), [0, 3, 4, 6]);
    assert_eq!(story.answer(sent[0].0, Published::Stored { first: Offset(40) }), [Ok(Some(40))]);
    assert_eq!(numbers(&story.sent()), [11]);
}

#[test]
fn an_answer_out_of_order_settles_its_batch_and_spoils_no_number() {
    let mut story = Story::new().publish(&[3, 2]);
    let sent = story.sent();
    assert_eq!(story.answer(sent[1].0, Published::Stored { first: Offset(3) }), [Ok(Some(3))]);
    story = story.publish(&[1]);
    assert_eq!(numbers(&story.sent()), [5]);
    assert_eq!(story.answer(sent[0].0, Published::Stored { first: Offset(0) }), [Ok(Some(0))]);
    assert_eq!(story.publish(&[1]).sent()[0].1, 6);
}

#[test]
fn after_a_cut_connection_the_same_batches_go_out_under_the_same_numbers() {
    let mut story = Story::new().publish(&[3, 2]);
    let before = story.sent();
    story.numbering.handle_disconnected();
    let again = story.sent();
    assert_eq!(numbers(&again), numbers(&before));
    assert_eq!(story.answer(again[0].0, Published::AlreadyStored { first: Some(Offset(7)) }), [Ok(Some(7))]);
    assert_eq!(story.answer(again[1].0, Published::AlreadyStored { first: None }), [Ok(None)]);
}

#[test]
fn a_busy_broker_is_given_its_time_and_then_everything_in_order() {
    let mut story = Story::new().publish(&[1, 1, 1]);
    let sent = story.sent();
    let busy = Published::Refused(Fault::retry_after(Code::RetryAfter, 30, ""));
    assert_eq!(story.answer(sent[0].0, busy), []);
    assert_eq!(story.refuse(sent[1].0, Code::OutOfSequence, 0), []);
    assert_eq!(story.refuse(sent[2].0, Code::OutOfSequence, 0), []);
    assert_eq!(story.sent(), []);
    story.now = story.numbering.hold_until().expect("a time was named");
    assert_eq!(numbers(&story.sent()), [0, 1, 2]);
}

/// What a change of leader that does not come to an end looks like: no broker knows one, links break, and some batches may be stored.
#[test]
fn half_a_minute_without_a_leader_fails_nothing_and_keeps_the_order() {
    let mut story = Story::new().publish(&[2, 1, 3]);
    let begun = story.now;
    let answers = [Code::NotReady, Code::RetryAfter, Code::MaybeStored, Code::ShuttingDown];
    for (round, code) in answers.into_iter().cycle().enumerate() {
        if story.now - begun > Duration::from_secs(40) {
            break;
        }
        let sent = story.sent();
        assert_eq!(numbers(&sent), [0, 2, 3], "always the same batches, under the same numbers");
        if round % 5 == 4 {
            story.numbering.handle_disconnected();
        } else {
            assert!(sent.iter().all(|(attempt, _)| story.refuse(*attempt, code, 0).is_empty()), "no fate is told");
        }
        story.now += Duration::from_secs(1);
    }
    let sent = story.sent();
    assert_eq!(story.answer(sent[0].0, Published::AlreadyStored { first: Some(Offset(7)) }), [Ok(Some(7))]);
    assert_eq!(story.answer(sent[1].0, Published::Stored { first: Offset(9) }), [Ok(Some(9))]);
    assert_eq!(story.answer(sent[2].0, Published::Stored { first: Offset(10) }), [Ok(Some(10))]);
}

#[test]
fn nothing_overtakes_a_batch_whose_answer_is_still_to_come() {
    let mut story = Story::new().publish(&[1, 1]);
    let sent = story.sent();
    assert_eq!(story.refuse(sent[1].0, Code::OutOfSequence, 0), []);
    assert_eq!(story.sent(), [], "the first batch was sent before the refusal and is not answered");
    story.answer(sent[0].0, Published::Stored { first: Offset(0) });
    assert_eq!(numbers(&story.sent()), [1]);
}

#[test]
fn a_refusal_of_an_earlier_attempt_is_old_news() {
    let mut story = Story::new().publish(&[1]);
    let first = story.sent()[0].0;
    story.numbering.handle_disconnected();
    let second = story.sent()[0].0;
    assert_eq!(story.refuse(first, Code::Forbidden, 0), []);
    assert_eq!(story.answer(second, Published::Stored { first: Offset(1) }), [Ok(Some(1))]);
}

#[test]
fn a_batch_refused_for_good_leaves_no_hole() {
    let mut story = Story::new().publish(&[2, 3, 1]);
    let sent = story.sent();
    assert_eq!(story.refuse(sent[0].0, Code::Forbidden, 0), [Err(Outcome::SurelyNot)]);
    assert_eq!(story.refuse(sent[1].0, Code::OutOfSequence, 0), []);
    assert_eq!(story.refuse(sent[2].0, Code::OutOfSequence, 0), []);
    assert_eq!(numbers(&story.sent()), [0, 3]);
}

#[test]
fn numbers_the_broker_already_has_are_stored() {
    let mut story = Story::new().publish(&[2]);
    let sent = story.sent();
    assert_eq!(story.refuse(sent[0].0, Code::OutOfSequence, 2), [Ok(None)]);
}

#[test]
fn a_forgotten_producer_goes_on_under_a_new_id_and_tells_what_is_in_doubt() {
    let mut story = Story::new().publish(&[1, 2]);
    let sent = story.sent();
    story.answer(sent[0].0, Published::Stored { first: Offset(0) });
    story.numbering.handle_disconnected();
    story = story.publish(&[4]);
    let again = story.sent();
    assert_eq!(numbers(&again), [1, 3]);
    assert_eq!(story.refuse(again[0].0, Code::ProducerUnknown, 0), [Err(Outcome::Maybe)]);
    assert_eq!(story.refuse(again[1].0, Code::ProducerUnknown, 0), [], "it was never sent before: surely not stored");
    let last = story.sendings();
    assert_eq!((last[0].first, last[0].producer, last[0].count), (Number(0), FRESH_ID, 4));
}

#[test]
fn a_full_disk_is_waited_for_and_then_reported() {
    let mut story = Story::new().publish(&[1]);
    let full = |story: &mut Story| {
        let attempt = story.sent()[0].0;
        story.refuse(attempt, Code::StorageFull, 0)
    };
    assert_eq!(full(&mut story), []);
    story.now += PATIENCE;
    assert_eq!(full(&mut story), [Err(Outcome::SurelyNot)]);
}

#[test]
fn a_source_that_numbers_its_own_events_ends_at_what_it_cannot_explain() {
    let mut story = Story::of(Numbers::OfSource).publish(&[4, 1]);
    let sent = story.sent();
    story.answer(sent[0].0, Published::Stored { first: Offset(0) });
    assert_eq!(story.refuse(sent[1].0, Code::OutOfSequence, 2), [Err(Outcome::Maybe)]);
    let batch = Batch { framed: Bytes::new(), count: 1, receipt: Arc::default() };
    assert!(story.numbering.handle_batch(batch).is_some());
}

/// A batch of events of one letter each.
fn batch(letters: &str) -> Batch {
    let mut run = Vec::new();
    letters.chars().for_each(|letter| framed::push(&mut run, letter.to_string().as_bytes()));
    Batch { framed: run.into(), count: letters.len() as u32, receipt: Arc::default() }
}

fn letters(framed: &Bytes) -> String {
    framed::iter(framed).map(|event| String::from_utf8_lossy(event.expect("whole")).into_owned()).collect()
}

#[test]
fn of_a_batch_that_an_earlier_run_cut_elsewhere_only_the_rest_is_sent() {
    let mut story = Story::of(Numbers::OfSource);
    for letters in ["ab", "cde"] {
        story.numbering.handle_batch(batch(letters));
    }
    let sent = story.sent();
    assert_eq!(story.refuse(sent[1].0, Code::OutOfSequence, 3), [Ok(None)], "a and b are stored, too");
    let rest = story.sendings();
    assert_eq!((letters(&rest[0].framed).as_str(), rest[0].first, rest[0].count), ("de", Number(3), 2));
    let stored = Published::Stored { first: Offset(40) };
    let (_, result) = story.numbering.handle_answer(rest[0].attempt, stored, story.now, FRESH_ID).remove(0);
    let stored = result.expect("stored");
    let offsets = [0, 1, 2].map(|place| stored.at_place(place).first);
    assert_eq!(offsets, [None, Some(Offset(40)), Some(Offset(41))], "where c lies is not known");
    story.numbering.handle_batch(batch("f"));
    assert_eq!(numbers(&story.sent()), [5]);
}

#[test]
fn a_resumed_source_begins_where_the_broker_stands() {
    let mut story = Story::of(Numbers::OfSource);
    story.numbering.handle_resume_point(Number(17));
    assert_eq!(numbers(&story.publish(&[2, 1]).sent()), [17, 19]);
}

/// A sequencer as the design has it, and a connection that loses answers.
#[derive(Default)]
struct Sequencer {
    log: Vec<Bytes>,
    next: std::collections::HashMap<ProducerId, u64>,
}

impl Sequencer {
    fn take(&mut self, sending: &Sending) -> Published {
        let next = self.next.entry(sending.producer).or_default();
        if sending.first.0 > *next {
            return Published::Refused(Fault::new(Code::OutOfSequence, "").with_value(*next));
        }
        if sending.first.0 < *next {
            return Published::AlreadyStored { first: None };
        }
        *next += u64::from(sending.count);
        self.log.push(sending.framed.clone());
        Published::Stored { first: Offset(0) }
    }
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Taken,
    TakenAnswerLate,
    Busy,
    Unknown { stored: bool },
    Cut,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        4 => Just(Fate::Taken),
        2 => Just(Fate::TakenAnswerLate),
        1 => Just(Fate::Busy),
        1 => any::<bool>().prop_map(|stored| Fate::Unknown { stored }),
        1 => Just(Fate::Cut),
    ];
    prop::collection::vec(fate, 0..60)
}

proptest! {
    /// Whatever happens to batches and answers, everything is stored exactly once and in the order it was published.
    #[test]
    fn everything_is_stored_once_and_in_order(counts in prop::collection::vec(1u32..5, 1..20), fates in fates()) {
        let mut story = Story::new().publish(&counts);
        let mut sequencer = Sequencer::default();
        let mut late = Vec::new();
        let mut fates = fates.into_iter();
        while story.numbering.batches().next().is_some() {
            let Some(sending) = story.numbering.next_to_send(story.now) else {
                story.now += RETRY_AFTER;
                for (attempt, answer) in std::mem::take(&mut late) {
                    story.answer(attempt, answer);
                }
                continue;
            };
            let attempt = sending.attempt;
            match fates.next().unwrap_or(Fate::Taken) {
                Fate::Taken => drop(story.answer(attempt, sequencer.take(&sending))),
                Fate::TakenAnswerLate => late.push((attempt, sequencer.take(&sending))),
                Fate::Busy => drop(story.refuse(attempt, Code::RetryAfter, 0)),
                Fate::Unknown { stored } => {
                    if stored { sequencer.take(&sending); }
                    story.refuse(attempt, Code::MaybeStored, 0);
                }
                Fate::Cut => {
                    sequencer.take(&sending);
                    late.clear();
                    story.numbering.handle_disconnected();
                }
            }
        }
        let expected: Vec<Bytes> = (0..counts.len()).map(|id| Bytes::from(id.to_string())).collect();
        prop_assert_eq!(sequencer.log, expected);
    }
}
