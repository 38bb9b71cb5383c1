//! What a client is told to do about a change. Commands are done in their order; one that a client does not know is reported and skipped.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::names::Host;

/// One step. All may be done again: whoever was interrupted begins with the step that it had begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Wire", into = "Wire")]
pub enum MapCommand {
    /// Ask for the map.
    Refetch,
    /// Forget map and connections; never positions, nor what was published and not answered.
    DropState,
    /// Open the session anew.
    Resubscribe,
    /// Wait a random time up to this one.
    Wait { upto_ms: u64 },
    /// Go there.
    MoveTo { host: Host },
    /// Of a later version.
    Unknown { name: String },
}

/// Named, so that a reader can tell what it does not know.
#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(rename = "c")]
    name: String,
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    millis: Option<u64>,
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    host: Option<Host>,
}

impl MapCommand {
    pub fn name(&self) -> &str {
        match self {
            Self::Refetch => "refetch",
            Self::DropState => "drop-state",
            Self::Resubscribe => "resubscribe",
            Self::Wait { .. } => "wait",
            Self::MoveTo { .. } => "move-to",
            Self::Unknown { name } => name,
        }
    }
}

impl fmt::Display for MapCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait { upto_ms } => write!(f, "wait={upto_ms}"),
            Self::MoveTo { host } => write!(f, "move-to={}", host.address()),
            other => f.write_str(other.name()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a command is refetch, drop-state, resubscribe, wait=MILLISECONDS or move-to=ADDRESS; this one is {0:?}")]
pub struct BadCommand(String);

impl FromStr for MapCommand {
    type Err = BadCommand;

    fn from_str(text: &str) -> Result<Self, BadCommand> {
        let bad = || BadCommand(text.to_owned());
        match text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value))) {
            ("refetch", None) => Ok(Self::Refetch),
            ("drop-state", None) => Ok(Self::DropState),
            ("resubscribe", None) => Ok(Self::Resubscribe),
            ("wait", Some(value)) => value.parse().map(|upto_ms| Self::Wait { upto_ms }).map_err(|_| bad()),
            ("move-to", Some(value)) => value.parse().map(|host| Self::MoveTo { host }).map_err(|_| bad()),
            _ => Err(bad()),
        }
    }
}

impl From<Wire> for MapCommand {
    fn from(wire: Wire) -> Self {
        match (wire.name.as_str(), wire.millis, wire.host) {
            ("refetch", ..) => Self::Refetch,
            ("drop-state", ..) => Self::DropState,
            ("resubscribe", ..) => Self::Resubscribe,
            ("wait", Some(upto_ms), _) => Self::Wait { upto_ms },
            ("move-to", _, Some(host)) => Self::MoveTo { host },
            _ => Self::Unknown { name: wire.name },
        }
    }
}

impl From<MapCommand> for Wire {
    fn from(command: MapCommand) -> Self {
        let name = command.name().to_owned();
        match command {
            MapCommand::Wait { upto_ms } => Self { name, millis: Some(upto_ms), host: None },
            MapCommand::MoveTo { host } => Self { name, millis: None, host: Some(host) },
            _ => Self { name, millis: None, host: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_survives_its_text() {
        let move_to = MapCommand::MoveTo { host: "b.example:1".parse().expect("good") };
        for command in [MapCommand::Refetch, MapCommand::DropState, MapCommand::Wait { upto_ms: 5 }, move_to] {
            assert_eq!(command.to_string().parse(), Ok(command));
        }
        for bad in ["dance", "wait", "wait=long", "refetch=1", "move-to=nowhere"] {
            assert!(bad.parse::<MapCommand>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_command_of_a_later_version_is_known_by_name() {
        #[derive(Serialize)]
        struct Later {
            c: &'static str,
            q: u8,
        }
        let bytes = rmp_serde::to_vec_named(&Later { c: "dance", q: 1 }).expect("encode");
        let read: MapCommand = rmp_serde::from_slice(&bytes).expect("decode");
        assert_eq!(read, MapCommand::Unknown { name: "dance".into() });
        let halved = rmp_serde::to_vec_named(&Later { c: "wait", q: 1 }).expect("encode");
        let read: MapCommand = rmp_serde::from_slice(&halved).expect("decode");
        assert_eq!(read.name(), "wait");
        assert!(matches!(read, MapCommand::Unknown { .. }), "a wait of no time is none that we know");
    }
}
