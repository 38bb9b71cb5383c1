//! What is said of a filter: for a person, or as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::tell::events;
use super::tally::Tally;
use super::typed::BadFilter;
use crate::protocol::event::EncodedEvent;
use crate::protocol::filter::{Explanation, Filter};
use crate::protocol::limits::FILTER_STEPS_MAX;

/// It will depend on the filter once there are indexes.
const PLAN: &str = "every event is evaluated (there is no index yet)";

pub(super) struct Report<'a> {
    /// Nothing if the filter is an example.
    pub(super) typed: Option<&'a str>,
    pub(super) filter: &'a Filter,
    pub(super) tally: Option<&'a Tally>,
}

pub(super) fn json_of_bad(bad: &BadFilter) -> String {
    let BadFilter { message, column, suggestion, pointer } = bad;
    let answer = json!({
        "valid": false, "error": message, "column": column, "suggestion": suggestion, "pointer": pointer,
    });
    format!("{answer}\n")
}

impl Report<'_> {
    pub(super) fn text(&self) -> String {
        let explanation = self.filter.explain();
        let mut text = String::new();
        let mut line = |line: &str| {
            text.push_str(line);
            text.push('\n');
        };
        line(&language(&explanation));
        if self.typed.map(str::trim) != Some(&*explanation.reading) && !self.filter.is_always() {
            line(&format!("read as: {}", explanation.reading));
        }
        line("");
        line("An event passes if");
        explanation.conditions.iter().for_each(|condition| line(&format!("  {condition}")));
        if !explanation.needs.is_empty() {
            line(&format!("It cannot do without {}.", explanation.needs.join(", ")));
        }
        line("");
        let steps = self.filter.steps_max();
        line(&format!("How events are found: {PLAN}, in at most {steps} of {FILTER_STEPS_MAX} steps each."));
        if let Some(tally) = self.tally {
            line("");
            tell_tally(tally, &mut line);
        }
        for hint in self.hints(&explanation) {
            line(&format!("Note: {hint}"));
        }
        text
    }

    pub(super) fn json(&self) -> String {
        let explanation = self.filter.explain();
        let names: Vec<String> = explanation.extensions.iter().map(ToString::to_string).collect();
        let mut answer = json!({
            "valid": true,
            "filter": self.filter.text(),
            "reading": explanation.reading,
            "conditions": explanation.conditions,
            "extensions": names,
            "needs": explanation.needs,
            "plan": PLAN,
            "steps_max": self.filter.steps_max(),
            "hints": self.hints(&explanation),
        });
        if let Some(tally) = self.tally {
            let examples: Vec<Value> =
                tally.examples.iter().filter_map(|event| serde_json::from_str(&event_line(event)).ok()).collect();
            answer["events"] = json!({
                "count": tally.events, "pass": tally.passed, "errors": tally.errors, "examples": examples,
            });
        }
        format!("{answer}\n")
    }

    fn hints(&self, explanation: &Explanation) -> Vec<String> {
        let of_file = self.tally.map(Tally::hints).unwrap_or_default();
        explanation.hints.iter().cloned().chain(of_file).collect()
    }
}

fn language(explanation: &Explanation) -> String {
    let mut text = "valid: CESQL 1.0".to_owned();
    for (place, extension) in explanation.extensions.iter().enumerate() {
        let before = if place == 0 { ", extended by" } else { "," };
        let _ = write!(text, "{before} {extension}");
    }
    text
}

fn tell_tally(tally: &Tally, line: &mut impl FnMut(&str)) {
    let such_as = if tally.examples.is_empty() { "" } else { ", such as" };
    line(&format!("{} of {} pass{such_as}", tally.passed, events(tally.events)));
    tally.examples.iter().for_each(|event| line(&format!("  {}", event_line(event))));
    for (error, count) in &tally.errors {
        line(&format!("{} not passed because of an error: {error}", count));
    }
}

fn event_line(event: &[u8]) -> String {
    let mut json = Vec::new();
    EncodedEvent::check(event).expect("it has passed the filter").to_json(&mut json);
    String::from_utf8_lossy(&json).into_owned()
}
