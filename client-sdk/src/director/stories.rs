//! Stories of one client and its map. First those of a client that has none.

use std::collections::BTreeMap;

use anyport_protocol::map::{Bucket, Policy, ProviderId, ServiceId, ServicePoint, Sphere, SphereEpoch, Validity};

use super::acquaintance::{ATTEMPT_MAX, ATTEMPT_MIN};
use super::*;

const AT_ONCE: Option<Duration> = None;
const SECOND: Duration = Duration::from_secs(1);

fn director(servers: &[&str]) -> Director {
    seeded(servers, 1)
}

fn seeded(servers: &[&str], seed: u64) -> Director {
    let seeds = servers.iter().map(ToString::to_string).collect();
    let client = Some(ClientId::from_bytes(u128::from(seed).to_be_bytes()));
    Director::new(DirectorOptions { seeds, client, zone: Some("here".into()) }, seed).expect("there are servers")
}

fn point(address: &str) -> ServicePoint {
    let provider: ProviderId = "cluster".parse().expect("a good name");
    let sphere = Sphere { provider, epoch: SphereEpoch(1) };
    ServicePoint::new(ServiceId::known(ServiceId::SESSION), sphere, address.parse().expect("a good address"))
}

fn map(points: impl IntoIterator<Item = ServicePoint>) -> Map {
    Map::new(1, points)
}

/// Served by the seed `seed:1`, which is in no map.
fn mapped(seed: u64, points: impl IntoIterator<Item = ServicePoint>, now: Instant) -> Director {
    let mut director = seeded(&["seed:1"], seed);
    director.handle_success(now);
    director.handle_map(map(points), WallMs(0), now);
    director
}

/// Where each of a thousand clients would go first.
fn first_choices(points: &[ServicePoint], prepare: impl Fn(&mut Director, Instant)) -> BTreeMap<String, u32> {
    let now = Instant::now();
    let mut choices = BTreeMap::new();
    for seed in 0..1000 {
        let mut director = mapped(seed, points.iter().cloned(), now);
        prepare(&mut director, now);
        assert_eq!(director.handle_failure(None, now), AT_ONCE);
        *choices.entry(director.server().to_owned()).or_default() += 1;
    }
    choices
}

/// All that are tried, until it is time to wait.
fn one_round(director: &mut Director, now: Instant) -> Vec<String> {
    let mut tried = Vec::new();
    while director.handle_failure(None, now).is_none() {
        tried.push(director.server().to_owned());
    }
    tried
}

#[test]
fn every_server_is_tried_before_the_first_wait() {
    let now = Instant::now();
    let mut director = director(&["a", "b", "c"]);
    assert_eq!(director.server(), "a");
    assert_eq!(director.handle_failure(None, now), AT_ONCE);
    assert_eq!(director.server(), "b");
    assert_eq!(director.handle_failure(None, now), AT_ONCE);
    assert_eq!(director.handle_failure(None, now), Some(Duration::ZERO));
    assert_eq!(director.server(), "a");
}

#[test]
fn a_server_that_worked_and_was_lost_is_tried_last() {
    let now = Instant::now();
    let mut director = director(&["a", "b", "c"]);
    director.handle_failure(None, now);
    director.handle_success(now);
    assert_eq!(director.server(), "b");
    assert_eq!(director.handle_failure(None, now), AT_ONCE);
    assert_eq!(director.server(), "c");
    assert_eq!(director.handle_failure(None, now), AT_ONCE);
    assert_eq!(director.server(), "a");
    assert_eq!(director.handle_failure(None, now), Some(Duration::ZERO));
}

#[test]
fn a_wait_that_a_server_asks_for_begins_when_all_others_have_failed_too() {
    let now = Instant::now();
    let mut director = director(&["a", "b"]);
    assert_eq!(director.handle_failure(Some(SECOND), now), AT_ONCE);
    assert_eq!(director.handle_failure(None, now), Some(SECOND));
    assert_eq!(director.handle_failure(None, now), AT_ONCE, "waited for, and forgotten");
    let mut alone = self::director(&["a"]);
    assert_eq!(alone.handle_failure(Some(SECOND), now), Some(SECOND));
}

#[test]
fn a_preferred_server_is_next_and_known_from_then_on() {
    let now = Instant::now();
    let mut director = director(&["a", "b"]);
    director.prefer("b");
    assert_eq!(director.server(), "b");
    director.prefer("c");
    assert_eq!(director.server(), "c");
    director.handle_failure(None, now);
    assert_eq!(director.server(), "a");
    assert!(director.has_others(now));
}

#[test]
fn the_others_are_named_in_the_order_in_which_they_would_be_tried() {
    let now = Instant::now();
    let mut director = director(&["a", "b", "c"]);
    director.handle_failure(None, now);
    let others: Vec<String> =
        (0..4).filter_map(|nth| director.other(nth, now).map(|(server, _)| server.to_owned())).collect();
    assert_eq!(others, ["c", "a", "c", "a"]);
    assert_eq!(self::director(&["a"]).other(0, now), None);
}

#[test]
fn attempts_at_a_silent_server_get_more_time_up_to_a_limit() {
    let now = Instant::now();
    let mut director = director(&["a"]);
    assert_eq!(director.attempt_timeout(now), ATTEMPT_MIN);
    for _ in 0..100 {
        assert!(director.handle_failure(None, now).is_some());
    }
    assert_eq!(director.attempt_timeout(now), ATTEMPT_MAX);
    director.handle_success(now);
    assert_eq!(director.attempt_timeout(now), ATTEMPT_MIN);
}

#[test]
fn a_new_map_moves_nobody_who_is_served() {
    let now = Instant::now();
    let mut director = mapped(1, [point("a:1"), point("b:1")], now);
    assert_eq!(director.server(), "seed:1", "not even one that is in no map");
    director.prefer("a:1");
    director.handle_success(now);
    director.handle_map(map([ServicePoint { weight: 0, ..point("a:1") }, point("b:1")]), WallMs(0), now);
    assert_eq!(director.server(), "a:1");
    director.handle_failure(None, now);
    assert_eq!(director.server(), "b:1");
}

#[test]
fn rows_come_before_seeds_and_rows_of_no_weight_last() {
    let now = Instant::now();
    let redirector = ServicePoint { redirects: true, ..point("r:1") };
    let drained = ServicePoint { weight: 0, ..point("z:1") };
    let elsewhere = ServicePoint { service: ServiceId::known(ServiceId::PUBLISH), ..point("p:1") };
    let mut director = mapped(1, [drained.clone(), point("a:1"), redirector, elsewhere], now);
    director.prefer("a:1");
    director.handle_success(now);
    assert_eq!(one_round(&mut director, now), ["seed:1", "z:1"]);
    let mut nothing_else = seeded(&["z:1"], 1);
    nothing_else.handle_saved_map(map([drained]), now);
    assert_eq!(nothing_else.server(), "z:1");
}

#[test]
fn the_backups_of_a_silent_row_come_next_in_their_order() {
    let now = Instant::now();
    let backups = ["x:1", "b:1", "y:1"].map(|backup| backup.parse().expect("a good address"));
    let with_backups = ServicePoint { backups: backups.to_vec(), ..point("a:1") };
    let mut director = mapped(1, [with_backups, point("b:1"), point("c:1")], now);
    director.prefer("a:1");
    assert_eq!(one_round(&mut director, now), ["x:1", "b:1", "y:1", "c:1", "seed:1"]);
    director.prefer("a:1");
    director.handle_failure(Some(SECOND), now);
    assert_ne!(director.server(), "x:1", "a row that is busy is not silent");
}

#[test]
fn rows_are_valid_by_the_servers_time_and_this_machines_monotonic_clock() {
    let now = Instant::now();
    let of = |address: &str, from: u64, until: u64| ServicePoint {
        valid: Validity { from: Some(WallMs(from)), until: Some(WallMs(until)) },
        ..point(address)
    };
    let points = [of("early:1", 0, 10_000), of("late:1", 10_000, 20_000)];
    let first_at = |seconds: u64| {
        let later = now + Duration::from_secs(seconds);
        let mut director = mapped(1, points.clone(), now);
        let next: Vec<_> = one_round(&mut director, later).into_iter().filter(|server| server != "seed:1").collect();
        next.join(" ")
    };
    assert_eq!((first_at(9).as_str(), first_at(10).as_str()), ("early:1", "late:1"));
    assert_eq!(first_at(20).len(), "early:1 late:1".len(), "nothing is valid: the last known is used");
}

#[test]
fn of_a_saved_map_all_rows_count_until_a_fresh_one_comes() {
    let now = Instant::now();
    let expired = ServicePoint { valid: Validity { from: None, until: Some(WallMs(1)) }, ..point("a:1") };
    let mut director = director(&["seed:1"]);
    director.handle_saved_map(map([expired.clone(), point("b:1")]), now);
    let mut begun = vec![director.server().to_owned()];
    begun.extend(one_round(&mut director, now));
    begun.sort();
    assert_eq!(begun, ["a:1", "b:1", "seed:1"]);
    director.handle_map(map([expired, point("b:1")]), WallMs(1000), now);
    director.handle_success(now);
    assert!(director.explain(now).iter().all(|other| other.address != "a:1" || director.server() == "a:1"));
}

#[test]
fn a_change_needs_the_map_that_it_changes() {
    let now = Instant::now();
    let (old, new) = (map([point("a:1")]), Map::new(2, [point("b:1")]));
    let mut director = director(&["seed:1"]);
    let delta = old.delta_to(&new);
    assert!(director.handle_delta(delta.clone(), WallMs(0), now).is_err(), "there is none yet");
    director.handle_map(old, WallMs(0), now);
    assert_eq!(director.handle_delta(delta.clone(), WallMs(0), now), Ok(()));
    assert_eq!(director.map().map(AsRef::as_ref), Some(&new));
    assert_eq!(director.handle_delta(delta, WallMs(0), now), Err(UnknownRevision { have: 2, from: 1 }));
}

#[test]
fn weights_share_clients_out() {
    for policy in [Policy::WeightedRandom, Policy::TwoChoices, Policy::Sticky] {
        let row = |address: &str, weight| ServicePoint { policy: policy.clone(), weight, ..point(address) };
        let choices = first_choices(&[row("a:1", 100), row("b:1", 300)], |_, _| {});
        assert!((700..800).contains(&choices["b:1"]), "{policy}: {choices:?}");
    }
}

#[test]
fn of_two_choices_the_less_loaded_is_taken_the_more_surely_the_larger_the_difference() {
    let row = |address: &str, load| ServicePoint { load, ..point(address) };
    let with = |load| first_choices(&[row("a:1", load), row("b:1", 0)], |_, _| {})["b:1"];
    assert_eq!(with(1000), 1000);
    assert!((720..780).contains(&with(500)), "{}", with(500));
    assert!((480..540).contains(&with(20)), "noise sends no fleet anywhere: {}", with(20));
}

#[test]
fn the_nearest_is_in_the_own_zone_and_the_unmeasured_stand_in_the_middle() {
    let now = Instant::now();
    let row = |address: &str, zone: &str| ServicePoint { policy: Policy::Nearest, zone: zone.into(), ..point(address) };
    let points = [row("far:1", ""), row("new:1", ""), row("near:1", ""), row("mid:1", ""), row("slow:1", "here")];
    let mut director = mapped(3, points, now);
    for (address, millis) in [("far:1", 90), ("near:1", 10), ("mid:1", 50), ("slow:1", 200)] {
        director.handle_answer_of(address, Duration::from_millis(millis), now);
    }
    let order = one_round(&mut director, now);
    assert_eq!((order[0].as_str(), order[1].as_str()), ("slow:1", "near:1"));
    assert_eq!(order.iter().position(|server| server == "far:1"), Some(4), "{order:?}");
}

#[test]
fn who_is_sticky_comes_to_the_same_place_whatever_chance_says_and_stays_when_others_go() {
    let now = Instant::now();
    let row = |nth: u32| ServicePoint { policy: Policy::Sticky, ..point(&format!("b{nth}:1")) };
    for client in 0..50u8 {
        let choose = |seed, rows: std::ops::Range<u32>| {
            let mut director = mapped(seed, rows.map(row), now);
            director.handle_client(ClientId::from_bytes([client; 16]));
            one_round(&mut director, now).into_iter().take(8).filter(|server| server != "seed:1").collect::<Vec<_>>()
        };
        let all = choose(1, 0..8);
        assert_eq!(choose(2, 0..8), all);
        let fewer: Vec<_> = all.iter().filter(|server| *server != "b7:1").cloned().collect();
        assert_eq!(choose(3, 0..7), fewer);
    }
}

#[test]
fn a_score_expression_ranks_and_a_bad_one_is_reported_and_passed_over() {
    let now = Instant::now();
    let with = |expression: &str| {
        let policy = Policy::Score { expression: expression.into() };
        let row = |address: &str, load, zone: &str| ServicePoint {
            policy: policy.clone(),
            load,
            zone: zone.into(),
            ..point(address)
        };
        let mut director = mapped(1, [row("a:1", 10, "here"), row("b:1", 500, "here"), row("c:1", 0, "there")], now);
        director.handle_answer_of("a:1", Duration::from_millis(900), now);
        let reason = director.explain(now)[1].reason.clone();
        director.handle_failure(None, now);
        (director.server().to_owned(), reason)
    };
    assert_eq!(with("-rtt_ms - 40 * load").0, "c:1");
    assert_eq!(with("load").0, "b:1");
    assert_eq!(with("INT(samezone) * 1000 - load - 100 * failures").0, "a:1");
    assert_eq!(with("INT(zone = 'there') * weight").0, "c:1");
    for bad in ["1 +", "nothing_like_it", "1 / 0", "zone"] {
        let (server, reason) = with(bad);
        assert_ne!(server, "b:1", "{bad}: two choices");
        assert!(reason.contains("the score expression is bad"), "{bad}: {reason}");
    }
}

#[test]
fn a_row_that_is_for_this_client_comes_before_all_others() {
    let all = |buckets: Vec<u16>| Some(Bucket { of: 2, buckets });
    let for_half = |address: &str, bucket| ServicePoint { bucket: all(vec![bucket]), ..point(address) };
    let choices = first_choices(&[for_half("a:1", 0), for_half("b:1", 1), point("c:1")], |_, _| {});
    assert_eq!(choices.len(), 2, "nobody is for nobody: {choices:?}");
    assert!((400..600).contains(&choices["a:1"]), "{choices:?}");
}

#[test]
fn a_row_that_failed_is_left_alone_until_its_breaker_closes() {
    let now = Instant::now();
    let mut director = mapped(1, [point("a:1"), point("b:1")], now);
    director.prefer("a:1");
    director.handle_failure(Some(Duration::from_secs(60)), now);
    director.prefer("b:1");
    director.handle_success(now);
    assert!(director.explain(now).iter().any(|one| one.address == "a:1" && one.left_alone.is_some()));
    assert_eq!(one_round(&mut director, now), ["seed:1"], "a:1 is passed over");
    assert_ne!(director.server(), "a:1");
    director.prefer("b:1");
    director.handle_success(now);
    assert_eq!(one_round(&mut director, now + Duration::from_secs(60)), ["a:1", "seed:1"]);
}

#[test]
fn when_all_are_left_alone_it_waits_for_the_one_that_is_first_to_be_tried_again() {
    let now = Instant::now();
    let mut director = mapped(1, [point("a:1"), point("b:1")], now);
    director.prefer("a:1");
    assert_eq!(director.handle_failure(Some(SECOND * 3), now), AT_ONCE);
    assert_eq!(director.server(), "b:1");
    assert_eq!(director.handle_failure(None, now), AT_ONCE, "not in the map, but there is time");
    assert_eq!(director.server(), "seed:1");
    assert_eq!(director.handle_failure(None, now), Some(SECOND * 3), "there somebody is");
    assert_eq!(director.server(), "a:1");
    director.handle_success(now + SECOND * 3);
    assert!(director.explain(now + SECOND * 3)[0].left_alone.is_none());
    let mut silent = mapped(1, [point("a:1")], now);
    assert_eq!(silent.handle_failure(None, now), AT_ONCE);
    let wait = silent.handle_failure(None, now).expect("all have failed");
    assert!(wait < Duration::from_millis(500), "a breaker's first time, at random: {wait:?}");
    assert!(silent.met.open_until(silent.server(), now).is_none_or(|until| until - now == wait));
}

#[test]
fn who_has_a_place_in_a_queue_looks_for_a_sooner_one_but_never_misses_it() {
    let now = Instant::now();
    let rows = ["a:1", "b:1", "c:1", "d:1"].map(point);
    let asked = |waits: &[Option<u32>]| {
        let mut director = mapped(1, rows.clone(), now);
        director.handle_failure(None, now);
        let mut wait = AT_ONCE;
        let servers: Vec<_> = waits
            .iter()
            .map(|named| {
                let server = director.server().to_owned();
                wait = director.handle_failure(named.map(|seconds| SECOND * seconds), now);
                server
            })
            .collect();
        let nth = servers.iter().position(|server| server == director.server());
        (nth, wait, director)
    };
    let (nth, wait, director) = asked(&[Some(4)]);
    assert_eq!((nth, wait), (None, AT_ONCE), "another is asked");
    assert_eq!(director.place_elsewhere(now + SECOND), Some(SECOND * 3), "and told");
    assert_eq!(director.attempt_timeout(now + SECOND * 3), SECOND, "and has no more time than that");
    let (nth, wait, director) = asked(&[Some(4), Some(3), Some(5)]);
    assert_eq!((nth, wait), (Some(1), Some(SECOND * 3)), "the soonest of three");
    assert_eq!(director.place_elsewhere(now), None, "it is going there");
    let (nth, wait, _) = asked(&[Some(4), None]);
    assert_eq!((nth, wait), (None, AT_ONCE), "a silent one has cost no more than the time until then");
    let (nth, wait, _) = asked(&[None, Some(0)]);
    assert_eq!((nth, wait), (Some(1), Some(Duration::ZERO)), "a place so soon is taken");
}

#[test]
fn a_slow_server_is_left_for_the_fastest_that_is_known_and_not_again_soon() {
    let begun = Instant::now();
    let mut director = mapped(1, [point("a:1"), point("b:1"), point("c:1")], begun);
    director.handle_answer_of("a:1", Duration::from_millis(80), begun);
    director.handle_answer_of("b:1", Duration::from_millis(20), begun);
    let mut moves = Vec::new();
    for second in 0..700 {
        let now = begun + SECOND * second;
        director.handle_answer(Duration::from_secs(5), now);
        if let Some(other) = director.poll_leave(now) {
            director.prefer(&other);
            director.handle_success(now);
            moves.push((second, other));
        }
    }
    assert_eq!(moves, [(20, "b:1".to_owned()), (620, "a:1".to_owned())]);
}

#[test]
fn it_says_of_each_candidate_why_it_stands_where_it_stands() {
    let now = Instant::now();
    let row = ServicePoint { zone: "here".into(), load: 300, ..point("a:1") };
    let mut director = mapped(1, [row, ServicePoint { weight: 0, ..point("b:1") }], now);
    director.handle_answer_of("a:1", Duration::from_millis(12), now);
    let explained = director.explain(now);
    let reasons: Vec<_> = explained.iter().map(|one| (one.address.as_str(), one.reason.as_str())).collect();
    let expected = [
        ("seed:1", "the client is served here, and stays"),
        ("a:1", "by the policy two-choices"),
        ("b:1", "weight 0: only if there is nothing else"),
    ];
    assert_eq!(reasons, expected);
    assert_eq!((explained[1].load, explained[1].round_trip), (Some(300), Some(Duration::from_millis(12))));
    director.handle_failure(None, now);
    assert_eq!(director.server(), "a:1", "as it was explained");
}
