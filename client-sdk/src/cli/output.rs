//! Stdout, written on a thread of its own: a reader that stops reading must not keep Ctrl-C from working.

use std::io::{self, Write};

use tokio::task::spawn_blocking;

/// How writing went.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Flushed: whoever reads has it, or the system on the way there.
    All,
    /// Nobody reads any more.
    Closed,
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
