//! What the machine has applied, as its readers see it. Changed in one step, after the batch that makes it true is written.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use anyport_protocol::{Nonce, Offset};

use crate::log::LogId;

/// The retained events: `[head, tail)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub head: Offset,
    pub tail: Offset,
}

/// Where the log was trimmed, and what held there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TrimPoint {
    /// The last entry trimmed.
    pub(crate) upto: LogId,
    pub(crate) head: Offset,
    /// Bytes of all records before the head.
    pub(crate) total: u64,
    /// The nonce in force at `upto`.
    pub(crate) nonce: Nonce,
}

/// A valid batch that the log's tail cache may still have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) first: Offset,
    pub(crate) count: u32,
    pub(crate) index: u64,
}

impl Placed {
    pub(crate) fn end(&self) -> Offset {
        self.first.plus(u64::from(self.count))
    }
}

/// The part of the view that is small and copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) applied: Option<LogId>,
    pub(crate) trim: Option<TrimPoint>,
    pub(crate) tail: Offset,
    /// Bytes of all records before the tail, trimmed ones included.
    pub(crate) total: u64,
    /// The nonce in force after everything applied.
    pub(crate) nonce: Option<Nonce>,
}

impl Reach {
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { head: self.trim.map_or(Offset::ZERO, |trim| trim.head), tail: self.tail }
    }

    pub(crate) fn retained_bytes(&self) -> u64 {
        self.total.saturating_sub(self.trim.map_or(0, |trim| trim.total))
    }
}

/// Batches remembered at most; the tail cache usually holds fewer.
const PLACED_MAX: usize = 64 << 10;

#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) reach: Reach,
    placed: VecDeque<Placed>,
}

impl View {
    pub(crate) fn place(&mut self, batches: impl IntoIterator<Item = Placed>, cached_from: Option<u64>) {
        self.placed.extend(batches);
        let cached_from = cached_from.unwrap_or(u64::MAX);
        let head = self.reach.bounds().head;
        let gone = |placed: &Placed| placed.index < cached_from || placed.end() <= head;
        while self.placed.len() > PLACED_MAX || self.placed.front().is_some_and(gone) {
            self.placed.pop_front();
        }
    }

    pub(crate) fn forget_placed(&mut self) {
        self.placed.clear();
    }

    /// Batches from the one that holds this offset on, if it is remembered.
    pub(crate) fn placed_from(&self, from: Offset, count_max: usize) -> Vec<Placed> {
        let at = self.placed.partition_point(|placed| placed.end() <= from);
        let holds = self.placed.get(at).is_some_and(|placed| placed.first <= from);
        if holds { self.placed.range(at..).take(count_max).copied().collect() } else { Vec::new() }
    }
}

#[derive(Default)]
pub(crate) struct PartitionShared {
    view: RwLock<View>,
}

impl PartitionShared {
    // Nothing panics half way through a change of the view.
    pub(crate) fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn change(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn reach(&self) -> Reach {
        self.view().reach
    }
}

impl fmt::Debug for PartitionShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reach().fmt(f)
    }
}
