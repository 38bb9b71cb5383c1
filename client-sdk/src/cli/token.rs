//! `anyport token`.

use serde_json::json;

use super::args::Common;
use super::exit::{Exit, Failure};
use super::interrupt::Interrupt;
use super::{output, tell};
use crate::home::Home;

/// Connects even if there is a token already: then it is known to be good, and one that grows old has been replaced.
pub(super) async fn run(common: &Common, interrupt: &mut Interrupt) -> Result<Exit, Failure> {
    let client = match super::connect_to_work(common, interrupt).await? {
        Ok(client) => client,
        Err(exit) => return Ok(exit),
    };
    client.close().await?;
    let identity = Home::new(common.home(), &common.client)?.load_identity()?;
    let token = identity.expect("saved before a client is connected").token;
    let line = if tell::is_json() { json!({ "token": token }).to_string() } else { token };
    let written = output::write(format!("{line}\n").into_bytes()).await;
    written.map_err(|error| Failure::new(Exit::Failed, format!("write to stdout: {error}"), ""))?;
    Ok(Exit::Done)
}
