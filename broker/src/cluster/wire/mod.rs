//! What replicas of a group say to each other: the body of a `Call::Raft`, in our own bytes, so that brokers with another version
//! of the engine understand it.
//!
//! ```text
//!  body           version u8 = 1 | (length u32 | request) *         questions of one broker to another, of any groups
//!  answers        version u8 = 1 | (length u32 | answer) *          as many, in the same order
//!
//!  request        group 3 (see GroupId::code) | target replica u64 | kind u8 | ...
//!   1 append      vote | id? | commit id? | count u32 | entry *     id? is the entry before the first
//!   2 vote        vote | id?                                        the last entry of who stands
//!   3 snapshot    vote | meta | bytes to the end
//!   4 piece       id | bytes u64 | at u64 | crc32c u32 | bytes to the end     of a snapshot that is a file; `bytes` of it all
//!   5 install     vote | meta | bytes u64 | crc32c u32              the file that came in pieces
//!
//!  answer         kind u8 | ...
//!   0 no such replica
//!   1 appended
//!   2 appended up to  id?
//!   3 conflict
//!   4 higher vote     vote
//!   5 voted           vote | granted u8 | id?
//!   6 installed       vote
//!   7 has             bytes u64                                     how much there is of the file
//!   8 late
//!   9 failed          UTF-8 to the end
//!
//!  id             term u64 | node u64 | index u64
//!  id?            u8 = 0, or u8 = 1 | id
//!  vote           term u64 | node u64 | committed u8
//!  meta           id? | id? | length u32 | membership (see encoding.rs)      the last entry, and the one of the membership
//!  entry          id | kind u8 = 0 blank, 1 membership, 2 data | parts u32 | length u32 * | bytes *
//! ```
//! Integers are little endian. The bytes of an entry's parts are those that the store keeps; here they are slices of what was
//! received.

mod answer;
mod fields;
mod request;

pub(super) use answer::Answer;
pub(super) use fields::BadMessage;
pub(super) use request::{Asked, Install, Piece, Request};

use bytes::{BufMut, Bytes, BytesMut};

use fields::Fields;

const VERSION: u8 = 1;

/// Puts parts that are encoded already into one body.
pub(super) fn join(parts: &[Bytes]) -> Bytes {
    let mut body = BytesMut::with_capacity(1 + parts.iter().map(|part| 4 + part.len()).sum::<usize>());
    body.put_u8(VERSION);
    for part in parts {
        body.put_u32_le(u32::try_from(part.len()).expect("an append is bounded, and so are pieces of snapshots"));
        body.put_slice(part);
    }
    body.freeze()
}

/// The parts of a body.
pub(super) fn split(body: Bytes) -> Result<Vec<Bytes>, BadMessage> {
    let mut fields = Fields(body);
    match fields.u8()? {
        VERSION => {}
        version => return Err(BadMessage::UnknownVersion { version }),
    }
    let mut parts = Vec::new();
    while !fields.0.is_empty() {
        let length = fields.u32()?;
        parts.push(fields.bytes(length as usize)?);
    }
    Ok(parts)
}

#[cfg(test)]
mod tests;
