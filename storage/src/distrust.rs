//! Which failures cost a store its trust, and how that is remembered.
//!
//! After a failed sync nobody knows what the disk holds: the system may drop what it could not write and still show it from its
//! memory, as if it were written. A later sync succeeds, a later start finds everything, and only the machine's next stop tells.
//! So such a failure leaves a file beside the store, and a store that has one is not opened. A person who has looked at the disk
//! takes the file away; the program never does.
//!
//! ```text
//!  anyport distrusted 1
//!  a sync failed: IO error: While fdatasync: /data/store/000004.log: Input/output error
//! ```
//! That there is a file is what counts, whatever it says: the disk it must be written to has just failed. If not even that can be
//! kept, the file system has mostly stopped taking writes for good, and what brings it back also drops what was only in memory.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::OpenError;
use crate::mark::MarkError;
use crate::options::Step;

const FIRST_LINE: &str = "anyport distrusted 1";

/// Of a file that grew for some reason of its own, what is shown.
const CAUSE_CHARS_MAX: usize = 1000;

/// Why a step failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) cause: String,
    /// What was written before the failure may not be on the disk, whatever the system shows.
    pub(crate) leaves_doubt: bool,
    /// It only follows from another, which is told of elsewhere.
    pub(crate) is_second_hand: bool,
}

/// How RocksDB begins to tell of a failure to make something durable; a close may tell of one that came late.
const DURING_A_SYNC: [&str; 4] =
    ["While fsync", "While fdatasync", "While sync_file_range", "While closing file after writing"];

/// The system takes no more bytes. Those it has taken are as good as before.
const WANT_OF_SPACE: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

/// How RocksDB tells of a file that has failed before. Whoever met that failure tells of it, too, and what it was decides.
const SECOND_HAND: &str = "Seen error";

impl From<rocksdb::Error> for Failure {
    fn from(error: rocksdb::Error) -> Self {
        let cause = error.into_string();
        Self { leaves_doubt: leaves_doubt(&cause), is_second_hand: cause.contains(SECOND_HAND), cause }
    }
}

/// Doubt is the rule: a failure whose kind is not known may follow from a sync in the background.
fn leaves_doubt(cause: &str) -> bool {
    let any = |phrases: &[&str]| phrases.iter().any(|phrase| cause.contains(phrase));
    let is_excused = any(&WANT_OF_SPACE) || cause.contains(SECOND_HAND);
    !is_excused || any(&DURING_A_SYNC)
}

impl From<MarkError> for Failure {
    fn from(error: MarkError) -> Self {
        let leaves_doubt = matches!(error, MarkError::Sync(_));
        Self { cause: error.into_cause().to_string(), leaves_doubt, is_second_hand: false }
    }
}

impl Failure {
    /// As if the step had failed by itself.
    pub(crate) fn injected(step: Step, cause: &io::Error) -> Self {
        let leaves_doubt = match step {
            Step::Write => cause.kind() != io::ErrorKind::StorageFull,
            Step::Sync => true,
            Step::AfterSync | Step::Mark => false,
        };
        Self { cause: cause.to_string(), leaves_doubt, is_second_hand: false }
    }
}

/// Where it is remembered that a store is not to be trusted.
#[derive(Debug)]
pub(crate) struct Distrust {
    folder: PathBuf,
}

impl Distrust {
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("distrusted.txt")
    }

    /// Refuses a store that is not trusted.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let path = self.path();
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(cause) => cause.to_string(),
        };
        let cause = text.strip_prefix(FIRST_LINE).unwrap_or(&text).trim();
        let cause = if cause.is_empty() { "a sync failed" } else { cause };
        Err(OpenError::Distrusted { cause: cause.chars().take(CAUSE_CHARS_MAX).collect(), path })
    }

    /// Remembers the first failure, durably as far as the disk lets it.
    pub(crate) fn remember(&self, step: Step, cause: &str) {
        if let Err(error) = self.write(&format!("{FIRST_LINE}\n{step} failed: {cause}\n")) {
            let path = self.path();
            tracing::error!(path = %path.display(), %error, "keep in mind that the store is not to be trusted");
        }
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let mut file = match File::create_new(self.path()) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            created => created?,
        };
        // The second and third are tried although the first has failed.
        let written = file.write_all(text.as_bytes());
        let synced = file.sync_all();
        let entered = File::open(&self.folder).and_then(|folder| folder.sync_all());
        written.and(synced).and(entered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(folder: &Path) -> String {
        match Distrust::in_folder(folder).check() {
            Err(OpenError::Distrusted { cause, path }) => {
                assert_eq!(path, folder.join("distrusted.txt"));
                cause
            }
            other => panic!("not refused but {other:?}"),
        }
    }

    #[test]
    fn the_file_is_as_it_was_first_published() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let distrust = Distrust::in_folder(folder.path());
        distrust.check().expect("nothing has failed");
        let cause = "IO error: While fdatasync: /data/store/000004.log: Input/output error";
        distrust.remember(Step::Sync, cause);
        let written = fs::read(folder.path().join("distrusted.txt")).expect("read");
        assert_eq!(written, include_bytes!("../tests/golden/distrusted.txt"));
        distrust.remember(Step::Write, "another");
        assert_eq!(refused(folder.path()), format!("a sync failed: {cause}"), "the first failure stands");
    }

    #[test]
    fn a_file_that_says_nothing_or_something_else_is_distrust_all_the_same() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("distrusted.txt");
        for (text, cause) in [("", "a sync failed"), (FIRST_LINE, "a sync failed"), ("leave it, Ann", "leave it, Ann")]
        {
            fs::write(&path, text).expect("write");
            assert_eq!(refused(folder.path()), cause);
        }
        fs::remove_file(&path).expect("remove");
        fs::create_dir(&path).expect("something that cannot be read");
        refused(folder.path());
    }

    #[test]
    fn only_want_of_space_before_a_sync_and_what_follows_from_a_failure_leave_no_doubt() {
        for (cause, doubt) in [
            (
                "IO error: No space left on device: While appending to file: /d/000004.log: No space left on device",
                false,
            ),
            ("IO error: No space left on device: While open a file for appending: /d/000009.sst: No space left", false),
            ("IO error: While appending to file: /d/000004.log: Disk quota exceeded", false),
            ("IO error: Seen error. Skip writing buffer.", false),
            ("IO error: While appending to file: /d/000004.log: Input/output error", true),
            ("IO error: While fdatasync: /d/000004.log: Input/output error", true),
            ("IO error: No space left on device: While fsync: a directory: No space left on device", true),
            ("IO error: No space left on device: While closing file after writing: /d/000009.sst: No space left", true),
            ("Corruption: block checksum mismatch", true),
        ] {
            assert_eq!(leaves_doubt(cause), doubt, "{cause}");
        }
    }
}
