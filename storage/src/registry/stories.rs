//! What [`decide`] promises, told as stories of one client, and one property over any order of commands.

use std::collections::BTreeSet;

use anyport_protocol::limits::{SUBSCRIPTIONS_PER_CLIENT_MAX, TOMBSTONE_SECS_MAX, TOMBSTONES_PER_CLIENT_MAX};
use anyport_protocol::message::SubscribeOutcome;
use anyport_protocol::{
    ClientId, Cursor, Incarnation, LogEpoch, Nonce, Offset, PartitionId, SessionEpoch, SubscriptionName, WallMs,
};
use proptest::prelude::*;

use super::*;

const CLIENT: ClientId = ClientId([7; 16]);

/// Of every subscription here.
const EXPIRY_MS: u64 = 60_000;

/// One client and its record; commands are applied as a registry shard would.
#[derive(Default)]
struct Shard {
    record: Option<ClientRecord>,
}

impl Shard {
    /// A registered client whose session of epoch 1 is open.
    fn with_session() -> Self {
        let mut shard = Self::default();
        shard.apply(&Command::Register { client: CLIENT, now: WallMs(100) });
        shard.open(1, 1);
        shard
    }

    fn apply(&mut self, command: &Command) -> Reply {
        let (changed, reply) = decide(self.record.as_ref(), command);
        self.record = changed.or(self.record.take());
        reply
    }

    fn open(&mut self, epoch: u64, nonce: u8) -> Reply {
        self.apply(&open(epoch, nonce, 100))
    }

    fn subscribe(&mut self, name: &str, filter: &str, starts: &[u64]) -> (SubscribeOutcome, SubscriptionRecord) {
        subscribed(self.apply(&subscribe(1, name, filter, starts, false, 100)))
    }

    /// Knowing that this incarnation of the name has expired.
    fn subscribe_knowing(&mut self, name: &str, incarnation: u64) -> Reply {
        self.apply(&knowing(Some(incarnation), subscribe(1, name, "TRUE", &[0], false, 100)))
    }

    /// Subscribes, and lets it expire at once.
    fn bury(&mut self, name: &str) -> Incarnation {
        let incarnation = self.subscribe(name, "TRUE", &[0]).1.incarnation;
        assert_eq!(self.apply(&expire(name, incarnation.0, 100)), Reply::Expired { incarnation });
        incarnation
    }

    fn tombstones(&self) -> &[Tombstone] {
        self.record.as_ref().map_or(&[], |record| &record.tombstones)
    }

    fn ack(&mut self, epoch: u64, incarnation: u64, cursors: &[(u16, Cursor)]) -> Reply {
        self.apply(&cursors_at(epoch, incarnation, cursors, 100))
    }

    fn subscription(&self, name: &str) -> &SubscriptionRecord {
        self.record.as_ref().and_then(|record| record.subscription(&named(name))).expect("subscribed")
    }
}

fn open(epoch: u64, nonce: u8, now: u64) -> Command {
    Command::Open { client: CLIENT, epoch: SessionEpoch(epoch), nonce: Nonce([nonce; 16]), now: WallMs(now) }
}

fn subscribe(epoch: u64, name: &str, filter: &str, starts: &[u64], seek: bool, now: u64) -> Command {
    Command::Subscribe {
        client: CLIENT,
        epoch: SessionEpoch(epoch),
        name: named(name),
        filter: filter.into(),
        starts: starts.iter().map(|&offset| at(offset)).collect(),
        seek,
        inactive_expiry_secs: 60,
        expired: None,
        temporary: false,
        now: WallMs(now),
    }
}

/// The same request by a client that knows this incarnation to have expired.
fn knowing(incarnation: Option<u64>, mut subscribe: Command) -> Command {
    if let Command::Subscribe { expired, .. } = &mut subscribe {
        *expired = incarnation.map(Incarnation);
    }
    subscribe
}

fn unsubscribe(epoch: u64, name: &str) -> Command {
    Command::Unsubscribe { client: CLIENT, epoch: SessionEpoch(epoch), name: named(name) }
}

fn cursors_at(epoch: u64, incarnation: u64, cursors: &[(u16, Cursor)], now: u64) -> Command {
    let cursors = cursors.iter().map(|&(partition, cursor)| (PartitionId(partition), cursor)).collect();
    let cursors = vec![(Incarnation(incarnation), cursors)];
    Command::Cursors { client: CLIENT, epoch: SessionEpoch(epoch), cursors, now: WallMs(now) }
}

fn expire(name: &str, incarnation: u64, unused_since: u64) -> Command {
    let (incarnation, unused_since) = (Incarnation(incarnation), WallMs(unused_since));
    let now = WallMs(unused_since.0 + EXPIRY_MS);
    Command::Expire { client: CLIENT, name: named(name), incarnation, unused_since, now }
}

fn expired(name: &str, incarnation: u64) -> Reply {
    Reply::Refused(Refusal::Expired { name: named(name), incarnation: Incarnation(incarnation) })
}

fn end(name: &str, incarnation: u64, now: u64) -> Command {
    Command::End { client: CLIENT, name: named(name), incarnation: Incarnation(incarnation), now: WallMs(now) }
}

fn named(name: &str) -> SubscriptionName {
    name.parse().expect("a good name")
}

fn at(offset: u64) -> Cursor {
    in_epoch(0, offset)
}

fn in_epoch(log_epoch: u32, offset: u64) -> Cursor {
    Cursor { epoch: LogEpoch(log_epoch), offset: Offset(offset) }
}

fn subscribed(reply: Reply) -> (SubscribeOutcome, SubscriptionRecord) {
    match reply {
        Reply::Subscribed { outcome, subscription } => (outcome, subscription),
        other => panic!("not subscribed but {other:?}"),
    }
}

fn stale(current: u64) -> Reply {
    Reply::Refused(Refusal::StaleEpoch { current: SessionEpoch(current) })
}

fn all_applied() -> Reply {
    Reply::CursorsApplied { ignored: vec![] }
}

#[test]
fn an_unregistered_client_is_told_so_and_registering_twice_is_once() {
    let mut shard = Shard::default();
    assert_eq!(shard.open(1, 1), Reply::Refused(Refusal::UnknownClient));
    assert_eq!(shard.record, None);

    let created = Reply::Registered { created: WallMs(100) };
    assert_eq!(shard.apply(&Command::Register { client: CLIENT, now: WallMs(100) }), created);
    assert_eq!(shard.apply(&Command::Register { client: CLIENT, now: WallMs(900) }), created);
}

#[test]
fn a_higher_epoch_opens_and_the_older_session_is_refused_from_then_on() {
    let mut shard = Shard::with_session();
    shard.subscribe("quakes", "TRUE", &[10]);
    shard.open(5, 2);

    assert_eq!(shard.open(4, 3), stale(5));
    assert_eq!(shard.open(5, 3), stale(5), "the same epoch under another nonce is another session");
    assert_eq!(shard.apply(&subscribe(1, "quakes", "FALSE", &[0], true, 100)), stale(5));
    assert_eq!(shard.apply(&unsubscribe(1, "quakes")), stale(5));
    assert_eq!(shard.subscription("quakes").filter, "TRUE");
}

#[test]
fn a_repeated_open_is_answered_with_the_record_and_changes_nothing() {
    let mut shard = Shard::with_session();
    shard.subscribe("quakes", "TRUE", &[10]);
    shard.ack(1, 1, &[(0, at(12))]);
    let record = shard.record.clone().expect("registered");

    let reply = shard.apply(&open(1, 1, 9_000));
    assert_eq!(reply, Reply::Opened { record: record.clone() });
    assert_eq!(shard.record, Some(record));
}

#[test]
fn epoch_0_is_no_session() {
    let mut shard = Shard::default();
    shard.apply(&Command::Register { client: CLIENT, now: WallMs(100) });
    assert_eq!(shard.open(0, 0), stale(0));
    let not_open = Reply::Refused(Refusal::NotOpen { current: SessionEpoch(0) });
    assert_eq!(shard.apply(&subscribe(0, "quakes", "TRUE", &[0], false, 100)), not_open);
    assert_eq!(shard.apply(&subscribe(1, "quakes", "TRUE", &[0], false, 100)), not_open);
}

#[test]
fn opening_marks_every_subscription_as_used() {
    let mut shard = Shard::with_session();
    shard.subscribe("quakes", "TRUE", &[10]);
    shard.subscribe("storms", "TRUE", &[10]);
    shard.apply(&open(2, 2, 5_000));
    assert_eq!(shard.subscription("quakes").last_used, WallMs(5_000));
    assert_eq!(shard.subscription("storms").last_used, WallMs(5_000));

    shard.apply(&open(3, 3, 4_000));
    assert_eq!(shard.subscription("quakes").last_used, WallMs(5_000), "another broker's slow clock takes nothing back");
}

#[test]
fn subscribing_creates_and_subscribing_again_attaches() {
    let mut shard = Shard::with_session();
    let (outcome, created) = shard.subscribe("quakes", "TRUE", &[10, 20]);
    assert_eq!(outcome, SubscribeOutcome::Created);
    assert_eq!(created.incarnation, Incarnation(1));
    assert_eq!(created.starts, [at(10), at(20)]);

    shard.ack(1, 1, &[(1, at(25))]);
    let (outcome, attached) = shard.subscribe("quakes", "TRUE", &[99, 99]);
    assert_eq!(outcome, SubscribeOutcome::Attached);
    assert_eq!(attached.incarnation, Incarnation(1));
    assert_eq!(attached.starts, [at(10), at(20)]);
    assert_eq!(attached.cursors, [at(10), at(25)]);
}

#[test]
fn changing_the_filter_takes_effect_from_the_position_reached() {
    let mut shard = Shard::with_session();
    shard.subscribe("quakes", "mag > 4", &[10, 20]);
    shard.ack(1, 1, &[(0, at(15))]);

    let (outcome, changed) = shard.subscribe("quakes", "mag > 5", &[90, 91, 92]);
    assert_eq!(outcome, SubscribeOutcome::FilterChanged);
    assert_eq!(changed.incarnation, Incarnation(2));
    assert_eq!(changed.starts, [at(15), at(20), at(92)], "the third partition is new to it");
    assert_eq!(changed.cursors, changed.starts);
    assert_eq!(shard.subscription("quakes").filter, "mag > 5");
}

#[test]
fn seeking_begins_a_new_incarnation_where_it_is_told() {
    let mut shard = Shard::with_session();
    shard.subscribe("quakes", "TRUE", &[10]);
    shard.ack(1, 1, &[(0, at(15))]);
    let (outcome, sought) = subscribed(shard.apply(&subscribe(1, "quakes", "TRUE", &[3], true, 100)));
    assert_eq!(outcome, SubscribeOutcome::Sought);
    assert_eq!(sought.incarnation, Incarnation(2));
    assert_eq!((sought.starts, sought.cursors), (vec![at(3)], vec![at(3)]));
}

#[test]
fn incarnations_never_come_twice() {
    let mut shard = Shard::with_session();
    assert_eq!(shard.subscribe("quakes", "TRUE", &[0]).1.incarnation, Incarnation(1));
    assert_eq!(shard.apply(&unsubscribe(1, "quakes")), Reply::Unsubscribed { incarnation: Incarnation(1) });
    assert_eq!(shard.subscribe("quakes", "TRUE", &[0]).1.incarnation, Incarnation(2));
    assert_eq!(shard.apply(&expire("quakes", 2, 100)), Reply::Expired { incarnation: Incarnation(2) });
    assert_eq!(shard.subscribe("storms", "TRUE", &[0]).1.incarnation, Incarnation(3));
    let (_, anew) = subscribed(shard.subscribe_knowing("quakes", 2));
    assert_eq!(anew.incarnation, Incarnation(4));
}

#[test]
fn cursors_never_go_back() {
    let mut shard = Shard::with_session();
    shard.subscribe("quakes", "TRUE", &[10, 10]);
    assert_eq!(shard.ack(1, 1, &[(0, at(20)), (1, at(30))]), all_applied());
    assert_eq!(shard.ack(1, 1, &[(0, at(15)), (1, at(31))]), all_applied());
    assert_eq!(shard.subscription("quakes").cursors, [at(20), at(31)]);

    shard.ack(1, 1, &[(0, in_epoch(2, 5))]);
    shard.ack(1, 1, &[(0, in_epoch(1, 99))]);
    assert_eq!(shard.subscription("quakes").cursors[0], in_epoch(2, 5), "a newer log is further on at any offset");
    assert_eq!(shard.subscription("quakes").starts, [at(10), at(10)]);
}

#[test]
fn late_acks_of_an_old_session_are_refused() {
    let mut shard = Shard::with_session();
    shard.subscribe("quakes", "TRUE", &[10]);
    shard.open(2, 2);
    assert_eq!(shard.ack(1, 1, &[(0, at(20))]), stale(2));
    assert_eq!(shard.subscription("quakes").cursors, [at(10)]);
    assert_eq!(shard.ack(2, 1, &[(0, at(20))]), all_applied());
    let not_open = Reply::Refused(Refusal::NotOpen { current: SessionEpoch(2) });
    assert_eq!(shard.ack(3, 1, &[(0, at(30))]), not_open);
}

#[test]
fn acks_of_an_earlier_incarnation_are_ignored_and_named() {
    let mut shard = Shard::with_session();
    shard.subscribe("quakes", "TRUE", &[10]);
    shard.apply(&subscribe(1, "quakes", "TRUE", &[3], true, 100));
    let incarnation = Incarnation(1);
    let ignored = vec![IgnoredMove::NotCurrent { incarnation }];
    assert_eq!(shard.ack(1, 1, &[(0, at(20))]), Reply::CursorsApplied { ignored });
    assert_eq!(shard.subscription("quakes").cursors, [at(3)]);

    let (incarnation, partition) = (Incarnation(2), PartitionId(1));
    let ignored = vec![IgnoredMove::UnknownPartition { incarnation, partition }];
    assert_eq!(shard.ack(1, 2, &[(1, at(20)), (0, at(4))]), Reply::CursorsApplied { ignored });
    assert_eq!(shard.subscription("quakes").cursors, [at(4)]);
}

#[test]
fn a_subscription_over_the_limit_is_refused_with_the_limit() {
    let mut shard = Shard::with_session();
    for i in 0..SUBSCRIPTIONS_PER_CLIENT_MAX {
        shard.subscribe(&format!("s{i}"), "TRUE", &[0]);
    }
    let limit = SUBSCRIPTIONS_PER_CLIENT_MAX;
    let over = shard.apply(&subscribe(1, "one more", "TRUE", &[0], false, 100));
    assert_eq!(over, Reply::Refused(Refusal::LimitReached { subscriptions: limit, limit }));
    assert_eq!(shard.subscribe("s0", "TRUE", &[0]).0, SubscribeOutcome::Attached);
}

#[test]
fn unsubscribing_from_what_is_not_there_is_named() {
    let mut shard = Shard::with_session();
    let unknown = Reply::Refused(Refusal::UnknownSubscription { name: named("quakes") });
    assert_eq!(shard.apply(&unsubscribe(1, "quakes")), unknown);
    assert_eq!(shard.apply(&expire("quakes", 1, 100)), unknown);
}

#[test]
fn expiry_spares_what_was_used_since_it_was_looked_at() {
    let mut shard = Shard::with_session();
    shard.subscribe("quakes", "TRUE", &[10]);
    assert!(!shard.subscription("quakes").is_expired(WallMs(60_099)));
    assert!(shard.subscription("quakes").is_expired(WallMs(60_100)));

    shard.apply(&cursors_at(1, 1, &[], 61_000));
    let incarnation = Incarnation(1);
    let used = Reply::Refused(Refusal::TooEarly { incarnation, last_used: WallMs(61_000) });
    assert_eq!(shard.apply(&expire("quakes", 1, 100)), used, "an empty move counts as use");

    shard.apply(&subscribe(1, "quakes", "FALSE", &[10], false, 200));
    let incarnation = Incarnation(2);
    let renewed = Reply::Refused(Refusal::TooEarly { incarnation, last_used: WallMs(61_000) });
    assert_eq!(shard.apply(&expire("quakes", 1, 61_000)), renewed);
    assert_eq!(shard.apply(&expire("quakes", 2, 61_000)), Reply::Expired { incarnation });
}

#[test]
fn an_expired_subscription_is_told_until_the_client_shows_that_it_knows_and_never_begun_anew_in_silence() {
    let mut shard = Shard::with_session();
    shard.bury("quakes");
    let asked = subscribe(1, "quakes", "TRUE", &[90], false, 100);
    assert_eq!(shard.apply(&asked), expired("quakes", 1));
    assert_eq!(shard.apply(&asked), expired("quakes", 1), "the first answer may have been lost");
    assert_eq!(shard.apply(&subscribe(1, "quakes", "FALSE", &[90], true, 100)), expired("quakes", 1));
    assert_eq!(shard.subscribe_knowing("quakes", 7), expired("quakes", 1), "it knows of another life");
    assert_eq!(shard.subscribe("storms", "TRUE", &[0]).0, SubscribeOutcome::Created);

    let (outcome, anew) = subscribed(shard.subscribe_knowing("quakes", 1));
    assert_eq!((outcome, anew.incarnation), (SubscribeOutcome::Created, Incarnation(3)));
    let (outcome, again) = subscribed(shard.subscribe_knowing("quakes", 1));
    assert_eq!(
        (outcome, again.incarnation),
        (SubscribeOutcome::Attached, Incarnation(3)),
        "its answer may be lost too"
    );
    assert!(shard.tombstones().is_empty());
}

#[test]
fn knowing_of_an_earlier_expiry_is_not_knowing_of_the_latest() {
    let mut shard = Shard::with_session();
    shard.bury("quakes");
    subscribed(shard.subscribe_knowing("quakes", 1));
    shard.apply(&expire("quakes", 2, 100));
    assert_eq!(shard.subscribe_knowing("quakes", 1), expired("quakes", 2));
    subscribed(shard.subscribe_knowing("quakes", 2));
}

#[test]
fn what_ends_otherwise_leaves_no_tombstone() {
    let mut shard = Shard::with_session();
    shard.subscribe("quakes", "TRUE", &[0]);
    shard.apply(&unsubscribe(1, "quakes"));
    assert_eq!(shard.subscribe("quakes", "TRUE", &[0]).0, SubscribeOutcome::Created);

    let mut temporary = subscribe(1, "for now", "TRUE", &[0], false, 100);
    if let Command::Subscribe { temporary, .. } = &mut temporary {
        *temporary = true;
    }
    subscribed(shard.apply(&temporary));
    shard.apply(&expire("for now", 3, 100));
    assert!(shard.tombstones().is_empty());

    subscribed(shard.apply(&temporary));
    shard.subscribe("for now", "TRUE", &[0]);
    shard.apply(&expire("for now", 4, 100));
    assert_eq!(shard.tombstones().len(), 1, "somebody wanted to keep it");
}

#[test]
fn who_unsubscribes_from_what_has_expired_need_not_be_told() {
    let mut shard = Shard::with_session();
    let incarnation = shard.bury("quakes");
    assert_eq!(shard.apply(&unsubscribe(1, "quakes")), Reply::Unsubscribed { incarnation });
    assert_eq!(shard.subscribe("quakes", "TRUE", &[0]).0, SubscribeOutcome::Created);
}

#[test]
fn the_oldest_of_too_many_tombstones_is_dropped() {
    let mut shard = Shard::with_session();
    for i in 0..=TOMBSTONES_PER_CLIENT_MAX {
        shard.bury(&format!("s{i}"));
    }
    assert_eq!(shard.tombstones().len(), TOMBSTONES_PER_CLIENT_MAX);
    assert_eq!(shard.subscribe("s0", "TRUE", &[0]).0, SubscribeOutcome::Created);
    assert_eq!(shard.apply(&subscribe(1, "s1", "TRUE", &[0], false, 100)), expired("s1", 2));
}

#[test]
fn a_tombstone_is_dropped_when_it_has_stood_for_its_time() {
    let mut shard = Shard::with_session();
    shard.bury("quakes");
    let last = 100 + EXPIRY_MS + TOMBSTONE_SECS_MAX * 1000;
    assert_eq!(shard.apply(&subscribe(1, "quakes", "TRUE", &[0], false, last)), expired("quakes", 1));
    let (outcome, _) = subscribed(shard.apply(&subscribe(1, "quakes", "TRUE", &[0], false, last + 1)));
    assert_eq!(outcome, SubscribeOutcome::Created);
}

#[test]
fn an_expiry_entry_of_the_first_versions_leaves_a_tombstone_of_when_it_was_due() {
    let mut shard = Shard::with_session();
    shard.subscribe("quakes", "TRUE", &[0]);
    let Command::Expire { client, name, incarnation, unused_since, .. } = expire("quakes", 1, 100) else {
        unreachable!("it makes no other command")
    };
    shard.apply(&Command::Expire { client, name, incarnation, unused_since, now: WallMs::default() });
    assert_eq!(shard.tombstones()[0].expired, WallMs(100 + EXPIRY_MS));
}

#[test]
fn a_subscription_is_ended_beside_the_open_session_and_only_in_the_life_that_was_meant() {
    let mut shard = Shard::with_session();
    shard.subscribe("quakes", "mag > 4", &[10]);
    shard.subscribe("storms", "TRUE", &[10]);
    shard.subscribe("quakes", "mag > 5", &[10]);
    let (name, current) = (named("quakes"), Incarnation(3));
    let meant_before = Reply::Refused(Refusal::OtherIncarnation { name: name.clone(), current });
    assert_eq!(shard.apply(&end("quakes", 1, 200)), meant_before);
    assert_eq!(shard.apply(&end("quakes", 3, 200)), Reply::Ended { incarnation: Incarnation(3) });
    assert_eq!(shard.apply(&end("quakes", 3, 300)), Reply::Refused(Refusal::UnknownSubscription { name }));

    let record = shard.record.as_ref().expect("registered");
    assert_eq!((record.epoch, record.last_seen), (SessionEpoch(1), WallMs(200)), "the session goes on");
    assert_eq!(shard.ack(1, 2, &[(0, at(20))]), all_applied());
}

/// Few names, epochs, incarnations and positions, so that commands meet.
fn any_command() -> impl Strategy<Value = Command> {
    let name = prop::sample::select(vec!["a", "b"]);
    let filter = prop::sample::select(vec!["TRUE", "FALSE"]);
    let starts = prop::collection::vec(0..20u64, 0..4);
    let cursor =
        (0..4u16, 0..3u32, 0..20u64).prop_map(|(partition, epoch, offset)| (partition, in_epoch(epoch, offset)));
    let (epoch, now) = (0..4u64, 0..100u64);
    prop_oneof![
        (1..40u64, 0..3u8, now.clone()).prop_map(|(epoch, nonce, now)| open(epoch / 10, nonce, now)),
        (epoch.clone(), name.clone(), filter, starts, any::<bool>(), prop::option::of(0..8u64), now.clone()).prop_map(
            |(epoch, name, filter, starts, seek, expired, now)| knowing(
                expired,
                subscribe(epoch, name, filter, &starts, seek, now)
            )
        ),
        (epoch.clone(), name.clone()).prop_map(|(epoch, name)| unsubscribe(epoch, name)),
        (epoch, 0..8u64, prop::collection::vec(cursor, 0..4), now.clone())
            .prop_map(|(epoch, incarnation, cursors, now)| cursors_at(epoch, incarnation, &cursors, now)),
        (name.clone(), 0..8u64, now.clone()).prop_map(|(name, incarnation, now)| expire(name, incarnation, now)),
        (name, 0..8u64, now).prop_map(|(name, incarnation, now)| end(name, incarnation, now)),
    ]
}

/// What may become of one subscription in one step, whatever the step.
fn check_step(before: &ClientRecord, after: &ClientRecord, given: &mut BTreeSet<Incarnation>) {
    assert!(after.epoch >= before.epoch && after.next_incarnation >= before.next_incarnation);
    for tombstone in &after.tombstones {
        assert!(after.subscription(&tombstone.name).is_none(), "both alive and dead");
        assert_eq!(after.tombstones.iter().filter(|other| other.name == tombstone.name).count(), 1);
    }
    for new in &after.subscriptions {
        assert_eq!(new.starts.len(), new.cursors.len());
        assert!(new.starts.iter().zip(&new.cursors).all(|(start, cursor)| start <= cursor));
        match before.subscriptions.iter().find(|old| old.incarnation == new.incarnation) {
            Some(old) => {
                assert_eq!((&old.name, &old.filter, &old.starts), (&new.name, &new.filter, &new.starts));
                assert!(old.cursors.iter().zip(&new.cursors).all(|(old, new)| old <= new), "a cursor went back");
                assert!(old.last_used <= new.last_used);
            }
            None => assert!(given.insert(new.incarnation), "an incarnation came twice"),
        }
    }
}

proptest! {
    #[test]
    fn cursors_are_monotone_and_incarnations_unique_under_any_order(commands in prop::collection::vec(any_command(), 0..60)) {
        let mut shard = Shard::with_session();
        let mut given = BTreeSet::new();
        for command in &commands {
            let before = shard.record.clone().expect("registered");
            let reply = shard.apply(command);
            let after = shard.record.clone().expect("never removed");
            if matches!(reply, Reply::Refused(_)) {
                prop_assert_eq!(&before, &after);
            }
            check_step(&before, &after, &mut given);
            prop_assert_eq!(ClientRecord::decode(CLIENT, &after.encode(CLIENT)), Ok(after));
        }
    }
}
