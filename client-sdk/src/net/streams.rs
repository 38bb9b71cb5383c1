//! Frames on QUIC streams.

use anyport_protocol::message::{DecodeError, FrameBuffer, FrameHeader, FrameTooLarge, StreamKind};
use bytes::Bytes;
use quinn::{RecvStream, SendStream};

/// Read at a time; quinn hands over what it has.
const READ_BYTES: usize = 256 << 10;

#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error(transparent)]
    TooLarge(#[from] FrameTooLarge),
    #[error("the stream ended within a frame")]
    Truncated,
    #[error("the stream's first byte is {0}, which names no kind of stream that a broker opens")]
    UnknownKind(u8),
    #[error(transparent)]
    Body(#[from] DecodeError),
    #[error("more bytes came than were asked for")]
    CreditPassed,
    #[error("read a stream: {0}")]
    Read(#[from] quinn::ReadError),
    #[error("write a stream: {0}")]
    Write(#[from] quinn::WriteError),
    #[error("open a stream: {0}")]
    Open(#[from] quinn::ConnectionError),
}

impl StreamError {
    /// The peer broke the protocol; otherwise it, or the stream, is merely gone.
    pub(crate) fn is_violation(&self) -> bool {
        !matches!(self, Self::Read(_) | Self::Write(_) | Self::Open(_))
    }
}

/// Reads frames from one stream. Cancel-safe: what has arrived stays in the buffer.
#[derive(Debug)]
pub(crate) struct FrameReader {
    stream: RecvStream,
    buffer: FrameBuffer,
}

impl FrameReader {
    pub(super) fn new(stream: RecvStream, body_bytes_max: usize) -> Self {
        Self { stream, buffer: FrameBuffer::new(body_bytes_max) }
    }

    /// What the stream's opener says it is for.
    pub(super) async fn kind(&mut self) -> Result<StreamKind, StreamError> {
        let mut kind = [0];
        match self.stream.read_exact(&mut kind).await {
            Ok(()) => StreamKind::from_byte(kind[0]).ok_or(StreamError::UnknownKind(kind[0])),
            Err(quinn::ReadExactError::FinishedEarly(_)) => Err(StreamError::Truncated),
            Err(quinn::ReadExactError::ReadError(gone)) => Err(gone.into()),
        }
    }

    /// The next frame; None when the broker has finished the stream between frames.
    pub(crate) async fn next(&mut self) -> Result<Option<(FrameHeader, Bytes)>, StreamError> {
        loop {
            if let Some(frame) = self.buffer.next_frame()? {
                return Ok(Some(frame));
            }
            match self.stream.read_chunk(READ_BYTES, true).await? {
                Some(chunk) => self.buffer.extend(&chunk.bytes),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(StreamError::Truncated),
            }
        }
    }
}

/// Writes frames to one stream.
#[derive(Debug)]
pub(crate) struct FrameWriter {
    stream: SendStream,
}

impl FrameWriter {
    pub(super) fn new(stream: SendStream) -> Self {
        Self { stream }
    }

    /// Writes whole frames. Not to be dropped half way.
    pub(crate) async fn write(&mut self, frames: &[u8]) -> Result<(), StreamError> {
        Ok(self.stream.write_all(frames).await?)
    }

    /// Writes as much as there is room for, without copying, and takes that off the front of `chunks`. Cancel-safe.
    pub(crate) async fn write_some(&mut self, chunks: &mut Vec<Bytes>) -> Result<(), StreamError> {
        let written = self.stream.write_chunks(chunks).await?;
        chunks.drain(..written.chunks);
        Ok(())
    }
}
