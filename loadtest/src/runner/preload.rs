//! Libraries that stand between a process under test and the C library, so that its disk fails or its clock goes wrong when a
//! test wants it to. They are built from source by the system's C compiler; nothing of them is in the programs.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// Says so past the test harness, which would swallow it.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// Builds a library from this C source. Returns the environment that loads it into a process and tells it of a file, under the
/// name `variable`; none, and says so, where there is no C compiler.
pub fn preload(folder: &Path, source: &str, variable: &str, file: &Path) -> Result<Option<Vec<(String, String)>>> {
    let [written, library] = ["preload.c", "preload.so"].map(|name| folder.join(name));
    std::fs::write(&written, source).with_context(|| format!("write {}", written.display()))?;
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &written]).output();
    if !built.as_ref().is_ok_and(|output| output.status.success()) {
        skipped(&format!("the test needs a C compiler: {built:?}"));
        return Ok(None);
    }
    let named = |path: &Path| path.to_str().map(str::to_owned).context("a path that is text");
    Ok(Some(vec![("LD_PRELOAD".to_owned(), named(&library)?), (variable.to_owned(), named(file)?)]))
}
