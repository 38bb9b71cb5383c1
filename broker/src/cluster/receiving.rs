//! A snapshot that is a file, as it comes in pieces.
//!
//! Each replica takes in one at a time: the first piece of another drops what there was of the last. What is whole is checked as a
//! whole before it is installed; what is not what it should be is dropped, and sent anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyport_protocol::ReplicaId;
use anyport_storage::{GroupId, LogId};

use super::sending::checksum;
use super::types::SnapshotFile;
use super::wire::{Install, Piece};

/// What has come of a snapshot so far. Dropping it removes the file.
#[derive(Debug)]
pub(super) struct Incoming {
    target: ReplicaId,
    of: LogId,
    file_bytes: u64,
    has: u64,
    file: SnapshotFile,
}

impl Incoming {
    fn create(folder: &Path, group: GroupId, target: ReplicaId, piece: &Piece) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(folder)?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path: PathBuf = folder.join(format!("{group}-{}-{number}.incoming", std::process::id()));
        File::create_new(&path)?;
        let file = SnapshotFile { path };
        Ok(Self { target, of: piece.of, file_bytes: piece.file_bytes, has: 0, file })
    }

    fn is_of(&self, target: ReplicaId, of: LogId, file_bytes: u64) -> bool {
        (self.target, self.of, self.file_bytes) == (target, of, file_bytes)
    }

    fn append(&mut self, piece: &Piece) -> io::Result<()> {
        if piece.at != self.has || piece.bytes.len() as u64 > self.file_bytes - self.has {
            return Ok(());
        }
        OpenOptions::new().append(true).open(&self.file.path)?.write_all(&piece.bytes)?;
        self.has += piece.bytes.len() as u64;
        Ok(())
    }
}

/// Takes a piece, and says how much there is now of its snapshot. After an error there is nothing any more.
pub(super) fn take(
    slot: &mut Option<Incoming>,
    folder: &Path,
    group: GroupId,
    target: ReplicaId,
    piece: &Piece,
) -> io::Result<u64> {
    let mut incoming = match slot.take() {
        Some(incoming) if incoming.is_of(target, piece.of, piece.file_bytes) => incoming,
        _ => Incoming::create(folder, group, target, piece)?,
    };
    incoming.append(piece)?;
    let has = incoming.has;
    *slot = Some(incoming);
    Ok(has)
}

/// The file, if it is there and whole; else how much there is of it.
pub(super) fn complete(
    slot: &mut Option<Incoming>,
    target: ReplicaId,
    of: LogId,
    install: &Install,
) -> io::Result<Result<SnapshotFile, u64>> {
    let Some(incoming) = slot.take_if(|incoming| incoming.is_of(target, of, install.file_bytes)) else {
        return Ok(Err(0));
    };
    if incoming.has < incoming.file_bytes {
        let has = incoming.has;
        *slot = Some(incoming);
        return Ok(Err(has));
    }
    let is_whole = checksum(&incoming.file.path)? == (install.file_bytes, install.file_crc);
    Ok(if is_whole { Ok(incoming.file) } else { Err(0) })
}
