//! Frames on QUIC streams.

use anyport_protocol::message::{DecodeError, FrameBuffer, FrameHeader, FrameTooLarge, StreamKind};
use bytes::Bytes;
use quinn::{RecvStream, SendStream, VarInt};

use super::pipe::{PipeReader, PipeWriter};

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

#[derive(Debug)]
enum Source {
    Quic(RecvStream),
    Pipe(PipeReader),
}

/// Reads frames from one stream. Cancel-safe: what has arrived stays in the buffer.
#[derive(Debug)]
pub struct FrameReader {
    source: Source,
    buffer: FrameBuffer,
}

impl FrameReader {
    pub(super) fn new(stream: RecvStream, body_bytes_max: usize) -> Self {
        Self { source: Source::Quic(stream), buffer: FrameBuffer::new(body_bytes_max) }
    }

    pub(super) fn of_pipe(pipe: PipeReader, body_bytes_max: usize) -> Self {
        Self { source: Source::Pipe(pipe), buffer: FrameBuffer::new(body_bytes_max) }
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
            match self.next_chunk().await? {
                Some(chunk) => self.buffer.extend(&chunk),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(ReadError::Truncated),
            }
        }
    }

    async fn next_chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        match &mut self.source {
            Source::Quic(stream) => Ok(stream.read_chunk(READ_BYTES, true).await?.map(|chunk| chunk.bytes)),
            Source::Pipe(pipe) => pipe.read_chunk().await,
        }
    }
}

#[derive(Debug)]
enum Sink {
    Quic(SendStream),
    Pipe(PipeWriter),
}

/// Writes whole frames to one stream.
#[derive(Debug)]
pub struct FrameWriter {
    sink: Sink,
}

impl FrameWriter {
    pub(super) fn new(stream: SendStream) -> Self {
        Self { sink: Sink::Quic(stream) }
    }

    pub(super) fn of_pipe(pipe: PipeWriter) -> Self {
        Self { sink: Sink::Pipe(pipe) }
    }

    /// Higher goes first; streams of equal priority share.
    pub fn set_priority(&self, priority: i32) {
        if let Sink::Quic(stream) = &self.sink {
            // Fails only for a stream that is already closed, which the next write reports.
            let _ = stream.set_priority(priority);
        }
    }

    /// Writes frames whole. Who drops this future half way must `reset` the stream.
    pub async fn write(&mut self, frames: &[u8]) -> Result<(), WriteError> {
        let mut written = 0;
        while written < frames.len() {
            written += self.write_some(&frames[written..]).await?;
        }
        Ok(())
    }

    /// Writes as much as there is room for and says how much that was. Cancel-safe.
    pub async fn write_some(&mut self, frames: &[u8]) -> Result<usize, WriteError> {
        match &mut self.sink {
            Sink::Quic(stream) => Ok(stream.write(frames).await?),
            Sink::Pipe(pipe) => pipe.write_some(frames).await,
        }
    }

    /// Drops what the client has not yet got.
    pub fn reset(&mut self) {
        match &mut self.sink {
            Sink::Quic(stream) => drop(stream.reset(VarInt::from_u32(0))),
            Sink::Pipe(pipe) => pipe.end(),
        }
    }

    /// Says that nothing follows; what was written still arrives.
    pub fn finish(&mut self) {
        match &mut self.sink {
            Sink::Quic(stream) => drop(stream.finish()),
            Sink::Pipe(pipe) => pipe.end(),
        }
    }
}
