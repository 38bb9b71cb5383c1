//! What of the map a client is told, and since when.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyport_protocol::WallMs;
use anyport_protocol::map::{Map, Selection, ServiceId, ServicePoint};
use anyport_protocol::message::{GetMap, MapAnswer};

use super::history::{History, Revision};

/// A change of nothing but loads is told so long after the last news at the earliest: a phone that is woken for it would rather sleep, and who
/// looks for a broker asks anyway.
const LOADS_EVERY: Duration = Duration::from_secs(30);

/// What a client asked for, and the revision that it has been told.
#[derive(Clone, Debug)]
pub struct Asked {
    service: Option<ServiceId>,
    zone: String,
    told: u64,
    told_at: Instant,
}

impl Asked {
    pub fn new(question: &GetMap, now: Instant) -> Self {
        Self { service: question.service.clone(), zone: question.zone.clone(), told: question.have, told_at: now }
    }

    /// What is new to the client: a change since what it has, or the whole where that is not known any more. None if it has it all, or
    /// if there is time, see `due_at`.
    pub fn news(&mut self, history: &History, server_time: WallMs, now: Instant) -> Option<MapAnswer> {
        let current = history.current();
        let is_news = self.told < current.places_since || self.told > current.map.revision;
        let is_due = self.due_at(history).is_some_and(|due| now >= due);
        (is_news || is_due).then(|| self.answer(history, server_time, now))
    }

    /// When what there is beside news is to be told, if there is anything.
    pub fn due_at(&self, history: &History) -> Option<Instant> {
        (self.told != history.current().map.revision).then(|| self.told_at + LOADS_EVERY)
    }

    pub fn answer(&mut self, history: &History, server_time: WallMs, now: Instant) -> MapAnswer {
        let current = history.current();
        // Who has nothing is told everything, whatever revision 0 was.
        let before = history.at(self.told).filter(|_| self.told != 0);
        (self.told, self.told_at) = (current.map.revision, now);
        let selected = self.select(current);
        // Where the selection itself is another the change may be of everything.
        match before.filter(|before| before.selection == current.selection) {
            Some(before) => {
                MapAnswer { server_time, is_whole: false, map: self.select(before).delta_to(&selected).encode() }
            }
            None => MapAnswer { server_time, is_whole: true, map: selected.encode() },
        }
    }

    fn select(&self, revision: &Revision) -> Map {
        let Revision { map, selection, .. } = revision;
        let target = match selection {
            Selection::Target => self.service.as_ref(),
            _ => None,
        };
        let is_wanted = |point: &&ServicePoint| {
            target.is_none_or(|target| point.service == *target || point.service.as_str() == ServiceId::MAP)
        };
        let points = map.points().iter().filter(is_wanted);
        let chosen: Vec<&ServicePoint> = match selection {
            Selection::Full | Selection::Target => points.collect(),
            Selection::NearestZone => of_each_service(points, |of_one| {
                let near: Vec<_> = of_one.iter().copied().filter(|point| point.zone == self.zone).collect();
                if near.is_empty() { of_one } else { near }
            }),
            Selection::LeastLoaded { at_most } => of_each_service(points, |mut of_one| {
                of_one.sort_by_key(|point| (point.weight == 0, point.load, Reverse(point.weight)));
                of_one.truncate(usize::from(*at_most).max(1));
                of_one
            }),
        };
        Map::new(map.revision, chosen.into_iter().cloned())
    }
}

fn of_each_service<'m>(
    points: impl Iterator<Item = &'m ServicePoint>,
    choose: impl Fn(Vec<&'m ServicePoint>) -> Vec<&'m ServicePoint>,
) -> Vec<&'m ServicePoint> {
    let mut services: BTreeMap<&ServiceId, Vec<&ServicePoint>> = BTreeMap::new();
    for point in points {
        services.entry(&point.service).or_default().push(point);
    }
    services.into_values().flat_map(choose).collect()
}

#[cfg(test)]
mod tests {
    use anyport_protocol::ClientId;
    use anyport_protocol::map::{MapDelta, Sphere, SphereEpoch};
    use anyport_storage::metadata::{Advertised, ClusterState};

    use super::*;

    const NOW: WallMs = WallMs(1_000);

    fn now() -> Instant {
        Instant::now()
    }

    /// A map of others' rows alone: service, address, zone and load of each.
    fn state(revision: u64, selection: Selection, rows: &[(&str, &str, &str, u16)]) -> ClusterState {
        let mut state = ClusterState::created(anyport_storage::metadata::ClusterFacts {
            cluster: anyport_protocol::ClusterId([1; 16]),
            partitions: 1,
            registry_shards: 1,
            created: NOW,
            token_key: Vec::new(),
            timing: anyport_storage::metadata::Timing::Lan,
            replication: 3,
            replace_after_ms: 1,
        });
        for (service, address, zone, load) in rows {
            let sphere = Sphere { provider: "others".parse().expect("good"), epoch: SphereEpoch(0) };
            let point = ServicePoint::new(service.parse().expect("good"), sphere, address.parse().expect("good"));
            let point = ServicePoint { zone: (*zone).to_owned(), load: *load, ..point };
            state
                .map
                .advertised
                .insert(point.key(), Advertised { point, by: ClientId([8; 16]), until: WallMs(u64::MAX) });
        }
        (state.map.revision, state.map.selection) = (revision, selection);
        state
    }

    fn asked(have: u64, service: Option<&str>, zone: &str) -> Asked {
        let service = service.map(|service| service.parse().expect("good"));
        Asked::new(&GetMap { have, service, zone: zone.to_owned(), follow: true }, now())
    }

    fn whole(answer: &MapAnswer) -> Vec<String> {
        assert!(answer.is_whole);
        let map = Map::decode(&answer.map).expect("own bytes");
        map.points().iter().map(|point| format!("{} {}", point.service, point.host)).collect()
    }

    const ROWS: [(&str, &str, &str, u16); 4] = [
        ("session", "a:1", "north", 10),
        ("session", "b:1", "south", 5),
        ("session", "c:1", "south", 70),
        ("spm", "a:1", "north", 0),
    ];

    #[test]
    fn a_client_is_told_what_changed_since_the_revision_it_has_and_the_whole_if_that_is_too_old() {
        let history = History::of(&state(5, Selection::Full, &ROWS));
        let mut fresh = asked(0, None, "");
        assert_eq!(whole(&fresh.answer(&history, NOW, now())).len(), 4);
        assert_eq!(fresh.news(&history, NOW, now()), None, "it has it all");
        let next = history.followed_by(&state(6, Selection::Full, &ROWS[1..])).expect("another revision");
        let news = fresh.news(&next, NOW, now()).expect("something is new");
        let delta = MapDelta::decode(&news.map).expect("own bytes");
        assert_eq!((news.is_whole, delta.from, delta.to, delta.gone.len(), delta.changed.len()), (false, 5, 6, 1, 0));
        assert_eq!(whole(&asked(3, None, "").answer(&next, NOW, now())).len(), 3, "nobody remembers revision 3");
    }

    #[test]
    fn the_same_revision_is_no_news() {
        let history = History::of(&state(5, Selection::Full, &ROWS));
        assert!(history.followed_by(&state(5, Selection::Full, &ROWS[1..])).is_none());
    }

    #[test]
    fn who_has_nothing_is_told_the_whole_also_of_a_map_that_never_changed() {
        let history = History::of(&state(0, Selection::Full, &ROWS));
        assert_eq!(whole(&asked(0, None, "").answer(&history, NOW, now())).len(), 4);
    }

    #[test]
    fn another_load_alone_wakes_nobody_and_comes_with_the_next_news() {
        let history = History::of(&state(5, Selection::Full, &ROWS));
        let mut phone = asked(0, None, "");
        phone.answer(&history, NOW, now());
        let mut busier = ROWS;
        busier[0].3 = 500;
        let busy = history.followed_by(&state(6, Selection::Full, &busier)).expect("another revision");
        assert_eq!(phone.news(&busy, NOW, now()), None);
        let due = phone.due_at(&busy).expect("something is held back");
        assert!(phone.clone().news(&busy, NOW, due).is_some(), "told in the end");
        let gone = busy.followed_by(&state(7, Selection::Full, &busier[..3])).expect("another revision");
        let news = phone.news(&gone, NOW, now()).expect("a row is gone");
        let delta = MapDelta::decode(&news.map).expect("own bytes");
        assert_eq!((delta.from, delta.gone.len(), delta.changed.len()), (5, 1, 1), "with the load");
    }

    #[test]
    fn each_selection_gives_its_part() {
        let told =
            |selection, mut asked: Asked| whole(&asked.answer(&History::of(&state(5, selection, &ROWS)), NOW, now()));
        let target = told(Selection::Target, asked(0, Some("status"), ""));
        assert_eq!(target, ["spm a:1"], "and what carries the map itself");
        let near = told(Selection::NearestZone, asked(0, None, "south"));
        assert_eq!(near, ["session b:1", "session c:1", "spm a:1"], "where there is nothing near, what there is");
        let least = told(Selection::LeastLoaded { at_most: 2 }, asked(0, None, ""));
        assert_eq!(least, ["session a:1", "session b:1", "spm a:1"]);
    }

    #[test]
    fn another_selection_is_answered_with_the_whole() {
        let history = History::of(&state(5, Selection::Full, &ROWS));
        let next = history.followed_by(&state(6, Selection::Target, &ROWS)).expect("another revision");
        assert_eq!(whole(&asked(5, Some("session"), "").answer(&next, NOW, now())).len(), 4);
    }
}
