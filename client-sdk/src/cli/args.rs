//! What can be typed.

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::protocol::WallMs;
use crate::protocol::map::{Host, Policy, ProviderId, ServiceId, ServicePoint, ServiceVersion};
use crate::{ClientOptions, Start};

pub(super) const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed; 2 wrong usage; 3 refused (bad filter, token, expired \
subscription); 4 another session of this client took over; 130 interrupted; 143 terminated.";

/// Publish events, and subscribe to them by what they contain.
#[derive(Debug, Parser)]
#[command(name = "anyport", version, after_help = EXIT_CODES)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Args)]
pub(super) struct Common {
    /// Identity to use, registered at first use.
    #[arg(long, global = true, value_name = "NAME", default_value = "default", env = "ANYPORT_CLIENT")]
    pub(super) client: String,

    /// Brokers; every one will do.
    #[arg(
        long,
        global = true,
        value_name = "ADDR[,ADDR]",
        value_delimiter = ',',
        default_value = "127.0.0.1:7400",
        env = "ANYPORT_SERVER"
    )]
    pub(super) server: Vec<String>,

    /// Results, notices and errors as JSON, one object a line.
    #[arg(long, global = true)]
    pub(super) json: bool,

    /// Where identities and trusted authorities are kept [default: ~/.anyport].
    #[arg(long, global = true, value_name = "DIR", env = "ANYPORT_HOME", hide = true)]
    home: Option<PathBuf>,
}

impl Common {
    pub(super) fn home(&self) -> PathBuf {
        self.home.clone().unwrap_or_else(|| ClientOptions::default().home)
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    Pub(Publish),
    Sub(Subscribe),
    Register(Register),
    Subs(Subs),
    Unsub(Unsub),
    Status(Status),
    Identity(Identity),
    Completions(Completions),
    Filter(FilterVerbs),
    Map(MapArgs),
    Advertise(Advertise),
    #[cfg(feature = "admin")]
    Admin(super::admin::Admin),
    /// Print the token of this identity, for events posted over HTTP: `Authorization: Bearer TOKEN`. Whoever has it is this client,
    /// so give each sender an identity of its own (--client).
    #[command(after_help = EXIT_CODES)]
    Token,
}

/// Show the Service Point Map: where what is offered, how loaded it is, and how clients choose. Needs no identity.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct MapArgs {
    #[command(subcommand)]
    pub(super) verb: Option<MapVerb>,

    /// Show it again with every change, until interrupted.
    #[arg(long)]
    pub(super) watch: bool,

    /// Only this service.
    #[arg(long, value_name = "SERVICE")]
    pub(super) service: Option<ServiceId>,

    /// As a client of this zone is told it.
    #[arg(long, global = true, value_name = "ZONE", env = "ANYPORT_ZONE")]
    pub(super) zone: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum MapVerb {
    /// Measure the round trips to all brokers, and say which of them this client would pick, in which order, and why.
    Explain,
}

/// Put a service of your own on the map, for as long as this command runs.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Advertise {
    #[arg(value_name = "SERVICE")]
    pub(super) service: ServiceId,

    /// Where it is: host and port.
    #[arg(value_name = "ADDRESS")]
    pub(super) address: Host,

    /// Seconds that it stays on the map when this command is killed.
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    pub(super) lease: NonZeroU64,

    /// Whose it is: points of one provider belong together [default: this client's id].
    #[arg(long, value_name = "NAME")]
    pub(super) provider: Option<ProviderId>,

    /// Larger when clients of the service must react.
    #[arg(long, value_name = "N", default_value = "0")]
    pub(super) epoch: u64,

    #[arg(long, value_name = "X.Y", default_value = "1.0")]
    pub(super) service_version: ServiceVersion,

    #[arg(long, value_name = "ZONE")]
    pub(super) zone: Option<String>,

    /// Its share of clients, in proportion to others.
    #[arg(long, value_name = "N", default_value_t = ServicePoint::WEIGHT_DEFAULT)]
    pub(super) weight: u16,

    /// Where to go instead when it does not answer; several in their order.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) backup: Vec<Host>,

    /// How clients choose among points of the service.
    #[arg(long, value_name = "POLICY", default_value = "two-choices")]
    pub(super) policy: Policy,

    /// For its clients.
    #[arg(long, value_name = "TEXT")]
    pub(super) data: Option<String>,
}

/// Look at a filter without a broker.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct FilterVerbs {
    #[command(subcommand)]
    pub(super) verb: FilterVerb,
}

#[derive(Debug, Subcommand)]
pub(super) enum FilterVerb {
    Check(FilterCheck),
}

/// Say whether a filter is valid, what it asks for, and which events of a file it lets pass.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct FilterCheck {
    /// An expression, or JSON of the CloudEvents Subscriptions API.
    #[arg(value_name = "FILTER", required_unless_present = "like")]
    pub(super) filter: Option<String>,

    /// Take an event, or a part of one, as the filter: events with at least its content. `-` reads stdin.
    #[arg(long, value_name = "EVENT.json", conflicts_with = "filter")]
    pub(super) like: Option<PathBuf>,

    /// Put these events through it: one JSON object a line; `-` reads stdin.
    #[arg(long, value_name = "EVENTS.ndjson")]
    pub(super) events: Option<PathBuf>,

    /// CESQL 1.0 alone, without what this broker adds to it.
    #[arg(long, conflicts_with = "like")]
    pub(super) strict: bool,
}

/// Publish CloudEvents: one from options, or many from a file.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Publish {
    /// Events, one JSON object a line; `-` reads stdin. At a bad line publishing ends, and its number is told.
    #[arg(long, value_name = "EVENTS.ndjson", conflicts_with = "event_type")]
    pub(super) file: Option<PathBuf>,

    /// Events a second at most.
    #[arg(long, value_name = "N", requires = "file")]
    pub(super) rate: Option<NonZeroU64>,

    /// Go on where an earlier run of the same file by the same client ended: nothing is stored twice.
    #[arg(long, requires = "file")]
    pub(super) resume: bool,

    /// Write events to this device first, and send them when a broker is in reach: now, or by the next command with --outbox. Without
    /// an event it sends what waits.
    #[arg(long, conflicts_with_all = ["resume", "rate"])]
    pub(super) outbox: bool,

    /// Attribute `type` of a single event.
    #[arg(long = "type", value_name = "TYPE", requires = "source", required_unless_present_any = ["file", "outbox"])]
    pub(super) event_type: Option<String>,

    /// Attribute `source`.
    #[arg(long, value_name = "URI", requires = "event_type")]
    pub(super) source: Option<String>,

    /// Attribute `subject`.
    #[arg(long, value_name = "TEXT", requires = "event_type")]
    pub(super) subject: Option<String>,

    /// Its data.
    #[arg(long, value_name = "JSON", requires = "event_type")]
    pub(super) data: Option<String>,
}

/// Subscribe, and print events as they come: one JSON object a line.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Subscribe {
    /// A durable subscription of this name: a later command of the same name goes on where this one ends. Without it the
    /// subscription ends with the command.
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,

    /// Which events, such as "type = 'gov.usgs.quake' AND data.mag >= 4.5"; without it, all. JSON of the CloudEvents Subscriptions
    /// API will do too.
    #[arg(long, value_name = "EXPRESSION", default_value = "", hide_default_value = true)]
    pub(super) filter: String,

    /// Events with at least the content of this one, or of this part of one.
    #[arg(long, value_name = "EVENT.json", conflicts_with = "filter")]
    pub(super) like: Option<PathBuf>,

    /// Where a new subscription begins: earliest, latest, or an RFC 3339 time. One that is there goes on where it was.
    #[arg(long, value_name = "WHERE", default_value = "latest", value_parser = parse_start)]
    pub(super) from: Start,

    /// End after so many events.
    #[arg(long, value_name = "N")]
    pub(super) count: Option<NonZeroU64>,

    /// End when everything has been printed that was there at the start.
    #[arg(long)]
    pub(super) until_caught_up: bool,
}

/// Register an identity with the cluster; one that is registered is checked, and told.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Register {}

/// List this client's subscriptions: how many events wait for each, since when, and until when it is kept. Disturbs nobody who uses
/// them.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Subs {}

/// Remove a subscription, and with it the position it had come to. A command that uses it is told, and ends.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Unsub {
    /// Its name, as `anyport subs` lists it.
    #[arg(value_name = "NAME", required_unless_present = "all", conflicts_with = "all")]
    pub(super) name: Option<String>,

    /// All that this client has.
    #[arg(long)]
    pub(super) all: bool,
}

/// Ask each broker how it is and how it sees this client. Succeeds if one can be reached; registers and opens nothing.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Status {}

/// Take an identity to another device.
#[derive(Debug, Args)]
pub(super) struct Identity {
    #[command(subcommand)]
    pub(super) verb: IdentityVerb,
}

#[derive(Debug, Subcommand)]
pub(super) enum IdentityVerb {
    Export(Export),
    Import(Import),
}

/// Write down everything that another device needs to be this client: its token, where it has got to, and the certificate
/// authorities it trusts. Keep it secret: whoever has it is this client.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Export {
    /// A new file, which only you may read; without it, stdout.
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
}

/// Be the client that was exported, under the name that --client says. Use one device at a time: the one that opens its session
/// last takes over from the other.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Import {
    /// What `anyport identity export` wrote; `-` reads stdin.
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,

    /// Replace an identity of that name, or give this one a second name.
    #[arg(long)]
    pub(super) force: bool,
}

/// Print what a shell needs to complete `anyport` commands, such as: source <(anyport completions bash)
#[derive(Debug, Args)]
pub(super) struct Completions {
    #[arg(value_name = "SHELL")]
    pub(super) shell: Shell,
}

fn parse_start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        time => {
            let time = OffsetDateTime::parse(time, &Rfc3339)
                .map_err(|_| "expected `earliest`, `latest` or an RFC 3339 time such as 2026-01-31T12:00:00Z")?;
            let ms = time.unix_timestamp_nanos() / 1_000_000;
            Ok(Start::Time(WallMs(u64::try_from(ms).unwrap_or_default())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_identity_may_stand_before_or_after_the_verb() {
        for line in ["anyport --client phone sub", "anyport sub --client phone"] {
            assert_eq!(parse(line).expect("valid").common.client, "phone");
        }
        let servers = parse("anyport sub --server a:1,b:2").expect("valid").common.server;
        assert_eq!(servers, ["a:1", "b:2"]);
    }

    #[test]
    fn what_to_publish_is_a_file_or_one_event() {
        for right in
            ["anyport pub --file - --rate 5", "anyport pub --type t --source s", "anyport pub --file x --resume"]
        {
            assert!(parse(right).is_ok(), "{right}");
        }
        for wrong in [
            "anyport pub",
            "anyport pub --type t",
            "anyport pub --file x --type t --source s",
            "anyport pub --file x --rate 0",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_filter_is_typed_or_shown_by_an_example() {
        for right in [
            "anyport filter check a=1 --strict --json",
            "anyport filter check --like e.json --events -",
            "anyport sub --like e.json",
            "anyport filter check -- -a",
        ] {
            assert!(parse(right).is_ok(), "{right}");
        }
        for wrong in [
            "anyport filter",
            "anyport filter check",
            "anyport filter check a=1 --like e.json",
            "anyport filter check --like e.json --strict",
            "anyport sub --filter a=1 --like e.json",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_subscription_is_removed_or_all() {
        for right in ["anyport unsub strong", "anyport unsub --all", "anyport --json unsub strong"] {
            assert!(parse(right).is_ok(), "{right}");
        }
        for wrong in ["anyport unsub", "anyport unsub strong --all", "anyport unsub a b"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_command_line_is_consistent_in_itself() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_start_is_a_word_or_a_time() {
        assert_eq!(parse_start("earliest"), Ok(Start::Earliest));
        assert_eq!(parse_start("1970-01-01T00:00:01.5Z"), Ok(Start::Time(WallMs(1500))));
        assert_eq!(parse_start("1969-01-01T00:00:00Z"), Ok(Start::Time(WallMs(0))));
        assert!(parse_start("yesterday").is_err());
    }
}
