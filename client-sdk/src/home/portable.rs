//! An identity as it travels to another device: who the client is, where it has got to, and which authorities it trusts.
//!
//! ```text
//!   { "format": "anyport identity", "version": 1,
//!     "name": "<what it is called where it comes from>",
//!     "client": "<uuid>", "cluster": "<uuid>", "token": "<what logs in>",
//!     "state": "<the state file, in hex: see `state`>",
//!     "authorities": [ "<one certificate, PEM>", ... ] }
//! ```
//! Members that are not known are refused: what this version does not understand it must not leave out.

use serde::{Deserialize, Serialize};

use super::{Identity, ResumeState};

const FORMAT: &str = "anyport identity";
const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Portable {
    pub(crate) name: String,
    pub(crate) identity: Identity,
    pub(crate) state: ResumeState,
    /// One certificate each, PEM.
    pub(crate) authorities: Vec<String>,
}

/// Read first, so that a later version is named and not found fault with.
#[derive(Deserialize)]
struct Kind {
    format: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    version: u32,
    name: String,
    client: String,
    cluster: String,
    token: String,
    state: String,
    authorities: Vec<String>,
}

impl Portable {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let file = File {
            format: FORMAT.to_owned(),
            version: VERSION,
            name: self.name.clone(),
            client: self.identity.client.to_string(),
            cluster: self.identity.cluster.to_string(),
            token: self.identity.token.clone(),
            state: to_hex(&self.state.encode()),
            authorities: self.authorities.clone(),
        };
        let mut json = serde_json::to_vec_pretty(&file).expect("strings and a number are always JSON");
        json.push(b'\n');
        json
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let kind: Kind = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if kind.format != FORMAT {
            return Err(format!("its format is {:?}, not {FORMAT:?}", kind.format));
        }
        if kind.version != VERSION {
            return Err(format!("version {} is not known here", kind.version));
        }
        let file: File = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let state = from_hex(&file.state).ok_or("state: not hex")?;
        Ok(Self {
            name: file.name,
            identity: Identity {
                client: file.client.parse().map_err(|error| format!("client: {error}"))?,
                cluster: file.cluster.parse().map_err(|error| format!("cluster: {error}"))?,
                token: file.token,
            },
            state: ResumeState::decode(&state).map_err(|reason| format!("state: {reason}"))?,
            authorities: file.authorities,
        })
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let nibble = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| u8::try_from(nibble(*high)? << 4 | nibble(*low)?).ok()).collect()
}

#[cfg(test)]
mod tests {
    use anyport_protocol::{ClientId, ClusterId, Cursor, Incarnation, LogEpoch, Offset, SessionEpoch};
    use proptest::prelude::*;

    use super::*;
    use crate::home::SavedSubscription;

    const GOLDEN: &str = include_str!("../../tests/golden/portable-identity.json");

    fn portable() -> Portable {
        let saved = SavedSubscription {
            filter: "data.mag >= 4.5".into(),
            incarnation: Incarnation(7),
            cursors: vec![Cursor { epoch: LogEpoch(1), offset: Offset(17) }],
        };
        Portable {
            name: "phone".into(),
            identity: Identity {
                client: ClientId([0x11; 16]),
                cluster: ClusterId([0x22; 16]),
                token: "v4.public.abc".into(),
            },
            state: ResumeState {
                epoch: SessionEpoch(3),
                registry_seen: 99,
                subscriptions: [("quakes".parse().expect("a name"), saved)].into(),
                ..ResumeState::default()
            },
            authorities: vec!["-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".into()],
        }
    }

    #[test]
    fn an_identity_travels_as_in_the_golden_file() {
        assert_eq!(String::from_utf8(portable().encode()).expect("JSON is text"), GOLDEN);
        assert_eq!(Portable::decode(GOLDEN.as_bytes()), Ok(portable()));
    }

    #[test]
    fn what_is_not_of_this_version_is_refused_with_the_reason() {
        let refused = |from: &str, to: &str| Portable::decode(GOLDEN.replacen(from, to, 1).as_bytes()).expect_err(to);
        assert_eq!(refused("\"version\": 1", "\"version\": 2, \"more\": 1"), "version 2 is not known here");
        assert!(refused("anyport identity", "holiday photo").contains("holiday photo"));
        assert!(refused("\"token\"", "\"more\": 1, \"token\"").contains("more"));
        assert!(refused("1111-", "1111+").starts_with("client: "));
        for cut in ["0103", "010", "0x"] {
            assert!(refused("\"state\": \"", &format!("\"state\": \"{cut}")).starts_with("state: "));
        }
        for end in 0..GOLDEN.len() - 2 {
            assert!(Portable::decode(&GOLDEN.as_bytes()[..end]).is_err(), "{end}");
        }
    }

    proptest! {
        #[test]
        fn hex_survives(bytes: Vec<u8>) {
            prop_assert_eq!(from_hex(&to_hex(&bytes)), Some(bytes));
        }

        #[test]
        fn no_text_is_more_than_refused(text: String) {
            let _ = from_hex(&text);
            let _ = Portable::decode(text.as_bytes());
        }
    }
}
