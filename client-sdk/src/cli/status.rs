//! `anyport status`.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::args::Common;
use super::exit::{Exit, Failure};
use super::{output, words};
use crate::protocol::WallMs;
use crate::protocol::message::SessionReport;
use crate::{BrokerReport, Error, Identities, IdentityReport, ProbeOptions, probe};

/// Who wants to know how things are does not want to wait for them to become better.
const TIMEOUT: Duration = Duration::from_secs(5);

type Answer = Result<BrokerReport, Error>;

pub(super) async fn run(common: &Common) -> Result<Exit, Failure> {
    let folder = Identities::of(common.home()).find(&common.client)?.map(|identity| identity.folder);
    let folder = folder.map(|folder| folder.display().to_string());
    let answers = ask_all(common).await;
    let mut text = String::new();
    for (server, answer) in &answers {
        if common.json {
            text.push_str(&format!("{}\n", as_json(common, server, folder.as_deref(), answer)));
        } else {
            let gap = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}{}", words::table(&rows(common, server, folder.as_deref(), answer))));
        }
    }
    output::print(text).await?;
    let is_reached = answers.iter().any(|(_, answer)| answer.is_ok());
    match answers.into_iter().find_map(|(_, answer)| answer.err()) {
        Some(error) if !is_reached => Err(error.into()),
        _ => Ok(Exit::Done),
    }
}

/// All at once, and told in the order named.
async fn ask_all(common: &Common) -> Vec<(String, Answer)> {
    let mut asking = JoinSet::new();
    for (place, server) in common.server.iter().cloned().enumerate() {
        let options =
            ProbeOptions { server: server.clone(), home: common.home(), name: common.client.clone(), timeout: TIMEOUT };
        asking.spawn(async move { (place, server, probe(options).await) });
    }
    let mut answers = asking.join_all().await;
    answers.sort_by_key(|(place, ..)| *place);
    answers.into_iter().map(|(_, server, answer)| (server, answer)).collect()
}

type Row = [String; 2];

fn row(title: &str, text: impl Into<String>) -> Row {
    [title.to_owned(), text.into()]
}

fn rows(common: &Common, server: &str, folder: Option<&str>, answer: &Answer) -> Vec<Row> {
    let mut rows = Vec::new();
    match answer {
        Ok(broker) => {
            rows.extend(broker_rows(server, broker));
            rows.extend(identity_rows(common, broker));
        }
        Err(error) => {
            rows.push(row("broker", format!("{server}: {}", Failure::from(error.clone()).headline())));
        }
    }
    rows.extend(folder.map(|folder| row("home", folder)));
    rows
}

fn broker_rows(server: &str, broker: &BrokerReport) -> [Row; 4] {
    let BrokerReport { agent, cluster, partitions, relaxed, .. } = broker;
    let round_trip = format!(
        "{}; the transport's estimate is {}; connected within {}",
        words::millis(broker.round_trip),
        words::millis(broker.transport_round_trip),
        words::millis(broker.connected_in)
    );
    [
        row("broker", format!("{server}, {agent}")),
        row("cluster", format!("{cluster}, {partitions} partitions")),
        row("durability", words::durability_told(*relaxed)),
        row("round trip", round_trip),
    ]
}

fn identity_rows(common: &Common, broker: &BrokerReport) -> Vec<Row> {
    let name = &common.client;
    match &broker.identity {
        None => vec![row("identity", format!("{name:?} is not registered; next: anyport register --client {name}"))],
        Some(Err(error)) => {
            let failure = Failure::from(error.clone());
            vec![row("identity", format!("{name:?} is refused: {}", failure.headline()))]
        }
        Some(Ok(identity)) => {
            let IdentityReport { client, token_expires, session, subscriptions } = identity;
            vec![
                row("identity", format!("{name:?}, client {client}, token good until {}", words::day(*token_expires))),
                row("session", session_told(session, broker.server_time)),
                row("subscriptions", subscriptions.to_string()),
            ]
        }
    }
}

fn session_told(session: &SessionReport, now: WallMs) -> String {
    match session.epoch.0 {
        0 => "there has been none".to_owned(),
        epoch if session.is_open_here => format!("open at this broker, epoch {epoch}"),
        epoch => {
            let ago = words::age(words::between(session.last_seen, now));
            format!("none open at this broker; the last had epoch {epoch}, and was heard of {ago} ago")
        }
    }
}

/// Its members are a promise to scripts: see docs/cli.md.
fn as_json(common: &Common, server: &str, folder: Option<&str>, answer: &Answer) -> Value {
    let mut facts = Map::new();
    let mut put = |name: &str, value: Value| drop(facts.insert(name.to_owned(), value));
    put("server", server.into());
    put("reachable", answer.is_ok().into());
    put("name", common.client.as_str().into());
    put("home", folder.into());
    put("registered", folder.is_some().into());
    match answer {
        Err(error) => put("error", Failure::from(error.clone()).to_json()),
        Ok(broker) => {
            put("agent", broker.agent.as_str().into());
            put("cluster", broker.cluster.to_string().into());
            put("partitions", broker.partitions.into());
            put("durability", words::durability(broker.relaxed).into());
            put("server_time", words::timestamp(broker.server_time).into());
            put("round_trip_ms", millis(broker.round_trip));
            put("transport_round_trip_ms", millis(broker.transport_round_trip));
            put("connected_in_ms", millis(broker.connected_in));
            match &broker.identity {
                None => {}
                Some(Err(error)) => put("identity_error", Failure::from(error.clone()).to_json()),
                Some(Ok(identity)) => put_identity(identity, &mut put),
            }
        }
    }
    facts.into()
}

fn put_identity(identity: &IdentityReport, put: &mut impl FnMut(&str, Value)) {
    put("client", identity.client.to_string().into());
    put("token_expires", words::timestamp(identity.token_expires).into());
    put("subscriptions", identity.subscriptions.into());
    let SessionReport { epoch, last_seen, is_open_here } = identity.session;
    put("session", json!({ "epoch": epoch, "last_seen": words::timestamp(last_seen), "is_open_here": is_open_here }));
}

/// To the microsecond: below is noise.
fn millis(duration: Duration) -> Value {
    (duration.as_micros() as f64 / 1e3).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::SessionEpoch;

    #[test]
    fn a_session_is_open_or_was_or_never_has_been() {
        let now = WallMs(100_000);
        let session =
            |epoch, is_open_here| SessionReport { epoch: SessionEpoch(epoch), last_seen: WallMs(40_000), is_open_here };
        assert_eq!(session_told(&session(0, false), now), "there has been none");
        assert_eq!(session_told(&session(5, true), now), "open at this broker, epoch 5");
        let was = session_told(&session(5, false), now);
        assert!(was.starts_with("none open at this broker") && was.ends_with("1 min ago"), "{was}");
    }
}
