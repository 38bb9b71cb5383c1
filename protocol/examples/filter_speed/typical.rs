//! Ten filters as people write them, each with the recorded events it is meant for. Speed and allocations are measured with these.

use anyport_protocol::event::EncodedEvent;

/// A file of `loadtest/data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    Earthquakes,
    Flights,
}

pub const TYPICAL: [(Recorded, &str); 10] = [
    (Recorded::Earthquakes, "type = 'gov.usgs.quake'"),
    (Recorded::Earthquakes, "type = 'gov.usgs.quake' AND data.mag >= 4.5"),
    (Recorded::Earthquakes, "subject LIKE 'Alaska%'"),
    (Recorded::Earthquakes, "subject IN ('Alaska', 'California', 'Hawaii', 'Nevada')"),
    (Recorded::Earthquakes, "EXISTS data.felt AND data.felt > 10"),
    (Recorded::Earthquakes, "data.place LIKE '%Alaska%'"),
    (Recorded::Earthquakes, "NOT (network = 'ak') AND status = 'reviewed' AND significance >= 100"),
    (Recorded::Flights, "carrier IN ('UA', 'AA') AND data.dep_delay > 60"),
    (Recorded::Flights, "(origin = 'JFK' OR origin = 'LGA') AND data.distance > 1000 AND data.air_time < 200"),
    (Recorded::Flights, "LEFT(subject, 2) = 'UA' AND data.arr_delay - data.dep_delay > 15"),
];

impl Recorded {
    /// The events, encoded.
    pub fn events(self) -> Vec<Vec<u8>> {
        let text = match self {
            Self::Earthquakes => include_str!("../../../loadtest/data/earthquakes.ndjson"),
            Self::Flights => include_str!("../../../loadtest/data/flights.ndjson"),
        };
        let encoded = |line: &str| {
            let mut event = Vec::new();
            EncodedEvent::from_json_into(line.as_bytes(), &mut event).expect("a recorded event is valid");
            event
        };
        text.lines().map(encoded).collect()
    }
}
