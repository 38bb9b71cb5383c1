//! The frame: what every byte on every stream is part of.
//!
//! ```text
//!   0        4      6       8          12
//!   | length | type | flags | request  | body ... |
//!     u32 LE  u16    u16     u32         `length` bytes
//! ```
//! `request` ties an answer to its request; 0 where none is expected. `flags` is 0 in version 1 and ignored when read.

use bytes::{Bytes, BytesMut};

pub const HEADER_BYTES: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub body_bytes: u32,
    pub message_type: u16,
    pub request: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {bytes} bytes passes the limit of {limit}")]
pub struct FrameTooLarge {
    pub bytes: usize,
    pub limit: usize,
}

impl FrameHeader {
    /// Checked against the stream's limit before anything is allocated.
    pub fn decode(bytes: &[u8; HEADER_BYTES], limit: usize) -> Result<Self, FrameTooLarge> {
        let body_bytes = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        if body_bytes as usize > limit {
            return Err(FrameTooLarge { bytes: body_bytes as usize, limit });
        }
        Ok(Self {
            body_bytes,
            message_type: u16::from_le_bytes([bytes[4], bytes[5]]),
            request: u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
        })
    }

    pub fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[4..6].copy_from_slice(&self.message_type.to_le_bytes());
        bytes[8..].copy_from_slice(&self.request.to_le_bytes());
        bytes
    }
}

/// Appends one frame, its body written by `body`; the length is filled in afterwards.
pub fn push_frame(out: &mut Vec<u8>, message_type: u16, request: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&FrameHeader { body_bytes: 0, message_type, request }.encode());
    body(out);
    let body_bytes =
        u32::try_from(out.len() - start - HEADER_BYTES).expect("bodies are bounded by limits.rs, far below 4 GiB");
    out[start..start + 4].copy_from_slice(&body_bytes.to_le_bytes());
}

/// Bytes of one stream as they arrive, cut into frames. Input: `extend`; output: `next_frame`, until it says None.
#[derive(Debug)]
pub struct FrameBuffer {
    bytes: BytesMut,
    limit: usize,
}

impl FrameBuffer {
    /// `limit` is the longest body the stream may carry.
    pub fn new(limit: usize) -> Self {
        Self { bytes: BytesMut::new(), limit }
    }

    pub fn extend(&mut self, received: &[u8]) {
        self.bytes.extend_from_slice(received);
    }

    /// The next whole frame; its body shares the buffer's memory.
    pub fn next_frame(&mut self) -> Result<Option<(FrameHeader, Bytes)>, FrameTooLarge> {
        let Some(header) = self.bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let header = FrameHeader::decode(header, self.limit)?;
        let whole = HEADER_BYTES + header.body_bytes as usize;
        if self.bytes.len() < whole {
            self.bytes.reserve(whole - self.bytes.len());
            return Ok(None);
        }
        let mut frame = self.bytes.split_to(whole).freeze();
        Ok(Some((header, frame.split_off(HEADER_BYTES))))
    }

    /// Whether the stream ended between frames, as it should.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_says_its_length_and_type() {
        let mut out = Vec::new();
        push_frame(&mut out, 7, 42, |body| body.extend_from_slice(b"hello"));
        let header = FrameHeader::decode(out[..HEADER_BYTES].try_into().expect("12 bytes"), 5).expect("fits");
        assert_eq!(header, FrameHeader { body_bytes: 5, message_type: 7, request: 42 });
        assert_eq!(&out[HEADER_BYTES..], b"hello");
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_arrive() {
        let mut sent = Vec::new();
        for body in [&b"one"[..], b"", b"three"] {
            push_frame(&mut sent, 1, 0, |out| out.extend_from_slice(body));
        }
        for chunk in 1..sent.len() {
            let mut buffer = FrameBuffer::new(5);
            let mut bodies = Vec::new();
            for piece in sent.chunks(chunk) {
                buffer.extend(piece);
                while let Some((_, body)) = buffer.next_frame().expect("within the limit") {
                    bodies.push(body);
                }
            }
            assert_eq!(bodies, [&b"one"[..], b"", b"three"]);
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn a_forged_length_is_refused_before_allocation() {
        let header = FrameHeader { body_bytes: u32::MAX, message_type: 1, request: 0 }.encode();
        assert_eq!(FrameHeader::decode(&header, 10), Err(FrameTooLarge { bytes: u32::MAX as usize, limit: 10 }));
    }
}
