//! Events that happened: loadtest/data/README.md says where they come from and under which terms.

use serde_json::Value;

/// A recorded run of events, carried inside the program so that it needs no files beside it.
#[derive(Clone, Copy, Debug)]
pub struct Recorded {
    text: &'static str,
}

impl Recorded {
    /// A week of earthquakes: 1,707 events, about 380 bytes each.
    pub fn earthquakes() -> Self {
        Self { text: include_str!("../../data/earthquakes.ndjson") }
    }

    /// The first two days of 2013 at New York's airports: 2,000 departures, about 330 bytes each.
    pub fn flights() -> Self {
        Self { text: include_str!("../../data/flights.ndjson") }
    }

    /// The whole as NDJSON, as `anyport pub --file` reads it.
    pub fn ndjson(self) -> &'static str {
        self.text
    }

    pub fn events(self) -> impl Iterator<Item = Value> + Clone {
        self.text.lines().map(|line| serde_json::from_str(line).expect("the recorded files are valid, as tested below"))
    }

    /// The same events over and over; from the second round on, ids end in the round so that each event stays one of
    /// its own.
    pub fn rounds(self) -> impl Iterator<Item = Value> {
        (0_u64..).flat_map(move |round| {
            self.events().map(move |mut event| {
                if let (true, Some(id)) = (round > 0, event["id"].as_str()) {
                    event["id"] = format!("{id}.{round}").into();
                }
                event
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn names(events: impl Iterator<Item = Value>) -> HashSet<(String, String)> {
        events.map(|event| (event["source"].to_string(), event["id"].to_string())).collect()
    }

    #[test]
    fn recorded_files_hold_complete_events_each_with_its_own_id() {
        for (recorded, count) in [(Recorded::earthquakes(), 1707), (Recorded::flights(), 2000)] {
            assert_eq!(recorded.events().count(), count);
            assert_eq!(names(recorded.events()).len(), count);
            for event in recorded.events() {
                assert!(["specversion", "id", "source", "type"].iter().all(|name| event[*name].is_string()), "{event}");
            }
        }
    }

    #[test]
    fn rounds_never_repeat_an_id() {
        assert_eq!(names(Recorded::earthquakes().rounds().take(5000)).len(), 5000);
    }
}
