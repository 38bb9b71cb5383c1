//! A partition against a model of it: whatever is proposed, the store says what the rule says.

mod support;

use anyport_protocol::{Offset, WallMs};
use anyport_storage::*;
use proptest::prelude::*;
use support::*;

#[derive(Clone, Debug)]
enum Op {
    Open(u8),
    /// Of this opening, so many events, so far from the tail.
    Batch {
        nonce: u8,
        events: u64,
        bytes: usize,
        off_by: i64,
    },
    Blank,
    /// Up to so many entries back.
    Trim(u64),
    Purge,
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let off_by = prop_oneof![8 => Just(0i64), 1 => -3..4i64];
    let bytes = prop_oneof![6 => 8..400usize, 1 => 5_000..20_000usize];
    prop_oneof![
        3 => (0..3u8).prop_map(Op::Open),
        12 => (0..3u8, 1..150u64, bytes, off_by)
            .prop_map(|(nonce, events, bytes, off_by)| Op::Batch { nonce, events, bytes, off_by }),
        1 => Just(Op::Blank),
        2 => (0..12u64).prop_map(Op::Trim),
        1 => Just(Op::Purge),
        1 => Just(Op::Reopen),
    ]
}

#[derive(Default)]
struct Model {
    nonce: Option<u8>,
    head: u64,
    tail: u64,
    /// Valid batches: index and end.
    batches: Vec<(u64, u64)>,
}

impl Model {
    fn expect(&mut self, op: &Op, index: u64, trim: u64) -> PartitionEffect {
        match *op {
            Op::Open(n) => {
                self.nonce = Some(n);
                PartitionEffect::Opened { nonce: nonce(n) }
            }
            Op::Batch { nonce, events, off_by: 0, .. } if Some(nonce) == self.nonce => {
                let first = self.tail;
                self.tail += events;
                self.batches.push((index, self.tail));
                PartitionEffect::Stored(anyport_protocol::OffsetRange::new(Offset(first), Offset(self.tail)))
            }
            Op::Batch { .. } => PartitionEffect::Void,
            Op::Trim(_) => match self.batches.iter().find(|(at, _)| *at == trim) {
                None => PartitionEffect::Void,
                Some(&(_, head)) => {
                    self.head = head;
                    self.batches.retain(|(at, _)| *at > trim);
                    PartitionEffect::Trimmed { head: Offset(head), upto: id(trim) }
                }
            },
            _ => PartitionEffect::Nothing,
        }
    }
}

fn entry_of(op: &Op, tail: u64, trim: u64) -> Payload {
    match *op {
        Op::Open(n) => Payload::Data(EntryData::open(nonce(n), WallMs(0))),
        Op::Batch { nonce: n, events, bytes, off_by } => {
            let first = tail.saturating_add_signed(off_by);
            Payload::Data(batch(nonce(n), first, tail..tail + events, bytes, 0))
        }
        Op::Trim(_) => Payload::Data(EntryData::trim(trim, WallMs(0))),
        _ => Payload::Blank,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_partition_is_what_the_rule_says(
        ops in prop::collection::vec(op(), 1..40),
        cache in prop_oneof![Just(0usize), Just(20_000), Just(8 << 20)],
    ) {
        let folder = folder();
        let options = || StoreOptions { tail_cache_bytes: cache, partitions: 1, ..options() };
        let mut player = Player::of(&Store::open(folder.path(), options()).expect("open store"));
        let mut model = Model::default();
        for op in ops {
            if let Op::Reopen = op {
                drop(player);
                player = Player::of(&Store::open(folder.path(), options()).expect("open store"));
            }
            if let (Op::Purge, Some(snapshot)) = (&op, player.machine.snapshot().expect("snapshot")) {
                wait(|done| player.log.purge(snapshot.at, done)).expect("purge");
            }
            // At the very start an offset cannot be off by less than nothing.
            let op = match op {
                Op::Batch { nonce, events, bytes, off_by } if model.tail == 0 => {
                    Op::Batch { nonce, events, bytes, off_by: off_by.max(0) }
                }
                op => op,
            };
            let trim = if let Op::Trim(back) = op { player.index.saturating_sub(back) } else { 0 };
            let expected = model.expect(&op, player.index, trim);
            let tail = player.reader.bounds().tail.0;
            prop_assert_eq!(player.play_payload(entry_of(&op, tail, trim)), expected);
            let bounds = Bounds { head: Offset(model.head), tail: Offset(model.tail) };
            prop_assert_eq!(player.reader.bounds(), bounds);
        }
        player.read_all(model.head);
        for from in (model.head..model.tail).step_by(37) {
            let chunk = player.reader.read(Offset(from), 1).expect("read");
            let first = chunk.events().next().expect("at least one event");
            prop_assert_eq!(first.0, Offset(from));
            prop_assert_eq!(&first.1[..8], &from.to_le_bytes());
        }
    }
}
