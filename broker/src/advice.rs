//! What somebody does next whose broker does not start.

use std::io;

use anyport_storage::{OpenError, StoreError};

use crate::cluster::{FactsError, ForceError, ReplicaError, StartError as GroupsError};
use crate::net::{BindError, TlsError};
use crate::seating::SeatingError;
use crate::server::StartError;

const ONE_COPY: &str =
    "restore the whole data folder from one and the same copy, or begin a new cluster with another --data";
const LATER_VERSION: &str = "start the version of anyportd that wrote this data, or a later one";
const DISK: &str = "check the disk, and that you may write to the folder; or name another by --data";
const BUG: &str = "report this as a bug";
const LOG: &str = "look above in this log for the reason, then start it again";

pub fn next(error: &StartError) -> String {
    match error {
        StartError::Config(_) => "correct the options; `anyportd --help` tells them".to_owned(),
        StartError::Seating(error) => taking_a_seat(error),
        StartError::Facts(error) => reading(error).to_owned(),
        StartError::TokenKey(_) | StartError::Epochs(_) => ONE_COPY.to_owned(),
        StartError::Groups(error) => starting_groups(error),
        StartError::Tls(error) => showing(error).to_owned(),
        StartError::Bind(BindError::Socket { source, .. }) => listening(source, "--listen"),
        StartError::Bind(BindError::Certificate(_)) | StartError::Certificate(_) => {
            "check that --tls-cert names a certificate and --tls-key its key".to_owned()
        }
        StartError::Bind(BindError::Ciphers(_)) => BUG.to_owned(),
        StartError::Admin { source, .. } => listening(source, "--admin"),
        StartError::Http { source, .. } => listening(source, "--http"),
    }
}

fn listening(error: &io::Error, option: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!("end the other program that has this port, or name another by {option}"),
        io::ErrorKind::PermissionDenied => format!("name a port above 1023 by {option}"),
        _ => format!("name an address of this machine by {option}"),
    }
}

fn taking_a_seat(error: &SeatingError) -> String {
    match error {
        SeatingError::Store { source, .. } => opening(source),
        SeatingError::Facts(error) => reading(error).to_owned(),
        SeatingError::Bundle(_) => "name by --cluster a bundle of `anyport admin cluster-init`".to_owned(),
        SeatingError::Bind(BindError::Socket { source, .. }) => listening(source, "--peer"),
        // The bundle was found to be good before.
        SeatingError::Bind(BindError::Certificate(_) | BindError::Ciphers(_)) => BUG.to_owned(),
        SeatingError::Forming(_) => "look which brokers there are: anyport admin status".to_owned(),
        SeatingError::Seat(_) | SeatingError::SetAside { .. } => DISK.to_owned(),
        SeatingError::ForeignStore { .. } => "begin with another --data, or move this folder away".to_owned(),
    }
}

fn opening(error: &OpenError) -> String {
    match error {
        // RocksDB tells a lock that is held from damage in its text alone.
        OpenError::Engine { cause, .. } if cause.contains("lock file") => {
            "end the other broker that uses this folder, or name another by --data".to_owned()
        }
        OpenError::Folder { .. } | OpenError::Engine { .. } | OpenError::Mark { .. } => DISK.to_owned(),
        OpenError::NewerFormat { .. } => LATER_VERSION.to_owned(),
        OpenError::Layout { what, stored, .. } => layout(what, *stored),
        OpenError::MarkMissing { .. } | OpenError::MarkDamaged { .. } | OpenError::ShortOfMark { .. } => {
            ONE_COPY.to_owned()
        }
        OpenError::Distrusted { path, .. } => {
            format!("check the disk, restart the machine, then remove {}", path.display())
        }
        OpenError::Thread { .. } => "allow this user more threads (ulimit -u)".to_owned(),
        OpenError::Store(error) => reading(error).to_owned(),
    }
}

fn layout(what: &str, stored: u16) -> String {
    match what {
        "partitions" => format!("start it with --partitions {stored}, or begin a new cluster with another --data"),
        _ => LATER_VERSION.to_owned(),
    }
}

fn reading(error: &StoreError) -> &'static str {
    match error {
        StoreError::BadEntry { .. } | StoreError::BadCommands { .. } | StoreError::BadMetadata { .. } => LATER_VERSION,
        StoreError::Read { .. } | StoreError::Poisoned(_) => DISK,
        _ => ONE_COPY,
    }
}

fn showing(error: &TlsError) -> &'static str {
    match error {
        TlsError::File { .. } => "check that the file is there and yours, or name another by --tls-cert and --tls-key",
        TlsError::Pem { .. } => "name a certificate chain by --tls-cert and its key by --tls-key, both in PEM",
        TlsError::Generate(_) => {
            "remove the folder dev-ca of the data folder: a new authority is made, and clients find it where --dev puts it"
        }
    }
}

fn starting_groups(error: &GroupsError) -> String {
    match error {
        GroupsError::Store(error) => reading(error).to_owned(),
        GroupsError::Facts(FactsError::Layout { what, stored, .. }) => layout(what, *stored),
        GroupsError::Replica(ReplicaError::Store { source, .. }) => reading(source).to_owned(),
        GroupsError::Recovery(ForceError::Store(error)) => reading(error).to_owned(),
        GroupsError::Recovery(_)
        | GroupsError::Replica(_)
        | GroupsError::Group(_)
        | GroupsError::Facts(_)
        | GroupsError::NotOpen { .. } => LOG.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn of_store(source: OpenError) -> String {
        next(&StartError::Seating(SeatingError::Store { path: PathBuf::from("data"), source }))
    }

    #[test]
    fn a_port_that_is_taken_is_told_with_the_option_that_names_another() {
        let address = ([127, 0, 0, 1], 7480).into();
        let taken = || io::Error::from(io::ErrorKind::AddrInUse);
        assert!(next(&StartError::Admin { address, source: taken() }).contains("--admin"));
        assert!(next(&StartError::Bind(BindError::Socket { address, source: taken() })).contains("--listen"));
        let peer = |source| next(&SeatingError::Bind(BindError::Socket { address, source }).into());
        assert!(peer(taken()).contains("--peer"));
        let elsewhere = io::Error::from(io::ErrorKind::AddrNotAvailable);
        assert_eq!(peer(elsewhere), "name an address of this machine by --peer");
    }

    #[test]
    fn a_folder_in_use_is_told_from_a_damaged_one_and_a_wrong_count_with_the_right_one() {
        let engine = |cause: &str| OpenError::Engine { path: PathBuf::from("data/store"), cause: cause.to_owned() };
        assert!(
            of_store(engine("IO error: While lock file: data/store/LOCK: Resource temporarily unavailable"))
                .starts_with("end the other broker")
        );
        assert_eq!(of_store(engine("Corruption: bad block")), DISK);
        let layout = OpenError::Layout { path: PathBuf::from("data/store"), what: "partitions", stored: 4, asked: 8 };
        assert!(of_store(layout).contains("--partitions 4"));
        assert_eq!(of_store(OpenError::ShortOfMark { store: 1, mark: 2 }), ONE_COPY);
    }
}
