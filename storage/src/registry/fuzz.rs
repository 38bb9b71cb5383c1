//! Hostile bytes for what is stored of clients.

use std::collections::BTreeMap;

use anyport_protocol::ClientId;
use anyport_protocol::limits::{SUBSCRIPTIONS_PER_CLIENT_MAX, TOMBSTONES_PER_CLIENT_MAX};

use super::{ClientRecord, CommandBatch, decide};
use crate::fuzz::Outcome;

const CLIENT: ClientId = ClientId(*b"client of a day.");
const FORMAT: u8 = 2;

/// A record's body, under a good checksum.
pub(crate) fn record(body: &[u8]) -> Outcome {
    let sum = crc32c::crc32c(&[CLIENT.as_bytes(), &[FORMAT][..], body].concat());
    let record = ClientRecord::decode(CLIENT, &[&[FORMAT], &sum.to_le_bytes()[..], body].concat());
    if let Ok(record) = &record {
        assert_eq!(ClientRecord::decode(CLIENT, &record.encode(CLIENT)).as_ref(), Ok(record));
    }
    Outcome::of_result(&record)
}

/// An entry of commands. Whatever they are, the records that come of them keep their rules and can be stored.
pub(crate) fn commands(bytes: &[u8]) -> Outcome {
    let batch = CommandBatch::decode(bytes);
    let Ok(read) = &batch else { return Outcome::of_result(&batch) };
    assert_eq!(CommandBatch::decode(&read.encode()).as_ref(), Ok(read));
    let mut records: BTreeMap<ClientId, ClientRecord> = BTreeMap::new();
    let mut replies = Outcome::exactly(0);
    for command in &read.commands {
        let client = command.client();
        let (changed, reply) = decide(records.get(&client), command);
        replies = replies.and(Outcome::exactly(std::mem::discriminant(&reply)));
        if let Some(record) = changed {
            assert!(record.subscriptions.len() <= SUBSCRIPTIONS_PER_CLIENT_MAX);
            assert!(record.tombstones.len() <= TOMBSTONES_PER_CLIENT_MAX);
            assert_eq!(ClientRecord::decode(client, &record.encode(client)).as_ref(), Ok(&record));
            records.insert(client, record);
        }
    }
    Outcome::of_result(&batch).and(replies)
}
