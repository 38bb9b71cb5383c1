//! Frames on QUIC streams.

use anyport_protocol::message::{DecodeError, FrameBuffer, FrameHeader, FrameTooLarge, StreamKind};
use bytes::Bytes;
use quinn::{RecvStream, SendStream, VarInt};

/// Read at a time; quinn hands over what it has, so a small stream costs no such buffer.
const READ_BYTES: usize = 256 << 10;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    TooLarge(#[from] FrameTooLarge),
    #[error("the stream ended within a frame")]
    Truncated,
    #[error("the stream's first byte is {0}, which names no kind of stream")]
    UnknownKind(u8),
    #[error(transparent)]
    Body(#[from] DecodeError),
    /// The connection is gone or the client reset the stream: nobody to answer.
    #[error("read a stream: {0}")]
    Gone(#[from] quinn::ReadError),
}

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The client does not want this stream any more.
    #[error("the client stopped the stream")]
    Stopped,
    #[error("write a stream: {0}")]
    Gone(quinn::WriteError),
    #[error("open a stream: {0}")]
    Open(#[from] quinn::ConnectionError),
}

impl From<quinn::WriteError> for WriteError {
    fn from(error: quinn::WriteError) -> Self {
        match error {
            quinn::WriteError::Stopped(_) => Self::Stopped,
            gone => Self::Gone(gone),
        }
    }
}

/// Reads frames from one stream. Cancel-safe: what has arrived stays in the buffer.
#[derive(Debug)]
pub struct FrameReader {
    stream: RecvStream,
    buffer: FrameBuffer,
}

impl FrameReader {
    pub(super) fn new(stream: RecvStream, body_bytes_max: usize) -> Self {
        Self { stream, buffer: FrameBuffer::new(body_bytes_max) }
    }

    /// What the stream's opener says it is for.
    pub(super) async fn kind(stream: &mut RecvStream) -> Result<StreamKind, ReadError> {
        let mut kind = [0];
        match stream.read_exact(&mut kind).await {
            Ok(()) => StreamKind::from_byte(kind[0]).ok_or(ReadError::UnknownKind(kind[0])),
            Err(quinn::ReadExactError::FinishedEarly(_)) => Err(ReadError::Truncated),
            Err(quinn::ReadExactError::ReadError(gone)) => Err(gone.into()),
        }
    }

    /// The next frame; None when the client has finished the stream between frames.
    pub async fn next(&mut self) -> Result<Option<(FrameHeader, Bytes)>, ReadError> {
        loop {
            if let Some(frame) = self.buffer.next_frame()? {
                return Ok(Some(frame));
            }
            match self.stream.read_chunk(READ_BYTES, true).await? {
                Some(chunk) => self.buffer.extend(&chunk.bytes),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(ReadError::Truncated),
            }
        }
    }
}

/// Writes whole frames to one stream.
#[derive(Debug)]
pub struct FrameWriter {
    stream: SendStream,
}

impl FrameWriter {
    pub(super) fn new(stream: SendStream) -> Self {
        Self { stream }
    }

    /// Higher goes first; streams of equal priority share.
    pub fn set_priority(&self, priority: i32) {
        // Fails only for a stream that is already closed, which the next write reports.
        let _ = self.stream.set_priority(priority);
    }

    /// Writes frames whole. Who drops this future half way must `reset` the stream.
    pub async fn write(&mut self, frames: &[u8]) -> Result<(), WriteError> {
        Ok(self.stream.write_all(frames).await?)
    }

    /// Writes as much as there is room for and says how much that was. Cancel-safe.
    pub async fn write_some(&mut self, frames: &[u8]) -> Result<usize, WriteError> {
        Ok(self.stream.write(frames).await?)
    }

    /// Drops what the client has not yet got.
    pub fn reset(&mut self) {
        let _ = self.stream.reset(VarInt::from_u32(0));
    }

    /// Says that nothing follows; what was written still arrives.
    pub fn finish(&mut self) {
        let _ = self.stream.finish();
    }
}
