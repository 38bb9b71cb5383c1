//! A client's record as the bytes of its row.
//!
//! ```text
//!  format u8 = 2 | crc32c u32 LE | body       the checksum is over client id, format and body, so that a record
//!                                             found in another client's row does not pass
//!
//!  body          = v created | v last_seen | v epoch | nonce 16 B | v next_incarnation | v count | subscription * count
//!                  | v count | tombstone * count
//!  subscription  = text name | text filter | v incarnation | flags u8 | v inactive_expiry_secs | v last_used
//!                  | v partitions | cursor * partitions (starts) | cursor * partitions (cursors)
//!  cursor        = v log_epoch | v offset
//!  tombstone     = text name | v incarnation | v expired
//!  text          = v length | UTF-8
//!  v             = varint (see `fields`)
//!  flags         = bit 0: temporary; every other bit is refused until it has a meaning
//! ```
//! Format 1 has no tombstones and no flags. It is read as ever, and becomes format 2 when its client does something.
//!
//! There may be a million of these and nearly all lie still, so they are written by hand: a client with one subscription over
//! eight partitions takes about 200 bytes.

use anyport_protocol::{
    BadName, ClientId, Cursor, Incarnation, LogEpoch, Nonce, Offset, SessionEpoch, SubscriptionName, WallMs,
};

use super::fields::{Fields, put_text, put_varint};
use super::record::{ClientRecord, SubscriptionRecord, Tombstone};

const FORMAT: u8 = 2;
const FORMAT_WITHOUT_TOMBSTONES: u8 = 1;

const TEMPORARY: u8 = 1;

/// Why bytes are not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("has format {format}, and this program reads formats up to {FORMAT}")]
    UnknownFormat { format: u8 },
    #[error("has checksum {stored:08x}, and its bytes give {computed:08x}")]
    Checksum { stored: u32, computed: u32 },
    #[error("ends within {field}")]
    Truncated { field: &'static str },
    #[error("holds a number too large for {field}")]
    OutOfRange { field: &'static str },
    #[error("holds bytes that are no text in {field}")]
    NotText { field: &'static str },
    #[error("holds a bad name: {0}")]
    Name(#[from] BadName),
    #[error("has unknown flags {flags:#04x}")]
    UnknownFlags { flags: u8 },
    #[error("holds incarnation {incarnation}, and the next to be given is {next}")]
    Incarnation { incarnation: Incarnation, next: Incarnation },
    #[error("goes on for {count} bytes after its end")]
    TrailingBytes { count: usize },
}

impl ClientRecord {
    /// The row of `client`.
    pub fn encode(&self, client: ClientId) -> Vec<u8> {
        let mut body = Vec::with_capacity(256);
        put_varint(&mut body, self.created.0);
        put_varint(&mut body, self.last_seen.0);
        put_varint(&mut body, self.epoch.0);
        body.extend_from_slice(self.nonce.as_bytes());
        put_varint(&mut body, self.next_incarnation.0);
        put_varint(&mut body, self.subscriptions.len() as u64);
        for subscription in &self.subscriptions {
            put_subscription(&mut body, subscription);
        }
        put_varint(&mut body, self.tombstones.len() as u64);
        for tombstone in &self.tombstones {
            put_text(&mut body, tombstone.name.as_str());
            put_varint(&mut body, tombstone.incarnation.0);
            put_varint(&mut body, tombstone.expired.0);
        }
        let mut out = Vec::with_capacity(5 + body.len());
        out.push(FORMAT);
        out.extend_from_slice(&checksum(client, FORMAT, &body).to_le_bytes());
        out.extend_from_slice(&body);
        out
    }

    /// Reads the row of `client`.
    pub fn decode(client: ClientId, bytes: &[u8]) -> Result<Self, RecordError> {
        let mut head = Fields::new(bytes);
        let format = head.byte("format")?;
        if !(FORMAT_WITHOUT_TOMBSTONES..=FORMAT).contains(&format) {
            return Err(RecordError::UnknownFormat { format });
        }
        let stored = u32::from_le_bytes(head.array("checksum")?);
        let body = &bytes[5..];
        let computed = checksum(client, format, body);
        if stored != computed {
            return Err(RecordError::Checksum { stored, computed });
        }
        let mut fields = Fields::new(body);
        let record = record(&mut fields, format)?;
        fields.end()?;
        Ok(record)
    }
}

fn checksum(client: ClientId, format: u8, body: &[u8]) -> u32 {
    let head = crc32c::crc32c_append(crc32c::crc32c(client.as_bytes()), &[format]);
    crc32c::crc32c_append(head, body)
}

fn put_subscription(out: &mut Vec<u8>, subscription: &SubscriptionRecord) {
    assert_eq!(subscription.starts.len(), subscription.cursors.len(), "each partition has a start and a cursor");
    put_text(out, subscription.name.as_str());
    put_text(out, &subscription.filter);
    put_varint(out, subscription.incarnation.0);
    out.push(if subscription.temporary { TEMPORARY } else { 0 });
    put_varint(out, subscription.inactive_expiry_secs);
    put_varint(out, subscription.last_used.0);
    put_varint(out, subscription.starts.len() as u64);
    for cursor in subscription.starts.iter().chain(&subscription.cursors) {
        put_varint(out, u64::from(cursor.epoch.0));
        put_varint(out, cursor.offset.0);
    }
}

fn record(fields: &mut Fields<'_>, format: u8) -> Result<ClientRecord, RecordError> {
    let created = WallMs(fields.varint("created")?);
    let last_seen = WallMs(fields.varint("last_seen")?);
    let epoch = SessionEpoch(fields.varint("epoch")?);
    let nonce = Nonce::from_bytes(fields.array("nonce")?);
    let next = Incarnation(fields.varint("next_incarnation")?);
    let count = fields.varint("subscriptions")?;
    let subscriptions = fields.list(count, |fields| subscription(fields, format))?;
    let tombstones = match format {
        FORMAT_WITHOUT_TOMBSTONES => Vec::new(),
        _ => {
            let count = fields.varint("tombstones")?;
            fields.list(count, tombstone)?
        }
    };
    // A number about to be given out again would let an old cursor pass for one of today.
    let living = subscriptions.iter().map(|subscription| subscription.incarnation);
    let ended = tombstones.iter().map(|tombstone| tombstone.incarnation);
    match living.chain(ended).find(|incarnation| *incarnation >= next) {
        Some(incarnation) => Err(RecordError::Incarnation { incarnation, next }),
        None => {
            Ok(ClientRecord { created, last_seen, epoch, nonce, next_incarnation: next, subscriptions, tombstones })
        }
    }
}

fn tombstone(fields: &mut Fields<'_>) -> Result<Tombstone, RecordError> {
    let name = SubscriptionName::try_from(fields.text("name")?)?;
    let incarnation = Incarnation(fields.varint("incarnation")?);
    Ok(Tombstone { name, incarnation, expired: WallMs(fields.varint("expired")?) })
}

fn subscription(fields: &mut Fields<'_>, format: u8) -> Result<SubscriptionRecord, RecordError> {
    let name = SubscriptionName::try_from(fields.text("name")?)?;
    let filter = fields.text("filter")?;
    let incarnation = Incarnation(fields.varint("incarnation")?);
    let flags = fields.byte("flags")?;
    let known = if format == FORMAT_WITHOUT_TOMBSTONES { 0 } else { TEMPORARY };
    if flags & !known != 0 {
        return Err(RecordError::UnknownFlags { flags });
    }
    let temporary = flags & TEMPORARY != 0;
    let inactive_expiry_secs = fields.varint("inactive_expiry_secs")?;
    let last_used = WallMs(fields.varint("last_used")?);
    let partitions = fields.varint("partitions")?;
    let starts = fields.list(partitions, cursor)?;
    let cursors = fields.list(partitions, cursor)?;
    Ok(SubscriptionRecord { name, filter, incarnation, inactive_expiry_secs, temporary, last_used, starts, cursors })
}

fn cursor(fields: &mut Fields<'_>) -> Result<Cursor, RecordError> {
    let epoch = fields.varint("log_epoch")?;
    let epoch = LogEpoch(u32::try_from(epoch).map_err(|_| RecordError::OutOfRange { field: "log_epoch" })?);
    Ok(Cursor { epoch, offset: Offset(fields.varint("offset")?) })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../tests/golden/registry/record-2.bin");
    const GOLDEN_1: &[u8] = include_bytes!("../../tests/golden/registry/record-1.bin");

    const CLIENT: ClientId = ClientId(*b"client of a day.");

    /// One subscription over eight partitions, well into a long life.
    fn usual() -> ClientRecord {
        let at = |offset| Cursor { epoch: LogEpoch(1), offset: Offset(offset) };
        ClientRecord {
            created: WallMs(1_780_000_000_000),
            last_seen: WallMs(1_790_000_000_123),
            epoch: SessionEpoch(412),
            nonce: Nonce::from_bytes(*b"sixteen random b"),
            next_incarnation: Incarnation(5),
            subscriptions: vec![SubscriptionRecord {
                name: "quakes".parse().expect("a good name"),
                filter: "type = 'gov.usgs.quake' AND data.mag >= 4.5".into(),
                incarnation: Incarnation(4),
                inactive_expiry_secs: 2_592_000,
                temporary: false,
                last_used: WallMs(1_790_000_000_123),
                starts: (0..8).map(|i| at(1_000_000_000 + i)).collect(),
                cursors: (0..8).map(|i| at(1_200_000_000 + i * 1000)).collect(),
            }],
            tombstones: Vec::new(),
        }
    }

    /// Its subscription is temporary, and two have expired.
    fn bereaved() -> ClientRecord {
        let tombstone = |name: &str, incarnation, expired| Tombstone {
            name: name.parse().expect("a good name"),
            incarnation: Incarnation(incarnation),
            expired: WallMs(expired),
        };
        let mut record = usual();
        record.subscriptions[0].temporary = true;
        record.tombstones = vec![tombstone("storms", 1, 1_785_000_000_000), tombstone("tides", 3, 1_786_000_000_000)];
        record
    }

    fn any_record() -> impl Strategy<Value = ClientRecord> {
        let cursor = (any::<u32>(), any::<u64>()).prop_map(|(e, o)| Cursor { epoch: LogEpoch(e), offset: Offset(o) });
        let pairs = vec((cursor.clone(), cursor), 0..20);
        let subscription = ("[a-zäö ]{1,20}", ".{0,60}", 0..u64::MAX, any::<(u64, bool, u64)>(), pairs).prop_map(
            |(name, filter, incarnation, (inactive_expiry_secs, temporary, last_used), pairs)| {
                let (starts, cursors) = pairs.into_iter().unzip();
                let name = name.parse().expect("made of letters");
                let (incarnation, last_used) = (Incarnation(incarnation), WallMs(last_used));
                SubscriptionRecord {
                    name,
                    filter,
                    incarnation,
                    inactive_expiry_secs,
                    temporary,
                    last_used,
                    starts,
                    cursors,
                }
            },
        );
        let tombstone = ("[a-zäö ]{1,20}", 0..u64::MAX, any::<u64>()).prop_map(|(name, incarnation, expired)| {
            let (incarnation, expired) = (Incarnation(incarnation), WallMs(expired));
            Tombstone { name: name.parse().expect("made of letters"), incarnation, expired }
        });
        (any::<(u64, u64, u64, [u8; 16])>(), vec(subscription, 0..4), vec(tombstone, 0..4)).prop_map(
            |((created, last_seen, epoch, nonce), subscriptions, tombstones)| ClientRecord {
                created: WallMs(created),
                last_seen: WallMs(last_seen),
                epoch: SessionEpoch(epoch),
                nonce: Nonce::from_bytes(nonce),
                next_incarnation: Incarnation(u64::MAX),
                subscriptions,
                tombstones,
            },
        )
    }

    /// Puts the right checksum over a changed body, so that the body itself is what is judged.
    fn sealed(body: &[u8]) -> Vec<u8> {
        [&[FORMAT][..], &checksum(CLIENT, FORMAT, body).to_le_bytes(), body].concat()
    }

    #[test]
    fn golden_bytes_read_as_ever_and_are_written_alike() {
        assert_eq!(ClientRecord::decode(CLIENT, GOLDEN), Ok(bereaved()));
        assert_eq!(bereaved().encode(CLIENT), GOLDEN);
    }

    #[test]
    fn a_record_of_the_first_format_is_read_as_ever() {
        assert_eq!(ClientRecord::decode(CLIENT, GOLDEN_1), Ok(usual()));
        let in_format_2 = usual().encode(CLIENT);
        assert_eq!(ClientRecord::decode(CLIENT, &in_format_2), Ok(usual()));
        assert_eq!(in_format_2.len(), GOLDEN_1.len() + 1, "no more than it needs");
    }

    #[test]
    fn a_usual_record_takes_a_few_hundred_bytes() {
        let size = usual().encode(CLIENT).len();
        assert!(size < 256, "{size} bytes");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for bit in 0..GOLDEN.len() * 8 {
            let mut bytes = GOLDEN.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(ClientRecord::decode(CLIENT, &bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_record_cut_anywhere_is_refused_even_under_a_good_checksum() {
        let body = &GOLDEN[5..];
        for end in 0..body.len() {
            assert!(ClientRecord::decode(CLIENT, &GOLDEN[..end]).is_err());
            assert!(
                matches!(ClientRecord::decode(CLIENT, &sealed(&body[..end])), Err(RecordError::Truncated { .. })),
                "{end}"
            );
        }
        let longer = sealed(&[body, &[0]].concat());
        assert_eq!(ClientRecord::decode(CLIENT, &longer), Err(RecordError::TrailingBytes { count: 1 }));
    }

    #[test]
    fn a_record_in_the_row_of_another_client_is_refused() {
        let other = ClientId::from_bytes([9; 16]);
        assert!(matches!(ClientRecord::decode(other, GOLDEN), Err(RecordError::Checksum { .. })));
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let newer = [&[9], &GOLDEN[1..]].concat();
        assert_eq!(ClientRecord::decode(CLIENT, &newer), Err(RecordError::UnknownFormat { format: 9 }));
    }

    #[test]
    fn an_incarnation_that_would_be_given_again_is_refused() {
        for (record, incarnation) in [(usual(), 4), (ClientRecord { subscriptions: vec![], ..bereaved() }, 3)] {
            let bytes = ClientRecord { next_incarnation: Incarnation(incarnation), ..record }.encode(CLIENT);
            let incarnation = Incarnation(incarnation);
            let expected = RecordError::Incarnation { incarnation, next: incarnation };
            assert_eq!(ClientRecord::decode(CLIENT, &bytes), Err(expected));
        }
    }

    proptest! {
        #[test]
        fn a_record_reads_back(record in any_record()) {
            prop_assert_eq!(ClientRecord::decode(CLIENT, &record.encode(CLIENT)), Ok(record));
        }

        #[test]
        fn hostile_bytes_are_an_error_and_no_panic(body in vec(any::<u8>(), 0..400), change in any::<(prop::sample::Index, u8)>()) {
            let _ = ClientRecord::decode(CLIENT, &body);
            let _ = ClientRecord::decode(CLIENT, &sealed(&body));
            let mut near = GOLDEN[5..].to_vec();
            let at = change.0.index(near.len());
            near[at] = change.1;
            let _ = ClientRecord::decode(CLIENT, &sealed(&near));
        }
    }
}
