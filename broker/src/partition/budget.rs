//! Bytes of batches that wait to be stored. Nobody waits for a permit: one is had at once or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One partition may hold a quarter, so that the others go on when its disk or its quorum does not.
const SHARE: usize = 4;

#[derive(Debug)]
struct Account {
    bytes_max: usize,
    used: AtomicUsize,
}

impl Account {
    fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, used: AtomicUsize::new(0) })
    }

    /// One batch always fits, however large.
    fn try_take(&self, bytes: usize) -> bool {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = used == 0 || used + bytes <= self.bytes_max;
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The whole broker's budget.
#[derive(Clone, Debug)]
pub struct LeaderBudget(Arc<Account>);

impl LeaderBudget {
    pub fn new(bytes_max: usize) -> Self {
        Self(Account::new(bytes_max))
    }

    pub fn of_partition(&self) -> PartitionBudget {
        PartitionBudget { own: Account::new(self.0.bytes_max / SHARE), whole: Arc::clone(&self.0) }
    }
}

#[derive(Clone, Debug)]
pub struct PartitionBudget {
    own: Arc<Account>,
    whole: Arc<Account>,
}

impl PartitionBudget {
    pub fn try_take(&self, bytes: usize) -> Option<Permit> {
        if !self.own.try_take(bytes) {
            return None;
        }
        if !self.whole.try_take(bytes) {
            self.own.give_back(bytes);
            return None;
        }
        Some(Permit { bytes, budget: self.clone() })
    }
}

/// Gives its bytes back when dropped.
#[derive(Debug)]
pub struct Permit {
    bytes: usize,
    budget: PartitionBudget,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.own.give_back(self.bytes);
        self.budget.whole.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_partition_gets_a_quarter_and_the_rest_is_left_for_others() {
        let whole = LeaderBudget::new(400);
        let (first, second) = (whole.of_partition(), whole.of_partition());
        let held = first.try_take(100).expect("its share");
        assert!(first.try_take(1).is_none());
        assert!(second.try_take(100).is_some());
        drop(held);
        assert!(first.try_take(60).is_some());
    }

    #[test]
    fn the_whole_is_bounded_however_many_partitions_there_are() {
        let whole = LeaderBudget::new(400);
        let partitions: Vec<_> = (0..8).map(|_| whole.of_partition()).collect();
        let held: Vec<_> = partitions.iter().filter_map(|partition| partition.try_take(100)).collect();
        assert_eq!(held.len(), 4);
        drop(held);
        assert!(partitions[7].try_take(100).is_some());
    }

    #[test]
    fn a_batch_larger_than_the_share_passes_when_nothing_else_waits() {
        let partition = LeaderBudget::new(400).of_partition();
        let large = partition.try_take(1000).expect("alone");
        assert!(partition.try_take(1).is_none());
        drop(large);
        assert!(partition.try_take(1).is_some());
    }
}
