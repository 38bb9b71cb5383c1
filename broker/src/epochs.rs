//! Where each log epoch began: what tells a position of today from one in an end that the log has lost.
//!
//! The epoch grows when the log may have lost its end: at an unclean start of the machine in relaxed mode. A position of an
//! older epoch beyond the place where the next one began lies in what is gone. Its client is told so, and begins anew at that
//! place: the events there now are others, at the same offsets.

use anyport_protocol::message::LostEnd;
use anyport_protocol::{Cursor, LogEpoch, Offset, OffsetRange, PartitionId};
use anyport_storage::{Store, StoreError};
use serde::{Deserialize, Serialize};

const NAME: &str = "log-epochs";

#[derive(Debug, thiserror::Error)]
pub enum EpochsError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the record of log epochs is damaged: {0}")]
    Damaged(#[from] rmp_serde::decode::Error),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Began {
    epoch: LogEpoch,
    /// By partition.
    tails: Vec<Offset>,
}

/// All epochs since the first, oldest first. There are as many as the machine has crashed in relaxed mode.
#[derive(Clone, Debug, Default)]
pub struct LogEpochs {
    current: LogEpoch,
    began: Vec<Began>,
}

impl LogEpochs {
    /// Loads the record, and adds the store's present epoch if it is new. `tails` are those of the start, before anything is
    /// published.
    pub fn load(store: &Store, tails: &[Offset]) -> Result<Self, EpochsError> {
        let began = store.local(NAME)?.map_or_else(|| Ok(Vec::new()), |bytes| rmp_serde::from_slice(&bytes))?;
        let mut epochs = Self { current: store.log_epoch(), began };
        if epochs.began.last().is_none_or(|last| last.epoch < epochs.current) {
            epochs.began.push(Began { epoch: epochs.current, tails: tails.to_vec() });
            let bytes = rmp_serde::to_vec_named(&epochs.began).expect("numbers always encode");
            store.put_local(NAME, &bytes)?;
        }
        Ok(epochs)
    }

    pub fn current(&self) -> LogEpoch {
        self.current
    }

    /// The position of today for one that may be of an older epoch, and what of the way to it the log has lost.
    pub fn place(&self, partition: PartitionId, cursor: Cursor) -> (Cursor, Option<LostEnd>) {
        let later = self.began.iter().filter(|began| began.epoch > cursor.epoch);
        let kept = later.filter_map(|began| began.tails.get(usize::from(partition.0))).min();
        let offset = kept.map_or(cursor.offset, |kept| cursor.offset.min(*kept));
        let lost = OffsetRange::new(offset, cursor.offset);
        let placed = Cursor { epoch: cursor.epoch.max(self.current), offset };
        (placed, (!lost.is_empty()).then_some(LostEnd { epoch: cursor.epoch, range: lost }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(epoch: u32, offset: u64) -> Cursor {
        Cursor { epoch: LogEpoch(epoch), offset: Offset(offset) }
    }

    fn epochs() -> LogEpochs {
        let began = |epoch, tail| Began { epoch: LogEpoch(epoch), tails: vec![Offset(tail)] };
        LogEpochs { current: LogEpoch(3), began: vec![began(1, 0), began(2, 100), began(3, 80)] }
    }

    #[test]
    fn a_position_in_a_lost_end_goes_back_to_where_the_next_epoch_began_and_is_told_so() {
        let lost = |epoch, start, end| {
            Some(LostEnd { epoch: LogEpoch(epoch), range: OffsetRange::new(Offset(start), Offset(end)) })
        };
        assert_eq!(epochs().place(PartitionId(0), cursor(2, 90)), (cursor(3, 80), lost(2, 80, 90)));
        assert_eq!(epochs().place(PartitionId(0), cursor(1, 120)), (cursor(3, 80), lost(1, 80, 120)));
    }

    #[test]
    fn a_position_that_was_kept_stays() {
        assert_eq!(epochs().place(PartitionId(0), cursor(2, 70)), (cursor(3, 70), None));
        assert_eq!(epochs().place(PartitionId(0), cursor(3, 500)), (cursor(3, 500), None));
    }

    #[test]
    fn epochs_are_kept_across_starts() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = || anyport_storage::StoreOptions { partitions: 1, registry_shards: 1, ..Default::default() };
        for tail in [7, 9] {
            let store = Store::open(folder.path(), options()).expect("open");
            let epochs = LogEpochs::load(&store, &[Offset(tail)]).expect("load");
            assert_eq!(epochs.began, [Began { epoch: store.log_epoch(), tails: vec![Offset(7)] }]);
            store.close().expect("close");
        }
    }
}
