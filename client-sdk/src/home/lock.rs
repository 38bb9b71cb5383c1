//! Locks that end with the process that holds them, however it ends.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

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
        self.lock_now("session.lock")?.map_err(|holder| Error::InUse { name: self.name.clone(), holder })
    }

    /// The outbox's folder, and the right to it: two who send from one would number its events differently.
    pub(crate) fn lock_outbox(&self) -> Result<(PathBuf, Lock), Error> {
        self.make_client_folder()?;
        let path = self.file("outbox");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        // Its name is durable once the folder around it is.
        let made = made.and_then(|()| File::open(self.file(""))?.sync_all());
        made.map_err(|error| home_error(&path, error))?;
        match self.lock_now("outbox/lock")? {
            Ok(lock) => Ok((path, lock)),
            Err(holder) => Err(Error::OutboxInUse { path, holder }),
        }
    }

    /// The lock, or who holds it.
    fn lock_now(&self, name: &str) -> Result<Result<Lock, Option<u32>>, Error> {
        let mut file = self.open_lock(name)?;
        match file.try_lock() {
            Ok(()) => {
                // Who holds it is only for the message to others.
                let _ =
                    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
                Ok(Ok(Lock { _file: file }))
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                Ok(Err(holder.trim().parse().ok()))
            }
            Err(TryLockError::Error(error)) if is_without_locks(&error) => Ok(Ok(Lock { _file: file })),
            Err(TryLockError::Error(error)) => Err(home_error(&self.file(name), error)),
        }
    }

    /// Waits for its turn, so that two processes started together register one identity.
    pub(crate) fn lock_registration(&self) -> Result<Lock, Error> {
        let file = self.open_lock("registration.lock")?;
        match file.lock() {
            Err(error) if !is_without_locks(&error) => Err(home_error(&self.file("registration.lock"), error)),
            _ => Ok(Lock { _file: file }),
        }
    }

    fn open_lock(&self, name: &str) -> Result<File, Error> {
        self.make_client_folder()?;
        let path = self.file(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.open(&path).map_err(|error| home_error(&path, error))
    }
}

/// On Android the standard library has no file locks. An application's folder is its own there, and seldom open to two processes; should
/// two have a session, the later one takes over and the other is told.
fn is_without_locks(error: &io::Error) -> bool {
    cfg!(target_os = "android") && error.kind() == io::ErrorKind::Unsupported
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
