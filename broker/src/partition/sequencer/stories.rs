//! What may go wrong between a batch and its offset, one story each.

use anyport_storage::PartitionEntry;

use super::*;

const A: ProducerId = ProducerId([0xA; 16]);
const B: ProducerId = ProducerId([0xB; 16]);
const WALL: WallMs = WallMs(1_000);
const OVERDUE: Duration = Duration::from_secs(2);

/// A sequencer, the log it proposes to, and the rows of what is applied.
struct Bench {
    sequencer: Sequencer<&'static str>,
    now: Instant,
    proposals: VecDeque<Proposal>,
    rows: Vec<(ProducerId, ProducerRow)>,
    tail: Offset,
}

impl Bench {
    fn idle() -> Self {
        let sequencer = Sequencer::new(OVERDUE);
        Self { sequencer, now: Instant::now(), proposals: VecDeque::new(), rows: Vec::new(), tail: Offset(100) }
    }

    fn open() -> Self {
        let mut bench = Self::idle();
        bench.reopen(1);
        bench
    }

    fn reopen(&mut self, nonce: u8) {
        self.sequencer.open(Nonce([nonce; 16]));
        self.propose();
        self.proposals.clear();
        self.sequencer.handle_opened(Nonce([nonce; 16]), self.tail);
        assert!(self.sequencer.is_open());
    }

    /// `count` events from number `first` on; `name` waits.
    fn send(&mut self, name: &'static str, producer: ProducerId, first: u64, count: u32) {
        self.arrive(name, producer, first, count, Admission::Admitted);
    }

    fn arrive(&mut self, name: &'static str, producer: ProducerId, first: u64, count: u32, admission: Admission) {
        let framed = Bytes::from([1, 0, 0, 0, b'e'].repeat(count as usize));
        let row = self.rows.iter().find(|(id, _)| *id == producer).map(|(_, row)| row.clone());
        let arrival = Arrival { producer, first_number: Number(first), count, framed, admission, waiter: name };
        self.sequencer.handle_batch(arrival, |_| Ok(row));
        self.propose();
    }

    fn propose(&mut self) {
        while let Some(proposal) = self.sequencer.poll_proposal(self.now, WALL) {
            self.proposals.push_back(proposal);
        }
    }

    /// Applies the oldest proposal as the store would, if it is valid.
    fn apply(&mut self) {
        let proposal = self.proposals.pop_front().expect("something is proposed");
        let Ok(PartitionEntry::Batch(header)) = PartitionEntry::parse(&proposal.data) else { panic!("not a batch") };
        assert_eq!(header.first, self.tail, "batches are proposed at the tail they will meet");
        self.tail = header.first.plus(u64::from(header.count));
        self.sequencer.handle_stored(OffsetRange::new(header.first, self.tail));
        self.propose();
    }

    fn answers(&mut self) -> Vec<(&'static str, String)> {
        let mut answers = Vec::new();
        while let Some((name, published)) = self.sequencer.poll_answer() {
            answers.push((name, short(&published)));
        }
        answers
    }
}

fn short(published: &Published) -> String {
    match published {
        Published::Stored { first } => format!("stored at {first}"),
        Published::AlreadyStored { first: Some(first) } => format!("already at {first}"),
        Published::AlreadyStored { first: None } => "already".into(),
        Published::Refused(fault) => match (fault.code(), fault.value) {
            (Some(code), Some(value)) => format!("{code} {value}"),
            (Some(code), None) => code.to_string(),
            (None, _) => panic!("a code of our own"),
        },
    }
}

#[test]
fn nothing_is_taken_before_its_own_open_is_applied() {
    let mut bench = Bench::idle();
    bench.send("idle", A, 0, 1);
    bench.sequencer.open(Nonce([1; 16]));
    bench.propose();
    bench.send("opening", A, 0, 1);
    bench.sequencer.handle_opened(Nonce([9; 16]), Offset(7));
    bench.send("another's open", A, 0, 1);
    assert_eq!(bench.proposals.len(), 1, "the Open and nothing else");
    let refused = ["idle", "opening", "another's open"].map(|name| (name, "NotReady".to_owned()));
    assert_eq!(bench.answers(), refused);
    bench.sequencer.handle_opened(Nonce([1; 16]), Offset(100));
    bench.proposals.clear();
    bench.send("open", A, 0, 1);
    bench.apply();
    assert_eq!(bench.answers(), [("open", "stored at 100".to_owned())]);
}

#[test]
fn batches_are_stored_one_after_the_other_and_answered_when_applied() {
    let mut bench = Bench::open();
    bench.send("a0", A, 0, 10);
    bench.send("b0", B, 0, 5);
    bench.send("a1", A, 10, 10);
    bench.send("b1", B, 5, 5);
    assert_eq!(bench.answers(), []);
    assert_eq!(bench.proposals.len(), 2, "two are in flight, the rest fills one entry");
    bench.apply();
    assert_eq!(bench.answers(), [("a0", "stored at 100".to_owned())]);
    bench.apply();
    bench.apply();
    let stored = [("b0", 110), ("a1", 115), ("b1", 125)].map(|(name, at)| (name, format!("stored at {at}")));
    assert_eq!(bench.answers(), stored);
    assert!(bench.sequencer.is_quiet());
}

#[test]
fn a_full_entry_is_closed_and_the_next_one_begun() {
    let mut bench = Bench::open();
    for number in 0..3 {
        bench.send("small", A, number, 1);
    }
    let big = Bytes::from([&250_000u32.to_le_bytes()[..], &vec![b'e'; 250_000]].concat());
    for number in 0..3 {
        let arrival = Arrival {
            producer: B,
            first_number: Number(number),
            count: 1,
            framed: big.clone(),
            admission: Admission::Admitted,
            waiter: "big",
        };
        bench.sequencer.handle_batch(arrival, |_| Ok(None));
    }
    let mut sizes = Vec::new();
    while !bench.proposals.is_empty() {
        sizes.push(bench.proposals[0].data.len_bytes() / 1000);
        bench.apply();
    }
    assert_eq!(sizes, [0, 0, 250, 250, 250], "the third small one goes with the first big one");
}

#[test]
fn a_duplicate_of_a_stored_batch_is_told_where_it_lies() {
    let mut bench = Bench::open();
    bench.send("first", A, 0, 10);
    bench.apply();
    bench.send("again", A, 0, 10);
    bench.send("part", A, 3, 2);
    bench.answers_after_first(&[("again", "already at 100"), ("part", "already at 103")]);
}

impl Bench {
    fn answers_after_first(&mut self, expected: &[(&'static str, &str)]) {
        let answers = self.answers();
        let expected = expected.iter().map(|(name, answer)| (*name, (*answer).to_owned())).collect::<Vec<_>>();
        assert_eq!(answers[1..], expected);
    }
}

#[test]
fn a_duplicate_of_a_batch_in_flight_gets_that_ones_answer_and_no_earlier_one() {
    let mut bench = Bench::open();
    bench.send("proposed", A, 0, 10);
    bench.send("proposed too", A, 10, 10);
    bench.send("filling", A, 20, 10);
    bench.send("filling too", A, 30, 10);
    bench.send("again", A, 20, 10);
    bench.send("across", A, 25, 10);
    bench.apply();
    assert_eq!(bench.answers().len(), 1);
    bench.apply();
    assert_eq!(bench.answers().len(), 1);
    bench.apply();
    let told = [("filling", 120), ("again", 120), ("across", 125), ("filling too", 130)];
    let told = told.map(|(name, at)| (name, format!("stored at {at}")));
    let mut answers = bench.answers();
    answers.sort_by_key(|(_, answer)| answer.clone());
    assert_eq!(answers, told);
}

#[test]
fn a_duplicate_of_a_batch_in_flight_shares_its_failure() {
    let mut bench = Bench::open();
    bench.send("first", A, 0, 10);
    bench.send("again", A, 0, 10);
    bench.sequencer.end();
    let maybe = ["first", "again"].map(|name| (name, "MaybeStored".to_owned()));
    assert_eq!(bench.answers(), maybe);
}

#[test]
fn a_batch_that_overlaps_is_sent_on_only_once_what_it_repeats_is_stored() {
    let mut bench = Bench::open();
    bench.send("first", A, 0, 10);
    bench.send("overlapping", A, 5, 10);
    assert_eq!(bench.answers(), []);
    bench.apply();
    bench.answers_after_first(&[("overlapping", "OutOfSequence 10")]);
    bench.send("overlapping again", A, 5, 10);
    assert_eq!(bench.answers(), [("overlapping again", "OutOfSequence 10".to_owned())]);
}

#[test]
fn no_batch_is_stored_whose_predecessor_was_refused() {
    let mut bench = Bench::open();
    bench.send("first", A, 0, 10);
    bench.arrive("refused", A, 10, 10, Admission::OverBudget);
    bench.send("later", A, 20, 10);
    bench.apply();
    let told = ["RetryAfter", "stored at 100", "OutOfSequence 10"].map(str::to_owned);
    assert_eq!(bench.answers().into_iter().map(|(_, answer)| answer).collect::<Vec<_>>(), told);
    bench.send("sent again", A, 10, 10);
    bench.apply();
    assert_eq!(bench.answers(), [("sent again", "stored at 110".to_owned())]);
}

#[test]
fn a_new_producer_whose_first_batch_is_refused_is_not_taken_for_a_forgotten_one() {
    let mut bench = Bench::open();
    bench.arrive("refused", A, 0, 10, Admission::StorageFull);
    bench.send("later", A, 10, 10);
    let told = [("refused", "StorageFull".to_owned()), ("later", "OutOfSequence 0".to_owned())];
    assert_eq!(bench.answers(), told);
    bench.send("lost", A, 0, 10);
    bench.sequencer.end();
    bench.reopen(2);
    bench.send("after the end", A, 10, 10);
    let told = [("lost", "MaybeStored".to_owned()), ("after the end", "OutOfSequence 0".to_owned())];
    assert_eq!(bench.answers(), told);
}

#[test]
fn a_batch_that_can_never_be_taken_is_a_refused_predecessor_too() {
    let mut bench = Bench::open();
    let bad = Admission::Refused(Fault::new(Code::BadEvent, "no event"));
    bench.arrive("bad", A, 0, 10, bad.clone());
    bench.send("later", A, 10, 10);
    let told = [("bad", "BadEvent".to_owned()), ("later", "OutOfSequence 0".to_owned())];
    assert_eq!(bench.answers(), told);
    bench.arrive("empty", A, 0, 0, bad);
    assert_eq!(bench.answers(), [("empty", "BadEvent".to_owned())]);
}

/// Who asks what comes next, far above it, must not be told of what may still be lost.
#[test]
fn what_comes_next_is_told_only_once_all_before_it_is_stored() {
    let mut bench = Bench::open();
    bench.send("in flight", A, 0, 10);
    bench.send("question", A, 1 << 40, 1);
    assert_eq!(bench.answers(), []);
    bench.sequencer.end();
    assert_eq!(bench.answers(), ["in flight", "question"].map(|name| (name, "MaybeStored".to_owned())));
}

#[test]
fn a_producer_once_turned_away_is_told_all_the_same_when_its_row_is_gone() {
    let mut bench = Bench::idle();
    bench.rows = vec![(A, ProducerRow { next: Number(10), recent: vec![], last_index: 5 })];
    bench.send("too early", A, 0, 10);
    bench.reopen(1);
    bench.send("again", A, 0, 10);
    bench.rows.clear();
    bench.reopen(2);
    bench.send("long after", A, 10, 10);
    let told = ["NotReady", "already", "ProducerUnknown"].map(str::to_owned);
    assert_eq!(bench.answers().into_iter().map(|(_, answer)| answer).collect::<Vec<_>>(), told);
}

#[test]
fn a_producer_whose_row_is_gone_is_told_so() {
    let mut bench = Bench::open();
    bench.send("late", A, 700, 10);
    assert_eq!(bench.answers(), [("late", "ProducerUnknown".to_owned())]);
    assert!(bench.proposals.is_empty());
}

#[test]
fn what_an_earlier_life_stored_is_known_from_the_rows() {
    let mut bench = Bench::idle();
    bench.rows = vec![(A, ProducerRow { next: Number(20), recent: vec![(Number(10), 10, Offset(90))], last_index: 5 })];
    bench.reopen(1);
    bench.send("repeated", A, 10, 10);
    bench.send("long ago", A, 0, 10);
    bench.send("next", A, 20, 10);
    bench.apply();
    let told = [("repeated", "already at 90"), ("long ago", "already"), ("next", "stored at 100")];
    assert_eq!(bench.answers(), told.map(|(name, answer)| (name, answer.to_owned())));
}

#[test]
fn a_void_entry_ends_everything_that_counted_on_it() {
    let mut bench = Bench::open();
    for (name, number) in [("first", 0), ("second", 1), ("filling", 2)] {
        bench.send(name, A, number, 1);
    }
    bench.sequencer.handle_void(Nonce([1; 16]));
    assert!(bench.sequencer.is_idle());
    let maybe = ["first", "second", "filling"].map(|name| (name, "MaybeStored".to_owned()));
    assert_eq!(bench.answers(), maybe);
}

#[test]
fn a_late_proposal_of_an_earlier_life_changes_nothing() {
    let mut bench = Bench::open();
    bench.send("old", A, 0, 1);
    let late = bench.proposals.pop_front().expect("proposed");
    bench.sequencer.end();
    bench.reopen(2);
    bench.answers();
    bench.send("new", A, 0, 1);
    // It was still queued: applied after the new Open it is void, and its failure may be reported late.
    bench.sequencer.handle_void(Nonce([1; 16]));
    bench.sequencer.handle_failed(late.id);
    bench.apply();
    assert_eq!(bench.answers(), [("new", "stored at 100".to_owned())]);
}

#[test]
fn what_an_earlier_life_stored_after_its_end_is_met_by_the_next_one() {
    let mut bench = Bench::open();
    bench.send("old", A, 0, 10);
    bench.sequencer.end();
    bench.sequencer.open(Nonce([2; 16]));
    bench.propose();
    // Applied before the new Open: stored after all, and nobody waits any more.
    bench.sequencer.handle_stored(OffsetRange::new(Offset(100), Offset(110)));
    bench.rows = vec![(A, ProducerRow { next: Number(10), recent: vec![(Number(0), 10, Offset(100))], last_index: 5 })];
    bench.sequencer.handle_opened(Nonce([2; 16]), Offset(110));
    bench.send("again", A, 0, 10);
    let told = [("old", "MaybeStored".to_owned()), ("again", "already at 100".to_owned())];
    assert_eq!(bench.answers(), told);
}

#[test]
fn another_sequencers_open_ends_this_one() {
    let mut bench = Bench::open();
    bench.send("first", A, 0, 1);
    bench.sequencer.handle_opened(Nonce([7; 16]), Offset(100));
    assert!(bench.sequencer.is_idle());
    assert_eq!(bench.answers(), [("first", "MaybeStored".to_owned())]);
}

#[test]
fn an_overdue_proposal_ends_the_sequencer() {
    let mut bench = Bench::open();
    assert_eq!(bench.sequencer.poll_timeout(), None);
    bench.send("first", A, 0, 1);
    let due = bench.sequencer.poll_timeout().expect("something is proposed");
    assert_eq!(due, bench.now + OVERDUE);
    bench.sequencer.handle_time(due - Duration::from_millis(1));
    assert!(bench.sequencer.is_open());
    bench.sequencer.handle_time(due);
    assert_eq!(bench.answers(), [("first", "MaybeStored".to_owned())]);
}

#[test]
fn an_overdue_or_refused_open_is_given_up() {
    let mut bench = Bench::idle();
    bench.sequencer.open(Nonce([1; 16]));
    bench.propose();
    bench.sequencer.handle_time(bench.now + OVERDUE);
    assert!(bench.sequencer.is_idle());
    bench.sequencer.open(Nonce([2; 16]));
    bench.propose();
    let id = bench.proposals.back().expect("proposed").id;
    bench.sequencer.handle_failed(id);
    assert!(bench.sequencer.is_idle());
}
