//! Locks that end with the process that holds them, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;

use super::{Home, home_error};
use crate::Error;

/// Held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Home {
    /// Two sessions of one identity would take over from each other without end, so one process at a time may have it.
    pub(crate) fn lock_session(&self) -> Result<Lock, Error> {
        let mut file = self.open_lock("session.lock")?;
        let path = self.file("session.lock");
        match file.try_lock() {
            Ok(()) => {
                // Who holds it is only for the message to others.
                let _ =
                    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
                Ok(Lock { _file: file })
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                Err(Error::InUse { name: self.name.clone(), holder: holder.trim().parse().ok() })
            }
            Err(TryLockError::Error(error)) => Err(home_error(&path, error)),
        }
    }

    /// Waits for its turn, so that two processes started together register one identity.
    pub(crate) fn lock_registration(&self) -> Result<Lock, Error> {
        let file = self.open_lock("registration.lock")?;
        file.lock().map_err(|error| home_error(&self.file("registration.lock"), error))?;
        Ok(Lock { _file: file })
    }

    fn open_lock(&self, name: &str) -> Result<File, Error> {
        self.make_client_folder()?;
        let path = self.file(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(&path).map_err(|error| home_error(&path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_session_of_an_identity_is_told_who_has_it() {
        let root = tempfile::tempdir().expect("temporary folder");
        let home = Home::new(root.path().into(), "phone").expect("a good name");
        let first = home.lock_session().expect("free");
        let Err(Error::InUse { name, holder }) = home.lock_session() else { panic!("locked twice") };
        assert_eq!((name.as_str(), holder), ("phone", Some(std::process::id())));
        drop(first);
        home.lock_session().expect("free again");
    }
}
