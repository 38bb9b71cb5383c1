//! What becomes of a file's events in a filter.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::IgnoredAny;

use crate::protocol::event::EncodedEvent;
use crate::protocol::filter::{Filter, Reference, Segment, nearest};

const EXAMPLES: usize = 3;

/// Events whose names are remembered, for near misses; and how many names at most.
const NAMES_FROM: u64 = 1000;
const NAMES_MAX: usize = 1000;

#[derive(Debug)]
pub(super) struct Tally {
    pub(super) events: u64,
    pub(super) passed: u64,
    /// How often each error was what kept an event from passing.
    pub(super) errors: BTreeMap<String, u64>,
    /// The first that passed, encoded.
    pub(super) examples: Vec<Vec<u8>>,
    looked_for: Vec<LookedFor>,
    attributes: BTreeSet<String>,
    members: BTreeSet<String>,
}

/// A value that the filter names, and in how many events it was.
#[derive(Debug)]
struct LookedFor {
    reference: Reference,
    exists: Filter,
    found: u64,
}

impl Tally {
    pub(super) fn new(filter: &Filter) -> Self {
        let references = filter.expression().map(|expr| expr.references()).unwrap_or_default();
        let looked_for = |reference: &Reference| {
            let exists = Filter::compile(&format!("EXISTS {}", reference.as_str())).ok()?;
            Some(LookedFor { reference: reference.clone(), exists, found: 0 })
        };
        Self {
            events: 0,
            passed: 0,
            errors: BTreeMap::new(),
            examples: Vec::new(),
            looked_for: references.into_iter().filter_map(looked_for).collect(),
            attributes: BTreeSet::new(),
            members: BTreeSet::new(),
        }
    }

    pub(super) fn add(&mut self, filter: &Filter, bytes: &[u8]) {
        let event = EncodedEvent::check(bytes).expect("it has just been encoded");
        self.events += 1;
        let evaluation = filter.evaluate(&event);
        if evaluation.passes() {
            self.passed += 1;
            if self.examples.len() < EXAMPLES {
                self.examples.push(bytes.to_vec());
            }
        } else if let Some(error) = evaluation.error {
            *self.errors.entry(error.to_string()).or_default() += 1;
        }
        for looked_for in &mut self.looked_for {
            looked_for.found += u64::from(looked_for.exists.passes(&event));
        }
        if self.events <= NAMES_FROM && self.attributes.len() + self.members.len() < NAMES_MAX {
            self.attributes.extend(event.attributes().map(|(name, _)| name.to_owned()));
            let members: BTreeMap<String, IgnoredAny> =
                serde_json::from_slice(event.data().bytes()).unwrap_or_default();
            self.members.extend(members.into_keys());
        }
    }

    /// What the filter names and no event has, with what may have been meant.
    pub(super) fn hints(&self) -> Vec<String> {
        if self.events == 0 {
            return Vec::new();
        }
        let never = self.looked_for.iter().filter(|looked_for| looked_for.found == 0);
        never.map(|looked_for| self.hint(&looked_for.reference)).collect()
    }

    fn hint(&self, reference: &Reference) -> String {
        let attributes = || self.attributes.iter().map(String::as_str);
        let members = || self.members.iter().map(String::as_str);
        let meant = match reference {
            Reference::Attribute(name) if self.members.contains(&**name) => Some(format!("data.{name}")),
            Reference::Attribute(name) => nearest(name, attributes()).map(str::to_owned),
            Reference::Data(path) => match path.segments() {
                [Segment::Key(key)] if self.attributes.contains(&**key) => Some(key.to_string()),
                [Segment::Key(key), ..] if !self.members.contains(&**key) => {
                    nearest(key, members()).map(|member| format!("data.{member}"))
                }
                _ => None,
            },
        };
        let name = reference.as_str();
        match meant {
            Some(meant) => format!("no event of the file has {name}; did you mean {meant}?"),
            None => format!("no event of the file has {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(filter: &str, events: &[&str]) -> Tally {
        let filter = Filter::compile(filter).expect("valid");
        let mut tally = Tally::new(&filter);
        for extra in events {
            let json = format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{extra}}}"#);
            let mut bytes = Vec::new();
            EncodedEvent::from_json_into(json.as_bytes(), &mut bytes).expect("a valid event");
            tally.add(&filter, &bytes);
        }
        tally
    }

    #[test]
    fn events_are_counted_by_what_became_of_them() {
        let quake = |mag: &str| format!(r#","data":{{"mag":{mag}}}"#);
        let events = ["5", "3", "\"x\"", "null", "6", "7", "8"].map(quake);
        let tally = tally("data.mag > 4", &events.each_ref().map(String::as_str));
        assert_eq!((tally.events, tally.passed, tally.examples.len()), (7, 4, EXAMPLES));
        let errors: Vec<_> = tally.errors.iter().map(|(error, count)| (error.as_str(), *count)).collect();
        assert_eq!(errors, [("cannot take this String as Integer", 1), ("the event has no data.mag", 1)]);
        assert!(tally.hints().is_empty());
    }

    #[test]
    fn a_name_that_no_event_has_is_told_with_what_may_be_meant() {
        let event = r#","network":"ak","data":{"magnitude":5,"at":{"x":1}}"#;
        let hints = |filter| tally(filter, &[event]).hints().join("|");
        assert_eq!(hints("magnitude > 4"), "no event of the file has magnitude; did you mean data.magnitude?");
        assert_eq!(hints("data.magnitud > 4"), "no event of the file has data.magnitud; did you mean data.magnitude?");
        assert_eq!(hints("netwerk = 'ak'"), "no event of the file has netwerk; did you mean network?");
        assert_eq!(hints("data.network = 'ak'"), "no event of the file has data.network; did you mean network?");
        assert_eq!(hints("data.at.y = 1"), "no event of the file has data.at.y");
        assert_eq!(hints("network = 'ak' AND data.at.x = 1"), "");
    }
}
