//! `anyport admin cluster-init` and `join-token`: the files that make machines a cluster.

use std::fs::{self, DirBuilder};
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::args::Common;
use super::super::exit::{Exit, Failure};
use super::super::tell::{note, say};
use super::super::{output, words};
use super::args::{ClusterInit, JoinToken};
use crate::ClientCode;
use crate::admin::{AuthorityError, CERTIFICATE_VALID, ClusterAuthority, write_new};
use crate::home::{Home, certificates_in};

/// Ports of the first broker: for clients, for brokers, for machines that watch. Each further one on the same machine has ten more.
const PORTS: [u16; 3] = [7400, 7401, 7480];

/// A file that was made, and what it is for.
type Made = (PathBuf, &'static str);

pub(super) async fn init(common: &Common, options: ClusterInit) -> Result<Exit, Failure> {
    let (made, authority) = make(&options)?;
    let trusted = if options.no_trust { None } else { trust(common, &options.folder, &authority)? };
    let lines = start_lines(&options);
    if common.json {
        output::print_json(&as_json(&made, trusted.as_deref(), &lines)).await?;
    } else {
        let rows: Vec<_> = made.iter().map(|(path, what)| [path.display().to_string(), (*what).to_owned()]).collect();
        output::print(words::table(&rows)).await?;
        if let Some(trusted) = trusted {
            say(&format!("this user's `anyport` trusts the cluster from now on: {}", trusted.display()));
        }
        say("next: carry each token to its broker's machine, and there");
        lines.iter().for_each(|line| say(&format!("  {line}")));
        let admin = options.folder.join("admin.pem");
        say(&format!("then: anyport admin status --cluster {} --peer {}", shown(&admin), peer_of(&options, 0)));
    }
    note("warning", "keep ca.key where no broker runs: who has it can be every broker and every operator", json!({}));
    Ok(Exit::Done)
}

fn make(options: &ClusterInit) -> Result<(Vec<Made>, ClusterAuthority), Failure> {
    let folder = &options.folder;
    let authority = ClusterAuthority::generate()?;
    let mut files = vec![
        (
            folder.join("ca.pem"),
            "its authority: who trusts it trusts every broker",
            authority.certificate_pem().to_owned(),
        ),
        (folder.join("ca.key"), "the authority's key: makes join tokens; keep it off line", authority.key_pem()),
        (
            folder.join("admin.pem"),
            "the operator's bundle, for `anyport admin`",
            authority.admin_bundle(CERTIFICATE_VALID)?,
        ),
    ];
    for number in 1..=options.brokers {
        let token = authority.broker_bundle(&options.host, CERTIFICATE_VALID)?;
        files.push((
            token_path(folder, number.into()),
            "join token of one broker, and its identity for ever after",
            token,
        ));
    }
    // All or nothing: two clusters' files mixed in one folder would fit nowhere.
    if let Some((path, ..)) = files.iter().find(|(path, ..)| path.exists()) {
        return Err(AuthorityError::Exists { path: path.clone() }.into());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| AuthorityError::File { path: folder.clone(), source })?;
    for (path, _, text) in &files {
        write_new(path, text)?;
    }
    Ok((files.into_iter().map(|(path, what, _)| (path, what)).collect(), authority))
}

fn token_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("broker-{number}.pem"))
}

/// As `anyportd --dev` does with its own authority.
fn trust(common: &Common, folder: &Path, authority: &ClusterAuthority) -> Result<Option<PathBuf>, Failure> {
    let home = Home::new(common.home(), &common.client)?;
    let about =
        format!("The authority of the cluster that `anyport admin cluster-init {}` has made.", folder.display());
    let file = format!("cluster-{}.pem", authority.label());
    Ok(home.trust(&certificates_in(authority.certificate_pem()), &file, &about)?)
}

/// What to type for each broker: on one machine with ports of their own, or on the hosts that were named.
fn start_lines(options: &ClusterInit) -> Vec<String> {
    let line = |place: u16| {
        let token = token_path(&options.folder, u64::from(place) + 1);
        let first = peer_of(options, 0);
        let role = if place == 0 { "--bootstrap".to_owned() } else { format!("--join {first}") };
        let [listen, peer, admin] = addresses(options, place);
        let (listen, peer) = match is_address(options, place) {
            true => (format!("--listen {listen}"), format!("--peer {peer}")),
            // A broker listens on addresses only, and which one its name stands for is for its machine to know.
            false => (
                format!("--listen 0.0.0.0:{} --advertise {listen}", PORTS[0]),
                format!("--peer 0.0.0.0:{} --advertise-peer {peer}", PORTS[1]),
            ),
        };
        let mut line = format!("anyportd --cluster {} {role} {listen} {peer}", shown(&token));
        if options.host.is_empty() {
            line.push_str(&format!(" --admin {admin} --data anyport-data-{}", place + 1));
        }
        line
    };
    (0..options.brokers).map(line).collect()
}

fn peer_of(options: &ClusterInit, place: u16) -> String {
    let [_, peer, _] = addresses(options, place);
    peer
}

/// Whether the broker's host is told by number. What is written over HOST-2 may be a name.
fn is_address(options: &ClusterInit, place: u16) -> bool {
    options.host.is_empty() || options.host.get(usize::from(place)).is_some_and(|host| host.parse::<IpAddr>().is_ok())
}

fn addresses(options: &ClusterInit, place: u16) -> [String; 3] {
    let host_of = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    match options.host.get(usize::from(place)) {
        Some(host) => PORTS.map(|port| format!("{}:{port}", host_of(host))),
        None if options.host.is_empty() => PORTS.map(|port| format!("127.0.0.1:{}", port + 10 * place)),
        None => PORTS.map(|port| format!("HOST-{}:{port}", place + 1)),
    }
}

/// As a shell takes it.
fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "/._-".contains(character);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Its members are a promise to scripts: see docs/cli.md.
fn as_json(made: &[Made], trusted: Option<&Path>, lines: &[String]) -> Value {
    let files: Vec<_> = made.iter().map(|(path, _)| path.display().to_string()).collect();
    json!({ "files": files, "trusted": trusted.map(|path| path.display().to_string()), "start": lines })
}

pub(super) async fn join_token(common: &Common, options: JoinToken) -> Result<Exit, Failure> {
    let authority = ClusterAuthority::open(&options.folder)?;
    let valid = options.valid.unwrap_or(CERTIFICATE_VALID);
    let token = match &options.renew {
        Some(earlier) => authority.renew_broker_bundle(earlier, &options.host, valid)?,
        None => authority.broker_bundle(&options.host, valid)?,
    };
    let path = match options.out {
        Some(path) => path,
        None => next_token(&options.folder)?,
    };
    write_new(&path, &token)?;
    if common.json {
        output::print_json(&json!({ "files": [path.display().to_string()] })).await?;
    } else {
        output::print(format!("{}\n", path.display())).await?;
        match options.renew {
            Some(earlier) => {
                say(&format!("next: put it where its broker has {}, and start that again", earlier.display()));
            }
            None => {
                say("who has this file may join the cluster once, and is that broker from then on");
                say(&format!("next: anyportd --cluster {} --join ADDRESS:7401 of a broker that runs", shown(&path)));
            }
        }
    }
    Ok(Exit::Done)
}

/// Behind all that are there, so that a number is not given twice when one in the middle was carried away.
fn next_token(folder: &Path) -> Result<PathBuf, Failure> {
    let entries = fs::read_dir(folder).map_err(|source| AuthorityError::File { path: folder.to_owned(), source })?;
    let number_of = |name: &str| name.strip_prefix("broker-")?.strip_suffix(".pem")?.parse::<u32>().ok();
    let numbers = entries.filter_map(Result::ok).filter_map(|entry| number_of(entry.file_name().to_str()?));
    Ok(token_path(folder, u64::from(numbers.max().unwrap_or(0)) + 1))
}

impl From<AuthorityError> for Failure {
    fn from(error: AuthorityError) -> Self {
        let code = match &error {
            AuthorityError::Exists { .. } => ClientCode::FileThere,
            AuthorityError::File { .. } | AuthorityError::Unusable { .. } | AuthorityError::NotRenewable { .. } => {
                ClientCode::ClusterFiles
            }
            AuthorityError::BadHost { .. } => ClientCode::WrongUsage,
            AuthorityError::Make(_) => ClientCode::CommandFailed,
        };
        let failure = Self::of(code, error.to_string());
        match error {
            AuthorityError::BadHost { .. } => {
                failure.with_next("name a host without scheme and port, such as b1.example or 10.0.0.7")
            }
            _ => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn options(folder: &Path, host: &[&str]) -> ClusterInit {
        ClusterInit {
            folder: folder.to_owned(),
            brokers: 2,
            host: host.iter().map(|host| (*host).to_owned()).collect(),
            no_trust: true,
        }
    }

    #[test]
    fn a_cluster_begins_with_files_that_only_their_owner_reads() {
        let root = tempfile::tempdir().expect("temporary folder");
        let folder = root.path().join("ops");
        let (made, _) = make(&options(&folder, &[])).expect("made");
        let names: Vec<_> =
            made.iter().map(|(path, _)| path.file_name().expect("a name").to_str().expect("UTF-8")).collect();
        assert_eq!(names, ["ca.pem", "ca.key", "admin.pem", "broker-1.pem", "broker-2.pem"]);
        for (path, _) in &made {
            assert_eq!(fs::metadata(path).expect("there").permissions().mode() & 0o777, 0o600, "{path:?}");
        }
        assert_eq!(fs::metadata(&folder).expect("there").permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_second_cluster_in_the_same_folder_is_refused_and_touches_nothing() {
        let root = tempfile::tempdir().expect("temporary folder");
        make(&options(root.path(), &[])).expect("made");
        fs::remove_file(root.path().join("ca.pem")).expect("removed");
        let before = fs::read(root.path().join("broker-2.pem")).expect("read");
        let refused = make(&options(root.path(), &[])).expect_err("files of another cluster are there");
        assert_eq!(refused.to_json()["name"], "FileThere");
        assert!(!root.path().join("ca.pem").exists(), "all or nothing");
        assert_eq!(fs::read(root.path().join("broker-2.pem")).expect("read"), before);
    }

    #[test]
    fn the_next_token_is_numbered_behind_all_that_are_there() {
        let root = tempfile::tempdir().expect("temporary folder");
        make(&options(root.path(), &[])).expect("made");
        fs::remove_file(root.path().join("broker-1.pem")).expect("carried away");
        assert_eq!(next_token(root.path()).expect("read"), root.path().join("broker-3.pem"));
    }

    #[test]
    fn what_to_type_next_is_told_to_the_last_word() {
        let alone = start_lines(&options(Path::new("ops"), &[]));
        assert_eq!(
            alone,
            [
                "anyportd --cluster ops/broker-1.pem --bootstrap --listen 127.0.0.1:7400 --peer 127.0.0.1:7401 \
                 --admin 127.0.0.1:7480 --data anyport-data-1",
                "anyportd --cluster ops/broker-2.pem --join 127.0.0.1:7401 --listen 127.0.0.1:7410 --peer 127.0.0.1:7411 \
                 --admin 127.0.0.1:7490 --data anyport-data-2",
            ]
        );
        let apart = start_lines(&options(Path::new("my ops"), &["10.0.0.1", "::2"]));
        assert_eq!(
            apart,
            [
                "anyportd --cluster 'my ops/broker-1.pem' --bootstrap --listen 10.0.0.1:7400 --peer 10.0.0.1:7401",
                "anyportd --cluster 'my ops/broker-2.pem' --join 10.0.0.1:7401 --listen [::2]:7400 --peer [::2]:7401",
            ]
        );
    }

    #[test]
    fn a_broker_that_is_reached_by_name_listens_on_addresses_all_the_same() {
        let named = start_lines(&options(Path::new("ops"), &["b1.example"]));
        assert_eq!(
            named,
            [
                "anyportd --cluster ops/broker-1.pem --bootstrap --listen 0.0.0.0:7400 --advertise b1.example:7400 \
                 --peer 0.0.0.0:7401 --advertise-peer b1.example:7401",
                "anyportd --cluster ops/broker-2.pem --join b1.example:7401 --listen 0.0.0.0:7400 --advertise HOST-2:7400 \
                 --peer 0.0.0.0:7401 --advertise-peer HOST-2:7401",
            ]
        );
    }
}
