//! A small fuzzer that runs as an ordinary test.
//!
//! Inputs are made from seeds, by changes drawn from one printed number; an input of which something new comes is kept and changed
//! further. What is new is told by what came of it: which error, or a value of which shape. That is coarser than the edges that an
//! instrumented build counts, but needs no nightly compiler, no second build of everything and no `unsafe`; and since the decoders here
//! have an error of its own for each fault, nearly every branch that matters shows.
//!
//! `ANYPORT_FUZZ_SECS` says for how long each target runs, `ANYPORT_FUZZ_SEED` repeats a run: the same seed makes the same inputs in the
//! same order. An input that fails is printed in hex and left among the regressions, which are tried before anything else from then on.

mod mutate;
mod outcome;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs};

use allocation_counter::measure;

use mutate::Mutator;
pub use outcome::Outcome;

/// So that all targets together take about a minute of `make test`, and half an hour of `make torture`.
const SECS: u64 = 6;
const SECS_TORTURE: u64 = 180;

/// No input may keep a target busy for longer, however loaded the machine is.
const INPUT_SECS_MAX: u64 = 10;

/// Inputs kept at a time; a new one then takes the place of an old one.
const KEPT_MAX: usize = 1_000;

/// How much of a failing input is printed; the file has all of it.
const PRINTED_BYTES_MAX: usize = 4 << 10;

/// What is fuzzed, and from where it starts.
#[derive(Debug)]
pub struct Target {
    pub name: &'static str,
    /// The folder of the inputs that failed once.
    pub regressions: &'static str,
    /// Panics where the input breaks a promise; else says what came of it.
    pub run: fn(&[u8]) -> Outcome,
    pub seeds: Vec<Vec<u8>>,
    /// Pieces of the language that inputs are written in.
    pub words: Vec<Vec<u8>>,
    pub input_bytes_max: usize,
    /// What an input of so many bytes may make the target hold at one time.
    pub memory_max: fn(usize) -> usize,
}

/// Runs a target for its time.
pub fn fuzz(target: &Target) {
    let seed = number("ANYPORT_FUZZ_SEED").unwrap_or_else(seed_of_now);
    let time = Duration::from_secs(number("ANYPORT_FUZZ_SECS").unwrap_or(secs_default()));
    let mut run = Run { target, seed, tried: 0, seen: HashSet::new(), kept: Vec::new() };
    let mut mutator = Mutator::new(seed, &target.words, target.input_bytes_max);
    for input in regressions(target).into_iter().chain(target.seeds.iter().cloned()) {
        if run.attempt(input.clone()).is_none() {
            run.kept.push(input);
        }
    }
    let begun = Instant::now();
    while begun.elapsed() < time {
        let input = mutator.next_input(&run.kept);
        if let Some(replaced) = run.attempt(input).filter(|_| run.kept.len() > KEPT_MAX) {
            let out = mutator.below(replaced);
            run.kept.swap_remove(out);
        }
    }
    let (tried, kept) = (run.tried, run.seen.len());
    tell(&format!("fuzz {}: {tried} inputs in {} s, {kept} outcomes, seed {seed}", target.name, time.as_secs()));
}

struct Run<'t> {
    target: &'t Target,
    seed: u64,
    tried: u64,
    seen: HashSet<Outcome>,
    kept: Vec<Vec<u8>>,
}

impl Run<'_> {
    /// Gives the target one input; returns how many are kept if this one is now among them.
    fn attempt(&mut self, input: Vec<u8>) -> Option<usize> {
        self.tried += 1;
        let begun = Instant::now();
        let mut outcome = None;
        let counted = catch_unwind(AssertUnwindSafe(|| measure(|| outcome = Some((self.target.run)(&input)))));
        let memory = match counted {
            Ok(counted) => counted.bytes_max,
            Err(panic) => {
                self.keep_failure(&input);
                resume_unwind(panic);
            }
        };
        let (allowed, secs) = ((self.target.memory_max)(input.len()) as u64, begun.elapsed().as_secs());
        if memory > allowed || secs > INPUT_SECS_MAX {
            self.keep_failure(&input);
            panic!(
                "an input of {} bytes took {secs} s and {memory} bytes of memory, where {allowed} are allowed",
                input.len()
            );
        }
        if !self.seen.insert(outcome?) {
            return None;
        }
        self.kept.push(input);
        Some(self.kept.len())
    }

    fn keep_failure(&self, input: &[u8]) {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        let Target { name, regressions, .. } = self.target;
        let mut hasher = DefaultHasher::new();
        input.hash(&mut hasher);
        let path = PathBuf::from(regressions).join(format!("{name}-{:016x}.hex", hasher.finish()));
        let written = fs::create_dir_all(regressions).and_then(|()| fs::write(&path, format!("{hex}\n")));
        let shown = &hex[..hex.len().min(2 * PRINTED_BYTES_MAX)];
        let (seed, tried, path) = (self.seed, self.tried, path.display());
        tell(&format!("fuzz {name}: FAILED at input {tried} of seed {seed}, kept as {path} ({written:?}): {shown}"));
    }
}

/// The inputs of this target that once failed.
fn regressions(target: &Target) -> Vec<Vec<u8>> {
    let Ok(folder) = fs::read_dir(target.regressions) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = folder.map(|entry| entry.expect("read the folder of regressions").path()).collect();
    let own = format!("{}-", target.name);
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&own)));
    paths.sort();
    paths.iter().map(|path| from_hex(&fs::read_to_string(path).expect("read a regression"))).collect()
}

/// The bytes that a text of hexadecimal digits and white space stands for.
pub fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal");
    digits.chunks(2).map(byte).collect()
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a whole number, not {text}")))
}

fn secs_default() -> u64 {
    if env::var_os("ANYPORT_TORTURE").is_some() { SECS_TORTURE } else { SECS }
}

fn seed_of_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// Past the test harness, which hides what a passing test prints.
fn tell(line: &str) {
    writeln!(io::stderr(), "{line}").expect("write to stderr");
}
