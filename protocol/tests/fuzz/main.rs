//! Hostile bytes for every decoder of this crate. Each target is a function of bytes that panics where a promise is broken, so that
//! any other fuzzer can drive it, too.

mod documents;
mod driver;
mod events;
mod filters;
mod frames;
mod messages;
mod operators;
#[path = "../filter/reference.rs"]
mod reference;
mod seeds;

use driver::{Target, fuzz};

/// Inputs that failed once.
const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/regressions");

/// What decoding and looking at a value may hold, beyond a fixed amount: a few copies of the input.
fn few_copies(input_bytes: usize) -> usize {
    (1 << 20) + 64 * input_bytes
}

#[test]
fn hostile_frames_are_refused_or_survive() {
    let (run, seeds) = (frames::target as fn(&[u8]) -> _, seeds::streams());
    // What is allocated at once for a list that announces a length: the reader bounds it at a mebibyte, for each level of lists.
    let memory_max = |bytes| (4 << 20) + few_copies(bytes);
    fuzz(&Target {
        name: "frames",
        run,
        seeds,
        words: vec![],
        input_bytes_max: 8 << 10,
        memory_max,
        regressions: REGRESSIONS,
    });
}

#[test]
fn a_hostile_event_is_refused_or_survives() {
    let (run, seeds) = (events::encoded as fn(&[u8]) -> _, seeds::events_of_both_forms());
    let words = seeds::event_pieces();
    fuzz(&Target {
        name: "event",
        run,
        seeds,
        words,
        input_bytes_max: 8 << 10,
        memory_max: few_copies,
        regressions: REGRESSIONS,
    });
}

#[test]
fn a_hostile_json_event_is_refused_or_survives() {
    let (run, seeds) = (events::json as fn(&[u8]) -> _, seeds::json_events());
    let words = seeds::json_pieces();
    let name = "json-event";
    fuzz(&Target {
        name,
        run,
        seeds,
        words,
        input_bytes_max: 8 << 10,
        memory_max: few_copies,
        regressions: REGRESSIONS,
    });
}

#[test]
fn a_hostile_filter_is_refused_or_keeps_its_bounds() {
    let (run, seeds) = (filters::target as fn(&[u8]) -> _, seeds::filters());
    let words = seeds::filter_pieces();
    // Several functions on the way may each make a text of the greatest length.
    let memory_max = |bytes| (16 << 20) + few_copies(bytes);
    fuzz(&Target {
        name: "filter",
        run,
        seeds,
        words,
        input_bytes_max: 12 << 10,
        memory_max,
        regressions: REGRESSIONS,
    });
}

#[test]
fn a_hostile_filter_document_is_refused_or_becomes_a_filter() {
    let (run, seeds) = (documents::target as fn(&[u8]) -> _, seeds::documents());
    let words = seeds::document_pieces();
    // An expression is many small allocations for each byte of a document such as `[0,0,0]`.
    let memory_max = |bytes| (4 << 20) + 512 * bytes;
    let name = "filter-document";
    fuzz(&Target { name, run, seeds, words, input_bytes_max: 66 << 10, memory_max, regressions: REGRESSIONS });
}
