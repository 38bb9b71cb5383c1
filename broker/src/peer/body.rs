//! The bodies of calls, but for Raft's: how a head of named fields and raw bytes become one.
//!
//! ```text
//!   body | version u8 = 1 | length of head u32 LE | head: MessagePack, a map with named fields | raw bytes, to the end |
//! ```
//! Events are raw bytes: nobody on the way re-encodes them. A field that is not known is passed over, one that is missing has its
//! default; what cannot be said like that takes another version.

use anyport_protocol::{Code, Fault};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

const VERSION: u8 = 1;
const PREFIX_BYTES: usize = 5;

pub(crate) fn encode<T: Serialize>(head: &T) -> Bytes {
    encode_with(head, &[])
}

pub(crate) fn encode_with<T: Serialize>(head: &T, raw: &[u8]) -> Bytes {
    let head = rmp_serde::to_vec_named(head).expect("writing to a Vec does not fail and these have no other part");
    let length = u32::try_from(head.len()).expect("a head has no events");
    let mut body = Vec::with_capacity(PREFIX_BYTES + head.len() + raw.len());
    body.push(VERSION);
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(&head);
    body.extend_from_slice(raw);
    body.into()
}

/// The head and the raw bytes.
pub(crate) fn decode<T: DeserializeOwned>(body: &Bytes) -> Result<(T, Bytes), Fault> {
    let malformed = |why: &str| Fault::new(Code::MalformedFrame, format!("what a broker said: {why}"));
    let Some(&[version, a, b, c, d]) = body.first_chunk::<PREFIX_BYTES>() else { return Err(malformed("too short")) };
    if version != VERSION {
        return Err(Fault::new(
            Code::VersionMismatch,
            format!("version {version} of what brokers say is not known here"),
        ));
    }
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let end = PREFIX_BYTES.checked_add(length).filter(|end| *end <= body.len());
    let end = end.ok_or_else(|| malformed("it ends within its head"))?;
    let head = rmp_serde::from_slice(&body[PREFIX_BYTES..end]).map_err(|error| malformed(&error.to_string()))?;
    Ok((head, body.slice(end..)))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Head {
        tail: u64,
    }

    #[test]
    fn a_head_and_raw_bytes_survive_the_way() {
        let body = encode_with(&Head { tail: u64::MAX }, b"frames");
        assert_eq!(decode::<Head>(&body), Ok((Head { tail: u64::MAX }, Bytes::from_static(b"frames"))));
        for length in 0..body.len() - 6 {
            assert!(decode::<Head>(&body.slice(..length)).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let mut body = encode(&Head { tail: 1 }).to_vec();
        body[0] = 2;
        let refused = decode::<Head>(&body.into()).expect_err("not known");
        assert!(refused.is(Code::VersionMismatch), "{refused}");
    }
}
