//! Finding the programs under test, and reading the end of what they complained about.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A program of this project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Broker,
    Cli,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Broker => "anyportd",
            Self::Cli => "anyport",
        }
    }

    fn variable(self) -> &'static str {
        match self {
            Self::Broker => "ANYPORTD",
            Self::Cli => "ANYPORT_CLI",
        }
    }

    /// What its variable (ANYPORTD, ANYPORT_CLI) names, else the file beside the running executable or in a folder
    /// above it: a test runs from `target/debug/deps`, a program from `target/debug`.
    pub fn find(self) -> Result<PathBuf> {
        if let Some(named) = std::env::var_os(self.variable()) {
            let named = PathBuf::from(named);
            return if named.is_file() {
                Ok(named)
            } else {
                bail!("{} names {}: no such file", self.variable(), named.display())
            };
        }
        let this = std::env::current_exe().context("find the running executable")?;
        let beside = this.ancestors().skip(1).take(2).map(|folder| folder.join(self.name()));
        match beside.clone().find(|path| path.is_file()) {
            Some(path) => Ok(path),
            None => bail!("{} is not built: looked for {:?}", self.name(), beside.collect::<Vec<_>>()),
        }
    }
}

const TAIL_BYTES: u64 = 4 << 10;

/// The last few KiB of a log, to be shown beside an error; a note instead where there is none.
pub(super) fn tail(path: &Path) -> String {
    read_tail(path).unwrap_or_else(|error| format!("(no log at {}: {error})", path.display()))
}

fn read_tail(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
