//! `pub --resume`: the file numbers its own events, so a run that was killed is gone on with by one that is started again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Read;
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

use super::exit::{Exit, Failure};
use super::input;
use crate::protocol::event::EncodedEvent;
use crate::protocol::{ClientId, PartitionId, ProducerId};
use crate::{PublishError, Publisher};

/// The same client and content make the same producer, whose numbers mean the same events.
pub(super) fn producer_of(client: ClientId, path: &Path) -> Result<ProducerId, Failure> {
    let unreadable = |error: std::io::Error| input::unreadable(path, &error);
    let mut file = input::open(path)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        let text = format!("--resume reads its input twice, and {} is no regular file", path.display());
        return Err(Failure::new(Exit::Usage, text, "save the events to a file first"));
    }
    let mut hash = Xxh3::new();
    hash.update(client.as_bytes());
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer).map_err(unreadable)? {
            0 => return Ok(ProducerId::from_bytes(hash.digest128().to_be_bytes())),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// Counts the events of each partition, and knows which of them are stored already.
#[derive(Debug, Default)]
pub(super) struct Resumed {
    partitions: HashMap<PartitionId, Progress>,
    pub(super) already_there: u64,
}

#[derive(Debug)]
struct Progress {
    next: u64,
    stored: u64,
}

impl Resumed {
    /// Whether an earlier run has stored this event.
    pub(super) async fn is_stored(&mut self, publisher: &Publisher, event: &[u8]) -> Result<bool, PublishError> {
        let partition = publisher.partition_of(&EncodedEvent::check(event)?);
        let progress = match self.partitions.entry(partition) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let stored = publisher.resume_point(event).await?.0;
                unknown.insert(Progress { next: 0, stored })
            }
        };
        let number = progress.next;
        progress.next += 1;
        self.already_there += u64::from(number < progress.stored);
        Ok(number < progress.stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_is_known_by_client_and_content() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).expect("write");
            path
        };
        let producer = |client, path: &Path| producer_of(ClientId([client; 16]), path).expect("readable");
        let (first, copy, other) = (file("first", "events"), file("copy", "events"), file("other", "others"));
        assert_eq!(producer(1, &first), producer(1, &copy));
        assert_ne!(producer(1, &first), producer(2, &first));
        assert_ne!(producer(1, &first), producer(1, &other));
        assert!(producer_of(ClientId([1; 16]), folder.path()).is_err());
    }
}
