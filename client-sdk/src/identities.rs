//! The identities of a home folder: which there are, and moving one to another device.
//!
//! Moving copies. The copy opens its sessions with an epoch above any that the original has used by then, so whichever of the two
//! opens one last takes over from the other: they are one client, to be used on one device at a time.

use std::fs;
use std::io;
use std::path::PathBuf;

use anyport_protocol::{ClientId, ClusterId};

use crate::Error;
use crate::home::{Home, Portable, certificates_in};
use crate::net::check_authorities;

/// The identities of one home folder. Calls block briefly.
#[derive(Clone, Debug)]
pub struct Identities {
    home: PathBuf,
}

/// An identity as it is known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalIdentity {
    pub name: String,
    pub client: ClientId,
    pub cluster: ClusterId,
    pub folder: PathBuf,
}

/// An identity, to be taken to another device. Whoever has it is the client.
#[derive(Clone, Debug)]
pub struct ExportedIdentity {
    pub client: ClientId,
    pub cluster: ClusterId,
    /// What [`Identities::import`] takes: a JSON object.
    pub json: Vec<u8>,
}

/// What importing has done.
#[derive(Clone, Debug)]
pub struct ImportedIdentity {
    pub identity: LocalIdentity,
    /// The client that had this name before, if another one had.
    pub replaced: Option<ClientId>,
    /// Where the authorities lie that are trusted from now on, if there are any that were not before.
    pub trusted: Option<PathBuf>,
}

impl Identities {
    pub fn of(home: impl Into<PathBuf>) -> Self {
        Self { home: home.into() }
    }

    /// In order.
    pub fn names(&self) -> Result<Vec<String>, Error> {
        let folder = self.home.join("clients");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::Home { path: folder, source: error.into() }),
        };
        let entries = entries.filter_map(Result::ok).filter(|entry| entry.path().join("identity.json").exists());
        let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    /// None where nobody is registered under this name.
    pub fn find(&self, name: &str) -> Result<Option<LocalIdentity>, Error> {
        let home = Home::new(self.home.clone(), name)?;
        Ok(home.load_identity()?.map(|identity| home.describe(&identity)))
    }

    /// Everything that another device needs to go on as this client: its token, its positions, and the authorities trusted here.
    pub fn export(&self, name: &str) -> Result<ExportedIdentity, Error> {
        let home = Home::new(self.home.clone(), name)?;
        let identity = home.load_identity()?.ok_or_else(|| home.not_registered())?;
        let (client, cluster) = (identity.client, identity.cluster);
        let (state, authorities) = (home.load_state()?, home.trusted_certificates()?);
        let portable = Portable { name: name.to_owned(), identity, state, authorities };
        Ok(ExportedIdentity { client, cluster, json: portable.encode() })
    }

    /// Makes an exported identity one of this folder. Unless forced, it neither replaces an identity nor gives one a second name,
    /// whose sessions would take over from those of the first.
    pub fn import(&self, name: &str, exported: &[u8], force: bool) -> Result<ImportedIdentity, Error> {
        let bad = |reason| Error::BadExport { reason };
        let Portable { identity, mut state, authorities, .. } = Portable::decode(exported).map_err(bad)?;
        let authorities = certificates_in(&authorities.concat());
        check_authorities(&authorities).map_err(bad)?;

        let home = Home::new(self.home.clone(), name)?;
        let _nobody_uses_it = home.lock_session()?;
        let _nobody_registers_it = home.lock_registration()?;
        let before = match home.load_identity() {
            Err(Error::BadIdentity { .. }) if force => None,
            before => before?,
        };
        if !force {
            let in_the_way = before.as_ref().map(|before| home.describe(before));
            if let Some(there) =
                in_the_way.map_or_else(|| self.find_client(identity.client), |there| Ok(Some(there)))?
            {
                return Err(Error::IdentityThere { name: there.name, client: there.client });
            }
        }
        if before.as_ref().is_some_and(|before| before.client == identity.client) {
            // No epoch that was used here may be used again, and what was acked here stays acked.
            state.absorb(home.load_state()?);
        }
        home.save_state(&state)?;
        home.save_identity(&identity)?;
        let trusted = home.trust_imported(&authorities, identity.cluster)?;
        let replaced = before.map(|before| before.client).filter(|before| *before != identity.client);
        Ok(ImportedIdentity { identity: home.describe(&identity), replaced, trusted })
    }

    fn find_client(&self, client: ClientId) -> Result<Option<LocalIdentity>, Error> {
        for name in self.names()? {
            // One that cannot be read is not this one, as far as anybody can tell.
            if let Ok(Some(found)) = self.find(&name)
                && found.client == client
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use anyport_protocol::{Cursor, Incarnation, LogEpoch, Offset, SessionEpoch};

    use super::*;
    use crate::home::{Identity, ResumeState, SavedSubscription};

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("temporary folder")
    }

    fn state(epoch: u64, incarnation: u64, offsets: &[u64]) -> ResumeState {
        let cursor = |offset: &u64| Cursor { epoch: LogEpoch(0), offset: Offset(*offset) };
        let saved = SavedSubscription {
            filter: "filter".into(),
            incarnation: Incarnation(incarnation),
            cursors: offsets.iter().map(cursor).collect(),
        };
        let subscriptions = [("quakes".parse().expect("a name"), saved)].into();
        ResumeState { epoch: SessionEpoch(epoch), registry_seen: epoch, subscriptions, ..ResumeState::default() }
    }

    /// A registered client that has got somewhere.
    fn registered(root: &Path, name: &str, client: u8, state: &ResumeState) -> Home {
        let home = Home::new(root.into(), name).expect("a good name");
        let (client, cluster) = (ClientId([client; 16]), ClusterId([0x22; 16]));
        home.save_identity(&Identity { client, cluster, token: "token".into() }).expect("save");
        home.save_state(state).expect("save");
        home
    }

    #[test]
    fn an_identity_arrives_with_its_positions_and_only_for_its_owner() {
        let (here, there) = (folder(), folder());
        registered(here.path(), "phone", 1, &state(3, 7, &[17]));
        let exported = Identities::of(here.path()).export("phone").expect("exported");
        assert_eq!(exported.client, ClientId([1; 16]));

        let elsewhere = Identities::of(there.path());
        assert_eq!(elsewhere.names().expect("an empty folder"), [""; 0]);
        let imported = elsewhere.import("mobile", &exported.json, false).expect("imported");
        assert_eq!(imported.identity, elsewhere.find("mobile").expect("readable").expect("there"));
        assert_eq!((imported.replaced, imported.trusted), (None, None));
        assert_eq!(elsewhere.names().expect("readable"), ["mobile"]);
        let home = Home::new(there.path().into(), "mobile").expect("a good name");
        assert_eq!(home.load_state().expect("load"), state(3, 7, &[17]));
        let file = imported.identity.folder.join("identity.json");
        assert_eq!(fs::metadata(file).expect("there").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn nobody_is_replaced_or_named_twice_unless_forced() {
        let (here, there) = (folder(), folder());
        registered(here.path(), "phone", 1, &state(3, 7, &[17]));
        let exported = Identities::of(here.path()).export("phone").expect("exported").json;
        let again = Identities::of(here.path()).import("second", &exported, false).expect_err("a second name");
        assert!(matches!(&again, Error::IdentityThere { name, .. } if name == "phone"), "{again}");

        registered(there.path(), "phone", 2, &state(9, 1, &[]));
        let elsewhere = Identities::of(there.path());
        let refused = elsewhere.import("phone", &exported, false).expect_err("it is taken");
        assert!(matches!(refused, Error::IdentityThere { client, .. } if client == ClientId([2; 16])));
        let forced = elsewhere.import("phone", &exported, true).expect("forced");
        assert_eq!(forced.replaced, Some(ClientId([2; 16])));
        let home = Home::new(there.path().into(), "phone").expect("a good name");
        assert_eq!(home.load_state().expect("load"), state(3, 7, &[17]), "nothing of another client is kept");
    }

    #[test]
    fn an_older_copy_of_the_same_client_takes_nothing_back() {
        let here = folder();
        let home = registered(here.path(), "phone", 1, &state(3, 7, &[17, 4]));
        let exported = Identities::of(here.path()).export("phone").expect("exported").json;
        home.save_state(&state(8, 7, &[16, 50])).expect("it went on");
        let imported = Identities::of(here.path()).import("phone", &exported, true).expect("forced");
        assert_eq!(imported.replaced, None);
        assert_eq!(home.load_state().expect("load"), state(8, 7, &[17, 50]));
    }

    #[test]
    fn one_in_use_is_not_replaced_and_one_that_is_not_there_not_exported() {
        let here = folder();
        let home = registered(here.path(), "phone", 1, &state(3, 7, &[17]));
        let identities = Identities::of(here.path());
        let exported = identities.export("phone").expect("exported").json;
        let used = home.lock_session().expect("free");
        assert!(matches!(identities.import("phone", &exported, true), Err(Error::InUse { .. })));
        drop(used);
        assert!(matches!(identities.export("tablet"), Err(Error::NotRegistered { .. })));
        assert!(matches!(identities.import("tablet", b"{}", false), Err(Error::BadExport { .. })));
        assert!(!here.path().join("clients/tablet").exists(), "what is refused leaves nothing behind");
    }
}
