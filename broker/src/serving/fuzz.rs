//! Calls of any bytes: the first names what it is taken for.

use anyport_protocol::filter::Filter;
use anyport_protocol::{ClientId, Incarnation, Nonce, Offset, OffsetRange, PartitionId, SessionEpoch, WallMs};
use anyport_storage::registry::{Command, Reply};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::words::{
    BoundsAnswer, BoundsRequest, CommandAnswer, CommandRequest, FindAnswer, FindRequest, Notice, Notices, ReadAnswer,
    ReadRequest, RecordAnswer, RecordRequest, Sought, TailOpened, TailRequest,
};
use crate::fuzz::Outcome;
use crate::peer::body::{decode, encode, encode_with};

pub(crate) fn call(bytes: &[u8]) -> Outcome {
    let Some((kind, body)) = bytes.split_first() else { return Outcome::exactly(()) };
    let body = Bytes::copy_from_slice(body);
    match kind % 11 {
        0 => said::<ReadRequest>(&body),
        1 => said::<ReadAnswer>(&body),
        2 => said::<BoundsRequest>(&body),
        3 => said::<BoundsAnswer>(&body),
        4 => said::<FindRequest>(&body),
        5 => said::<FindAnswer>(&body),
        6 => said::<CommandRequest>(&body).and(said::<CommandAnswer>(&body)),
        7 => said::<RecordRequest>(&body).and(said::<RecordAnswer>(&body)),
        8 => said::<TailRequest>(&body),
        9 => said::<TailOpened>(&body),
        _ => said::<Notices>(&body),
    }
}

/// What is understood is said again in the same way.
fn said<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(body: &Bytes) -> Outcome {
    match decode::<T>(body) {
        Ok((head, raw)) => {
            assert_eq!(decode::<T>(&encode_with(&head, &raw)), Ok((head, raw.clone())));
            Outcome::exactly(raw.len())
        }
        Err(fault) => Outcome::exactly(fault.code),
    }
}

pub(crate) fn calls() -> Vec<Vec<u8>> {
    let (client, partition) = (ClientId::from_bytes([7; 16]), PartitionId(3));
    let (epoch, nonce, now) = (SessionEpoch(9), Nonce([9; 16]), WallMs(1));
    let range = OffsetRange::new(Offset(3), Offset(9));
    let filter = Filter::compile("type = 'quake'").expect("compiles").text().to_owned();
    let read = ReadRequest { partition, incarnation: Incarnation(4), filter, from: Offset(3), bytes_max: 1 << 18 };
    let answer = ReadAnswer { covers: range, credit_bytes: 12, events: 1, tail: Offset(9) };
    let numbered = |kind: u8, body: Bytes| [&[kind], &body[..]].concat();
    vec![
        numbered(0, encode(&read)),
        numbered(1, encode_with(&answer, b"frames")),
        numbered(2, encode(&BoundsRequest { partitions: vec![partition; 3] })),
        numbered(3, encode(&BoundsAnswer { bounds: vec![(partition, range)] })),
        numbered(4, encode(&FindRequest { partition, sought: Sought::AppendedAt(Offset(1)) })),
        numbered(5, encode(&FindAnswer::OffsetAt(Offset(1)))),
        numbered(6, encode(&CommandRequest { command: Command::Open { client, epoch, nonce, now } })),
        numbered(6, encode(&CommandAnswer { reply: Reply::Registered { created: now }, index: 7 })),
        numbered(7, encode(&RecordRequest { client, seen: 90 })),
        numbered(7, encode(&RecordAnswer { record: None, index: 91 })),
        numbered(8, encode(&TailRequest { partition })),
        numbered(9, encode(&TailOpened { tail: Offset(1) })),
        numbered(10, encode(&Notices { notices: vec![Notice::SessionOpened { client, epoch, nonce }] })),
    ]
}
