//! A request that numbers its own events, so that sending it again stores nothing twice.
//!
//! `Anyport-Producer` is a UUID of the client's choosing, `Anyport-Number` the number of the request's first event: from 0, without holes,
//! per producer and partition. The rule is that of every producer (see the sequencer); a client need not know partitions if it
//! takes a producer for each key.

use anyport_protocol::limits::BATCH_EVENTS_MAX;
use anyport_protocol::{Code, Fault, Number, ProducerId};
use hyper::header::HeaderValue;
use hyper::{HeaderMap, StatusCode};

use super::answer::Problem;
use super::lanes::Lane;
use super::sorted::Sorted;

const PRODUCER: &str = "anyport-producer";
const NUMBER: &str = "anyport-number";

/// The client's own lane, if the request names one.
pub(super) fn own_lane(headers: &HeaderMap) -> Result<Option<Lane>, Problem> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default());
    let (producer, number): (&str, &str) = match (text(PRODUCER), text(NUMBER)) {
        (None, None) => return Ok(None),
        (Some(producer), Some(number)) => (producer, number),
        _ => return Err(bad("`Anyport-Producer` and `Anyport-Number` go together".to_owned())),
    };
    let producer: ProducerId =
        producer.parse().map_err(|_| bad(format!("`Anyport-Producer` is {producer:?}, which is no UUID")))?;
    let number = number.parse().ok().filter(|number: &u64| number.checked_add(BATCH_EVENTS_MAX as u64).is_some());
    let next = number.map(Number).ok_or_else(|| bad("`Anyport-Number` is a number from 0, below 2^64".to_owned()))?;
    Ok(Some(Lane { producer, next }))
}

/// Numbers count within one partition, so one of them says nothing about events in several.
pub(super) fn check_is_one_partition(events: &Sorted) -> Result<(), Problem> {
    let partitions: Vec<String> = events.by_partition.keys().map(ToString::to_string).collect();
    if partitions.len() <= 1 {
        return Ok(());
    }
    Err(bad(format!(
        "numbers count within one partition, and these events belong to {}: post those of one `partitionkey` (or `subject`, or \
         `source`) at a time, with a producer for each",
        partitions.join(", ")
    )))
}

fn bad(text: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, Fault::new(Code::MalformedFrame, text))
}

#[cfg(test)]
mod tests {
    use anyport_protocol::event::Event;
    use hyper::header::HeaderName;

    use super::super::sorted::Sorter;
    use super::*;

    fn lane(headers: &[(&'static str, &'static str)]) -> Result<Option<Lane>, StatusCode> {
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        own_lane(&headers.collect()).map_err(|problem| problem.status())
    }

    #[test]
    fn a_request_names_producer_and_number_or_neither() {
        let producer = "01234567-89ab-cdef-0123-456789abcdef";
        let id = producer.parse().expect("a UUID");
        assert_eq!(lane(&[]), Ok(None));
        assert_eq!(lane(&[(PRODUCER, producer), (NUMBER, "7")]), Ok(Some(Lane { producer: id, next: Number(7) })));
        let bad: [&[(&str, &str)]; 6] = [
            &[(PRODUCER, producer)],
            &[(NUMBER, "7")],
            &[(PRODUCER, "me"), (NUMBER, "7")],
            &[(PRODUCER, producer), (NUMBER, "-1")],
            &[(PRODUCER, producer), (NUMBER, "")],
            &[(PRODUCER, producer), (NUMBER, "18446744073709551615")],
        ];
        for headers in bad {
            assert_eq!(lane(headers), Err(StatusCode::BAD_REQUEST), "{headers:?}");
        }
    }

    #[test]
    fn numbered_events_are_of_one_partition() {
        let sorted = |subjects: &[&str]| {
            let mut sorter = Sorter::new(8);
            for subject in subjects {
                sorter.push(&Event::builder("1", "/s", "t").subject(*subject).build().expect("valid").encode());
            }
            sorter.finish()
        };
        assert!(check_is_one_partition(&sorted(&[])).is_ok());
        assert!(check_is_one_partition(&sorted(&["a", "a"])).is_ok());
        // Partitions 7 and 0 of 8, by the golden vectors of the partitioner.
        let refused = check_is_one_partition(&sorted(&["a", "abc"])).expect_err("two partitions");
        assert!(refused.text().contains("0, 7"), "{}", refused.text());
    }
}
