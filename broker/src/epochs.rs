//! Where each log epoch began: what tells a position of today from one in an end that the log has lost.
//!
//! The epoch grows when the log may have lost its end: at an unclean start of the machine in relaxed mode, when an older copy of a store was
//! put back, and when an operator has given up a majority. A position of an older epoch beyond the place where the next one began lies in
//! what is gone. Its client is told so, and begins anew at that place: the events there now are others, at the same offsets.
//!
//! All brokers agree on it, so it is kept in the metadata.

use std::sync::Arc;

use anyport_protocol::message::LostEnd;
use anyport_protocol::{Cursor, Fault, LogEpoch, Offset, OffsetRange, PartitionId};
use anyport_storage::metadata::{ClusterState, Command, EpochBegan};
use anyport_storage::{Store, StoreError};
use serde::Deserialize;
use tokio::sync::watch;

use crate::cluster::MetadataLink;

/// Where earlier versions, which knew no cluster, kept what is now in the metadata.
const FORMER_ROW: &str = "log-epochs";

#[derive(Debug, thiserror::Error)]
pub enum EpochsError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the record of log epochs is damaged: {0}")]
    Damaged(#[from] rmp_serde::decode::Error),
    #[error("begin a log epoch: {0}")]
    Begin(#[from] Fault),
}

#[derive(Deserialize)]
struct Began {
    epoch: LogEpoch,
    /// By partition.
    tails: Vec<Offset>,
}

/// All epochs since the first, as the metadata has them.
#[derive(Clone, Debug)]
pub struct LogEpochs {
    state: watch::Receiver<Arc<ClusterState>>,
}

/// Has the metadata know of the epoch that this broker's store begins, of which it alone can tell. `tails` are those of the start, before
/// anything is published.
pub async fn begin(
    store: &Store,
    tails: &[Offset],
    state: &watch::Receiver<Arc<ClusterState>>,
    metadata: &MetadataLink,
) -> Result<(), EpochsError> {
    let known = state.borrow().epochs.last().map_or(LogEpoch(0), |last| last.epoch);
    let former: Vec<Began> = match store.local(FORMER_ROW)? {
        Some(bytes) => rmp_serde::from_slice(&bytes)?,
        None => Vec::new(),
    };
    let mut began: Vec<_> = former.into_iter().map(|Began { epoch, tails }| EpochBegan { epoch, tails }).collect();
    let newest = store.log_epoch();
    if began.last().is_none_or(|last| last.epoch < newest) {
        began.push(EpochBegan { epoch: newest, tails: tails.to_vec() });
    }
    for EpochBegan { epoch, tails } in began.into_iter().filter(|began| began.epoch > known) {
        metadata.propose(Command::BeginEpoch { epoch, tails }).await?;
    }
    Ok(())
}

impl LogEpochs {
    pub fn new(state: watch::Receiver<Arc<ClusterState>>) -> Self {
        Self { state }
    }

    pub fn current(&self) -> LogEpoch {
        current(&self.state.borrow().epochs)
    }

    /// The position of today for one that may be of an older epoch, and what of the way to it the log has lost.
    pub fn place(&self, partition: PartitionId, cursor: Cursor) -> (Cursor, Option<LostEnd>) {
        place(&self.state.borrow().epochs, partition, cursor)
    }
}

fn current(began: &[EpochBegan]) -> LogEpoch {
    began.last().map_or(LogEpoch(0), |last| last.epoch)
}

fn place(began: &[EpochBegan], partition: PartitionId, cursor: Cursor) -> (Cursor, Option<LostEnd>) {
    let later = began.iter().filter(|began| began.epoch > cursor.epoch);
    let kept = later.filter_map(|began| began.tails.get(usize::from(partition.0))).min();
    let offset = kept.map_or(cursor.offset, |kept| cursor.offset.min(*kept));
    let lost = OffsetRange::new(offset, cursor.offset);
    let placed = Cursor { epoch: cursor.epoch.max(current(began)), offset };
    (placed, (!lost.is_empty()).then_some(LostEnd { epoch: cursor.epoch, range: lost }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(epoch: u32, offset: u64) -> Cursor {
        Cursor { epoch: LogEpoch(epoch), offset: Offset(offset) }
    }

    fn placed(epoch: u32, offset: u64) -> (Cursor, Option<LostEnd>) {
        let began = |epoch, tail| EpochBegan { epoch: LogEpoch(epoch), tails: vec![Offset(tail)] };
        place(&[began(1, 0), began(2, 100), began(3, 80)], PartitionId(0), cursor(epoch, offset))
    }

    #[test]
    fn a_position_in_a_lost_end_goes_back_to_where_the_next_epoch_began_and_is_told_so() {
        let lost = |epoch, start, end| {
            Some(LostEnd { epoch: LogEpoch(epoch), range: OffsetRange::new(Offset(start), Offset(end)) })
        };
        assert_eq!(placed(2, 90), (cursor(3, 80), lost(2, 80, 90)));
        assert_eq!(placed(1, 120), (cursor(3, 80), lost(1, 80, 120)));
    }

    #[test]
    fn a_position_that_was_kept_stays() {
        assert_eq!(placed(2, 70), (cursor(3, 70), None));
        assert_eq!(placed(3, 500), (cursor(3, 500), None));
    }
}
