//! The last revisions of the map.

use std::collections::VecDeque;
use std::sync::Arc;

use anyport_protocol::map::{Map, Selection};
use anyport_storage::metadata::ClusterState;

/// Revisions kept. Whoever has an older one is told the whole map, which is small.
const KEPT: usize = 64;

/// The present map, and some before it.
#[derive(Debug)]
pub struct History {
    /// The newest last; never empty.
    revisions: VecDeque<Arc<Revision>>,
}

#[derive(Debug)]
pub(super) struct Revision {
    pub(super) map: Map,
    pub(super) selection: Selection,
    /// The last revision that differs from the one before it in more than loads.
    pub(super) places_since: u64,
}

impl History {
    pub(super) fn of(state: &ClusterState) -> Self {
        Self { revisions: VecDeque::from([Arc::new(Revision::of(state))]) }
    }

    /// None if the map is as it was.
    pub(super) fn followed_by(&self, state: &ClusterState) -> Option<Self> {
        if state.map.revision == self.current().map.revision {
            return None;
        }
        let mut revisions = self.revisions.clone();
        // After a recovery the metadata may go on from an earlier state, with other changes.
        revisions.retain(|earlier| earlier.map.revision < state.map.revision);
        let mut next = Revision::of(state);
        if self.current().selection == next.selection && self.current().map.differs_in_load_alone(&next.map) {
            next.places_since = self.current().places_since;
        }
        revisions.push_back(Arc::new(next));
        while revisions.len() > KEPT {
            revisions.pop_front();
        }
        Some(Self { revisions })
    }

    pub(super) fn current(&self) -> &Revision {
        self.revisions.back().expect("there is always one")
    }

    pub(super) fn at(&self, revision: u64) -> Option<&Revision> {
        self.revisions.iter().find(|kept| kept.map.revision == revision).map(AsRef::as_ref)
    }

    pub fn map(&self) -> &Map {
        &self.current().map
    }
}

impl Revision {
    fn of(state: &ClusterState) -> Self {
        let map = state.service_map();
        Self { places_since: map.revision, map, selection: state.map.selection }
    }
}
