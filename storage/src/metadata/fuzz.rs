//! Hostile bytes for what is stored of the cluster.

use super::command::Command;
use super::facts::ClusterFacts;
use super::snapshot::{self, MetadataSnapshot};
use super::state::ClusterState;
use crate::fuzz::Outcome;
use crate::sealed;

pub(crate) fn command(bytes: &[u8]) -> Outcome {
    let command = Command::decode(bytes);
    if let Ok(command) = &command {
        assert_eq!(Command::decode(&command.encode()).as_ref(), Ok(command));
    }
    Outcome::of_result(&command)
}

pub(crate) fn facts(bytes: &[u8]) -> Outcome {
    let facts = ClusterFacts::decode(bytes);
    if let Ok(facts) = &facts {
        assert_eq!(ClusterFacts::decode(&facts.encode()).as_ref(), Ok(facts));
    }
    Outcome::of_result(&facts)
}

pub(crate) fn cluster(bytes: &[u8]) -> Outcome {
    let state = ClusterState::decode(None, bytes);
    if let Ok(state) = &state {
        assert_eq!(ClusterState::decode(None, &state.encode()).as_ref(), Ok(state));
    }
    Outcome::of_result(&state)
}

pub(crate) fn snapshot(body: &[u8]) -> Outcome {
    read(snapshot::KEY, body)
}

pub(crate) fn snapshot_of_version_1(body: &[u8]) -> Outcome {
    read(snapshot::KEY_1, body)
}

fn read(key: &[u8], body: &[u8]) -> Outcome {
    let mut bytes = Vec::new();
    sealed::seal(key, &[body], &mut bytes);
    let snapshot = MetadataSnapshot::decode(&bytes);
    if let Ok(snapshot) = &snapshot {
        assert_eq!(MetadataSnapshot::decode(&snapshot.encode()).as_ref(), Ok(snapshot));
    }
    Outcome::of_result(&snapshot)
}
