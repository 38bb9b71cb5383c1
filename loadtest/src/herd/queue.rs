//! What is still to happen, on virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Since the beginning of the simulation.
pub type Moment = Duration;

/// Things of one moment happen in the order in which they were planned, so that a seed always tells the same story.
#[derive(Debug)]
pub struct Queue<Happening> {
    heap: BinaryHeap<Reverse<(Moment, u64, Happening)>>,
    planned: u64,
}

impl<Happening: Ord> Default for Queue<Happening> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), planned: 0 }
    }
}

impl<Happening: Ord> Queue<Happening> {
    pub fn plan(&mut self, at: Moment, happening: Happening) {
        self.planned += 1;
        self.heap.push(Reverse((at, self.planned, happening)));
    }

    pub fn next_before(&mut self, end: Moment) -> Option<(Moment, Happening)> {
        self.heap.peek().filter(|Reverse((at, ..))| *at < end)?;
        let Reverse((at, _, happening)) = self.heap.pop()?;
        Some((at, happening))
    }
}
