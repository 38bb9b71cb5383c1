//! This broker's seat in its cluster: what it must know before it can open its store and ask anybody.
//!
//! A file beside the store, `cluster.json`, so that it outlives a store that is damaged. It is written when the broker is given its number,
//! and again when other brokers move; a broker that has no such file has no seat and must be told to make a cluster or to join one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyport_protocol::{BrokerId, ClusterId, ReplicaId};
use anyport_storage::metadata::{ClusterFacts, Timing};
use serde::{Deserialize, Serialize};

const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    format: u32,
    cluster: String,
    pub broker: BrokerId,
    /// Of the metadata group.
    pub replica: ReplicaId,
    pub partitions: u16,
    pub registry_shards: u16,
    pub timing: Timing,
    /// The store has been in use: one that is empty has lost everything, and votes for nobody.
    pub begun: bool,
    /// Where other brokers were when this was written.
    pub peers: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum SeatError {
    #[error("read or write {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path} does not say which broker this is: {why}")]
    Malformed { path: PathBuf, why: String },
}

impl Seat {
    pub fn new(broker: BrokerId, replica: ReplicaId, facts: &ClusterFacts) -> Self {
        Self {
            format: FORMAT,
            cluster: facts.cluster.to_string(),
            broker,
            replica,
            partitions: facts.partitions,
            registry_shards: facts.registry_shards,
            timing: facts.timing,
            begun: false,
            peers: Vec::new(),
        }
    }

    pub fn cluster(&self) -> ClusterId {
        self.cluster.parse().expect("checked when it was read")
    }

    /// Partitions and registry shards.
    pub fn counts(&self) -> [u16; 2] {
        [self.partitions, self.registry_shards]
    }

    /// None if there is no file.
    pub fn load(folder: &Path) -> Result<Option<Self>, SeatError> {
        let path = folder.join("cluster.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SeatError::File { path, source }),
        };
        let malformed = |why: String| SeatError::Malformed { path: path.clone(), why };
        let seat: Self = serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
        if seat.format != FORMAT {
            return Err(malformed(format!("its format is {}, and this program knows {FORMAT}", seat.format)));
        }
        seat.cluster.parse::<ClusterId>().map_err(|error| malformed(error.to_string()))?;
        Ok(Some(seat))
    }

    /// Durable when it returns.
    pub fn save(&self, folder: &Path) -> Result<(), SeatError> {
        let path = folder.join("cluster.json");
        let write = || {
            fs::create_dir_all(folder)?;
            let fresh = folder.join("cluster.json.new");
            let mut file = File::create(&fresh)?;
            file.write_all(&serde_json::to_vec_pretty(self).expect("plain data"))?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(folder)?.sync_all()
        };
        write().map_err(|source| SeatError::File { path: path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use anyport_protocol::WallMs;

    use super::*;

    fn seat() -> Seat {
        let facts = ClusterFacts {
            cluster: ClusterId::from_bytes([7; 16]),
            partitions: 8,
            registry_shards: 4,
            created: WallMs(1),
            token_key: Vec::new(),
            timing: Timing::Wan,
            replication: 3,
            replace_after_ms: 1,
        };
        let mut seat = Seat::new(BrokerId(3), ReplicaId::new(BrokerId(3), 9), &facts);
        seat.peers.push("10.0.0.1:7401".to_owned());
        seat
    }

    #[test]
    fn a_seat_is_found_again_and_none_is_none() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(Seat::load(folder.path()).expect("no file is no error"), None);
        seat().save(folder.path()).expect("save");
        assert_eq!(Seat::load(folder.path()).expect("load"), Some(seat()));
    }

    #[test]
    fn what_says_no_seat_is_refused_and_not_taken_for_none() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for text in ["", "{}", &serde_json::to_string(&Seat { format: 2, ..seat() }).expect("encode")] {
            fs::write(folder.path().join("cluster.json"), text).expect("write");
            assert!(matches!(Seat::load(folder.path()), Err(SeatError::Malformed { .. })), "{text}");
        }
    }
}
