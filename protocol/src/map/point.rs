//! One row of the map.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::bucket::Bucket;
use super::command::MapCommand;
use super::names::{Host, ProviderId, ServiceId, ServiceVersion};
use crate::WallMs;

/// Grows when clients of a service in a sphere must react to a change; a restart is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SphereEpoch(pub u64);

/// Points of one service in one sphere have the same state behind them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sphere {
    pub provider: ProviderId,
    pub epoch: SphereEpoch,
}

/// `[from, until)` by the cluster's clock. Open where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Validity {
    pub from: Option<WallMs>,
    pub until: Option<WallMs>,
}

impl Validity {
    pub fn contains(&self, now: WallMs) -> bool {
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until)
    }
}

/// How a client chooses among the points of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Policy {
    /// At random, each by its weight.
    WeightedRandom,
    /// The less loaded of two that are drawn by weight.
    #[default]
    TwoChoices,
    /// The shortest round trip, those of the client's own zone first.
    Nearest,
    /// The same one for as long as it is there, clients evenly by weight: rendezvous hashing.
    Sticky,
    /// The highest value of an expression in the filter language over `rtt_ms`, `load`, `weight`, `zone`, `samezone` and `failures`.
    Score { expression: String },
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WeightedRandom => f.write_str("weighted-random"),
            Self::TwoChoices => f.write_str("two-choices"),
            Self::Nearest => f.write_str("nearest"),
            Self::Sticky => f.write_str("sticky"),
            Self::Score { expression } => write!(f, "score: {expression}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a policy is weighted-random, two-choices, nearest, sticky or `score: EXPRESSION`; this one is {0:?}")]
pub struct BadPolicy(String);

impl FromStr for Policy {
    type Err = BadPolicy;

    fn from_str(text: &str) -> Result<Self, BadPolicy> {
        match text {
            "weighted-random" => Ok(Self::WeightedRandom),
            "two-choices" => Ok(Self::TwoChoices),
            "nearest" => Ok(Self::Nearest),
            "sticky" => Ok(Self::Sticky),
            _ => match text.strip_prefix("score:") {
                Some(expression) => Ok(Self::Score { expression: expression.trim().to_owned() }),
                None => Err(BadPolicy(text.to_owned())),
            },
        }
    }
}

impl TryFrom<String> for Policy {
    type Error = BadPolicy;

    fn try_from(text: String) -> Result<Self, BadPolicy> {
        text.parse()
    }
}

impl From<Policy> for String {
    fn from(policy: Policy) -> Self {
        policy.to_string()
    }
}

/// One service at one place. Travels in the encodings of [`super::codec`]; brokers store it by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePoint {
    pub service: ServiceId,
    pub version: ServiceVersion,
    pub sphere: Sphere,
    pub host: Host,
    /// Where clients are near to it.
    pub zone: String,
    /// How much of what it can take it has: 0 to 1000, and above when it is overloaded.
    pub load: u16,
    /// Clients it is to have, in proportion to the others; with 0 nobody goes there who has somewhere else to go.
    pub weight: u16,
    pub valid: Validity,
    /// Where to go instead when it does not answer, the best first.
    pub backups: Vec<Host>,
    pub bucket: Option<Bucket>,
    /// What a client does that believed in an earlier epoch.
    pub commands: Vec<MapCommand>,
    /// For clients of the service; nobody else reads it.
    pub data: String,
    pub policy: Policy,
    /// What is there answers with the map to use instead of this row.
    pub redirects: bool,
}

impl ServicePoint {
    pub const WEIGHT_DEFAULT: u16 = 100;

    /// A point with nothing said but what must be.
    pub fn new(service: ServiceId, sphere: Sphere, host: Host) -> Self {
        Self {
            service,
            version: ServiceVersion::default(),
            sphere,
            host,
            zone: String::new(),
            load: 0,
            weight: Self::WEIGHT_DEFAULT,
            valid: Validity::default(),
            backups: Vec::new(),
            bucket: None,
            commands: Vec::new(),
            data: String::new(),
            policy: Policy::default(),
            redirects: false,
        }
    }

    pub fn key(&self) -> PointKey {
        PointKey {
            service: self.service.clone(),
            provider: self.sphere.provider.clone(),
            host: self.host.clone(),
            from: self.valid.from,
        }
    }
}

/// What makes a row the same row when the rest of it changes. Two of one place differ in when they begin to be valid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PointKey {
    #[serde(rename = "s")]
    pub service: ServiceId,
    #[serde(rename = "p")]
    pub provider: ProviderId,
    #[serde(rename = "h")]
    pub host: Host,
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub from: Option<WallMs>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validity_is_half_open_and_open_where_nothing_is_said() {
        let valid = Validity { from: Some(WallMs(10)), until: Some(WallMs(20)) };
        let inside: Vec<u64> = [9, 10, 19, 20].into_iter().filter(|at| valid.contains(WallMs(*at))).collect();
        assert_eq!(inside, [10, 19]);
        assert!(Validity::default().contains(WallMs(0)));
    }

    #[test]
    fn a_policy_survives_its_text() {
        let score = Policy::Score { expression: "-rtt_ms - 40 * load".into() };
        for policy in [Policy::WeightedRandom, Policy::TwoChoices, Policy::Nearest, Policy::Sticky, score] {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert!("fastest".parse::<Policy>().is_err());
    }
}
