//! docs/tutorial.md is true: each of its commands is typed into a shell as it stands there, and prints what stands below it.
//!
//! With ANYPORT_WRITE_DOCS=1 the page is made true instead: what differs is written anew from the run.
//! `ANYPORT_WRITE_DOCS=1 cargo test --test tutorial`

mod compare;
mod desk;
mod page;
mod terminal;

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use anyport_loadtest::runner::skipped;
use desk::Desk;
use page::{Act, Page, Step};

const EVERY_TERMINAL: &str = "each";

#[test]
fn every_command_of_the_tutorial_prints_what_the_page_says() -> Result<()> {
    for needed in ["bash", "curl"] {
        if std::process::Command::new(needed).arg("--version").output().is_err() {
            skipped(&format!("the tutorial needs {needed}"));
            return Ok(());
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tutorial.md");
    let text = std::fs::read_to_string(&path).context("read the page")?;
    let page = Page::parse(&text)?;
    let writes = std::env::var_os("ANYPORT_WRITE_DOCS").is_some();
    let mut desk = Desk::set(writes)?;
    let mut written = Vec::new();
    for (index, step) in page.steps.iter().enumerate() {
        let printed = play(&mut desk, &page, index).with_context(|| format!("docs/tutorial.md, line {}", step.line))?;
        if !compare::is_as_said(&step.output, &printed) {
            ensure!(writes, "docs/tutorial.md, line {}: {}", step.line, compare::difference(&step.output, &printed));
            written.push((step, printed));
        }
    }
    if !written.is_empty() {
        std::fs::write(&path, Page::rewritten(&text, written)).context("write the page")?;
    }
    Ok(())
}

/// Does one step, and returns what its terminal has printed then.
fn play(desk: &mut Desk, page: &Page, index: usize) -> Result<Vec<String>> {
    let step = &page.steps[index];
    match &step.act {
        Act::Type(command) if step.terminal == EVERY_TERMINAL => {
            ensure!(step.output.is_empty(), "what is typed in every terminal prints nothing");
            desk.type_in_each(command);
            Ok(Vec::new())
        }
        Act::Type(command) if page.goes_on_after(index) => desk.terminal(&step.terminal)?.start(command, &step.output),
        Act::Type(command) => {
            let (printed, code) = desk.terminal(&step.terminal)?.run(command)?;
            if code != 0 && !page.steps.get(index + 1).is_some_and(asks_for_the_code) {
                bail!("it ended with {code}, and `echo $?` does not follow; it printed {printed:#?}");
            }
            Ok(printed)
        }
        Act::GoOn => desk.terminal(&step.terminal)?.go_on(&step.output),
        Act::Interrupt => desk.terminal(&step.terminal)?.interrupt(),
        Act::End => desk.terminal(&step.terminal)?.ended(),
    }
}

fn asks_for_the_code(step: &Step) -> bool {
    matches!(&step.act, Act::Type(command) if command == "echo $?")
}
