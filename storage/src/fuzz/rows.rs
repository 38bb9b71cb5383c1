//! Keys, seals, heads of records, the mark.

use super::Outcome;
use crate::log::RecordHead;
use crate::mark::Mark;
use crate::{keys, sealed};

pub(super) fn keys(key: &[u8]) -> Outcome {
    let (record, offset) = (keys::parse_record(key), keys::parse_offset(key));
    if let Some((index, part)) = record {
        assert_eq!(keys::record(index, part), key);
    }
    if let (Some(offset), [high, low, ..]) = (offset, key) {
        let partition = anyport_protocol::PartitionId(u16::from_be_bytes([*high, *low]));
        assert_eq!(keys::offset(partition, offset), key);
    }
    Outcome::exactly((record.is_some(), offset.is_some()))
}

pub(super) fn sealed(value: &[u8]) -> Outcome {
    let body = sealed::unseal(b"key", value);
    if let Ok(body) = body {
        let mut again = Vec::new();
        sealed::seal(b"key", &[body], &mut again);
        assert_eq!(again, value);
    }
    Outcome::of_result(&body.map(<[u8]>::len))
}

pub(super) fn record_head(body: &[u8]) -> Outcome {
    let head = RecordHead::parse(42, body);
    if let Ok((head, rest)) = &head {
        assert_eq!([head.encode().as_slice(), rest].concat(), body);
        head.assemble(vec![bytes::Bytes::copy_from_slice(rest)]);
    }
    Outcome::of_result(&head.map(|(head, _)| head))
}

/// The bytes of a mark, whatever its checksum was.
pub(super) fn mark(bytes: &[u8]) -> Outcome {
    let mut bytes = bytes.to_vec();
    if let Some(body_bytes) = bytes.len().checked_sub(4) {
        let sum = crc32c::crc32c(&bytes[..body_bytes]).to_le_bytes();
        bytes[body_bytes..].copy_from_slice(&sum);
    }
    let mark = Mark::decode(&bytes);
    if let Ok(mark) = &mark {
        assert_eq!(Mark::decode(&mark.encode()), Ok(*mark));
    }
    Outcome::of_result(&mark.map(|mark| (mark.clean, mark.relaxed)))
}
