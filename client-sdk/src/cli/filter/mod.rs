//! `anyport filter check`: what a filter is, before anybody subscribes with it. Needs no broker.

mod report;
mod tally;
mod typed;

use std::path::Path;

use super::args::FilterCheck;
use super::exit::{Exit, Failure};
use super::input::{self, Chunk, InputError};
use super::interrupt::Interrupt;
use super::{output, tell};
use crate::protocol::filter::{Dialect, Filter};
use report::Report;
use tally::Tally;
pub(super) use typed::{TypedFilter, read};

pub(super) async fn run(options: FilterCheck, interrupt: &mut Interrupt) -> Result<Exit, Failure> {
    let dialect = if options.strict { Dialect::Strict } else { Dialect::Extended };
    let typed = TypedFilter { text: options.filter.as_deref().unwrap_or_default(), like: options.like.as_deref() };
    let filter = match read(typed, dialect).await? {
        Ok(filter) => filter,
        Err(bad) if tell::is_json() => {
            print(report::json_of_bad(&bad)).await?;
            return Ok(Exit::Refused);
        }
        Err(bad) => return Err(bad.into_failure("correct the filter; docs/filters.md is the reference")),
    };
    let tally = match &options.events {
        Some(path) => tokio::select! {
            tally = count(&filter, path) => Some(tally?),
            exit = interrupt.wait() => return Ok(exit),
        },
        None => None,
    };
    let report = Report { typed: options.filter.as_deref(), filter: &filter, tally: tally.as_ref() };
    print(if tell::is_json() { report.json() } else { report.text() }).await?;
    Ok(Exit::Done)
}

/// Puts every event of a file through the filter.
async fn count(filter: &Filter, path: &Path) -> Result<Tally, Failure> {
    let mut tally = Tally::new(filter);
    let mut chunks = input::read(path)?;
    while let Some(chunk) = chunks.recv().await {
        let Chunk { events, .. } = chunk.map_err(|error| bad_input(path, &error))?;
        events.iter().for_each(|event| tally.add(filter, event));
    }
    Ok(tally)
}

fn bad_input(path: &Path, error: &InputError) -> Failure {
    Failure::new(Exit::Failed, format!("{}: {error}", path.display()), "correct the line, or name another file")
}

async fn print(text: String) -> Result<(), Failure> {
    match output::write(text.into_bytes()).await {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(Exit::Failed, format!("write to stdout: {error}"), "")),
    }
}
