//! Packets under way, given back when they are due: the earliest first, and in order of arrival among those due
//! together.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

/// Bounded by its capacity: a packet that finds it full is dropped.
#[derive(Debug)]
pub struct DelayLine<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    capacity: usize,
    arrivals: u64,
}

#[derive(Debug)]
struct Entry<T> {
    due: Duration,
    arrival: u64,
    packet: T,
}

impl<T> DelayLine<T> {
    pub fn new(capacity: usize) -> Self {
        Self { heap: BinaryHeap::new(), capacity, arrivals: 0 }
    }

    /// False if there was no room.
    pub fn push(&mut self, due: Duration, packet: T) -> bool {
        let has_room = self.heap.len() < self.capacity;
        if has_room {
            self.heap.push(Reverse(Entry { due, arrival: self.arrivals, packet }));
            self.arrivals += 1;
        }
        has_room
    }

    pub fn next_due(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse(entry)| entry.due)
    }

    pub fn pop_due(&mut self, now: Duration) -> Option<T> {
        if self.next_due()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry.packet)
    }

    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.heap.retain(|Reverse(entry)| keep(&entry.packet));
    }
}

impl<T> Entry<T> {
    fn rank(&self) -> (Duration, u64) {
        (self.due, self.arrival)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn packets_come_back_when_due_and_those_due_together_in_order_of_arrival() {
        let mut line = DelayLine::new(10);
        for (due, packet) in [(20, 'c'), (10, 'a'), (20, 'd'), (10, 'b'), (30, 'e')] {
            assert!(line.push(ms(due), packet));
        }
        assert_eq!(line.pop_due(ms(9)), None);
        assert_eq!(line.next_due(), Some(ms(10)));
        let due: Vec<char> = std::iter::from_fn(|| line.pop_due(ms(20))).collect();
        assert_eq!(due, ['a', 'b', 'c', 'd']);
        assert_eq!(line.next_due(), Some(ms(30)));
    }

    #[test]
    fn a_full_line_takes_nothing_more() {
        let mut line = DelayLine::new(2);
        assert_eq!([1, 2, 3].map(|packet| line.push(ms(0), packet)), [true, true, false]);
        line.retain(|&packet| packet != 1);
        assert!(line.push(ms(0), 4));
    }
}
