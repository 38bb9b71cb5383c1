//! Finding the programs under test, and reading the end of what they complained about.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A program of this project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Broker,
    Cli,
    /// One of `client-sdk/examples`.
    Example(&'static str),
}

impl Program {
    /// Where cargo puts it, from `target/debug` on.
    fn path(self) -> PathBuf {
        match self {
            Self::Broker => "anyportd".into(),
            Self::Cli => "anyport".into(),
            Self::Example(name) => Path::new("examples").join(name),
        }
    }

    fn variable(self) -> Option<&'static str> {
        match self {
            Self::Broker => Some("ANYPORTD"),
            Self::Cli => Some("ANYPORT_CLI"),
            Self::Example(_) => None,
        }
    }

    /// What its variable (ANYPORTD, ANYPORT_CLI) names, else the file beside the running executable or in a folder
    /// above it: a test runs from `target/debug/deps`, a program from `target/debug`.
    pub fn find(self) -> Result<PathBuf> {
        if let Some(variable) = self.variable()
            && let Some(named) = std::env::var_os(variable).map(PathBuf::from)
        {
            return if named.is_file() {
                Ok(named)
            } else {
                bail!("{variable} names {}: no such file", named.display())
            };
        }
        let (this, path) = (std::env::current_exe().context("find the running executable")?, self.path());
        let beside = this.ancestors().skip(1).take(2).map(|folder| folder.join(&path));
        match beside.clone().find(|path| path.is_file()) {
            Some(path) => Ok(path),
            None => bail!("{} is not built (make build): looked for {:?}", path.display(), beside.collect::<Vec<_>>()),
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
