//! The `anyport` command line: everything but `main`.
//!
//! Results go to stdout, events among them, one JSON object a line; everything said beside them goes to stderr. What was printed is
//! acked only once stdout is flushed. docs/cli.md says what each command prints, docs/errors.md what each failure means.

#[cfg(feature = "admin")]
mod admin;
mod advertise;
mod args;
mod completions;
mod exit;
mod filter;
mod identity;
mod input;
mod interrupt;
mod map;
mod outbox;
mod output;
mod publish;
mod register;
mod resume;
mod status;
mod subs;
mod subscribe;
mod tell;
mod token;
mod unsub;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde_json::json;
use tracing_subscriber::EnvFilter;

use args::{Arguments, Common, FilterVerb, Verb};
use exit::{Exit, Failure};
use interrupt::Interrupt;

use crate::{Client, ClientCode, ClientOptions, Error, Identities};

/// Runs a command line, the program's name first, and says how it ended.
pub fn run(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    // Also of a command line that means nothing.
    if arguments.iter().any(|argument| argument == "--json") {
        tell::speak_json();
    }
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(usage) => return not_understood(&usage).into(),
    };
    log_to_stderr();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            Failure::of(ClientCode::CommandFailed, format!("start threads: {error}")).tell();
            return Exit::Failed.into();
        }
    };
    let ended = runtime.block_on(dispatch(arguments));
    // A thread that waits for input, or for somebody to read the output, cannot be waited for.
    runtime.shutdown_background();
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.tell();
            failure.exit().into()
        }
    }
}

/// Help and version are asked for and go to stdout; a closed one is no reason to complain.
fn not_understood(usage: &clap::Error) -> Exit {
    if !usage.use_stderr() {
        let _ = usage.print();
        return Exit::Done;
    }
    if tell::is_json() {
        Failure::of(ClientCode::WrongUsage, usage.to_string().trim_end()).tell();
    } else {
        let _ = usage.print();
    }
    Exit::Usage
}

async fn dispatch(arguments: Arguments) -> Result<Exit, Failure> {
    let mut interrupt = Interrupt::new()?;
    let common = &arguments.common;
    match arguments.verb {
        Verb::Pub(publish) if publish.outbox => outbox::run(common, publish, &mut interrupt).await,
        Verb::Pub(publish) => publish::run(common, publish, &mut interrupt).await,
        Verb::Sub(subscribe) => subscribe::run(common, subscribe, &mut interrupt).await,
        Verb::Filter(options) => match options.verb {
            FilterVerb::Check(check) => filter::run(check, &mut interrupt).await,
        },
        Verb::Token => token::run(common, &mut interrupt).await,
        Verb::Advertise(advertised) => advertise::run(common, advertised, &mut interrupt).await,
        brief => tokio::select! {
            ended = dispatch_brief(common, brief) => ended,
            exit = interrupt.wait() => Ok(exit),
        },
    }
}

/// Verbs that ask or do one thing, and leave nothing half done when they are dropped.
async fn dispatch_brief(common: &Common, verb: Verb) -> Result<Exit, Failure> {
    match verb {
        Verb::Register(_) => register::run(common).await,
        Verb::Subs(_) => subs::run(common).await,
        Verb::Unsub(options) => unsub::run(common, options).await,
        Verb::Status(_) => status::run(common).await,
        Verb::Map(options) => map::run(common, options).await,
        Verb::Identity(options) => identity::run(common, options.verb).await,
        Verb::Completions(options) => completions::run(common, options).await,
        #[cfg(feature = "admin")]
        Verb::Admin(options) => admin::run(common, options).await,
        Verb::Pub(_) | Verb::Sub(_) | Verb::Filter(_) | Verb::Token | Verb::Advertise(_) => {
            unreachable!("these end in their own ways")
        }
    }
}

fn client_options(common: &Common) -> ClientOptions {
    ClientOptions {
        servers: common.server.clone(),
        home: common.home(),
        name: common.client.clone(),
        ..ClientOptions::from_env()
    }
}

/// Connects for work that ends by itself, unless interrupted.
async fn connect_to_work(common: &Common, interrupt: &mut Interrupt) -> Result<Result<Client, Exit>, Failure> {
    let client = tokio::select! {
        client = connect(client_options(common)) => client?,
        exit = interrupt.wait() => return Ok(Err(exit)),
    };
    if client.is_relaxed() {
        tell::note("relaxed", "this broker is relaxed: a crash of its machine may lose what it has acked", json!({}));
    }
    Ok(Ok(client))
}

/// Connects as a client that is there already: asking how it is must not make a new one of a mistyped name.
async fn connect_registered(common: &Common) -> Result<Client, Failure> {
    let options = ClientOptions { register: false, ..client_options(common) };
    connect(options).await.map_err(|error| not_registered(common, error))
}

/// Connects, and says so when that takes long.
async fn connect(options: ClientOptions) -> Result<Client, Error> {
    let (seconds, servers) = (options.connect_timeout.as_secs(), options.servers.join(", "));
    let slow = async {
        tokio::time::sleep(tell::SLOW).await;
        tell::say(&format!("no answer from {servers} yet; trying for {seconds} s"));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        client = Client::connect(options) => client,
        () = slow => unreachable!("it never ends"),
    }
}

/// A mistyped name is the commonest reason why there is no identity of that name.
fn not_registered(common: &Common, error: Error) -> Failure {
    let Error::NotRegistered { name, .. } = &error else { return error.into() };
    let names = Identities::of(common.home()).names().unwrap_or_default();
    let next = match words::nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean --client {near}?"),
        None if names.is_empty() => format!("anyport register --client {name}"),
        None => format!("check --client (there are: {}), or anyport register --client {name}", names.join(", ")),
    };
    Failure::from(error).with_next(next)
}

/// A broker that goes away while it is asked is not waited for without end.
async fn in_time<T>(common: &Common, asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let limit = ClientOptions::default().connect_timeout;
    tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| {
        let last = "the connection was lost, or the broker did not answer".to_owned();
        Err(Error::Unreachable { servers: common.server.join(", "), waited_secs: limit.as_secs(), last })
    })
}

/// In good order if that is quick.
async fn close(client: Client) {
    let closed = tokio::time::timeout(Duration::from_secs(1), client.close()).await;
    tracing::debug!(?closed, "close");
}

/// ANYPORT_LOG asks for the library's own log, such as `debug` or `anyport_client=trace`.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("ANYPORT_LOG").unwrap_or_else(|_| EnvFilter::new("error"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Either fails only if there is one already.
    if tell::is_json() {
        let _ = subscriber.json().try_init();
    } else {
        let _ = subscriber.with_ansi(tell::may_color()).try_init();
    }
}
