//! Which broker leads each group, as last heard. A hint: who is asked and does not lead says so, and says who may.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyport_protocol::BrokerId;
use anyport_storage::GroupId;

/// Clones share what they know.
#[derive(Clone, Debug, Default)]
pub struct Leaders {
    known: Arc<Mutex<HashMap<GroupId, BrokerId>>>,
}

impl Leaders {
    pub fn get(&self, group: GroupId) -> Option<BrokerId> {
        self.lock().get(&group).copied()
    }

    pub fn note(&self, group: GroupId, leader: BrokerId) {
        self.lock().insert(group, leader);
    }

    /// This broker does not lead it, or cannot be reached.
    pub fn forget(&self, group: GroupId, leader: BrokerId) {
        let mut known = self.lock();
        if known.get(&group) == Some(&leader) {
            known.remove(&group);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<GroupId, BrokerId>> {
        // Every critical section is one map operation.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
