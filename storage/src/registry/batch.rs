//! Commands of many clients in one Raft entry: an entry costs a sync, a command costs bytes.
//!
//! ```text
//!  version u8 = 1 | MessagePack, fields by name: { "commands": [ { "Open": { "client": bin16, ... } }, ... ] }
//! ```
//! By name, because entries outlive a rolling upgrade and commands will gain fields.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::command::Command;

const VERSION: u8 = 1;

/// What one entry of a registry group holds. They are applied in order, each seeing the ones before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandBatch {
    pub commands: Vec<Command>,
}

/// Why bytes are not a batch of commands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("a batch of commands has no bytes")]
    Empty,
    #[error("a batch of commands has version {version}, and this program reads version {VERSION}")]
    UnknownVersion { version: u8 },
    #[error("a batch of commands is malformed: {cause}")]
    Malformed { cause: Arc<str> },
    #[error("a batch of commands goes on for {count} bytes after its end")]
    TrailingBytes { count: usize },
}

impl CommandBatch {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        rmp_serde::encode::write_named(&mut out, self).expect("commands are plain data and a Vec takes every write");
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        let (&version, mut rest) = bytes.split_first().ok_or(BatchError::Empty)?;
        if version != VERSION {
            return Err(BatchError::UnknownVersion { version });
        }
        let malformed = |error: rmp_serde::decode::Error| BatchError::Malformed { cause: error.to_string().into() };
        let batch = rmp_serde::from_read(&mut rest).map_err(malformed)?;
        if rest.is_empty() { Ok(batch) } else { Err(BatchError::TrailingBytes { count: rest.len() }) }
    }
}

#[cfg(test)]
mod tests {
    use anyport_protocol::{ClientId, Cursor, Incarnation, LogEpoch, Nonce, Offset, PartitionId, SessionEpoch, WallMs};
    use proptest::prelude::*;

    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../tests/golden/registry/commands-1-tombstones.bin");
    const GOLDEN_WITHOUT_TOMBSTONES: &[u8] = include_bytes!("../../tests/golden/registry/commands-1.bin");
    const GOLDEN_END: &[u8] = include_bytes!("../../tests/golden/registry/commands-1-end.bin");

    /// What is new since the first entries, and its default.
    type Since = (Option<Incarnation>, bool, WallMs);
    const SINCE: Since = (Some(Incarnation(3)), true, WallMs(1_790_000_060_000));

    fn one_of_each((expired, temporary, expired_at): Since) -> CommandBatch {
        let client = ClientId::from_bytes(*b"client of a day.");
        let (epoch, now) = (SessionEpoch(7), WallMs(1_790_000_000_123));
        let name = || "quakes".parse().expect("a good name");
        let cursor = Cursor { epoch: LogEpoch(1), offset: Offset(70_000) };
        let filter = "type = 'gov.usgs.quake'".into();
        let cursors = vec![(Incarnation(4), vec![(PartitionId(3), cursor)])];
        CommandBatch {
            commands: vec![
                Command::Register { client, now },
                Command::Open { client, epoch, nonce: Nonce::from_bytes(*b"sixteen random b"), now },
                Command::Subscribe {
                    client,
                    epoch,
                    name: name(),
                    filter,
                    starts: vec![cursor; 2],
                    seek: true,
                    inactive_expiry_secs: 2_592_000,
                    expired,
                    temporary,
                    now,
                },
                Command::Unsubscribe { client, epoch, name: name() },
                Command::Cursors { client, epoch, cursors, now },
                Command::Expire {
                    client,
                    name: name(),
                    incarnation: Incarnation(4),
                    unused_since: now,
                    now: expired_at,
                },
            ],
        }
    }

    #[test]
    fn golden_bytes_read_as_ever_and_are_written_alike() {
        assert_eq!(CommandBatch::decode(GOLDEN).expect("golden"), one_of_each(SINCE));
        assert_eq!(one_of_each(SINCE).encode(), GOLDEN);
    }

    #[test]
    fn entries_from_before_there_were_tombstones_read_as_ever() {
        let read = CommandBatch::decode(GOLDEN_WITHOUT_TOMBSTONES).expect("golden");
        assert_eq!(read, one_of_each(Since::default()));
    }

    #[test]
    fn the_command_that_came_later_has_bytes_of_its_own() {
        let client = ClientId::from_bytes(*b"client of a day.");
        let (name, now) = ("quakes".parse().expect("a good name"), WallMs(1_790_000_000_123));
        let end = CommandBatch { commands: vec![Command::End { client, name, incarnation: Incarnation(4), now }] };
        assert_eq!(CommandBatch::decode(GOLDEN_END).expect("golden"), end);
        assert_eq!(end.encode(), GOLDEN_END);
    }

    #[test]
    fn a_newer_version_a_cut_and_a_tail_are_refused() {
        assert!(matches!(CommandBatch::decode(&[]), Err(BatchError::Empty)));
        assert!(matches!(CommandBatch::decode(&[2, 0x80]), Err(BatchError::UnknownVersion { version: 2 })));
        for end in 1..GOLDEN.len() {
            assert!(matches!(CommandBatch::decode(&GOLDEN[..end]), Err(BatchError::Malformed { .. })), "{end}");
        }
        let longer = [GOLDEN, &[0xc0]].concat();
        assert!(matches!(CommandBatch::decode(&longer), Err(BatchError::TrailingBytes { count: 1 })));
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), change in any::<(prop::sample::Index, u8)>()) {
            let _ = CommandBatch::decode(&[&[VERSION][..], &bytes].concat());
            let mut near = GOLDEN.to_vec();
            let at = change.0.index(near.len());
            near[at] = change.1;
            let _ = CommandBatch::decode(&near);
        }
    }
}
