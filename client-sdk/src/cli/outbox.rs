//! `anyport pub --outbox`: an event is on this device before it is at a broker, and stays until it is.

use std::path::Path;
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
    let is_to_send_only = single.is_none() && options.file.is_none();
    let outbox = OutboxOptions { home: common.home(), name: common.client.clone(), ..OutboxOptions::default() };
    let outbox = Outbox::open(outbox).await?;
    let put = async {
        match (&single, &options.file) {
            (Some(event), _) => put(&outbox, event).await.map(|()| 1),
            (None, Some(path)) => put_file(&outbox, path).await,
            (None, None) => Ok(0),
        }
    };
    // Side by side: a file may be larger than the outbox.
    let both = async { tokio::join!(put, reach(common, &outbox)) };
    let (put, client) = tokio::select! {
        both = both => both,
        exit = interrupt.wait() => return summarize(0, &outbox, Ok(exit)).await,
    };
    let put = match put {
        Ok(put) => put,
        Err(failure) => return summarize(0, &outbox, Err(failure)).await,
    };
    let ended = match client {
        Ok(client) => tokio::select! {
            flushed = outbox.flush() => flushed.map(|()| Exit::Done).map_err(|error| refused(&outbox, error)),
            exit = interrupt.wait() => Ok(exit),
            () = left_alone(&client) => out_of_reach(common, is_to_send_only),
        },
        Err(Error::Unreachable { .. }) => out_of_reach(common, is_to_send_only),
        Err(error) => Err(error.into()),
    };
    summarize(put, &outbox, ended).await
}

async fn put(outbox: &Outbox, event: &[u8]) -> Result<(), Failure> {
    let _receipt = outbox.publish_encoded(event).await?;
    Ok(())
}

async fn put_file(outbox: &Outbox, path: &Path) -> Result<u64, Failure> {
    let (mut chunks, mut count) = (input::read(path)?, 0);
    while let Some(chunk) = chunks.recv().await {
        let Chunk { events, .. } = chunk.map_err(|error| bad_input(path, &error))?;
        for event in events {
            put(outbox, &event).await?;
            count += 1;
        }
    }
    Ok(count)
}

async fn reach(common: &Common, outbox: &Outbox) -> Result<Client, Error> {
    let client = Client::connect(ClientOptions { connect_timeout: PATIENCE, ..client_options(common) }).await?;
    client.send_outbox(outbox).await?;
    Ok(client)
}

/// Ends when no broker has been in reach for a while.
async fn left_alone(client: &Client) {
    let mut changes = client.watch_status();
    loop {
        let is_connected = matches!(client.status(), Status::Connected { .. });
        let patience = if is_connected { Duration::MAX } else { PATIENCE };
        if !matches!(timeout(patience, changes.next()).await, Ok(Some(_))) {
            return;
        }
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

fn refused(outbox: &Outbox, error: PublishError) -> Failure {
    let path = outbox.refused_path();
    let next = format!("correct what {} says was wrong with the events there, and publish them again", path.display());
    Failure::from(error).with_next(next)
}

async fn summarize(put: u64, outbox: &Outbox, ended: Result<Exit, Failure>) -> Result<Exit, Failure> {
    let waiting = outbox.status().events;
    if tell::is_json() {
        let printed = output::print_json(&json!({ "put": put, "waiting": waiting })).await;
        // What ended it is the greater news.
        return ended.and_then(|exit| printed.map(|()| exit));
    }
    let in_outbox = (put > 0).then(|| format!("{} in the outbox", events(put)));
    let rest = match waiting {
        0 => "everything is stored".to_owned(),
        1 => "1 event waits for a broker; the next `anyport pub --outbox` sends it".to_owned(),
        _ => format!("{waiting} events wait for a broker; the next `anyport pub --outbox` sends them"),
    };
    tell::say(&in_outbox.into_iter().chain([rest]).collect::<Vec<_>>().join("; "));
    ended
}
