//! docs/operations.md has a row for everything that `anyportd` advises when it does not start.

use std::io;
use std::path::PathBuf;

use anyport_broker::advice::next;
use anyport_broker::identity::BadKey;
use anyport_broker::net::{BindError, TlsError};
use anyport_broker::seating::SeatingError;
use anyport_broker::server::StartError;
use anyport_storage::{OpenError, Poison, Step, StoreError};

const PAGE: &str = include_str!("../../../docs/operations.md");

fn io_error(kind: io::ErrorKind) -> io::Error {
    io::Error::from(kind)
}

fn store_errors() -> Vec<OpenError> {
    let path = || PathBuf::from("DATA/store");
    let engine = |cause: &str| OpenError::Engine { path: path(), cause: cause.to_owned() };
    let poison = Poison { step: Step::Sync, cause: "Input/output error".into() };
    vec![
        engine("IO error: While lock file: DATA/store/LOCK: Resource temporarily unavailable"),
        engine("Corruption: bad block"),
        OpenError::Folder { path: path(), cause: io_error(io::ErrorKind::PermissionDenied) },
        OpenError::NewerFormat { path: path(), found: 2, known: 1 },
        OpenError::Layout { path: path(), what: "partitions", stored: 4, asked: 8 },
        OpenError::Layout { path: path(), what: "registry shards", stored: 4, asked: 8 },
        OpenError::MarkMissing { path: path() },
        OpenError::MarkDamaged { path: path(), why: "its length is wrong" },
        OpenError::Mark { path: path(), cause: io_error(io::ErrorKind::PermissionDenied) },
        OpenError::ShortOfMark { store: 1, mark: 2 },
        OpenError::Distrusted { path: PathBuf::from("DATA/distrusted.txt"), cause: "a sync failed".to_owned() },
        OpenError::Thread { name: "store-keeper", cause: io_error(io::ErrorKind::WouldBlock) },
        OpenError::Store(StoreError::Poisoned(poison)),
        OpenError::Store(StoreError::Closed),
    ]
}

fn other_errors() -> Vec<StartError> {
    let address = ([127, 0, 0, 1], 7400).into();
    let file = || PathBuf::from("FILE");
    let no_pem = rustls::pki_types::pem::Error::NoItemsFound;
    let refused = || io_error(io::ErrorKind::PermissionDenied);
    vec![
        StartError::Admin { address, source: io_error(io::ErrorKind::AddrInUse) },
        StartError::Http { address, source: refused() },
        StartError::Bind(BindError::Socket { address, source: io_error(io::ErrorKind::AddrNotAvailable) }),
        StartError::Bind(BindError::Certificate(rustls::Error::DecryptError)),
        StartError::Tls(TlsError::File { path: file(), source: refused() }),
        StartError::Tls(TlsError::Pem { path: file(), source: no_pem }),
        StartError::Tls(TlsError::Generate(rcgen::Error::CouldNotParseCertificate)),
        StartError::TokenKey(BadKey),
    ]
}

#[test]
fn the_runbook_has_a_row_for_every_advice_of_a_failed_start() {
    let of_store = store_errors()
        .into_iter()
        .map(|source| -> StartError { SeatingError::Store { path: PathBuf::from("DATA"), source }.into() });
    for error in of_store.chain(other_errors()) {
        let (error, advice) = (error.to_string(), next(&error));
        // Names of files and options, and numbers, are those of the case.
        let generic =
            advice.replace("--admin", "--OPTION").replace("--http", "--OPTION").replace("--listen", "--OPTION");
        let generic = generic.replace("--partitions 4", "--partitions N");
        assert!(
            PAGE.contains(&format!("| {generic} |")),
            "docs/operations.md has no row for `{generic}`, the advice for: {error}"
        );
    }
}
