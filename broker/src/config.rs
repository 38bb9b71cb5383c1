//! What can be configured, each key with its default. Read once, checked, and passed on explicitly.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyport_protocol::limits::PARTITIONS_MAX;
use anyport_storage::SyncMode;
use anyport_storage::metadata::{ClusterFacts, Timing};
use clap::Parser;

use crate::cluster::GroupOptions;
use crate::partition::Retention;
use crate::server::REGISTRY_SHARDS;
use crate::session::ConnectionLimits;

/// The Anyport broker: a publish/subscribe log that clients may leave and come back to.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "anyportd",
    version,
    after_help = "Exit codes: 0 stopped as asked, 1 could not start or had to stop, 2 wrong usage."
)]
pub struct Config {
    /// Use a throw-away certificate authority, kept beside the data and trusted by this user's `anyport` command.
    #[arg(long)]
    pub dev: bool,

    /// UDP address that clients connect to.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7400", env = "ANYPORT_LISTEN")]
    pub listen: SocketAddr,

    /// TCP address of /metrics, /healthz and /readyz.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7480", env = "ANYPORT_ADMIN")]
    pub admin: SocketAddr,

    /// TCP address to which events may be posted over HTTP; `off` for none. Plain on a loopback address, else HTTPS with this broker's
    /// certificate [default: off, with --dev 127.0.0.1:7481].
    #[arg(long, value_name = "ADDR", env = "ANYPORT_HTTP", value_parser = parse_http)]
    pub http: Option<HttpAddress>,

    /// Folder of everything that must survive.
    #[arg(long, value_name = "DIR", default_value = "anyport-data", env = "ANYPORT_DATA")]
    pub data: PathBuf,

    /// Where --dev puts the certificate authority, for this user's `anyport` command to trust.
    #[arg(long, value_name = "DIR", default_value_os_t = default_home(), env = "ANYPORT_HOME")]
    pub home: PathBuf,

    /// Certificate chain to show, PEM. Needed without --dev or --cluster.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["dev", "cluster"], requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Its key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert", conflicts_with = "dev")]
    pub tls_key: Option<PathBuf>,

    /// When an ack is sent: `always` after the sync; `interval=MS` is relaxed: after the system has it, synced every MS
    /// milliseconds, so that a crash of the machine may lose what was acked.
    #[arg(long, value_name = "WHEN", default_value = "always", value_parser = parse_fsync)]
    pub fsync: Fsync,

    /// Partitions of a new store. Fixed for its life: an existing store refuses another number.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=i64::from(PARTITIONS_MAX)))]
    pub partitions: u16,

    /// How long events are kept, such as 90s, 12h or 7d; `off` keeps them forever.
    #[arg(long, value_name = "AGE", default_value = "7d", value_parser = parse_age)]
    pub retention_age: Age,

    /// How many bytes of events each partition keeps; 0 is no limit.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub retention_bytes: u64,

    /// Below this much free space on the data disk publishes are refused, while all else goes on.
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20)]
    pub free_space_min: u64,

    /// Connections of clients, each about 40 KiB. More are refused; how near it is is this broker's load on the map.
    #[arg(long, value_name = "N", default_value_t = ConnectionLimits::default().connections_max)]
    pub connections_max: usize,

    /// The data folder is an older copy that was put back. For one start: clients that had come further are told what is gone.
    #[arg(long, conflicts_with = "cluster")]
    pub restored: bool,

    #[command(flatten)]
    pub many: ClusterConfig,
}

/// What a broker needs that is one of several.
#[derive(Clone, Debug, clap::Args)]
pub struct ClusterConfig {
    /// Be one of a cluster's brokers, with this bundle of certificates and key, as `anyport admin cluster-init` makes them. A broker that
    /// has joined once needs neither --bootstrap nor --join again.
    #[arg(long, value_name = "FILE", env = "ANYPORT_CLUSTER_BUNDLE", conflicts_with = "dev")]
    pub cluster: Option<PathBuf>,

    /// Make a new cluster, of which this is the first broker. Only ever for one broker, and once.
    #[arg(long, requires = "cluster", conflicts_with_all = ["join", "edge"])]
    pub bootstrap: bool,

    /// Join the cluster that has a broker with this --peer address; several are tried in turn.
    #[arg(long, value_name = "ADDR", requires = "cluster", value_delimiter = ',')]
    pub join: Vec<String>,

    /// UDP address for the other brokers of the cluster, and for operators.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7401", env = "ANYPORT_PEER_LISTEN")]
    pub peer: SocketAddr,

    /// Host and port at which clients reach this broker, if they are others than --listen.
    #[arg(long, value_name = "HOST:PORT", requires = "cluster")]
    pub advertise: Option<String>,

    /// Host and port at which the other brokers reach this one, if they are others than --peer.
    #[arg(long, value_name = "HOST:PORT", requires = "cluster")]
    pub advertise_peer: Option<String>,

    /// What fails together: a rack, a building, a region. No two replicas of a partition are in one zone while there are zones to spare.
    #[arg(long, value_name = "NAME", requires = "cluster", default_value = "")]
    pub zone: String,

    /// Serve clients and keep no events: for a broker near a crowd, which may be thrown away.
    #[arg(long, requires = "cluster")]
    pub edge: bool,

    /// Of a new cluster: how patient its brokers are with each other. `lan` within a few milliseconds of each other, `wan` further apart.
    /// Fixed for its life.
    #[arg(long, value_name = "PROFILE", default_value = "lan", value_parser = parse_timing)]
    pub timing: Timing,

    /// Of a new cluster: brokers that have a copy of each event, once there are so many. Fixed for its life.
    #[arg(long, value_name = "N", default_value_t = ClusterFacts::DEFAULT_REPLICATION, value_parser = clap::value_parser!(u8).range(1..=7))]
    pub replication: u8,

    /// Of a new cluster: how long a broker may be away before its copies are made anew on others, such as 90s or 10m. Fixed for its life.
    #[arg(long, value_name = "AGE", default_value = "10m", value_parser = parse_age)]
    pub replace_after: Age,
}

/// Where --dev takes events over HTTP: beside the other ports of its defaults.
const DEV_HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7481);

/// What clap cannot say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadConfig {
    #[error("--fsync interval is for a broker alone: in a cluster an ack is a majority's, and each of them has synced")]
    RelaxedInCluster,
    #[error(
        "{option} is 0.0.0.0 or ::, which nobody else can connect to: say by {advertise} where others reach this broker"
    )]
    NotReachable { option: &'static str, advertise: &'static str },
    #[error("--replace-after off would never replace a broker that is lost")]
    NeverReplace,
}

impl ClusterConfig {
    /// Where other brokers reach this one.
    pub fn peer_address(&self) -> String {
        self.advertise_peer.clone().unwrap_or_else(|| self.peer.to_string())
    }
}

impl Config {
    pub fn check(&self) -> Result<(), BadConfig> {
        let many = &self.many;
        if many.cluster.is_none() {
            return Ok(());
        }
        if self.fsync != Fsync::Always {
            return Err(BadConfig::RelaxedInCluster);
        }
        if many.replace_after.0.is_none() {
            return Err(BadConfig::NeverReplace);
        }
        let both = [
            ("--listen", self.listen, &many.advertise, "--advertise"),
            ("--peer", many.peer, &many.advertise_peer, "--advertise-peer"),
        ];
        match both.into_iter().find(|(_, address, advertised, _)| address.ip().is_unspecified() && advertised.is_none())
        {
            Some((option, _, _, advertise)) => Err(BadConfig::NotReachable { option, advertise }),
            None => Ok(()),
        }
    }

    /// Where clients reach this broker.
    pub fn client_address(&self) -> String {
        self.many.advertise.clone().unwrap_or_else(|| self.listen.to_string())
    }

    /// Where events are taken over HTTP, if anywhere.
    pub fn http_address(&self) -> Option<SocketAddr> {
        match self.http {
            Some(HttpAddress(address)) => address,
            None => self.dev.then_some(DEV_HTTP),
        }
    }

    /// What the groups need to know of it.
    pub fn group_options(&self) -> GroupOptions {
        let bytes = (self.retention_bytes > 0).then_some(self.retention_bytes);
        GroupOptions {
            partitions: self.partitions,
            registry_shards: REGISTRY_SHARDS,
            retention: Retention { age: self.retention_age.0, bytes, ..Retention::default() },
            free_space_mark_bytes: self.free_space_min,
            snapshot_folder: self.data.join("snapshots"),
            ..GroupOptions::default()
        }
    }
}

fn default_home() -> PathBuf {
    std::env::home_dir().unwrap_or_default().join(".anyport")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    Always,
    Interval(Duration),
}

impl From<Fsync> for SyncMode {
    fn from(fsync: Fsync) -> Self {
        match fsync {
            Fsync::Always => Self::Always,
            Fsync::Interval(interval) => Self::Relaxed { interval },
        }
    }
}

/// None is nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpAddress(pub Option<SocketAddr>);

/// None is forever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age(pub Option<Duration>);

fn parse_fsync(text: &str) -> Result<Fsync, String> {
    if text == "always" {
        return Ok(Fsync::Always);
    }
    let interval_ms =
        text.strip_prefix("interval=").and_then(|ms| ms.parse().ok()).filter(|ms| (1..=60_000).contains(ms));
    let interval_ms = interval_ms.ok_or("expected `always` or `interval=MS` with 1 to 60000 milliseconds")?;
    Ok(Fsync::Interval(Duration::from_millis(interval_ms)))
}

fn parse_http(text: &str) -> Result<HttpAddress, String> {
    if text == "off" {
        return Ok(HttpAddress(None));
    }
    let address = text.parse().map_err(|_| "expected `off` or an IP address and a port, such as 127.0.0.1:7481")?;
    Ok(HttpAddress(Some(address)))
}

fn parse_timing(text: &str) -> Result<Timing, String> {
    match text {
        "lan" => Ok(Timing::Lan),
        "wan" => Ok(Timing::Wan),
        _ => Err("expected `lan` or `wan`".to_owned()),
    }
}

fn parse_age(text: &str) -> Result<Age, String> {
    if text == "off" {
        return Ok(Age(None));
    }
    let expected = || "expected `off` or a number with s, m, h or d, such as 12h".to_owned();
    let unit = text.chars().last().ok_or_else(expected)?;
    let unit_secs = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return Err(expected()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| expected())?;
    let secs = number.checked_mul(unit_secs).filter(|secs| *secs > 0).ok_or_else(expected)?;
    Ok(Age(Some(Duration::from_secs(secs))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_intervals_are_read_with_their_units() {
        assert_eq!(parse_age("7d"), Ok(Age(Some(Duration::from_secs(7 * 24 * 3600)))));
        assert_eq!(parse_age("off"), Ok(Age(None)));
        for wrong in ["", "d", "0s", "7", "7w", "-1d", "99999999999999999999d", "é"] {
            assert!(parse_age(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_fsync("interval=50"), Ok(Fsync::Interval(Duration::from_millis(50))));
        for wrong in ["never", "interval=", "interval=0", "interval=60001"] {
            assert!(parse_fsync(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn events_are_taken_over_http_where_asked_for_and_by_default_in_development_only() {
        let address = |arguments: &[&str]| {
            let arguments = [&["anyportd"], arguments].concat();
            Config::try_parse_from(arguments).map(|config| config.http_address()).map_err(drop)
        };
        let tls = ["--tls-cert", "a", "--tls-key", "b"];
        assert_eq!(address(&["--dev"]), Ok(Some(DEV_HTTP)));
        assert_eq!(address(&["--dev", "--http", "off"]), Ok(None));
        assert_eq!(address(&tls), Ok(None));
        let anywhere = "0.0.0.0:443".parse().expect("an address");
        assert_eq!(address(&[&tls[..], &["--http", "0.0.0.0:443"]].concat()), Ok(Some(anywhere)));
        assert_eq!(address(&["--dev", "--http", "7481"]), Err(()));
    }

    #[test]
    fn without_dev_a_certificate_is_needed() {
        assert!(Config::try_parse_from(["anyportd"]).is_err());
        assert!(Config::try_parse_from(["anyportd", "--dev"]).is_ok());
        assert!(Config::try_parse_from(["anyportd", "--tls-cert", "a", "--tls-key", "b"]).is_ok());
    }
}
