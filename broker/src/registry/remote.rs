//! Shards that are led, or kept, elsewhere.

use std::collections::VecDeque;
use std::time::Duration;

use anyport_protocol::{BrokerId, ClientId, Code, Fault};
use anyport_storage::GroupId;
use anyport_storage::registry::{ClientRecord, Command};
use tokio::time::Instant;

use super::{Outcome, Shard};
use crate::peer::Call;
use crate::peer::body::{decode, encode};
use crate::serving::{CommandAnswer, CommandRequest, Links, RecordAnswer, RecordRequest, no_replica};

/// A command that is not answered by then may have been applied, and is asked for again by whoever wants it.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);

/// A record may have to be waited for where it is asked for.
const RECORD_TIMEOUT: Duration = Duration::from_secs(1);

/// Brokers that one command is sent to before its client is told to come again.
const ATTEMPTS: usize = 4;

const NOT_LED_RETRY_MS: u32 = 100;

/// Has the shard's leader apply the command. It goes to another broker only if it was surely not applied by the one before.
pub(super) async fn apply(links: &Links, group: GroupId, placed: Option<Shard>, command: Command) -> Outcome {
    let deadline = Instant::now() + COMMAND_TIMEOUT;
    let mut to_ask: VecDeque<BrokerId> = links.leader(group).into_iter().collect();
    to_ask.extend(links.candidates(group).into_iter().filter(|broker| Some(*broker) != links.leader(group)));
    let body = encode(&CommandRequest { command: command.clone() });
    let mut refused = None;
    for _ in 0..ATTEMPTS {
        let Some(broker) = to_ask.pop_front() else { break };
        let fault = match links.ask(broker, Call::RegistryCommand, body.clone(), deadline).await {
            Ok(answer) => {
                links.leaders.note(group, broker);
                let (CommandAnswer { reply, index }, _) = decode(&answer)?;
                return Ok((reply, index));
            }
            Err(fault) => fault,
        };
        if !fault.is(Code::NotReady) {
            if !fault.is(Code::RetryAfter) {
                links.leaders.forget(group, broker);
            }
            return Err(fault);
        }
        links.leaders.forget(group, broker);
        if let Some(leader) = fault.value.and_then(|leader| u32::try_from(leader).ok()).map(BrokerId) {
            links.leaders.note(group, leader);
            if leader != links.own {
                to_ask.push_front(leader);
            }
        }
        refused = Some(Fault { value: None, ..fault });
    }
    match placed {
        // It may have come to lead meanwhile, and otherwise says that it does not.
        Some(placed) => placed.apply(command).await,
        None => Err(refused.unwrap_or_else(|| no_replica(group))),
    }
}

pub(super) fn not_led_here(links: &Links, group: GroupId) -> Fault {
    let text = format!("{group} is not led by broker {}", links.own);
    let value = links.leader(group).map(|leader| u64::from(leader.0));
    Fault { value, ..Fault::retry_after(Code::NotReady, NOT_LED_RETRY_MS, text) }
}

/// Asks for the record, where it is likeliest to be as new as it must be first.
pub(super) async fn record(
    links: &Links,
    group: GroupId,
    client: ClientId,
    seen: u64,
) -> Result<(Option<ClientRecord>, u64), Fault> {
    let body = encode(&RecordRequest { client, seen });
    let leader = links.leader(group);
    let others = links.candidates(group).into_iter().filter(|broker| Some(*broker) != leader);
    let mut refused = no_replica(group);
    for broker in leader.into_iter().chain(others) {
        match links.inquire(broker, Call::RegistryRecord, body.clone(), Instant::now() + RECORD_TIMEOUT).await {
            Ok(answer) => {
                let (RecordAnswer { record, index }, _) = decode(&answer)?;
                return Ok((record, index));
            }
            Err(fault) => refused = fault,
        }
    }
    Err(refused)
}
