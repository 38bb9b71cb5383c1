//! The whole map, and what changes it.

use std::collections::BTreeMap;

use super::point::{PointKey, ServicePoint};
use crate::WallMs;
use crate::limits::MAP_POINTS_MAX;

/// The map at one revision. Rows are ordered by their keys, and no two have the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map {
    pub revision: u64,
    points: Vec<ServicePoint>,
}

/// From one revision to a later one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapDelta {
    pub from: u64,
    pub to: u64,
    pub gone: Vec<PointKey>,
    /// New, or in place of the row of the same key.
    pub changed: Vec<ServicePoint>,
}

/// The delta begins at another revision than the map has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a change from revision {from} does not follow revision {have}")]
pub struct UnknownRevision {
    pub have: u64,
    pub from: u64,
}

impl Map {
    /// Of several rows with one key the last counts.
    pub fn new(revision: u64, points: impl IntoIterator<Item = ServicePoint>) -> Self {
        let by_key: BTreeMap<_, _> = points.into_iter().map(|point| (point.key(), point)).collect();
        Self { revision, points: by_key.into_values().collect() }
    }

    pub fn points(&self) -> &[ServicePoint] {
        &self.points
    }

    /// Where a service can be had at this time.
    pub fn of(&self, service: &str, now: WallMs) -> impl Iterator<Item = &ServicePoint> {
        self.points.iter().filter(move |point| point.service.as_str() == service && point.valid.contains(now))
    }

    /// Whether it offers the same as another map, apart from how loaded what is.
    pub fn differs_in_load_alone(&self, other: &Self) -> bool {
        let is_alike = |(one, other): (&ServicePoint, &ServicePoint)| {
            one == other || ServicePoint { load: other.load, ..one.clone() } == *other
        };
        self.points.len() == other.points.len() && self.points.iter().zip(&other.points).all(is_alike)
    }

    pub fn delta_to(&self, later: &Self) -> MapDelta {
        let before: BTreeMap<_, _> = self.points.iter().map(|point| (point.key(), point)).collect();
        let after: BTreeMap<_, _> = later.points.iter().map(|point| (point.key(), point)).collect();
        let gone = before.keys().filter(|key| !after.contains_key(*key)).cloned().collect();
        let is_news = |(key, point): &(&PointKey, &&ServicePoint)| before.get(*key) != Some(*point);
        let changed = after.iter().filter(is_news).map(|(_, point)| (*point).clone()).collect();
        MapDelta { from: self.revision, to: later.revision, gone, changed }
    }

    pub fn apply(&mut self, delta: MapDelta) -> Result<(), UnknownRevision> {
        if delta.from != self.revision {
            return Err(UnknownRevision { have: self.revision, from: delta.from });
        }
        if self.points.len() + delta.changed.len() > 2 * MAP_POINTS_MAX {
            // No broker says so, and nobody keeps so much. A map that is asked for whole is bounded.
            return Err(UnknownRevision { have: self.revision, from: delta.from });
        }
        let mut by_key: BTreeMap<_, _> = self.points.drain(..).map(|point| (point.key(), point)).collect();
        delta.gone.iter().for_each(|key| drop(by_key.remove(key)));
        by_key.extend(delta.changed.into_iter().map(|point| (point.key(), point)));
        *self = Self { revision: delta.to, points: by_key.into_values().collect() };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::point::{Sphere, SphereEpoch, Validity};
    use super::*;

    fn point(service: &str, address: &str, load: u16) -> ServicePoint {
        let sphere = Sphere { provider: "cluster".parse().expect("good"), epoch: SphereEpoch(1) };
        let host = address.parse().expect("good");
        ServicePoint { load, ..ServicePoint::new(service.parse().expect("good"), sphere, host) }
    }

    #[test]
    fn a_change_follows_the_revision_it_begins_at_and_no_other() {
        let old = Map::new(1, [point("session", "a:1", 0), point("session", "b:1", 0), point("publish", "a:1", 0)]);
        let new = Map::new(4, [point("session", "a:1", 7), point("publish", "a:1", 0), point("session", "c:1", 0)]);
        let delta = old.delta_to(&new);
        assert_eq!((delta.gone.len(), delta.changed.len()), (1, 2), "what stays as it is is not said");
        let mut map = old;
        assert_eq!(map.apply(delta.clone()), Ok(()));
        assert_eq!(map, new);
        assert_eq!(map.apply(delta), Err(UnknownRevision { have: 4, from: 1 }));
        assert_eq!(map, new, "nothing has changed");
    }

    #[test]
    fn another_load_is_told_from_another_place() {
        let map = Map::new(1, [point("session", "a:1", 0), point("session", "b:1", 0)]);
        assert!(map.differs_in_load_alone(&Map::new(2, [point("session", "a:1", 9), point("session", "b:1", 0)])));
        assert!(!map.differs_in_load_alone(&Map::new(2, [point("session", "a:1", 0), point("session", "c:1", 0)])));
        assert!(!map.differs_in_load_alone(&Map::new(2, [point("session", "a:1", 0)])));
    }

    #[test]
    fn two_rows_of_one_place_switch_at_the_minute() {
        let minute = WallMs(60_000);
        let before = ServicePoint { valid: Validity { from: None, until: Some(minute) }, ..point("session", "a:1", 1) };
        let after = ServicePoint { valid: Validity { from: Some(minute), until: None }, ..point("session", "a:1", 2) };
        let map = Map::new(1, [before, after]);
        let load_at = |now| map.of("session", WallMs(now)).map(|point| point.load).collect::<Vec<_>>();
        assert_eq!((load_at(59_999), load_at(60_000)), (vec![1], vec![2]));
    }
}
