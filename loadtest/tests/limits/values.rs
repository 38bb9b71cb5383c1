//! Values of any size, tried by the functions that bound them.

use anyport_protocol::SubscriptionName;
use anyport_protocol::event::{EncodedEvent, Event, EventBuilder};
use anyport_protocol::filter::{Dialect, Filter};

/// Taken, or refused in these words.
pub type Outcome = Result<(), String>;

fn minimal() -> EventBuilder {
    Event::builder("1", "/s", "t")
}

fn built(event: EventBuilder) -> Outcome {
    event.build().map(drop).map_err(|error| error.to_string())
}

fn compiled(text: &str) -> Outcome {
    Filter::compile(text).map(drop).map_err(|error| error.to_string())
}

pub fn attributes_bytes(bytes: usize) -> Outcome {
    const NEAR: usize = 60_000;
    let near = minimal().subject("x".repeat(NEAR)).build().expect("below the limit").encode();
    let block = usize::from(u16::from_le_bytes([near[2], near[3]]));
    built(minimal().subject("x".repeat(NEAR + bytes - block)))
}

pub fn attributes(count: usize) -> Outcome {
    built((3..count).fold(minimal(), |event, n| event.extension(format!("x{n}"), true)))
}

pub fn attribute_name(bytes: usize) -> Outcome {
    built(minimal().extension("x".repeat(bytes), true))
}

pub fn subscription_name(bytes: usize) -> Outcome {
    "x".repeat(bytes).parse::<SubscriptionName>().map(drop).map_err(|error| error.to_string())
}

pub fn filter_depth(depth: usize) -> Outcome {
    compiled(&format!("{}a{}", "(".repeat(depth - 1), ")".repeat(depth - 1)))
}

/// A path costs 64 steps and the AND behind it one; a value of the list costs one, and so does what is looked for in it.
pub fn filter_steps(steps: usize) -> Outcome {
    const PATHS: usize = 62;
    let values = steps - PATHS * 65 - 1;
    compiled(&format!("{}a IN ({}1)", "data.x AND ".repeat(PATHS), "1,".repeat(values - 1)))
}

pub fn filter_in_list(values: usize) -> Outcome {
    compiled(&format!("a IN ({}1)", "1,".repeat(values - 1)))
}

pub fn filter_like_segment(characters: usize) -> Outcome {
    compiled(&format!("a LIKE '%{}%'", "_".repeat(characters)))
}

pub fn filter_document(bytes: usize) -> Outcome {
    let filter = r#"{"exact":{"type":"t"}}"#;
    let document = filter.to_owned() + &" ".repeat(bytes - filter.len());
    Filter::from_document(&document, Dialect::Extended).map(drop).map_err(|error| error.to_string())
}

/// A text that a function makes.
pub fn filter_text(bytes: usize) -> Outcome {
    let event = minimal().json(format!("{{\"x\":\"{}\"}}", "x".repeat(bytes))).build().expect("valid").encode();
    let event = EncodedEvent::check(&event).expect("own encoding");
    let filter = Filter::compile("LENGTH(UPPER(data.x)) > 1").expect("valid");
    let evaluation = filter.evaluate(&event);
    evaluation.error.map_or(Ok(()), |error| Err(error.to_string()))
}
