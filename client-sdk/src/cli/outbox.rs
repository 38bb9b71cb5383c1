//! `anyport pub --outbox`: an event is on this device before it is at a broker, and stays until it is.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use super::args::{Common, Publish};
use super::exit::{Exit, Failure};
use super::input::{self, Chunk};
use super::interrupt::Interrupt;
use super::publish::{bad_input, single_event};
use super::tell::{self, events};
use super::{client_options, output};
use crate::{Client, ClientOptions, Error, Outbox, OutboxOptions, PublishError, Status};

/// How long a broker is looked for. What waits is safe, and the next command looks again.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn run(common: &Common, options: Publish, interrupt: &mut Interrupt) -> Result<Exit, Failure> {
    let single = options.event_type.is_some().then(|| single_event(&options)).transpose()?;
    let outbox = OutboxOptions { home: common.home(), name: common.client.clone(), ..OutboxOptions::default() };
    let run = Run { outbox: Outbox::open(outbox).await?, put: Cell::new(0), is_refused: Cell::new(false) };
    let source = Source { single, file: options.file };
    let ended = tokio::select! {
        ended = run.put_and_send(common, &source) => ended,
        exit = interrupt.wait() => Ok(exit),
    };
    let summarized = run.summarize(ended).await;
    run.outbox.close().await;
    summarized
}

/// Where events come from, if any do.
struct Source {
    single: Option<Vec<u8>>,
    file: Option<PathBuf>,
}

/// One command's publishing.
struct Run {
    outbox: Outbox,
    put: Cell<u64>,
    is_refused: Cell<bool>,
}

impl Run {
    async fn put_and_send(&self, common: &Common, source: &Source) -> Result<Exit, Failure> {
        // Side by side: a file may be larger than the outbox.
        let (put, client) = tokio::join!(self.put_all(source), reach(common, &self.outbox));
        put?;
        let is_to_send_only = source.single.is_none() && source.file.is_none();
        match client {
            Ok(client) => tokio::select! {
                flushed = self.outbox.flush() => flushed.map(|()| Exit::Done).map_err(|error| self.refused(error)),
                over = left_alone(&client) => match over {
                    Some(error) => Err(error.into()),
                    None => out_of_reach(common, is_to_send_only),
                },
            },
            Err(Error::Unreachable { .. }) => out_of_reach(common, is_to_send_only),
            Err(error) => Err(error.into()),
        }
    }

    async fn put_all(&self, source: &Source) -> Result<(), Failure> {
        match (&source.single, &source.file) {
            (Some(event), _) => self.put(event).await,
            (None, Some(path)) => {
                let mut chunks = input::read(path)?;
                while let Some(chunk) = chunks.recv().await {
                    let Chunk { events, .. } = chunk.map_err(|error| bad_input(path, &error))?;
                    for event in events {
                        self.put(&event).await?;
                    }
                }
                Ok(())
            }
            (None, None) => Ok(()),
        }
    }

    async fn put(&self, event: &[u8]) -> Result<(), Failure> {
        let _receipt = self.outbox.publish_encoded(event).await?;
        self.put.set(self.put.get() + 1);
        Ok(())
    }

    fn refused(&self, error: PublishError) -> Failure {
        self.is_refused.set(true);
        let path = self.outbox.refused_path();
        let next =
            format!("correct what {} says was wrong with the events there, and publish them again", path.display());
        Failure::from(error).with_next(next)
    }

    async fn summarize(&self, ended: Result<Exit, Failure>) -> Result<Exit, Failure> {
        let (put, waiting) = (self.put.get(), self.outbox.status().events);
        if tell::is_json() {
            let printed = output::print_json(&json!({ "put": put, "waiting": waiting })).await;
            // What ended it is the greater news.
            return ended.and_then(|exit| printed.map(|()| exit));
        }
        let in_outbox = (put > 0).then(|| format!("{} in the outbox", events(put)));
        let rest = match waiting {
            0 if self.is_refused.get() => "not everything is stored".to_owned(),
            0 => "everything is stored".to_owned(),
            1 => "1 event waits for a broker; the next `anyport pub --outbox` sends it".to_owned(),
            _ => format!("{waiting} events wait for a broker; the next `anyport pub --outbox` sends them"),
        };
        tell::say(&in_outbox.into_iter().chain([rest]).collect::<Vec<_>>().join("; "));
        ended
    }
}

async fn reach(common: &Common, outbox: &Outbox) -> Result<Client, Error> {
    let client = Client::connect(ClientOptions { connect_timeout: PATIENCE, ..client_options(common) }).await?;
    client.send_outbox(outbox).await?;
    Ok(client)
}

/// Ends when no broker has been in reach for a while, or none ever will be, for the error that it returns.
async fn left_alone(client: &Client) -> Option<Error> {
    let mut changes = client.watch_status();
    loop {
        let connected = async {
            while !matches!(client.status(), Status::Connected { .. } | Status::Over(_)) {
                changes.next().await;
            }
        };
        if timeout(PATIENCE, connected).await.is_err() {
            return None;
        }
        if let Status::Over(error) = client.status() {
            return Some(error);
        }
        changes.next().await?;
    }
}

/// Nobody who publishes needs to know, for it is what an outbox is for; who only sends does.
fn out_of_reach(common: &Common, is_to_send_only: bool) -> Result<Exit, Failure> {
    if !is_to_send_only {
        return Ok(Exit::Done);
    }
    let (servers, last) = (common.server.join(", "), "no broker was in reach".to_owned());
    Err(Error::Unreachable { servers, waited_secs: PATIENCE.as_secs(), last }.into())
}
