//! Hostile bytes for what only the broker reads: tokens, events over HTTP, and what other brokers say, frame by frame and within one.

// One driver for the whole project; it lives with the first of its users.
#[path = "../../../protocol/tests/fuzz/driver/mod.rs"]
mod driver;

pub(crate) use driver::Outcome;
use driver::{Target, fuzz};

use crate::{http, identity, peer, serving};

const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/fuzz/regressions");

fn pieces(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

#[test]
fn a_hostile_token_is_refused_or_is_a_genuine_one() {
    let (name, run, seeds) = ("token", identity::fuzz::token as fn(&[u8]) -> _, identity::fuzz::tokens());
    let words =
        pieces(&["v4.public.", ".", "=", "\"sub\":", "\"exp\":0", "\"iat\":18446744073709551615", "{", "}", "null"]);
    let memory_max = |bytes| (1 << 20) + 64 * bytes;
    fuzz(&Target { name, run, seeds, words, input_bytes_max: 4 << 10, memory_max, regressions: REGRESSIONS });
}

#[test]
fn a_hostile_request_is_refused_or_brings_events() {
    let (name, run, seeds) = ("http-request", http::fuzz::request as fn(&[u8]) -> _, http::fuzz::requests());
    let words = pieces(&[
        "\n",
        "\n\n",
        "ce-id: 1\n",
        "ce-subject: \"a\\\"%20\"\n",
        "ce-time: 2018-04-05T03:56:24Z\n",
        "ce-x: %c3%a4\n",
        "ce-data: 1\n",
        "content-type: text/plain; charset=utf-8\n",
        "content-type: application/cloudevents-batch+json\n",
        "content-encoding: gzip\n",
        "authorization: Bearer t\n",
        "anyport-producer: 01234567-89ab-cdef-0123-456789abcdef\n",
        "anyport-number: 18446744073709551615\n",
        "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}",
        "[",
        ",",
        "]",
        "\"data\":",
        "\"data_base64\":\"AA==\"",
        "é",
    ]);
    // A batch of many small events is held as members, as events and as batches.
    let memory_max = |bytes| (2 << 20) + 256 * bytes;
    fuzz(&Target { name, run, seeds, words, input_bytes_max: 16 << 10, memory_max, regressions: REGRESSIONS });
}

#[test]
fn a_hostile_call_of_a_broker_is_refused_or_is_one() {
    let (name, run, seeds) = ("broker-call", serving::fuzz::call as fn(&[u8]) -> _, serving::fuzz::calls());
    let words = pieces(&[
        "\u{1}",
        "partition",
        "filter",
        "from",
        "covers",
        "start",
        "end",
        "command",
        "Open",
        "client",
        "notices",
    ]);
    let memory_max = |bytes| (1 << 20) + 256 * bytes;
    fuzz(&Target { name, run, seeds, words, input_bytes_max: 16 << 10, memory_max, regressions: REGRESSIONS });
}

#[test]
fn a_hostile_peer_is_refused_or_says_what_peers_say() {
    let (name, run, seeds) = ("peer-frames", peer::fuzz::frames as fn(&[u8]) -> _, peer::fuzz::seeds());
    let words = pieces(&["version_min", "version_max", "broker", "cluster", "code", "text", "retry_after_ms", "value"]);
    let memory_max = |bytes| (1 << 20) + 64 * bytes;
    fuzz(&Target { name, run, seeds, words, input_bytes_max: 32 << 10, memory_max, regressions: REGRESSIONS });
}
