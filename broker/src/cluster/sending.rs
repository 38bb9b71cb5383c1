//! Bringing a snapshot to another replica.
//!
//! That of a partition or of the metadata is some hundred bytes, and goes in one question. A registry shard's is a file: it goes in
//! pieces over the bulk connection, one after the other, so that a slow receiver slows the sender. Whoever sends it first asks how
//! much of it is there already; so what a lost connection has cut short goes on where it was. The state machine keeps the file
//! for a while for that.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::network::{Links, Unanswered};
use super::types::{RaftVote, Snapshot, SnapshotData, SnapshotFile, SnapshotMeta, from_raft_id};
use super::wire::{Answer, Asked, Install, Piece, Request};
use crate::peer::Link;

const PIECE_BYTES: usize = 512 << 10;

/// Pieces in a row that may be refused, or be found missing, before the whole is given up.
const SETBACKS_MAX: u32 = 8;

/// How long the answer to a piece may take, which has to be written to disk.
const PIECE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long installing may take. A shard of some gigabytes is read, checked and written.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(600);

/// Spreads what is sent over time.
#[derive(Debug)]
pub(super) struct Throttle {
    bytes_per_second: u64,
    /// When what was let through so far has been paid for.
    paid_at: Mutex<Instant>,
}

impl Throttle {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), paid_at: Mutex::new(Instant::now()) }
    }

    async fn admit(&self, bytes: usize) {
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let begin = {
            let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
            let begin = (*paid_at).max(Instant::now());
            *paid_at = begin + cost;
            begin
        };
        tokio::time::sleep_until(begin).await;
    }
}

impl Links {
    /// Returns the vote of the receiver, once the snapshot is installed there or refused for a higher vote. May be dropped at
    /// any time. `asked` addresses a request.
    pub(super) async fn send_snapshot(
        &self,
        asked: impl Fn(Request) -> Asked,
        vote: RaftVote,
        snapshot: Snapshot,
    ) -> Result<RaftVote, Unanswered> {
        let Snapshot { meta, snapshot } = snapshot;
        let answer = match *snapshot {
            SnapshotData::Bytes(bytes) => {
                let request = Request::Snapshot { vote, meta, bytes: bytes.into() };
                self.wait(INSTALL_TIMEOUT, Link::Raft, asked(request)).await?
            }
            SnapshotData::File(file) => {
                let (file_bytes, file_crc) = measure(&file).await?;
                self.send_pieces(&asked, &file, &meta, file_bytes).await?;
                let install = Request::Install(Install { vote, meta, file_bytes, file_crc });
                self.wait(INSTALL_TIMEOUT, Link::Bulk, asked(install)).await?
            }
        };
        match answer {
            Answer::Installed(vote) => Ok(vote),
            // The file did not have its checksum as a whole, and was dropped there.
            Answer::Has(_) => Err(Unanswered::Damaged),
            _ => Err(Unanswered::Other),
        }
    }

    async fn send_pieces(
        &self,
        asked: &impl Fn(Request) -> Asked,
        file: &Arc<SnapshotFile>,
        meta: &SnapshotMeta,
        file_bytes: u64,
    ) -> Result<(), Unanswered> {
        let of = meta.last_log_id.as_ref().map(from_raft_id).ok_or(Unanswered::Damaged)?;
        let piece = |at, bytes| asked(Request::Piece(Piece { of, file_bytes, at, bytes }));
        let (mut has, mut setbacks) = (self.send_piece(piece(0, Bytes::new())).await?, 0);
        while has < file_bytes {
            let bytes = read_piece(file, has).await?;
            self.throttle.admit(bytes.len()).await;
            let wanted = has + bytes.len() as u64;
            has = self.send_piece(piece(has, bytes)).await?;
            setbacks = if has == wanted { 0 } else { setbacks + 1 };
            if setbacks > SETBACKS_MAX {
                return Err(Unanswered::Damaged);
            }
        }
        Ok(())
    }

    async fn send_piece(&self, piece: Asked) -> Result<u64, Unanswered> {
        match self.wait(PIECE_TIMEOUT, Link::Bulk, piece).await? {
            Answer::Has(has) => Ok(has),
            _ => Err(Unanswered::Other),
        }
    }

    async fn wait(&self, limit: Duration, link: Link, asked: Asked) -> Result<Answer, Unanswered> {
        tokio::time::timeout(limit, self.ask(link, asked)).await.unwrap_or(Err(Unanswered::Late))
    }
}

/// Length and checksum of a file.
async fn measure(file: &Arc<SnapshotFile>) -> Result<(u64, u32), Unanswered> {
    blocking(file, checksum).await
}

async fn read_piece(file: &Arc<SnapshotFile>, at: u64) -> Result<Bytes, Unanswered> {
    blocking(file, move |path| {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(at))?;
        let mut bytes = BytesMut::zeroed(PIECE_BYTES);
        let length = fill(&mut file, &mut bytes)?;
        bytes.truncate(length);
        if bytes.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes.freeze()) }
    })
    .await
}

/// The file stays while it is read.
async fn blocking<T: Send + 'static>(
    file: &Arc<SnapshotFile>,
    read: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, Unanswered> {
    let file = Arc::clone(file);
    let read = tokio::task::spawn_blocking(move || read(&file.path)).await.map_err(io::Error::other).flatten();
    read.map_err(|error| Unanswered::Snapshot(Arc::new(error)))
}

pub(super) fn checksum(path: &Path) -> io::Result<(u64, u32)> {
    let (mut file, mut piece) = (File::open(path)?, vec![0; PIECE_BYTES]);
    let (mut length, mut crc) = (0, 0);
    loop {
        let read = fill(&mut file, &mut piece)?;
        if read == 0 {
            return Ok((length, crc));
        }
        length += read as u64;
        crc = crc32c::crc32c_append(crc, &piece[..read]);
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
