//! What one subscription is owed and has had, and how far each process that reads it has come.

use std::collections::BTreeMap;

use anyport_protocol::ids::{Offset, OffsetRange, PartitionId};

use super::events::Event;
use super::ranges::Ranges;
use super::verdict::Defects;
use super::{FilterId, Position, Positions, Reader, Start, SubscriptionId, Via};

/// What has become of one matching event in one subscription. One byte, because there are many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fate {
    #[default]
    Never,
    /// The process that reads now has it, and has not begun to ack it.
    Delivered,
    AckBegun,
    AckConfirmed,
    /// Only a process that is gone had it, and it did not begin to ack: it must come again.
    OwedAgain,
    /// A process that is gone had begun to ack it: it may come again.
    MaybeAgain,
}

impl Fate {
    pub(super) fn is_missing(self) -> bool {
        matches!(self, Self::Never | Self::OwedAgain)
    }

    /// The fate after a delivery to the process that reads now, and whether that process should not have had it again.
    fn delivered(self) -> (Self, bool) {
        match self {
            Self::Never | Self::OwedAgain | Self::MaybeAgain => (Self::Delivered, false),
            Self::Delivered | Self::AckBegun | Self::AckConfirmed => (self, true),
        }
    }

    /// The process that reads now is replaced by another.
    fn orphaned(self) -> Self {
        match self {
            Self::Delivered => Self::OwedAgain,
            Self::AckBegun => Self::MaybeAgain,
            other => other,
        }
    }

    fn ack_begun(self) -> Self {
        match self {
            Self::Delivered => Self::AckBegun,
            Self::OwedAgain => Self::MaybeAgain,
            other => other,
        }
    }
}

/// Whether an event's place makes it the subscription's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belonging {
    Owed,
    /// Its place is not known well enough to say.
    Open,
    Outside,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Omission {
    pub(super) partition: PartitionId,
    pub(super) range: OffsetRange,
    pub(super) count: u64,
}

#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) name: String,
    pub(super) filter: FilterId,
    start: Start,
    pub(super) end: Option<Positions>,
    pub(super) may_omit: bool,
    /// Events told before the broker had answered the subscription.
    published_before: u32,
    /// By place in the filter's list of matches; shorter than that list where nothing has happened yet.
    fates: Vec<Fate>,
    pub(super) reader: Option<Reader>,
    pub(super) gaps: Ranges,
    pub(super) gaps_told: Vec<(PartitionId, OffsetRange)>,
    pub(super) omitted: Ranges,
    pub(super) omissions: Vec<Omission>,
    pub(super) live: u64,
    pub(super) replayed: u64,
    pub(super) defects: Defects,
}

impl Subscription {
    pub(super) fn new(name: &str, filter: FilterId, start: Start, published_before: u32) -> Self {
        Self {
            name: name.to_owned(),
            filter,
            start,
            end: None,
            may_omit: false,
            published_before,
            fates: Vec::new(),
            reader: None,
            gaps: Ranges::default(),
            gaps_told: Vec::new(),
            omitted: Ranges::default(),
            omissions: Vec::new(),
            live: 0,
            replayed: 0,
            defects: Defects::default(),
        }
    }

    pub(super) fn belonging(&self, nth: u32, event: &Event) -> Belonging {
        let Some(position) = event.position() else {
            let surely_after_start = self.start == Start::Earliest || nth >= self.published_before;
            return if surely_after_start && self.end.is_none() { Belonging::Owed } else { Belonging::Open };
        };
        let at = |positions: &Positions| positions.get(&position.partition).copied().unwrap_or_default();
        let started = match &self.start {
            Start::Earliest => true,
            Start::At(positions) => position.offset >= at(positions),
        };
        let ended = self.end.as_ref().is_some_and(|end| position.offset >= at(end));
        if started && !ended { Belonging::Owed } else { Belonging::Outside }
    }

    pub(super) fn fate(&self, slot: usize) -> Fate {
        self.fates.get(slot).copied().unwrap_or_default()
    }

    /// Takes a delivery of the match at `slot`; false if this process should not have had it again.
    pub(super) fn deliver(&mut self, reader: Reader, slot: usize, via: Via) -> bool {
        match via {
            Via::Live => self.live += 1,
            Via::Replay => self.replayed += 1,
        }
        let current = self.reader == Some(reader);
        let fate = self.fate_mut(slot);
        if current {
            let (next, again) = fate.delivered();
            *fate = next;
            return !again;
        }
        // A replaced process hands out what it still holds; that excuses nobody from delivering to its successor.
        if *fate == Fate::Never {
            *fate = Fate::OwedAgain;
        }
        true
    }

    pub(super) fn ack_begun(&mut self, slot: usize) {
        let fate = self.fate_mut(slot);
        *fate = fate.ack_begun();
    }

    pub(super) fn ack_confirmed(&mut self, slot: usize) {
        let fate = self.fate_mut(slot);
        // An ack of what nobody has had must not hide its loss.
        if *fate != Fate::Never {
            *fate = Fate::AckConfirmed;
        }
    }

    pub(super) fn replace_reader(&mut self, reader: Reader) {
        for fate in &mut self.fates {
            *fate = fate.orphaned();
        }
        self.reader = Some(reader);
    }

    fn fate_mut(&mut self, slot: usize) -> &mut Fate {
        if self.fates.len() <= slot {
            self.fates.resize(slot + 1, Fate::Never);
        }
        &mut self.fates[slot]
    }
}

/// How far one process has come in each partition.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) subscription: SubscriptionId,
    next: BTreeMap<PartitionId, Offset>,
}

impl Progress {
    pub(super) fn new(subscription: SubscriptionId) -> Self {
        Self { subscription, next: BTreeMap::new() }
    }

    /// False if the process has passed this position already.
    pub(super) fn advance(&mut self, position: Position) -> bool {
        let next = self.next.entry(position.partition).or_default();
        let in_order = position.offset >= *next;
        *next = (*next).max(position.offset.plus(1));
        in_order
    }

    pub(super) fn pass(&mut self, partition: PartitionId, end: Offset) {
        let next = self.next.entry(partition).or_default();
        *next = (*next).max(end);
    }
}
