//! docs/operations.md has a row for everything that `anyportd` advises when it does not start.

use std::io;
use std::path::PathBuf;

use anyport_broker::advice::next;
use anyport_broker::cluster::{FormingError, SeatError};
use anyport_broker::config::BadConfig;
use anyport_broker::identity::BadKey;
use anyport_broker::net::{BindError, BundleError, BundleProblem, TlsError};
use anyport_broker::seating::SeatingError;
use anyport_broker::server::StartError;
use anyport_storage::metadata::Refusal;
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

/// Of a broker that is to be one of several.
fn cluster_errors() -> Vec<StartError> {
    let address = ([127, 0, 0, 1], 7401).into();
    let bind = |kind| SeatingError::Bind(BindError::Socket { address, source: io_error(kind) });
    let data = || PathBuf::from("DATA");
    let bundle = BundleError { path: PathBuf::from("FILE"), problem: BundleProblem::NotABroker };
    let of_seat = [
        bind(io::ErrorKind::AddrInUse),
        bind(io::ErrorKind::PermissionDenied),
        bind(io::ErrorKind::AddrNotAvailable),
        SeatingError::Bind(BindError::Certificate(rustls::Error::DecryptError)),
        SeatingError::Bundle(bundle),
        SeatingError::Forming(FormingError::NoWish { folder: data() }),
        SeatingError::Forming(FormingError::Refused(Refusal::TooManyBrokers { brokers: 64, limit: 64 })),
        SeatingError::Seat(SeatError::File { path: data(), source: io_error(io::ErrorKind::PermissionDenied) }),
        SeatingError::SetAside { path: data(), source: io_error(io::ErrorKind::PermissionDenied) },
        SeatingError::ForeignStore { path: data() },
        SeatingError::Facts(StoreError::Closed),
    ];
    let bad_config = [
        BadConfig::RelaxedInCluster,
        BadConfig::NotReachable { option: "--listen", advertise: "--advertise" },
        BadConfig::NeverReplace,
    ];
    bad_config.into_iter().map(StartError::from).chain(of_seat.into_iter().map(StartError::from)).collect()
}

#[test]
fn the_runbook_has_a_row_for_every_advice_of_a_failed_start() {
    let of_store = store_errors()
        .into_iter()
        .map(|source| -> StartError { SeatingError::Store { path: PathBuf::from("DATA"), source }.into() });
    for error in of_store.chain(other_errors()).chain(cluster_errors()) {
        let (error, advice) = (error.to_string(), next(&error));
        // Names of files and options, and numbers, are those of the case.
        let ports = ["--admin", "--http", "--listen", "--peer"];
        let generic = ports.iter().fold(advice, |advice, port| advice.replace(port, "--OPTION"));
        let generic = generic.replace("--partitions 4", "--partitions N");
        assert!(
            PAGE.contains(&format!("| {generic} |")),
            "docs/operations.md has no row for `{generic}`, the advice for: {error}"
        );
    }
}
