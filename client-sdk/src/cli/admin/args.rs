//! What can be typed behind `anyport admin`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::super::args::EXIT_CODES;
use crate::protocol::map::{MapCommand, Policy, Selection, ServiceId};

/// Form, watch and change a cluster of brokers.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(in crate::cli) struct Admin {
    #[command(subcommand)]
    pub(super) verb: AdminVerb,
}

#[derive(Debug, Subcommand)]
pub(super) enum AdminVerb {
    ClusterInit(ClusterInit),
    JoinToken(JoinToken),
    Status(AdminStatus),
    Drain(Drain),
    Remove(Remove),
    Recover(Recover),
    Map(AdminMap),
}

/// Change how clients see the services of the brokers. All clients that are connected follow at once, others when they come.
#[derive(Debug, Args)]
pub(super) struct AdminMap {
    #[command(subcommand)]
    pub(super) verb: AdminMapVerb,
}

#[derive(Debug, Subcommand)]
pub(super) enum AdminMapVerb {
    /// What of the map clients are told: full, target, nearest-zone or least-loaded=N.
    #[command(after_help = EXIT_CODES)]
    Select {
        #[arg(value_name = "SELECTION")]
        selection: Selection,
        #[command(flatten)]
        reach: Reach,
    },
    /// How clients choose a broker: weighted-random, two-choices, nearest, sticky, or `score: EXPRESSION`.
    #[command(after_help = EXIT_CODES)]
    Policy {
        #[arg(value_name = "SERVICE")]
        service: ServiceId,
        #[arg(value_name = "POLICY")]
        policy: Policy,
        #[command(flatten)]
        reach: Reach,
    },
    /// Have clients prefer the broker that leads their part of the registry, which saves a hop between brokers.
    #[command(after_help = EXIT_CODES)]
    ByShard {
        #[arg(value_name = "SERVICE")]
        service: ServiceId,
        /// No longer.
        #[arg(long)]
        off: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// Begin an epoch: every client does these things, in order.
    #[command(after_help = EXIT_CODES)]
    Epoch {
        #[arg(value_name = "SERVICE")]
        service: ServiceId,
        /// refetch, drop-state, resubscribe, wait=MILLISECONDS (up to so many, at random) or move-to=ADDRESS.
        #[arg(value_name = "COMMAND", required = true)]
        commands: Vec<MapCommand>,
        #[command(flatten)]
        reach: Reach,
    },
}

/// Whom to ask, and as whom.
#[derive(Debug, Args)]
pub(super) struct Reach {
    /// The operator's bundle: the admin.pem that `cluster-init` has made.
    #[arg(long, value_name = "FILE", env = "ANYPORT_CLUSTER")]
    pub(super) cluster: PathBuf,

    /// Where brokers meet; the first that answers will do.
    #[arg(
        long,
        value_name = "ADDR[,ADDR]",
        value_delimiter = ',',
        default_value = "127.0.0.1:7401",
        env = "ANYPORT_PEER"
    )]
    pub(super) peer: Vec<String>,
}

/// Make what a new cluster begins with: its certificate authority, an operator's bundle, and a join token for each broker. Writes
/// files, and asks nobody.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct ClusterInit {
    /// The folder to make them in.
    #[arg(value_name = "DIR")]
    pub(super) folder: PathBuf,

    /// How many join tokens.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) brokers: u16,

    /// Names or addresses by which clients reach the brokers; every token names all of them. This machine's loopback is always named.
    #[arg(long, value_name = "NAME_OR_IP", value_delimiter = ',')]
    pub(super) host: Vec<String>,

    /// Do not make this user's `anyport` trust the cluster.
    #[arg(long)]
    pub(super) no_trust: bool,
}

/// Make one more join token, for a broker that is new.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct JoinToken {
    /// The folder that `cluster-init` has made.
    #[arg(value_name = "DIR")]
    pub(super) folder: PathBuf,

    /// The file to make [default: the next broker-N.pem of the folder].
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,

    /// Names or addresses by which clients reach this broker.
    #[arg(long, value_name = "NAME_OR_IP", value_delimiter = ',')]
    pub(super) host: Vec<String>,

    /// Keep the key of this bundle: a new certificate for the broker that has it, where the old one runs out. The hosts are to be named
    /// again.
    #[arg(long, value_name = "FILE", requires = "out")]
    pub(super) renew: Option<PathBuf>,

    /// For how long it is good, in days (90d) or hours (12h) [default: five years].
    #[arg(long, value_name = "TIME", value_parser = parse_valid)]
    pub(super) valid: Option<Duration>,
}

const STATUS_EXIT_CODES: &str = "Exit codes: 0 healthy; 1 nobody could be asked; 2 wrong usage; 3 something needs attention, or the \
broker refuses; 130 interrupted; 143 terminated.";

/// Say how the cluster is: first what is wrong, what happens by itself and what to type; then its brokers and groups.
#[derive(Debug, Args)]
#[command(after_help = STATUS_EXIT_CODES)]
pub(super) struct AdminStatus {
    #[command(flatten)]
    pub(super) reach: Reach,

    /// Again every two seconds, until interrupted.
    #[arg(long)]
    pub(super) watch: bool,
}

/// Move everything off a broker. Then it stops by itself and is removed, and no copy is missed.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Drain {
    /// Its number, as `status` lists it.
    #[arg(value_name = "BROKER")]
    pub(super) broker: u32,

    /// Let it have replicas again.
    #[arg(long)]
    pub(super) undo: bool,

    /// End when nothing is left on it, and say how far it is.
    #[arg(long, conflicts_with = "undo")]
    pub(super) wait: bool,

    #[command(flatten)]
    pub(super) reach: Reach,
}

/// Give up a broker that is away, for good, without waiting until the cluster does so by itself.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Remove {
    /// Its number, as `status` lists it.
    #[arg(value_name = "BROKER")]
    pub(super) broker: u32,

    #[command(flatten)]
    pub(super) reach: Reach,
}

/// Go on without brokers that are lost for good, where too few are left to decide anything. Says first which groups that is, what is
/// left of each, and what may be lost; then asks.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Recover {
    /// Do not ask.
    #[arg(long)]
    pub(super) yes: bool,

    #[command(flatten)]
    pub(super) reach: Reach,
}

fn parse_valid(text: &str) -> Result<Duration, String> {
    let wrong = || "expected days or hours, such as 90d or 12h".to_owned();
    let (number, unit_secs) = match (text.strip_suffix('d'), text.strip_suffix('h')) {
        (Some(days), _) => (days, 86_400),
        (_, Some(hours)) => (hours, 3_600),
        _ => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    if number == 0 { Err(wrong()) } else { Ok(Duration::from_secs(u64::from(number) * unit_secs)) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::Arguments;

    #[test]
    fn an_operator_names_folders_brokers_and_a_bundle() {
        let parse = |line: &str| Arguments::try_parse_from(line.split(' '));
        for right in [
            "anyport admin cluster-init ops",
            "anyport admin cluster-init ops --brokers 5 --host a.example,10.0.0.1 --host b.example --no-trust",
            "anyport admin join-token ops --out x.pem --valid 90d --host a",
            "anyport admin join-token ops --renew ops/broker-1.pem --out new.pem --host a",
            "anyport admin status --cluster ops/admin.pem --peer a:7401,b:7401 --watch --json",
            "anyport admin drain 2 --wait --cluster ops/admin.pem",
            "anyport admin recover --yes --cluster ops/admin.pem",
        ] {
            assert!(parse(right).is_ok(), "{right}");
        }
        for wrong in [
            "anyport admin",
            "anyport admin cluster-init",
            "anyport admin cluster-init ops --brokers 0",
            "anyport admin drain two --cluster ops/admin.pem",
            "anyport admin drain 2 --undo --wait --cluster ops/admin.pem",
            "anyport admin remove --cluster ops/admin.pem",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_validity_has_a_unit() {
        assert_eq!(parse_valid("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(parse_valid("12h"), Ok(Duration::from_secs(12 * 3_600)));
        for wrong in ["", "d", "90", "0d", "-1d", "1w", "1.5h"] {
            assert!(parse_valid(wrong).is_err(), "{wrong}");
        }
    }
}
