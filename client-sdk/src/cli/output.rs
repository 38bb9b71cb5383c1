//! Stdout, written on a thread of its own: a reader that stops reading must not keep Ctrl-C from working.

use std::io::{self, Write};

use serde_json::Value;
use tokio::task::spawn_blocking;

use super::exit::Failure;
use crate::ClientCode;

/// How writing went.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Flushed: whoever reads has it, or the system on the way there.
    All,
    /// Nobody reads any more.
    Closed,
}

/// A result that is all there is. Nobody may be reading.
pub(super) async fn print(text: impl Into<Vec<u8>>) -> Result<(), Failure> {
    match write(text.into()).await {
        Ok(Written::All | Written::Closed) => Ok(()),
        Err(error) => Err(unwritable(&error)),
    }
}

/// The same as an object of a line.
pub(super) async fn print_json(value: &Value) -> Result<(), Failure> {
    print(format!("{value}\n")).await
}

pub(super) fn unwritable(error: &io::Error) -> Failure {
    Failure::of(ClientCode::Unwritable, format!("write to stdout: {error}"))
}

/// Writes and flushes.
pub(super) async fn write(text: Vec<u8>) -> io::Result<Written> {
    let write = move || {
        let mut stdout = io::stdout().lock();
        stdout.write_all(&text)?;
        stdout.flush()
    };
    match spawn_blocking(write).await {
        Ok(Ok(())) => Ok(Written::All),
        Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Written::Closed),
        Ok(Err(error)) => Err(error),
        Err(_) => Ok(Written::Closed),
    }
}
