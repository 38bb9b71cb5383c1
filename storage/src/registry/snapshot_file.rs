//! A shard's state as a file that another replica can be given.
//!
//! ```text
//!  file        = head | row * | trailer
//!  head        = version u8 = 1 | shard u16 | has u8 | log id if has & 1 | membership if has & 2 | sum
//!  membership  = log id | length u32 | bytes
//!  row         = 'R' | client id 16 B | length u32 | record as in its row on disk | sum
//!  trailer     = 'T' | rows u64 | sum
//!  log id      = term u64 | node u64 | index u64
//!  sum         = crc32c u32 of all before it in the file, other sums left out: so no row can be changed, moved or missing
//! ```
//! Integers are little endian; rows are in the order of client ids. Reading holds one row at a time and trusts no length: a
//! length that lies meets the end of the file first.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyport_protocol::ClientId;
use bytes::Bytes;

use super::codec::RecordError;
use crate::{LogId, StoreError};

const VERSION: u8 = 1;
const APPLIED: u8 = 1;
const MEMBERSHIP: u8 = 2;
const ROW: u8 = b'R';
const TRAILER: u8 = b'T';

/// What a snapshot stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotMeta {
    pub applied: Option<LogId>,
    pub membership: Option<(LogId, Bytes)>,
    pub clients: u64,
}

/// Why a snapshot was not written, or not installed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("{step} snapshot {path}: {cause}")]
    File { step: &'static str, path: PathBuf, cause: io::Error },
    #[error("snapshot {path} has version {version}, and this program reads version {VERSION}")]
    UnknownVersion { path: PathBuf, version: u8 },
    #[error("snapshot {path} is damaged after {rows} rows: {found}")]
    Damaged { path: PathBuf, rows: u64, found: &'static str },
    #[error("snapshot {path} holds a bad record of client {client}: {why}")]
    Record { path: PathBuf, client: ClientId, why: RecordError },
    #[error("snapshot {path} is of registry-{found}, not of registry-{expected}")]
    OtherShard { path: PathBuf, found: u16, expected: u16 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(super) struct SnapshotWriter {
    path: PathBuf,
    file: BufWriter<File>,
    sum: u32,
    meta: SnapshotMeta,
}

impl SnapshotWriter {
    /// `clients` of `meta` is counted, not taken.
    pub(super) fn create(path: &Path, shard: u16, meta: SnapshotMeta) -> Result<Self, SnapshotError> {
        let file = File::create(path).map_err(|cause| failed("create", path, cause))?;
        let (path, file) = (path.to_owned(), BufWriter::new(file));
        let mut writer = Self { path, file, sum: 0, meta: SnapshotMeta { clients: 0, ..meta } };
        let head = head(shard, &writer.meta);
        writer.part(&[&head])?;
        Ok(writer)
    }

    pub(super) fn row(&mut self, client: ClientId, record: &[u8]) -> Result<(), SnapshotError> {
        let len =
            u32::try_from(record.len()).expect("a record is bounded by the limits on its client, far below 4 GiB");
        self.meta.clients += 1;
        self.part(&[&[ROW], client.as_bytes(), &len.to_le_bytes(), record])
    }

    pub(super) fn finish(mut self) -> Result<SnapshotMeta, SnapshotError> {
        self.part(&[&[TRAILER], &self.meta.clients.to_le_bytes()])?;
        self.file.flush().map_err(|cause| failed("write", &self.path, cause))?;
        Ok(self.meta)
    }

    fn part(&mut self, pieces: &[&[u8]]) -> Result<(), SnapshotError> {
        let file = &mut self.file;
        let mut put = |bytes: &[u8]| file.write_all(bytes).map_err(|cause| failed("write", &self.path, cause));
        for piece in pieces {
            self.sum = crc32c::crc32c_append(self.sum, piece);
            put(piece)?;
        }
        put(&self.sum.to_le_bytes())
    }
}

fn head(shard: u16, meta: &SnapshotMeta) -> Vec<u8> {
    let has = meta.applied.map_or(0, |_| APPLIED) | meta.membership.as_ref().map_or(0, |_| MEMBERSHIP);
    let mut head = vec![VERSION];
    head.extend_from_slice(&shard.to_le_bytes());
    head.push(has);
    if let Some(applied) = meta.applied {
        head.extend_from_slice(&applied.to_bytes());
    }
    if let Some((id, members)) = &meta.membership {
        let len = u32::try_from(members.len()).expect("a membership is one Raft entry, far below 4 GiB");
        head.extend_from_slice(&id.to_bytes());
        head.extend_from_slice(&len.to_le_bytes());
        head.extend_from_slice(members);
    }
    head
}

pub(super) struct SnapshotReader {
    path: PathBuf,
    file: BufReader<File>,
    sum: u32,
    meta: SnapshotMeta,
    last: Option<ClientId>,
}

impl SnapshotReader {
    /// Reads the head. What it says stands only once [`SnapshotReader::row`] has come to the end.
    pub(super) fn open(path: &Path, expected: u16) -> Result<Self, SnapshotError> {
        let file = File::open(path).map_err(|cause| failed("open", path, cause))?;
        let meta = SnapshotMeta { applied: None, membership: None, clients: 0 };
        let mut reader = Self { path: path.to_owned(), file: BufReader::new(file), sum: 0, meta, last: None };
        let [version] = reader.take()?;
        if version != VERSION {
            return Err(SnapshotError::UnknownVersion { path: reader.path, version });
        }
        let found = u16::from_le_bytes(reader.take()?);
        let [has] = reader.take()?;
        if has & APPLIED != 0 {
            reader.meta.applied = Some(LogId::from_bytes(&reader.take()?));
        }
        if has & MEMBERSHIP != 0 {
            let id = LogId::from_bytes(&reader.take()?);
            reader.meta.membership = Some((id, reader.counted()?.into()));
        }
        reader.check_sum()?;
        if has & !(APPLIED | MEMBERSHIP) != 0 {
            return Err(reader.damaged("its head has unknown flags"));
        }
        if found != expected {
            return Err(SnapshotError::OtherShard { path: reader.path, found, expected });
        }
        Ok(reader)
    }

    /// The next row, checked, or `None` at the end of a whole file.
    pub(super) fn row(&mut self) -> Result<Option<(ClientId, Vec<u8>)>, SnapshotError> {
        match self.take()? {
            [ROW] => {
                let client = ClientId::from_bytes(self.take()?);
                let record = self.counted()?;
                self.check_sum()?;
                if self.last >= Some(client) {
                    return Err(self.damaged("rows are not in order"));
                }
                self.last = Some(client);
                self.meta.clients += 1;
                Ok(Some((client, record)))
            }
            [TRAILER] => self.trailer().map(|()| None),
            _ => Err(self.damaged("neither a row nor the trailer follows")),
        }
    }

    pub(super) fn finish(self) -> SnapshotMeta {
        self.meta
    }

    fn trailer(&mut self) -> Result<(), SnapshotError> {
        let rows = u64::from_le_bytes(self.take()?);
        self.check_sum()?;
        if rows != self.meta.clients {
            return Err(self.damaged("the trailer counts other rows"));
        }
        match self.file.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.damaged("goes on after its end")),
            Err(cause) => Err(failed("read", &self.path, cause)),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let bytes = self.unsummed()?;
        self.sum = crc32c::crc32c_append(self.sum, &bytes);
        Ok(bytes)
    }

    fn counted(&mut self) -> Result<Vec<u8>, SnapshotError> {
        let count = u32::from_le_bytes(self.take()?);
        let mut bytes = Vec::new();
        let mut limited = self.file.by_ref().take(u64::from(count));
        let read = limited.read_to_end(&mut bytes).map_err(|cause| failed("read", &self.path, cause))?;
        if read as u64 != u64::from(count) {
            return Err(self.damaged("ends early"));
        }
        self.sum = crc32c::crc32c_append(self.sum, &bytes);
        Ok(bytes)
    }

    fn check_sum(&mut self) -> Result<(), SnapshotError> {
        let stored = u32::from_le_bytes(self.unsummed()?);
        if stored == self.sum { Ok(()) } else { Err(self.damaged("checksum does not match")) }
    }

    fn unsummed<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes).map_err(|cause| match cause.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("ends early"),
            _ => failed("read", &self.path, cause),
        })?;
        Ok(bytes)
    }

    fn damaged(&self, found: &'static str) -> SnapshotError {
        SnapshotError::Damaged { path: self.path.clone(), rows: self.meta.clients, found }
    }
}

fn failed(step: &'static str, path: &Path, cause: io::Error) -> SnapshotError {
    SnapshotError::File { step, path: path.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../tests/golden/registry/snapshot-1.bin");
    const SHARD: u16 = 3;

    type Contents = (SnapshotMeta, Vec<(ClientId, Vec<u8>)>);

    fn meta() -> SnapshotMeta {
        let id = |index| LogId { term: 2, node: 7, index };
        SnapshotMeta { applied: Some(id(90)), membership: Some((id(1), Bytes::from_static(b"members"))), clients: 2 }
    }

    fn rows() -> Vec<(ClientId, Vec<u8>)> {
        vec![(ClientId::from_bytes([1; 16]), b"one".to_vec()), (ClientId::from_bytes([2; 16]), b"two".to_vec())]
    }

    fn written(folder: &TempDir, meta: &SnapshotMeta, rows: &[(ClientId, Vec<u8>)]) -> PathBuf {
        let path = folder.path().join("snapshot");
        let mut writer = SnapshotWriter::create(&path, SHARD, meta.clone()).expect("create");
        for (client, record) in rows {
            writer.row(*client, record).expect("write");
        }
        assert_eq!(writer.finish().expect("finish"), *meta);
        path
    }

    fn read(path: &Path) -> Result<Contents, SnapshotError> {
        let mut reader = SnapshotReader::open(path, SHARD)?;
        let mut rows = Vec::new();
        while let Some(row) = reader.row()? {
            rows.push(row);
        }
        Ok((reader.finish(), rows))
    }

    fn read_bytes(folder: &TempDir, bytes: &[u8]) -> Result<Contents, SnapshotError> {
        let path = folder.path().join("given");
        std::fs::write(&path, bytes).expect("write");
        read(&path)
    }

    fn folder() -> TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    #[test]
    fn golden_bytes_read_as_ever_and_are_written_alike() {
        let folder = folder();
        assert_eq!(read_bytes(&folder, GOLDEN).expect("golden"), (meta(), rows()));
        assert_eq!(std::fs::read(written(&folder, &meta(), &rows())).expect("read"), GOLDEN);
    }

    #[test]
    fn an_empty_shard_has_a_snapshot_too() {
        let folder = folder();
        let nothing = SnapshotMeta { applied: None, membership: None, clients: 0 };
        assert_eq!(read(&written(&folder, &nothing, &[])).expect("read"), (nothing, vec![]));
    }

    #[test]
    fn a_file_changed_or_cut_anywhere_is_refused() {
        let folder = folder();
        for at in 0..GOLDEN.len() {
            assert!(matches!(read_bytes(&folder, &GOLDEN[..at]), Err(SnapshotError::Damaged { .. })), "cut at {at}");
            let mut bytes = GOLDEN.to_vec();
            bytes[at] ^= 0x10;
            assert!(read_bytes(&folder, &bytes).is_err(), "changed at {at}");
        }
        assert!(read_bytes(&folder, &[GOLDEN, &[0]].concat()).is_err());
    }

    #[test]
    fn a_row_left_out_is_noticed() {
        let folder = folder();
        let row = 1 + 16 + 4 + 3 + 4;
        let trailer = GOLDEN.len() - (1 + 8 + 4);
        let without_first = [&GOLDEN[..trailer - 2 * row], &GOLDEN[trailer - row..]].concat();
        assert!(matches!(read_bytes(&folder, &without_first), Err(SnapshotError::Damaged { rows: 0, .. })));
    }

    #[test]
    fn the_snapshot_of_another_shard_and_a_newer_version_are_refused_by_name() {
        let folder = folder();
        let path = written(&folder, &meta(), &rows());
        let other = SnapshotReader::open(&path, 4).map(|reader| reader.meta);
        assert!(matches!(other, Err(SnapshotError::OtherShard { found: SHARD, expected: 4, .. })));
        let newer = [&[2], &GOLDEN[1..]].concat();
        assert!(matches!(read_bytes(&folder, &newer), Err(SnapshotError::UnknownVersion { version: 2, .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn hostile_bytes_are_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read_bytes(&folder(), &[&[VERSION][..], &bytes].concat()).is_err());
        }
    }
}
