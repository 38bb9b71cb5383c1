//! Where a log leads to, of which the end is not applied yet: to a tail that nobody has been shown.

use anyport_protocol::Offset;

use super::entry::Peek;
use super::reader::PartitionReader;
use super::view::Reach;
use crate::error::StoreError;
use crate::group::GroupId;
use crate::log::Payload;

/// Read at once; what is not applied is little, unless the replica was just started.
const STEP_BYTES: usize = 1 << 20;

impl PartitionReader {
    /// The tail as it will be once all of the log is applied, whether it is committed or not: by the same rule, but of heads alone.
    pub fn tail_of_log(&self) -> Result<Offset, StoreError> {
        let group = GroupId::Partition(self.id);
        let Reach { applied, mut tail, mut nonce, .. } = self.shared.reach();
        let mut next = applied.map_or(0, |applied| applied.index + 1);
        loop {
            let entries = self.log.entries(next..u64::MAX, STEP_BYTES)?;
            let Some(last) = entries.last() else { return Ok(tail) };
            next = last.id.index + 1;
            for entry in &entries {
                let Payload::Data(data) = &entry.payload else { continue };
                let head = data.parts().first().map_or(&[][..], |head| head);
                let index = entry.id.index;
                match Peek::parse(head).map_err(|why| StoreError::BadEntry { group, index, why })? {
                    Peek::Open { nonce: opened, .. } => nonce = Some(opened),
                    Peek::Batch(batch) if nonce == Some(batch.nonce) && batch.first == tail => {
                        tail = tail.plus(u64::from(batch.count));
                    }
                    Peek::Batch(_) | Peek::Trim { .. } => {}
                }
            }
        }
    }
}
