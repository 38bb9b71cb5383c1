//! The home folder: trusted authorities, identities, and where each client has got to.
//!
//! ```text
//!   $ANYPORT_HOME
//!     ca/*.pem                     certificate authorities to trust
//!     clients/<name>/identity.json who the client is: its id and token
//!     clients/<name>/state         session epoch and cursors, see `state`
//!     clients/<name>/map           the last Service Point Map, see `map`
//!     clients/<name>/session.lock  held by the one process that has this identity's session
//!     clients/<name>/outbox/       events that are not yet at a broker, see `outbox`
//! ```
//! Files are replaced whole: written beside, synced, renamed. All calls block briefly.

mod authorities;
mod identity;
mod lock;
mod map;
mod portable;
mod state;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use authorities::{certificates_in, pem_files};
pub(crate) use identity::Identity;
pub(crate) use lock::Lock;
pub(crate) use map::SavedMap;
pub(crate) use portable::Portable;
pub(crate) use state::{ResumeState, ResumeToken, SavedSubscription, larger};

use crate::{Error, LocalIdentity};

/// The part of a home folder that one client uses.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    root: PathBuf,
    name: String,
}

impl Home {
    pub(crate) fn new(root: PathBuf, name: &str) -> Result<Self, Error> {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.bytes().all(is_good) {
            return Err(Error::BadClientName { name: name.to_owned() });
        }
        Ok(Self { root, name: name.to_owned() })
    }

    pub(crate) fn authorities(&self) -> PathBuf {
        self.root.join("ca")
    }

    /// What may be told of an identity of this client.
    pub(crate) fn describe(&self, identity: &Identity) -> LocalIdentity {
        let (client, cluster) = (identity.client, identity.cluster);
        LocalIdentity { name: self.name.clone(), client, cluster, folder: self.client() }
    }

    pub(crate) fn not_registered(&self) -> Error {
        Error::NotRegistered { name: self.name.clone(), home: self.root.clone() }
    }

    fn client(&self) -> PathBuf {
        self.root.join("clients").join(&self.name)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.client().join(name)
    }

    /// Only the user may read it: a token is the identity.
    fn make_client_folder(&self) -> Result<(), Error> {
        let folder = self.client();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|error| home_error(&folder, error))
    }
}

pub(crate) fn home_error(path: &Path, error: io::Error) -> Error {
    Error::Home { path: path.to_owned(), source: Arc::new(error) }
}

/// None if there is no such file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(home_error(path, error)),
    }
}

/// After a crash the file is as before or as given.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        // The new name is durable once its folder is.
        path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
    };
    write().map_err(|error| home_error(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_name_names_one_folder() {
        for good in ["default", "phone-2", "a.b_c"] {
            assert!(Home::new("/tmp".into(), good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "ü", &"x".repeat(65)] {
            assert!(matches!(Home::new("/tmp".into(), bad), Err(Error::BadClientName { .. })), "{bad}");
        }
    }
}
