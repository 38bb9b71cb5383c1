//! A stream within this process, for what speaks frames and needs no network: brokers that test each other.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_util::sync::CancellationToken;

use super::streams::{FrameReader, FrameWriter, ReadError, WriteError};

/// One direction: what is written comes out of the reader, as long as the link is not cut. Who writes waits while `bytes` are
/// not read.
pub fn pipe(bytes: usize, body_bytes_max: usize, cut: &CancellationToken) -> (FrameReader, FrameWriter) {
    let (near, far) = duplex(bytes);
    let reader = FrameReader::of_pipe(PipeReader { pipe: near, cut: cut.clone() }, body_bytes_max);
    (reader, FrameWriter::of_pipe(PipeWriter { pipe: Some(far), cut: cut.clone() }))
}

const READ_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct PipeReader {
    pipe: DuplexStream,
    cut: CancellationToken,
}

impl PipeReader {
    pub(super) async fn read_chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        let mut chunk = BytesMut::with_capacity(READ_BYTES);
        tokio::select! {
            biased;
            () = self.cut.cancelled() => Err(ReadError::Gone(quinn::ReadError::ConnectionLost(quinn::ConnectionError::Reset))),
            read = self.pipe.read_buf(&mut chunk) => Ok(matches!(read, Ok(1..)).then(|| chunk.freeze())),
        }
    }
}

#[derive(Debug)]
pub(super) struct PipeWriter {
    /// None once nothing more is to be written.
    pipe: Option<DuplexStream>,
    cut: CancellationToken,
}

impl PipeWriter {
    pub(super) async fn write_some(&mut self, frames: &[u8]) -> Result<usize, WriteError> {
        let Some(pipe) = &mut self.pipe else { return Err(WriteError::Stopped) };
        tokio::select! {
            biased;
            () = self.cut.cancelled() => Err(WriteError::Gone(quinn::WriteError::ConnectionLost(quinn::ConnectionError::Reset))),
            written = pipe.write(frames) => written.map_err(|_| WriteError::Stopped),
        }
    }

    pub(super) fn end(&mut self) {
        self.pipe = None;
    }
}
