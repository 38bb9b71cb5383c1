//! An outbox on disk: a folder of [`segment`] files, oldest first, of which at most the last is still being written.
//!
//! ```text
//!   clients/<name>/outbox/lock           held by the one process that has it
//!                         00000001.events, 00000002.events, ...
//!                         refused.ndjson what brokers refused for good, with the reason: see `refused`
//! ```
//! Invariants: what `append` has returned is on the disk, and in order; a file is removed only when everything in it is done with; files go
//! from the oldest on, so there is never a hole. No file is written to by two processes: each begins one of its own, with a producer of
//! its own. All calls block. After an error nothing more may be written: what the disk has is then not known.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyport_protocol::ProducerId;
use bytes::Bytes;

use super::segment::{self, Content};
use crate::Error;
use crate::home::{Home, Lock, home_error};

/// A file of this size is not written to any more. What is resent after a crash is at most so much.
pub(super) const SEGMENT_BYTES: u64 = 4 << 20;

const EVENTS: &str = ".events";
const DRAFT: &str = ".draft";

#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    segments: VecDeque<Segment>,
    /// The last segment's file, while it is written to.
    open: Option<File>,
    next_number: u64,
    _lock: Lock,
}

/// What is known of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) producer: ProducerId,
    pub(super) bytes: u64,
}

impl Folder {
    /// Returns also how many events are waiting in it.
    pub(super) fn open(home: &Home) -> Result<(Self, u64), Error> {
        let (path, lock) = home.lock_outbox()?;
        let mut folder = Self { path, segments: VecDeque::new(), open: None, next_number: 1, _lock: lock };
        let mut events = 0;
        folder.remove_drafts()?;
        for number in folder.numbers_of(EVENTS)? {
            let path = folder.file(number, EVENTS);
            let Some(content) = read(&path)? else {
                fs::remove_file(&path).map_err(|error| home_error(&path, error))?;
                continue;
            };
            if content.torn_bytes > 0 {
                tracing::warn!(path = %path.display(), bytes = content.torn_bytes, "cut off what was never finished");
            }
            let bytes = fs::metadata(&path).map_err(|error| home_error(&path, error))?.len();
            folder.segments.push_back(Segment { number, producer: content.producer, bytes });
            folder.next_number = number + 1;
            events += (content.events.len() - content.settled) as u64;
        }
        folder.check_order()?;
        Ok((folder, events))
    }

    /// Of files that are named so.
    fn numbers_of(&self, suffix: &str) -> Result<Vec<u64>, Error> {
        let list = || {
            let mut numbers = Vec::new();
            for entry in fs::read_dir(&self.path)? {
                let name = entry?.file_name();
                let number = name
                    .to_str()
                    .and_then(|name| name.strip_suffix(suffix))
                    .and_then(|number| number.parse::<u64>().ok());
                numbers.extend(number);
            }
            numbers.sort_unstable();
            Ok(numbers)
        };
        list().map_err(|error| home_error(&self.path, error))
    }

    /// A process that was killed while it replaced a segment has left the new one.
    fn remove_drafts(&self) -> Result<(), Error> {
        for number in self.numbers_of(DRAFT)? {
            let path = self.file(number, DRAFT);
            fs::remove_file(&path).map_err(|error| home_error(&path, error))?;
        }
        Ok(())
    }

    /// Files are removed from the oldest on, so one that is missing between two was not removed by us.
    fn check_order(&self) -> Result<(), Error> {
        let numbers = || self.segments.iter().map(|segment| segment.number);
        match numbers().zip(numbers().skip(1)).find(|(number, next)| number + 1 != *next) {
            None => Ok(()),
            Some((number, _)) => {
                Err(Error::BadOutbox { path: self.file(number + 1, EVENTS), reason: "the file is missing".to_owned() })
            }
        }
    }

    fn file(&self, number: u64, suffix: &str) -> PathBuf {
        self.path.join(format!("{number:08}{suffix}"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn first(&self) -> Option<Segment> {
        self.segments.front().copied()
    }

    /// Of the newest segment there has been; 0 before the first.
    pub(super) fn last_number(&self) -> u64 {
        self.next_number - 1
    }

    /// The segment that is being written, if there is one.
    pub(super) fn written(&self) -> Option<Segment> {
        self.open.as_ref().and(self.segments.back().copied())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Once it returns, the events are on the disk. Returns the segment that has them.
    pub(super) fn append<'a>(&mut self, events: impl Iterator<Item = &'a [u8]>) -> Result<Segment, Error> {
        if self.written().is_some_and(|segment| segment.bytes >= SEGMENT_BYTES) {
            self.finish();
        }
        let mut record = Vec::new();
        match self.written() {
            Some(_) => {
                segment::push_events(&mut record, events);
                self.write(&record, true)?;
            }
            None => {
                let producer = ProducerId::from_bytes(rand::random());
                segment::push_begin(&mut record, producer);
                segment::push_events(&mut record, events);
                let number = self.next_number;
                self.open = Some(self.create(&self.file(number, EVENTS), &record)?);
                self.next_number += 1;
                self.segments.push_back(Segment { number, producer, bytes: record.len() as u64 });
            }
        }
        Ok(self.segments.back().copied().expect("written to just now"))
    }

    fn create(&self, path: &Path, content: &[u8]) -> Result<File, Error> {
        let create = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(content)?;
            file.sync_all()?;
            sync_folder(&self.path)?;
            Ok(file)
        };
        create().map_err(|error| home_error(path, error))
    }

    fn write(&mut self, record: &[u8], sync: bool) -> Result<(), Error> {
        let (Some(file), Some(segment)) = (&mut self.open, self.segments.back_mut()) else { return Ok(()) };
        segment.bytes += record.len() as u64;
        let number = segment.number;
        let written = file.write_all(record).and_then(|()| if sync { file.sync_data() } else { Ok(()) });
        written.map_err(|error| home_error(&self.file(number, EVENTS), error))
    }

    /// The next event begins a new segment.
    pub(super) fn finish(&mut self) {
        self.open = None;
    }

    /// Everything in the written segment is done with. Not synced: who has not heard of it sends again, and is told that all is stored.
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        let mut record = Vec::new();
        segment::push_settled(&mut record);
        self.write(&record, false)
    }

    pub(super) fn read_first(&self) -> Result<Option<Content>, Error> {
        let Some(segment) = self.segments.front() else { return Ok(None) };
        let path = self.file(segment.number, EVENTS);
        match read(&path)? {
            Some(content) => Ok(Some(content)),
            None => Err(Error::BadOutbox { path, reason: "its content is gone".to_owned() }),
        }
    }

    pub(super) fn remove_first(&mut self) -> Result<(), Error> {
        let Some(segment) = self.segments.pop_front() else { return Ok(()) };
        if self.segments.is_empty() {
            self.finish();
        }
        let path = self.file(segment.number, EVENTS);
        // Synced, so that no later file is gone while this one is there again.
        fs::remove_file(&path).and_then(|()| sync_folder(&self.path)).map_err(|error| home_error(&path, error))
    }

    /// Puts these events in the place of the first segment, with a new producer: their old numbers can no longer be used.
    pub(super) fn replace_first(&mut self, events: &[Bytes]) -> Result<(), Error> {
        let Some(segment) = self.segments.front().copied() else { return Ok(()) };
        if self.segments.len() == 1 {
            self.finish();
        }
        if events.is_empty() {
            return self.remove_first();
        }
        let (mut content, producer) = (Vec::new(), ProducerId::from_bytes(rand::random()));
        segment::push_begin(&mut content, producer);
        segment::push_events(&mut content, events.iter().map(|event| &event[..]));
        let path = self.file(segment.number, EVENTS);
        let draft = self.file(segment.number, DRAFT);
        self.create(&draft, &content)?;
        fs::rename(&draft, &path).and_then(|()| sync_folder(&self.path)).map_err(|error| home_error(&path, error))?;
        self.segments[0] = Segment { producer, bytes: content.len() as u64, ..segment };
        Ok(())
    }
}

fn read(path: &Path) -> Result<Option<Content>, Error> {
    let bytes = fs::read(path).map_err(|error| home_error(path, error))?;
    let bad = |reason: segment::Damaged| Error::BadOutbox { path: path.to_owned(), reason: reason.to_string() };
    segment::parse(&bytes.into()).map_err(bad)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Story {
        root: tempfile::TempDir,
    }

    impl Story {
        fn new() -> Self {
            Self { root: tempfile::tempdir().expect("temporary folder") }
        }

        fn open(&self) -> Result<(Folder, u64), Error> {
            Folder::open(&Home::new(self.root.path().into(), "phone").expect("a good name"))
        }

        fn opened(&self) -> Folder {
            self.open().expect("sound").0
        }
    }

    fn append(folder: &mut Folder, events: &[&str]) -> Segment {
        folder.append(events.iter().map(|event| event.as_bytes())).expect("append")
    }

    fn texts(folder: &Folder) -> Vec<String> {
        let content = folder.read_first().expect("sound").expect("a segment");
        content.events.iter().map(|event| String::from_utf8(event.to_vec()).expect("text")).collect()
    }

    #[test]
    fn each_process_writes_a_segment_of_its_own_behind_those_it_finds() {
        let story = Story::new();
        let mut first = story.opened();
        let segment = append(&mut first, &["one"]);
        assert_eq!(append(&mut first, &["two"]).number, segment.number);
        drop(first);
        let (mut second, waiting) = story.open().expect("sound");
        assert_eq!((waiting, texts(&second)), (2, vec!["one".to_owned(), "two".to_owned()]));
        let own = append(&mut second, &["three"]);
        assert_eq!(own.number, segment.number + 1);
        assert_ne!(own.producer, segment.producer);
        second.remove_first().expect("remove");
        assert_eq!(texts(&second), ["three"]);
        drop(second);
        assert_eq!(story.open().expect("sound").1, 1);
    }

    #[test]
    fn what_is_settled_waits_no_longer() {
        let story = Story::new();
        let mut folder = story.opened();
        append(&mut folder, &["one", "two"]);
        folder.settle().expect("settle");
        append(&mut folder, &["three"]);
        drop(folder);
        assert_eq!(story.open().expect("sound").1, 1);
    }

    #[test]
    fn a_replaced_segment_keeps_its_turn_and_gets_new_numbers() {
        let story = Story::new();
        let mut folder = story.opened();
        let before = append(&mut folder, &["good", "bad", "good too"]);
        folder.finish();
        append(&mut folder, &["later"]);
        folder.replace_first(&[Bytes::from_static(b"good too")]).expect("replace");
        let after = folder.first().expect("still there");
        assert_eq!(after.number, before.number);
        assert_ne!(after.producer, before.producer);
        drop(folder);
        let (mut folder, waiting) = story.open().expect("sound");
        assert_eq!((waiting, texts(&folder)), (2, vec!["good too".to_owned()]));
        folder.replace_first(&[]).expect("replace");
        assert_eq!(texts(&folder), ["later"]);
    }

    #[test]
    fn two_processes_cannot_have_one_outbox() {
        let story = Story::new();
        let first = story.opened();
        assert!(matches!(story.open(), Err(Error::OutboxInUse { .. })));
        drop(first);
        story.opened();
    }

    #[test]
    fn a_file_that_somebody_took_away_is_missed() {
        let story = Story::new();
        let mut folder = story.opened();
        for event in ["one", "two", "three"] {
            append(&mut folder, &[event]);
            folder.finish();
        }
        fs::remove_file(folder.file(2, EVENTS)).expect("take away");
        drop(folder);
        let Err(Error::BadOutbox { path, .. }) = story.open() else { panic!("nothing is missed") };
        assert!(path.ends_with("00000002.events"));
    }

    #[test]
    fn damage_names_the_file() {
        let story = Story::new();
        let mut folder = story.opened();
        append(&mut folder, &["one"]);
        append(&mut folder, &["two"]);
        let path = folder.file(1, EVENTS);
        drop(folder);
        let mut bytes = fs::read(&path).expect("read");
        bytes[20] ^= 1;
        fs::write(&path, bytes).expect("write");
        assert!(matches!(story.open(), Err(Error::BadOutbox { path: named, .. }) if named == path));
    }
}
