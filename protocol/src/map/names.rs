//! What services, providers and places are called.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::{ADDRESS_BYTES_MAX, MAP_NAME_BYTES_MAX};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMapName {
    #[error(
        "the name of a service or provider has 1 to {MAP_NAME_BYTES_MAX} letters, digits, `.`, `-` and `_`; this one is {0:?}"
    )]
    Name(String),
    #[error("an address is a host and a port, such as `broker.example:7400`; this one is {0:?}")]
    Host(String),
    #[error("a version is two numbers, such as `1.0`; this one is {0:?}")]
    Version(String),
}

fn check_name(name: String) -> Result<String, BadMapName> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if name.is_empty() || name.len() > MAP_NAME_BYTES_MAX || !name.bytes().all(is_good) {
        return Err(BadMapName::Name(name));
    }
    Ok(name)
}

macro_rules! map_names {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadMapName;

            fn try_from(name: String) -> Result<Self, BadMapName> {
                check_name(name).map(Self)
            }
        }

        impl FromStr for $name {
            type Err = BadMapName;

            fn from_str(name: &str) -> Result<Self, BadMapName> {
                name.to_owned().try_into()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
map_names! {
    /// What is offered: one of the constants here, or somebody's own.
    ServiceId
    /// Whose points belong together: a cluster's id, or the name somebody advertises under.
    ProviderId
}

impl ServiceId {
    /// Sessions: subscriptions, replay and live events.
    pub const SESSION: &str = "session";
    pub const PUBLISH: &str = "publish";
    pub const REGISTRATION: &str = "registration";
    pub const LOGIN: &str = "login";
    /// The map itself.
    pub const MAP: &str = "spm";
    pub const STATUS: &str = "status";

    /// What a broker offers.
    pub const OF_A_BROKER: [&str; 6] =
        [Self::REGISTRATION, Self::LOGIN, Self::MAP, Self::PUBLISH, Self::SESSION, Self::STATUS];

    /// One of the constants.
    pub fn known(name: &'static str) -> Self {
        name.parse().expect("the constants are good names")
    }
}

/// Of a service: clients of one major version understand each other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceVersion(pub u16, pub u16);

impl Default for ServiceVersion {
    fn default() -> Self {
        Self(1, 0)
    }
}

impl fmt::Display for ServiceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl FromStr for ServiceVersion {
    type Err = BadMapName;

    fn from_str(text: &str) -> Result<Self, BadMapName> {
        let parts = text.split_once('.').and_then(|(x, y)| Some(Self(x.parse().ok()?, y.parse().ok()?)));
        parts.ok_or_else(|| BadMapName::Version(text.to_owned()))
    }
}

/// A place: an address of the internet, a DNS name, or both, and a port. Where there are both the address is dialled, and the name is what
/// the certificate there must show.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Host {
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none", with = "as_text")]
    pub inet: Option<IpAddr>,
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(rename = "p")]
    pub port: u16,
}

/// An address is text on the wire, too: readers in other languages know it, and it is no longer.
mod as_text {
    use std::net::IpAddr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(inet: &Option<IpAddr>, serializer: S) -> Result<S::Ok, S::Error> {
        match inet {
            Some(inet) => serializer.collect_str(inet),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(de::Error::custom)).transpose()
    }
}

impl Host {
    /// As it is dialled: `host:port`.
    pub fn address(&self) -> String {
        match (&self.inet, &self.name) {
            (Some(IpAddr::V6(inet)), _) => format!("[{inet}]:{}", self.port),
            (Some(inet), _) => format!("{inet}:{}", self.port),
            (None, name) => format!("{}:{}", name.as_deref().unwrap_or_default(), self.port),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.inet, &self.name) {
            (Some(_), Some(name)) => write!(f, "{name} ({})", self.address()),
            _ => f.write_str(&self.address()),
        }
    }
}

impl FromStr for Host {
    type Err = BadMapName;

    /// `host:port`; the host may be an address or a name.
    fn from_str(text: &str) -> Result<Self, BadMapName> {
        let bad = || BadMapName::Host(text.to_owned());
        let (host, port) = text.rsplit_once(':').filter(|_| text.len() <= ADDRESS_BYTES_MAX).ok_or_else(bad)?;
        let port = port.parse().map_err(|_| bad())?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        match bare.unwrap_or(host).parse() {
            Ok(inet) => Ok(Self { inet: Some(inet), name: None, port }),
            Err(_) if host.is_empty() || bare.is_some() || host.contains(char::is_whitespace) => Err(bad()),
            Err(_) => Ok(Self { inet: None, name: Some(host.to_owned()), port }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for name in ServiceId::OF_A_BROKER {
            assert_eq!(ServiceId::known(name).as_str(), name);
        }
        for bad in ["", "with space", "ünïcode", &"x".repeat(MAP_NAME_BYTES_MAX + 1)] {
            assert!(bad.parse::<ServiceId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_survives_its_text() {
        for text in ["127.0.0.1:7400", "[::1]:7400", "broker.example:7400"] {
            let host: Host = text.parse().expect("a good address");
            assert_eq!((host.address().as_str(), host.to_string().as_str()), (text, text));
        }
        let both = Host { name: Some("b.example".into()), ..Host::from_str("10.0.0.1:7400").expect("good") };
        assert_eq!(
            (both.address().as_str(), both.to_string().as_str()),
            ("10.0.0.1:7400", "b.example (10.0.0.1:7400)")
        );
        for bad in ["", "a", ":7400", "a:", "a:99999", "[a]:1", "two words:1"] {
            assert!(bad.parse::<Host>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_version_is_two_numbers() {
        assert_eq!("2.13".parse(), Ok(ServiceVersion(2, 13)));
        for bad in ["", "2", "2.", "2.x", "1.2.3"] {
            assert!(bad.parse::<ServiceVersion>().is_err(), "{bad}");
        }
    }
}
