//! How long evaluating a filter takes: ten typical ones over recorded events.
//!
//! `cargo run --release -p anyport-protocol --example filter_speed`
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

mod typical;

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyport_protocol::event::EncodedEvent;
use anyport_protocol::filter::Filter;

use typical::{Recorded, TYPICAL};

/// The best of these is shown: what disturbs a measurement only makes it longer.
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(150);

fn main() {
    println!("{:>9}  {:>13}  filter", "ns/event", "pass");
    for recorded in [Recorded::Earthquakes, Recorded::Flights] {
        let bytes = recorded.events();
        let events: Vec<_> = bytes.iter().map(|event| read(event)).collect();
        let reading = nanoseconds_each(bytes.len(), || {
            bytes.iter().for_each(|event| {
                black_box(read(event));
            });
        });
        println!("{reading:>9.1}  {:>13}  (reading the envelope of {} {recorded:?})", "", bytes.len());
        for (_, text) in TYPICAL.into_iter().filter(|(of, _)| *of == recorded) {
            let filter = Filter::compile(text).expect("valid");
            let count = || events.iter().filter(|event| black_box(&filter).passes(black_box(*event))).count();
            let each = nanoseconds_each(events.len(), || {
                black_box(count());
            });
            println!("{each:>9.1}  {:>5} of {:>4}  {text}", count(), events.len());
        }
    }
}

fn read(event: &[u8]) -> EncodedEvent<'_> {
    EncodedEvent::check(event).expect("a recorded event is valid")
}

/// What one of `count` takes, which `all` does together.
fn nanoseconds_each(count: usize, all: impl Fn()) -> f64 {
    let round = || {
        let (began, mut times) = (Instant::now(), 0_u32);
        while began.elapsed() < ROUND {
            all();
            times += 1;
        }
        began.elapsed().as_nanos() as f64 / f64::from(times) / count as f64
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}
