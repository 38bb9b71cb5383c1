//! Streams that other brokers open, and the first frame of a stream.

use anyport_protocol::message::{DecodeError, FrameHeader, HEADER_BYTES};
use bytes::{Bytes, BytesMut};
use quinn::{RecvStream, SendStream, VarInt};

use crate::net::{FrameReader, FrameWriter, ReadError, WriteError};

/// Why a stream did not come about, or a question on a stream of its own has no answer.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("open a stream: {0}")]
    NotSent(quinn::ConnectionError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A stream of which nothing has been read.
#[derive(Debug)]
pub struct UnreadStream {
    send: SendStream,
    receive: RecvStream,
}

impl UnreadStream {
    pub(super) fn new(send: SendStream, receive: RecvStream) -> Self {
        Self { send, receive }
    }

    /// Its first frame. `limit` says for each type how long the frame may be, and None for a type that is not known.
    pub async fn first_frame(
        &mut self,
        limit: impl Fn(u16) -> Option<usize>,
    ) -> Result<(FrameHeader, Bytes), ReadError> {
        first_frame(&mut self.receive, limit).await
    }

    pub fn into_frames(self, limit: usize) -> (FrameReader, FrameWriter) {
        (FrameReader::new(self.receive, limit), FrameWriter::new(self.send))
    }

    /// Sends the one frame that answers, after which nothing follows.
    pub async fn answer(self, message_type: u16, body: Bytes) -> Result<(), WriteError> {
        write_frame(self.send, message_type, 0, body).await.map(drop)
    }
}

/// A stream with one frame.
#[derive(Debug)]
pub struct UnreadFrame(RecvStream);

impl UnreadFrame {
    pub(super) fn new(receive: RecvStream) -> Self {
        Self(receive)
    }

    pub async fn read(mut self, limit: usize) -> Result<(FrameHeader, Bytes), ReadError> {
        first_frame(&mut self.0, |_| Some(limit)).await
    }
}

pub(super) async fn first_frame(
    stream: &mut RecvStream,
    limit: impl Fn(u16) -> Option<usize>,
) -> Result<(FrameHeader, Bytes), ReadError> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).await.map_err(early)?;
    // The length is looked at only once it is known what it is the length of.
    let message_type = u16::from_le_bytes([header[4], header[5]]);
    let limit = limit(message_type).ok_or(DecodeError::UnknownType(message_type))?;
    let header = FrameHeader::decode(&header, limit)?;
    let mut body = BytesMut::zeroed(header.body_bytes as usize);
    stream.read_exact(&mut body).await.map_err(early)?;
    Ok((header, body.freeze()))
}

fn early(error: quinn::ReadExactError) -> ReadError {
    match error {
        quinn::ReadExactError::FinishedEarly(_) => ReadError::Truncated,
        quinn::ReadExactError::ReadError(gone) => gone.into(),
    }
}

/// Writes the first frame of a stream, the body without copying it. Dropped half way, for whatever reason, it resets the stream: quinn
/// would finish it, and half a frame that looks finished is a broken protocol.
pub(super) async fn write_frame(
    stream: SendStream,
    message_type: u16,
    request: u32,
    body: Bytes,
) -> Result<SendStream, WriteError> {
    let body_bytes = u32::try_from(body.len()).expect("bodies are bounded far below 4 GiB");
    let header = FrameHeader { body_bytes, message_type, request }.encode();
    let mut half = Half(Some(stream));
    let stream = half.0.as_mut().expect("taken only below");
    stream.write_all_chunks(&mut [Bytes::copy_from_slice(&header), body]).await?;
    Ok(half.0.take().expect("taken only here"))
}

/// A stream in the middle of a frame.
struct Half(Option<SendStream>);

impl Drop for Half {
    fn drop(&mut self) {
        if let Some(stream) = &mut self.0 {
            let _ = stream.reset(VarInt::from_u32(0));
        }
    }
}
