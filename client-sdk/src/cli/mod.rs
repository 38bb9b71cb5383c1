//! The `anyport` command line: everything but `main`.
//!
//! Events go to stdout, one JSON object a line; everything said about them goes to stderr. What was printed is acked only once stdout
//! is flushed.

mod args;
mod exit;
mod filter;
mod input;
mod interrupt;
mod output;
mod publish;
mod resume;
mod subscribe;
mod tell;
mod token;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use args::{Arguments, Common, FilterVerb, Verb};
use exit::{Exit, Failure};
use interrupt::Interrupt;

use crate::{Client, ClientOptions};

/// Runs a command line, the program's name first, and says how it ended.
pub fn run(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(usage) => {
            // Help and version are asked for and go to stdout; a closed one is no reason to complain.
            let _ = usage.print();
            return if usage.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    log_to_stderr();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tell::say(&format!("start threads: {error}"));
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

async fn dispatch(arguments: Arguments) -> Result<Exit, Failure> {
    let mut interrupt = Interrupt::new()?;
    match arguments.verb {
        Verb::Pub(publish) => publish::run(&arguments.common, publish, &mut interrupt).await,
        Verb::Sub(subscribe) => subscribe::run(&arguments.common, subscribe, &mut interrupt).await,
        Verb::Filter(filter) => match filter.verb {
            FilterVerb::Check(check) => filter::run(check, &mut interrupt).await,
        },
        Verb::Token => token::run(&arguments.common, &mut interrupt).await,
    }
}

/// Connects, unless interrupted; says so when that takes long.
async fn connect(common: &Common, interrupt: &mut Interrupt) -> Result<Result<Client, Exit>, Failure> {
    let options = ClientOptions {
        servers: common.server.clone(),
        home: common.home(),
        name: common.client.clone(),
        ..ClientOptions::default()
    };
    let seconds = options.connect_timeout.as_secs();
    let slow = async {
        tokio::time::sleep(tell::SLOW).await;
        tell::say(&format!("no answer from {} yet; trying for {seconds} s", common.server.join(", ")));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        client = Client::connect(options) => {
            let client = client?;
            if client.is_relaxed() {
                tell::say("this broker is relaxed: a crash of its machine may lose what it has acked");
            }
            Ok(Ok(client))
        }
        exit = interrupt.wait() => Ok(Err(exit)),
        () = slow => unreachable!("it never ends"),
    }
}

/// ANYPORT_LOG asks for the library's own log, such as `debug` or `anyport_client=trace`.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("ANYPORT_LOG").unwrap_or_else(|_| EnvFilter::new("error"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Fails only if there is one already.
    let _ = subscriber.with_ansi(tell::may_color()).try_init();
}
