//! How much of the map clients are told.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What of the map a client is given, decided where it asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Selection {
    #[default]
    Full,
    /// The service it asks for, and what carries the map itself.
    Target,
    /// Of each service only what is in its zone, if there is anything.
    NearestZone,
    /// Of each service only so many, the least loaded.
    LeastLoaded { at_most: u16 },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a selection is full, target, nearest-zone or least-loaded=N; this one is {0:?}")]
pub struct BadSelection(String);

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("full"),
            Self::Target => f.write_str("target"),
            Self::NearestZone => f.write_str("nearest-zone"),
            Self::LeastLoaded { at_most } => write!(f, "least-loaded={at_most}"),
        }
    }
}

impl FromStr for Selection {
    type Err = BadSelection;

    fn from_str(text: &str) -> Result<Self, BadSelection> {
        match text {
            "full" => Ok(Self::Full),
            "target" => Ok(Self::Target),
            "nearest-zone" => Ok(Self::NearestZone),
            _ => {
                let at_most = text.strip_prefix("least-loaded=").and_then(|count| count.parse().ok());
                at_most.map(|at_most| Self::LeastLoaded { at_most }).ok_or_else(|| BadSelection(text.to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_survives_its_text() {
        for selection in
            [Selection::Full, Selection::Target, Selection::NearestZone, Selection::LeastLoaded { at_most: 8 }]
        {
            assert_eq!(selection.to_string().parse(), Ok(selection));
        }
        assert!("least-loaded=many".parse::<Selection>().is_err());
    }
}
