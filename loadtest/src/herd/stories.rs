//! The stories with a small fleet, in less than a second: the same aims as with many. Only how evenly clients are spread before anything
//! has happened is left out where nothing evens it: of two hundred at each broker one has a quarter more by chance.

use super::report::Report;
use super::scenario::Scenario;
use super::world::Size;
use super::{SPREAD_MAX, TIMES_FLOOR_MAX, picture};
use crate::workload::Seed;

const SMALL: Size = Size { clients: 2000, brokers: 10, seed: Seed(1) };

fn told(scenario: Scenario) -> Report {
    let report = scenario.run(SMALL);
    eprintln!("{}\n{}", Report::TITLE, report.line());
    assert!(report.is_everybody_served);
    assert_eq!(report.moved_twice, 0, "nobody is moved twice for one cause");
    report
}

#[track_caller]
fn is_fast(report: &Report) {
    assert!(report.times_floor() <= TIMES_FLOOR_MAX, "{:.2} times the floor", report.times_floor());
}

#[track_caller]
fn is_even(report: &Report) {
    assert!(report.spread <= SPREAD_MAX, "{:.3} times the mean", report.spread);
}

#[test]
fn the_clients_of_a_broker_that_dies_find_another() {
    let report = told(Scenario::Death);
    assert!((150..250).contains(&report.to_be_served), "{}", report.to_be_served);
    is_fast(&report);
    is_even(&report);
}

#[test]
fn a_rolling_restart_leaves_every_broker_with_its_share() {
    let report = told(Scenario::RollingRestart);
    is_fast(&report);
    is_even(&report);
}

#[test]
fn a_lost_zone_is_taken_in_by_the_others() {
    let report = told(Scenario::ZoneLoss);
    assert!(report.to_be_served > 600, "{}", report.to_be_served);
    is_fast(&report);
    is_even(&report);
}

#[test]
fn all_clients_that_come_back_at_once_are_served_one_after_the_other() {
    let report = told(Scenario::Update);
    assert_eq!(report.to_be_served, 2000);
    is_fast(&report);
    is_even(&report);
    assert!(report.most_refusals <= 6, "{}", report.most_refusals);
}

#[test]
fn a_broker_that_answers_slowly_is_left_by_all_and_once() {
    let report = told(Scenario::BlackHole);
    assert!((150..250).contains(&report.to_be_served), "{}", report.to_be_served);
    assert_eq!(report.moves as usize, report.to_be_served, "and nobody comes back");
    is_fast(&report);
}

#[test]
fn new_brokers_get_their_share_as_fast_as_they_let_clients_in() {
    let report = told(Scenario::Newcomers);
    assert!((250..450).contains(&report.to_be_served), "{}", report.to_be_served);
    is_fast(&report);
    is_even(&report);
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let told = |seed| Scenario::ZoneLoss.run(Size { seed: Seed(seed), ..SMALL }).curve;
    assert_eq!(told(7), told(7));
    assert_ne!(told(7), told(8));
}

#[test]
fn the_picture_has_a_panel_for_each_story() {
    let report = Scenario::Death.run(SMALL);
    let svg = picture::draw(&[report.clone(), report]);
    assert_eq!(svg.matches("<polyline").count(), 2);
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
}
