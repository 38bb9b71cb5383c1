//! The mark file: how far the store was synced, said outside the store.
//!
//! A write-ahead log that lost its end looks like one that ended there. The mark tells: a store that opens short of it has lost
//! what was promised to be durable, and is refused. It is rewritten at most each second and at a clean stop, by writing a new
//! file, syncing it and renaming it over the old one, so it is always whole.
//!
//! ```text
//!  0          8       9        10      11    12         20        56       60
//!  | "anymark\n" | format | store  | flags | 0 | synced u64 | boot id 36 | crc32c |
//!                           format   bit 0: stopped cleanly, bit 1: relaxed
//! ```
//! Integers are little endian; the checksum covers all before it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::OpenError;

const MAGIC: &[u8; 8] = b"anymark\n";
const FORMAT: u8 = 1;
const BYTES: usize = 60;
const CLEAN: u8 = 1;
const RELAXED: u8 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The store's own format, so that an older program refuses it before it touches anything.
    pub(crate) store_format: u8,
    pub(crate) synced: u64,
    pub(crate) clean: bool,
    pub(crate) relaxed: bool,
    /// Tells a process that was killed from a machine that went down.
    pub(crate) boot: [u8; 36],
}

impl Mark {
    pub(crate) fn encode(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8] = FORMAT;
        bytes[9] = self.store_format;
        bytes[10] = if self.clean { CLEAN } else { 0 } | if self.relaxed { RELAXED } else { 0 };
        bytes[12..20].copy_from_slice(&self.synced.to_le_bytes());
        bytes[20..56].copy_from_slice(&self.boot);
        let crc = crc32c::crc32c(&bytes[..56]);
        bytes[56..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let bytes: &[u8; BYTES] = bytes.try_into().map_err(|_| "its length is wrong")?;
        let (body, crc) = bytes.split_at(56);
        if &body[..8] != MAGIC {
            return Err("it is no mark file");
        }
        if body[8] != FORMAT {
            return Err("its format is not known");
        }
        if crc32c::crc32c(body).to_le_bytes() != crc {
            return Err("its checksum does not match");
        }
        let mut synced = [0; 8];
        synced.copy_from_slice(&body[12..20]);
        let mut boot = [0; 36];
        boot.copy_from_slice(&body[20..56]);
        Ok(Self {
            store_format: body[9],
            synced: u64::from_le_bytes(synced),
            clean: body[10] & CLEAN != 0,
            relaxed: body[10] & RELAXED != 0,
            boot,
        })
    }
}

/// Where the mark is kept.
#[derive(Clone, Debug)]
pub(crate) struct MarkFile {
    folder: PathBuf,
}

impl MarkFile {
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join("synced.mark")
    }

    pub(crate) fn read(&self) -> Result<Option<Mark>, OpenError> {
        let path = self.path();
        match fs::read(&path) {
            Ok(bytes) => match Mark::decode(&bytes) {
                Ok(mark) => Ok(Some(mark)),
                Err(why) => Err(OpenError::MarkDamaged { path, why }),
            },
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(OpenError::Mark { path, cause }),
        }
    }

    /// Durable when it returns.
    pub(crate) fn write(&self, mark: &Mark) -> Result<(), MarkError> {
        let fresh = self.folder.join("synced.mark.new");
        let mut file = File::create(&fresh)?;
        file.write_all(&mark.encode())?;
        file.sync_all().map_err(MarkError::Sync)?;
        fs::rename(&fresh, self.path())?;
        File::open(&self.folder)?.sync_all().map_err(MarkError::Sync)
    }
}

/// Why the mark was not written.
#[derive(Debug)]
pub(crate) enum MarkError {
    Write(io::Error),
    Sync(io::Error),
}

impl From<io::Error> for MarkError {
    fn from(cause: io::Error) -> Self {
        Self::Write(cause)
    }
}

impl MarkError {
    pub(crate) fn into_cause(self) -> io::Error {
        let (Self::Write(cause) | Self::Sync(cause)) = self;
        cause
    }
}

/// The running system's boot id; where there is none, a constant, so that every unclean start counts as the machine's.
pub(crate) fn boot_id() -> [u8; 36] {
    let mut id = [b'-'; 36];
    if let Ok(text) = fs::read("/proc/sys/kernel/random/boot_id") {
        let text = text.trim_ascii();
        let length = text.len().min(id.len());
        id[..length].copy_from_slice(&text[..length]);
    }
    id
}

/// Whether the system went down since the mark was written. Unknown counts as yes: a new log epoch costs little.
pub(crate) fn other_boot(mark: &Mark, now: &[u8; 36]) -> bool {
    mark.boot != *now || *now == [b'-'; 36]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mark() -> Mark {
        Mark {
            store_format: 1,
            synced: 77,
            clean: true,
            relaxed: false,
            boot: *b"0f5a2f7e-8b43-4d5a-9a30-5b36a3c0e001",
        }
    }

    #[test]
    fn the_mark_is_as_it_was_first_published() {
        assert_eq!(mark().encode().as_slice(), include_bytes!("../tests/golden/synced.mark").as_slice());
    }

    #[test]
    fn a_mark_is_found_again_and_none_is_none() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = MarkFile::in_folder(folder.path());
        assert!(file.read().expect("no file is no error").is_none());
        file.write(&mark()).expect("write");
        assert_eq!(file.read().expect("read"), Some(mark()));
    }

    proptest! {
        #[test]
        fn marks_survive_their_bytes(synced: u64, clean: bool, relaxed: bool, boot: [u8; 32]) {
            let mut mark = Mark { synced, clean, relaxed, ..mark() };
            mark.boot[..32].copy_from_slice(&boot);
            prop_assert_eq!(Mark::decode(&mark.encode()), Ok(mark));
        }

        #[test]
        fn a_flipped_bit_is_refused(at in 0..BYTES, bit in 0..8u8) {
            let mut bytes = mark().encode();
            bytes[at] ^= 1 << bit;
            prop_assert!(Mark::decode(&bytes).is_err());
        }
    }
}
