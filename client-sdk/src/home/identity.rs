//! Who the client is. JSON, because people look at it and move it to other devices.
//!
//! ```text
//!   { "version": 1, "client": "<uuid>", "cluster": "<uuid>", "token": "<what logs in>" }
//! ```

use anyport_protocol::{ClientId, ClusterId};
use serde::{Deserialize, Serialize};

use super::{Home, read, replace};
use crate::Error;

const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) client: ClientId,
    pub(crate) cluster: ClusterId,
    pub(crate) token: String,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    client: String,
    cluster: String,
    token: String,
}

impl Home {
    /// None before the first registration.
    pub(crate) fn load_identity(&self) -> Result<Option<Identity>, Error> {
        let path = self.file("identity.json");
        let Some(bytes) = read(&path)? else { return Ok(None) };
        match decode(&bytes) {
            Ok(identity) => Ok(Some(identity)),
            Err(reason) => Err(Error::BadIdentity { path, reason }),
        }
    }

    pub(crate) fn save_identity(&self, identity: &Identity) -> Result<(), Error> {
        self.make_client_folder()?;
        let file = File {
            version: VERSION,
            client: identity.client.to_string(),
            cluster: identity.cluster.to_string(),
            token: identity.token.clone(),
        };
        let mut json = serde_json::to_vec_pretty(&file).expect("strings and a number are always JSON");
        json.push(b'\n');
        replace(&self.file("identity.json"), &json)
    }
}

fn decode(bytes: &[u8]) -> Result<Identity, String> {
    let file: File = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if file.version != VERSION {
        return Err(format!("version {} is not known here", file.version));
    }
    Ok(Identity {
        client: file.client.parse().map_err(|error| format!("client: {error}"))?,
        cluster: file.cluster.parse().map_err(|error| format!("cluster: {error}"))?,
        token: file.token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("../../tests/golden/identity.json");

    fn identity() -> Identity {
        Identity { client: ClientId([0x11; 16]), cluster: ClusterId([0x22; 16]), token: "v4.public.abc".into() }
    }

    #[test]
    fn an_identity_is_kept_as_in_the_golden_file() {
        let root = tempfile::tempdir().expect("temporary folder");
        let home = Home::new(root.path().into(), "phone").expect("a good name");
        assert_eq!(home.load_identity().expect("absent is fine"), None);
        home.save_identity(&identity()).expect("save");
        assert_eq!(std::fs::read_to_string(home.file("identity.json")).expect("read"), GOLDEN);
        assert_eq!(home.load_identity().expect("load"), Some(identity()));
    }

    #[test]
    fn what_is_no_identity_is_an_error_that_says_why() {
        for wrong in ["", "{}", &GOLDEN.replace("\"version\": 1", "\"version\": 2"), &GOLDEN.replace('-', "+")] {
            assert!(decode(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
