//! One outgoing stream of feed frames and what waits to be written to it.

use anyport_protocol::message::StreamKind;

use crate::net::{Connection, FrameWriter, WriteError};

/// The stream is opened when there is first something to write.
#[derive(Debug)]
pub struct Outbox {
    kind: StreamKind,
    priority: i32,
    stream: Option<FrameWriter>,
    /// The stream is open and its first byte, which says what it is for, is not written.
    kind_due: bool,
    waiting: Vec<u8>,
    written: usize,
}

impl Outbox {
    pub fn new(kind: StreamKind, priority: i32) -> Self {
        Self { kind, priority, stream: None, kind_due: false, waiting: Vec::new(), written: 0 }
    }

    pub fn waiting_bytes(&self) -> usize {
        self.waiting.len() - self.written
    }

    pub fn is_empty(&self) -> bool {
        self.waiting_bytes() == 0
    }

    pub fn push(&mut self, frames: Vec<u8>) {
        if self.is_empty() {
            self.waiting = frames;
            self.written = 0;
        } else {
            // What is written goes first: an outbox that is never quite empty would keep all that ever passed through it.
            self.waiting.drain(..self.written);
            self.written = 0;
            self.waiting.extend_from_slice(&frames);
        }
    }

    /// Writes some of what waits. Cancel-safe: a byte counts as written when the stream has taken it, and a stream is kept from
    /// the moment it is open, since one that is dropped ends without having said what it is for.
    pub async fn write_some(&mut self, connection: &Connection) -> Result<(), WriteError> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let opened = none.insert(connection.open_feed_stream(self.priority).await?);
                self.kind_due = true;
                opened
            }
        };
        if self.kind_due {
            stream.write_some(&[self.kind as u8]).await?;
            self.kind_due = false;
        }
        self.written += stream.write_some(&self.waiting[self.written..]).await?;
        if self.written == self.waiting.len() {
            // Memory goes back while there is nothing to say.
            self.waiting = Vec::new();
            self.written = 0;
        }
        Ok(())
    }

    /// Ends the stream once everything is written; the next frame opens another.
    pub fn finish(&mut self) {
        if let Some(mut stream) = self.stream.take() {
            stream.finish();
        }
    }

    /// Drops the stream with all that the client has not got.
    pub fn reset(&mut self) {
        if let Some(mut stream) = self.stream.take() {
            stream.reset();
        }
        self.waiting = Vec::new();
        self.written = 0;
    }
}
