//! Events from lines of JSON, read and encoded on a thread of their own while earlier ones are on their way.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use tokio::sync::mpsc;

use super::exit::Failure;
use crate::ClientCode;
use crate::protocol::event::{EncodedEvent, EventError};

const READ_BYTES: usize = 256 << 10;
/// Events that travel together from the reading thread.
const CHUNK_EVENTS: usize = 512;
const CHUNKS: usize = 8;

/// A line longer than any event is not read to its end.
const LINE_BYTES_MAX: u64 = 8 << 20;

#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) events: Vec<Vec<u8>>,
    /// Read so far.
    pub(super) bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    #[error("line {line}: {source}")]
    BadLine { line: u64, source: EventError },
    #[error("line {line}: longer than {LINE_BYTES_MAX} bytes")]
    LongLine { line: u64 },
    #[error("after line {line}: {source}")]
    Read { line: u64, source: io::Error },
}

/// Opens a file, or stdin for `-`, and starts to read. The last item is an error, if there is one: nothing after it is read.
pub(super) fn read(path: &Path) -> Result<mpsc::Receiver<Result<Chunk, InputError>>, Failure> {
    let source = source(path)?;
    let (sender, receiver) = mpsc::channel(CHUNKS);
    tokio::task::spawn_blocking(move || read_all(BufReader::with_capacity(READ_BYTES, source), &sender));
    Ok(receiver)
}

/// A file, or stdin for `-`.
pub(super) fn source(path: &Path) -> Result<Box<dyn Read + Send>, Failure> {
    Ok(if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(open(path)?) })
}

pub(super) fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| unreadable(path, &error).with_next("name a file of JSON events, one a line"))
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::of(ClientCode::Unreadable, format!("{}: {error}", path.display()))
}

fn read_all(mut source: BufReader<impl Read>, sender: &mpsc::Sender<Result<Chunk, InputError>>) {
    let mut lines = Lines { line: 0, bytes: 0, text: Vec::new() };
    loop {
        let mut events = Vec::new();
        let ended = lines.read_chunk(&mut source, &mut events);
        if !events.is_empty() && sender.blocking_send(Ok(Chunk { events, bytes: lines.bytes })).is_err() {
            return;
        }
        match ended {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => return drop(sender.blocking_send(Err(error))),
        }
    }
}

struct Lines {
    line: u64,
    bytes: u64,
    text: Vec<u8>,
}

impl Lines {
    /// Reads until a chunk is full or reading would wait. Returns whether the input has ended.
    fn read_chunk(&mut self, source: &mut BufReader<impl Read>, events: &mut Vec<Vec<u8>>) -> Result<bool, InputError> {
        while events.len() < CHUNK_EVENTS {
            let would_wait = !source.buffer().contains(&b'\n');
            if would_wait && !events.is_empty() {
                return Ok(false);
            }
            if !self.next_line(source)? {
                return Ok(true);
            }
            let json = self.text.trim_ascii();
            if !json.is_empty() {
                let mut event = Vec::with_capacity(json.len());
                EncodedEvent::from_json_into(json, &mut event)
                    .map_err(|source| InputError::BadLine { line: self.line, source })?;
                events.push(event);
            }
        }
        Ok(false)
    }

    fn next_line(&mut self, source: &mut BufReader<impl Read>) -> Result<bool, InputError> {
        self.text.clear();
        let read = source.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut self.text);
        let read = read.map_err(|source| InputError::Read { line: self.line, source })? as u64;
        self.line += 1;
        self.bytes += read;
        if read == LINE_BYTES_MAX && self.text.last() != Some(&b'\n') {
            return Err(InputError::LongLine { line: self.line });
        }
        Ok(read > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;

    fn read_text(text: &str) -> (usize, Option<InputError>) {
        let (sender, mut receiver) = mpsc::channel(100);
        read_all(BufReader::new(text.as_bytes()), &sender);
        let (mut events, mut error) = (0, None);
        while let Ok(item) = receiver.try_recv() {
            match item {
                Ok(chunk) => events += chunk.events.len(),
                Err(failed) => error = Some(failed),
            }
        }
        (events, error)
    }

    #[test]
    fn every_line_is_an_event_and_empty_ones_are_skipped() {
        let text = format!("{EVENT}\n\n  \r\n{EVENT}\r\n{EVENT}");
        assert!(matches!(read_text(&text), (3, None)));
        let many = format!("{EVENT}\n").repeat(3 * CHUNK_EVENTS + 1);
        assert!(matches!(read_text(&many), (events, None) if events == 3 * CHUNK_EVENTS + 1));
    }

    #[test]
    fn a_bad_line_is_named_and_nothing_after_it_is_read() {
        let text = format!("{EVENT}\n\n{{}}\n{EVENT}\n");
        let (events, error) = read_text(&text);
        assert_eq!(events, 1);
        assert!(matches!(error, Some(InputError::BadLine { line: 3, .. })), "{error:?}");
    }

    #[test]
    fn a_line_without_end_is_not_read_into_memory() {
        let text = "x".repeat(LINE_BYTES_MAX as usize + 10);
        assert!(matches!(read_text(&text), (0, Some(InputError::LongLine { line: 1 }))));
    }
}
