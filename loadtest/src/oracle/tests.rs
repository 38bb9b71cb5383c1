use super::*;
use serde_json::json;

const LIVE: Via = Via::Live;
const P: PartitionId = PartitionId(3);

/// Ten quakes of one producer and key, acked at offsets 0 to 9, and "phone", which wants the even ones.
struct Scene {
    oracle: Oracle,
    phone: SubscriptionId,
    events: Vec<EventRef>,
}

impl Scene {
    fn new() -> Self {
        let scene = Self::unanswered();
        for (offset, &event) in (0..).zip(&scene.events) {
            scene.oracle.acked(event, Some(at(offset)));
        }
        scene
    }

    fn unanswered() -> Self {
        let oracle = Oracle::new();
        let even = oracle.filter(|event| event["data"]["n"].as_u64().is_some_and(|n| n.is_multiple_of(2)));
        let phone = oracle.subscribe("phone", even, Start::Earliest);
        let events = (0..10).map(|n| oracle.published(1, &quake(n))).collect();
        Self { oracle, phone, events }
    }

    /// Events whose number is their offset.
    fn deliver(&self, reader: Reader, offsets: &[u64]) {
        for &offset in offsets {
            self.deliver_at(reader, offset, at(offset));
        }
    }

    fn deliver_at(&self, reader: Reader, n: u64, position: Position) {
        let digest = Some(Digest::of(&quake(n)));
        let event = EventRef::of(&quake(n));
        self.oracle.delivered(reader, &[Delivery { event, position, via: LIVE, digest }]);
    }

    /// Exactly these defects, each once.
    fn expect(&self, defects: &[Defect]) {
        let verdict = self.oracle.verdict();
        for defect in Defect::ALL {
            let expected = defects.iter().filter(|&&one| one == defect).count() as u64;
            assert_eq!(verdict.count(defect), expected, "{}\n{verdict}", defect.word());
        }
        assert_eq!(verdict.is_clean(), defects.is_empty());
    }
}

fn quake(n: u64) -> Value {
    json!({"specversion": "1.0", "id": n.to_string(), "source": "/usgs/uw", "type": "quake", "data": {"n": n}})
}

fn at(offset: u64) -> Position {
    Position { partition: P, offset: Offset(offset) }
}

fn range(start: u64, end: u64) -> OffsetRange {
    OffsetRange::new(Offset(start), Offset(end))
}

#[test]
fn a_run_that_delivers_all_matches_once_and_in_order_is_clean() {
    let scene = Scene::new();
    let reader = scene.oracle.reader(scene.phone);
    assert_eq!(scene.oracle.outstanding(scene.phone), 5);
    for offset in [0, 2, 4, 6, 8] {
        scene.deliver(reader, &[offset]);
        scene.oracle.ack_begun(reader, scene.events[offset as usize]);
        scene.oracle.ack_confirmed(reader, scene.events[offset as usize]);
    }
    scene.expect(&[]);
    assert_eq!(scene.oracle.outstanding(scene.phone), 0);
    let verdict = scene.oracle.verdict();
    assert_eq!((verdict.published, verdict.acked, verdict.unknown), (10, 10, 0));
    assert_eq!((verdict.subscriptions[0].matched, verdict.subscriptions[0].live), (5, 5));
}

#[test]
fn an_acked_match_that_never_comes_is_lost() {
    let scene = Scene::new();
    let reader = scene.oracle.reader(scene.phone);
    scene.deliver(reader, &[0, 2, 6, 8]);
    scene.expect(&[Defect::Lost]);
    let verdict = scene.oracle.verdict();
    assert_eq!(verdict.evidence().next().map(|(_, one)| one.nth), Some(Some(4)));
}

#[test]
fn a_second_delivery_to_one_process_is_a_duplicate() {
    let scene = Scene::new();
    let reader = scene.oracle.reader(scene.phone);
    scene.deliver(reader, &[0, 2, 2, 4, 6, 8]);
    scene.expect(&[Defect::Duplicated]);
}

#[test]
fn after_a_crash_only_what_was_not_acked_may_come_again() {
    let scene = Scene::new();
    let crashed = scene.oracle.reader(scene.phone);
    scene.deliver(crashed, &[0, 2, 4, 6]);
    scene.oracle.ack_confirmed(crashed, scene.events[0]);
    scene.oracle.ack_begun(crashed, scene.events[2]);
    scene.oracle.ack_begun(crashed, scene.events[4]);
    let reader = scene.oracle.reader(scene.phone);
    assert_eq!(scene.oracle.outstanding(scene.phone), 2);
    scene.deliver(reader, &[4, 6, 8]);
    scene.expect(&[]);
}

#[test]
fn delivery_after_the_ack_is_a_duplicate_even_in_a_new_process() {
    let scene = Scene::new();
    let crashed = scene.oracle.reader(scene.phone);
    scene.deliver(crashed, &[0]);
    scene.oracle.ack_confirmed(crashed, scene.events[0]);
    let reader = scene.oracle.reader(scene.phone);
    scene.deliver(reader, &[0, 2, 4, 6, 8]);
    scene.expect(&[Defect::Duplicated]);
}

#[test]
fn what_a_crashed_process_had_but_did_not_ack_is_lost_unless_it_comes_again() {
    let scene = Scene::new();
    let crashed = scene.oracle.reader(scene.phone);
    scene.deliver(crashed, &[0]);
    let reader = scene.oracle.reader(scene.phone);
    scene.deliver(reader, &[2, 4, 6, 8]);
    scene.expect(&[Defect::Lost]);
}

#[test]
fn an_ack_of_what_was_never_delivered_hides_no_loss() {
    let scene = Scene::new();
    let reader = scene.oracle.reader(scene.phone);
    scene.deliver(reader, &[0, 2, 4, 6]);
    scene.oracle.ack_begun(reader, scene.events[8]);
    scene.oracle.ack_confirmed(reader, scene.events[8]);
    scene.expect(&[Defect::Lost]);
}

#[test]
fn what_a_replaced_process_still_hands_out_is_no_duplicate() {
    let scene = Scene::new();
    let old = scene.oracle.reader(scene.phone);
    let new = scene.oracle.reader(scene.phone);
    scene.deliver(new, &[0, 2, 4]);
    scene.deliver(old, &[0, 2, 6]);
    scene.deliver(new, &[6, 8]);
    scene.expect(&[]);
}

#[test]
fn a_delivery_behind_the_readers_position_is_reordered() {
    let scene = Scene::new();
    let reader = scene.oracle.reader(scene.phone);
    scene.deliver(reader, &[0, 4, 2, 6, 8]);
    scene.expect(&[Defect::Reordered]);
}

#[test]
fn a_key_whose_log_order_is_not_its_publishing_order_is_reordered() {
    let scene = Scene::unanswered();
    for (n, offset) in [0, 2, 1, 3, 4, 5, 6, 7, 8, 9].into_iter().enumerate() {
        scene.oracle.acked(scene.events[n], Some(at(offset)));
    }
    let reader = scene.oracle.reader(scene.phone);
    for (n, offset) in [(0, 0), (2, 1), (4, 4), (6, 6), (8, 8)] {
        scene.deliver_at(reader, n, at(offset));
    }
    scene.expect(&[Defect::Reordered]);
}

#[test]
fn what_does_not_match_or_was_never_published_is_unexpected() {
    let scene = Scene::new();
    let reader = scene.oracle.reader(scene.phone);
    scene.deliver(reader, &[0, 1, 2, 4, 6, 8]);
    scene.deliver(reader, &[10]);
    scene.expect(&[Defect::Unexpected, Defect::Unexpected]);
}

#[test]
fn an_unknown_event_may_come_once_or_not_at_all() {
    let scene = Scene::unanswered();
    for offset in (0..10).filter(|&offset| offset != 4 && offset != 6) {
        scene.oracle.acked(scene.events[offset as usize], Some(at(offset)));
    }
    scene.oracle.unknown(scene.events[4]);
    let reader = scene.oracle.reader(scene.phone);
    scene.deliver(reader, &[0, 2, 6, 8]);
    scene.expect(&[]);
    assert_eq!(scene.oracle.verdict().unknown, 2, "one told, one never answered");
    scene.deliver(reader, &[6]);
    scene.expect(&[Defect::Duplicated]);
}

#[test]
fn an_unknown_event_seen_by_one_is_owed_to_all() {
    let oracle = Oracle::new();
    let all = oracle.filter(|_| true);
    let [one, other] = ["one", "other"].map(|name| oracle.subscribe(name, all, Start::Earliest));
    let event = oracle.published(1, &quake(0));
    oracle.unknown(event);
    oracle.verdict().assert_clean();
    let reader = oracle.reader(one);
    oracle.delivered(reader, &[Delivery { event, position: at(0), via: Via::Replay, digest: None }]);
    let verdict = oracle.verdict();
    assert_eq!(verdict.count(Defect::Lost), 1);
    assert_eq!(verdict.subscription("other").map(|sub| sub.defects.count(Defect::Lost)), Some(1));
    assert_eq!(oracle.outstanding(other), 1);
}

#[test]
fn what_was_surely_not_stored_is_neither_owed_nor_expected() {
    let scene = Scene::unanswered();
    for (offset, &event) in (0..9).zip(&scene.events) {
        if offset == 8 { scene.oracle.surely_not(event) } else { scene.oracle.acked(event, Some(at(offset))) }
    }
    let reader = scene.oracle.reader(scene.phone);
    scene.deliver(reader, &[0, 2, 4, 6]);
    scene.expect(&[]);
    scene.deliver(reader, &[8]);
    scene.expect(&[Defect::Unexpected]);
}

#[test]
fn a_retry_stored_at_a_second_offset_is_a_duplicate() {
    let scene = Scene::new();
    let reader = scene.oracle.reader(scene.phone);
    scene.deliver(reader, &[0, 2, 4, 6]);
    scene.deliver_at(reader, 8, at(11));
    scene.expect(&[Defect::Duplicated]);
}

#[test]
fn a_gap_excuses_only_what_the_log_has_lost() {
    let scene = Scene::new();
    let reader = scene.oracle.reader(scene.phone);
    scene.oracle.gap(reader, P, range(0, 5));
    scene.deliver(reader, &[6, 8]);
    scene.expect(&[Defect::Unjustified]);
    scene.oracle.log_lost(P, range(0, 3));
    scene.expect(&[Defect::Unjustified]);
    scene.oracle.log_lost(P, range(3, 5));
    scene.expect(&[]);
    assert_eq!(scene.oracle.verdict().subscriptions[0].gap, 3);
}

#[test]
fn a_gap_that_is_not_declared_is_a_loss() {
    let scene = Scene::new();
    scene.oracle.log_lost(P, range(0, 5));
    let reader = scene.oracle.reader(scene.phone);
    scene.oracle.gap(reader, P, range(0, 4));
    scene.deliver(reader, &[6, 8]);
    scene.expect(&[Defect::Lost]);
}

#[test]
fn a_delivery_from_within_a_passed_gap_is_reordered() {
    let scene = Scene::new();
    scene.oracle.log_lost(P, range(0, 5));
    let reader = scene.oracle.reader(scene.phone);
    scene.oracle.gap(reader, P, range(0, 5));
    scene.deliver(reader, &[4, 6, 8]);
    scene.expect(&[Defect::Reordered]);
}

#[test]
fn omitted_events_are_chosen_and_counted() {
    for (chosen, count, expected) in
        [(true, 2, &[][..]), (true, 1, &[Defect::Unjustified]), (false, 2, &[Defect::Unjustified])]
    {
        let scene = Scene::new();
        if chosen {
            scene.oracle.may_omit(scene.phone);
        }
        let reader = scene.oracle.reader(scene.phone);
        scene.deliver(reader, &[0]);
        scene.oracle.omitted(reader, P, range(0, 5), count);
        scene.deliver(reader, &[6, 8]);
        scene.expect(expected);
        assert_eq!(scene.oracle.verdict().subscriptions[0].omitted, 2);
    }
}

#[test]
fn a_subscription_owns_the_offsets_from_its_start_to_its_end() {
    let scene = Scene::unanswered();
    let middle = scene.oracle.subscribe("middle", FilterId(0), Start::At(Positions::from([(P, Offset(4))])));
    scene.oracle.ends_at(middle, Positions::from([(P, Offset(8))]));
    for (offset, &event) in (0..).zip(&scene.events) {
        scene.oracle.acked(event, Some(at(offset)));
    }
    let phone = scene.oracle.reader(scene.phone);
    scene.deliver(phone, &[0, 2, 4, 6, 8]);
    let reader = scene.oracle.reader(middle);
    scene.deliver(reader, &[4, 6]);
    scene.expect(&[]);
    scene.deliver(reader, &[8]);
    scene.expect(&[Defect::Unexpected]);
}

#[test]
fn an_event_of_unknown_place_is_owed_if_published_after_the_subscription_was_answered() {
    let oracle = Oracle::new();
    let all = oracle.filter(|_| true);
    let before = oracle.published(1, &quake(0));
    oracle.acked(before, None);
    let late = oracle.subscribe("late", all, Start::At(Positions::from([(P, Offset(1))])));
    assert_eq!(oracle.outstanding(late), 0);
    let after = oracle.published(1, &quake(1));
    oracle.acked(after, None);
    assert_eq!(oracle.outstanding(late), 1);
    assert_eq!(oracle.verdict().count(Defect::Lost), 1);
}

#[test]
fn changed_content_is_altered() {
    let scene = Scene::new();
    let reader = scene.oracle.reader(scene.phone);
    scene.deliver(reader, &[0, 2, 4, 6]);
    let digest = Some(Digest::of(&json!({"n": "changed"})));
    scene.oracle.delivered(reader, &[Delivery { event: scene.events[8], position: at(8), via: LIVE, digest }]);
    scene.expect(&[Defect::Altered]);
}

#[test]
fn two_events_at_one_offset_are_diverged() {
    let oracle = Oracle::new();
    for producer in [1, 2] {
        let event = oracle.published(producer, &quake(producer.into()));
        oracle.acked(event, Some(at(7)));
    }
    assert_eq!(oracle.verdict().count(Defect::Diverged), 1);
}

#[test]
fn the_same_event_published_again_is_a_retry() {
    let scene = Scene::new();
    scene.oracle.published(1, &quake(0));
    assert_eq!(scene.oracle.verdict().published, 10);
}

#[test]
fn the_closing_table_names_what_it_counts() {
    let scene = Scene::new();
    let reader = scene.oracle.reader(scene.phone);
    scene.deliver(reader, &[0, 2, 2, 4, 8]);
    let expected = "\
published 10   acked 10   unknown 0
subscription     matched        live    replayed        lost  duplicated   reordered
phone                  5           5           0           1           1           0
  phone: duplicated, event 2 of those published, partition 3 offset 2
  phone: lost, event 6 of those published, partition 3 offset 6
";
    assert_eq!(scene.oracle.verdict().to_string(), expected);
    assert_eq!(grouped(1_234_567), "1,234,567");
    assert_eq!(grouped(123), "123");
}

#[test]
fn a_million_events_and_ten_subscriptions_are_judged() {
    let oracle = Oracle::new();
    let all = oracle.filter(|_| true);
    let tenth = oracle.filter(|_| false);
    let readers: Vec<Reader> = (0..10)
        .map(|n| oracle.subscribe(&n.to_string(), if n == 0 { all } else { tenth }, Start::Earliest))
        .map(|id| oracle.reader(id))
        .collect();
    for n in 0..1_000_000_u64 {
        let event = EventRef::new("/load", &n.to_string());
        let (keys, partition) = (["a", "b", "c"], PartitionId((n % 3) as u16));
        let matches = if n.is_multiple_of(10) { &[all, tenth][..] } else { &[all] };
        oracle.published_as(&Publication { event, producer: 0, key: keys[n as usize % 3], digest: None, matches });
        let position = Position { partition, offset: Offset(n / 3) };
        oracle.acked(event, Some(position));
        let takers = if n.is_multiple_of(10) { &readers[..] } else { &readers[..1] };
        for &reader in takers {
            oracle.delivered(reader, &[Delivery { event, position, via: LIVE, digest: None }]);
            oracle.ack_confirmed(reader, event);
        }
    }
    let verdict = oracle.verdict();
    verdict.assert_clean();
    assert_eq!(verdict.subscriptions.iter().map(|one| one.matched).sum::<u64>(), 1_000_000 + 9 * 100_000);
}
