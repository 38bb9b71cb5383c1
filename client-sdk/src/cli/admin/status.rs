//! `anyport admin status`: what is wrong first, then brokers, a picture, and every group.

use std::io::IsTerminal;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::super::args::Common;
use super::super::exit::{Exit, Failure};
use super::super::{output, tell, words};
use super::args::AdminStatus;
use super::health::{Trouble, is_settled, notes, troubles};
use crate::admin::{OperatorError, picture};
use crate::protocol::message::admin::{
    BrokerStatus, ClusterStatus, GroupName, GroupStatus, ReplicaRole, ReplicaState, ReplicaStatus,
};

const WATCH_EVERY: Duration = Duration::from_secs(2);
/// Cursor home, and nothing below it.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(super) async fn run(common: &Common, options: AdminStatus) -> Result<Exit, Failure> {
    if options.watch {
        return watch(common, options).await;
    }
    let status = options.reach.connect().await?.status().await?;
    output::print(told(common, &status)).await?;
    // 3, as for what a broker refuses: docs/cli.md.
    Ok(if troubles(&status).is_empty() { Exit::Done } else { Exit::Refused })
}

/// Until interrupted; what cannot be asked now may be the next time.
async fn watch(common: &Common, options: AdminStatus) -> Result<Exit, Failure> {
    let clear = if std::io::stdout().is_terminal() && !common.json { CLEAR } else { "" };
    let mut operator = None;
    loop {
        if operator.is_none() {
            operator = Some(options.reach.connect().await);
        }
        let asked = match &operator {
            Some(Ok(operator)) => operator.status().await,
            Some(Err(error)) => Err(error.clone()),
            None => unreachable!("it was connected above"),
        };
        match asked {
            Ok(status) => output::print(format!("{clear}{}", told(common, &status))).await?,
            Err(error @ OperatorError::BadBundle { .. }) => return Err(error.into()),
            Err(error) => {
                operator = None;
                output::print(clear).await?;
                tell::say(&Failure::from(error).headline());
            }
        }
        sleep(WATCH_EVERY).await;
    }
}

fn told(common: &Common, status: &ClusterStatus) -> String {
    if common.json { format!("{}\n", as_json(status)) } else { text(status) }
}

fn text(status: &ClusterStatus) -> String {
    let mut text = String::new();
    let troubles = troubles(status);
    if troubles.is_empty() {
        let (brokers, groups) = (status.brokers.len(), status.groups.len());
        let noun = if brokers == 1 { "broker" } else { "brokers" };
        text.push_str(&format!("healthy: {brokers} {noun}, {groups} groups, no copy is missing\n"));
    }
    troubles.iter().for_each(|trouble| text.push_str(&trouble_told(trouble)));
    notes(status).iter().for_each(|note| text.push_str(&format!("note: {note}\n")));
    text.push_str(&format!("\n{}\n", cluster_told(status)));
    text.push_str(&format!("\n{}", brokers_table(status)));
    text.push_str(&format!("\n{}", picture(status)));
    text.push_str(&format!("\n{}", groups_table(status)));
    text
}

fn trouble_told(trouble: &Trouble) -> String {
    let next = trouble.next.as_ref().map_or(String::new(), |next| format!("  next: {next}\n"));
    format!("TROUBLE: {}\n  by itself: {}\n{next}", trouble.text, trouble.by_itself)
}

fn cluster_told(status: &ClusterStatus) -> String {
    let leader = match metadata_leader(status) {
        Some(leader) => format!("broker {leader} leads the metadata"),
        None => "nobody leads the metadata".to_owned(),
    };
    let after = words::age(Duration::from_millis(status.replace_after_ms));
    let ClusterStatus { cluster, timing, replication, answered_by, .. } = status;
    format!(
        "cluster {cluster}: {timing} timing, {replication} copies wanted, a broker is given up after {after} away\n\
         broker {answered_by} tells this; {leader}"
    )
}

fn metadata_leader(status: &ClusterStatus) -> Option<u32> {
    status.group(GroupName::Metadata)?.leader.map(|leader| leader.0)
}

fn brokers_table(status: &ClusterStatus) -> String {
    let titles = ["BROKER", "STATE", "ZONE", "REPLICAS", "LEADS", "CLIENTS", "PEERS", "PROGRAM"].map(str::to_owned);
    let row = |broker: &BrokerStatus| {
        [
            broker.broker.to_string(),
            state_told(broker),
            or_none(&broker.zone),
            status.replicas_of(broker.broker).to_string(),
            status.leads(broker.broker).to_string(),
            broker.client_address.clone(),
            broker.peer_address.clone(),
            or_none(broker.agent.as_deref().unwrap_or_default()),
        ]
    };
    words::table(&std::iter::once(titles).chain(status.brokers.iter().map(row)).collect::<Vec<_>>())
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

fn state_told(broker: &BrokerStatus) -> String {
    let edge = if broker.edge { ", edge" } else { "" };
    match broker.away_for_ms {
        Some(ms) => format!("AWAY for {}{edge}", words::age(Duration::from_millis(ms))),
        None => format!("{}{edge}", state_word(broker)),
    }
}

/// A promise to scripts: see docs/cli.md.
fn state_word(broker: &BrokerStatus) -> &'static str {
    match broker {
        BrokerStatus { away_for_ms: Some(_), .. } => "away",
        BrokerStatus { reached: false, .. } => "silent",
        BrokerStatus { draining: true, .. } => "draining",
        _ => "up",
    }
}

fn groups_table(status: &ClusterStatus) -> String {
    let titles = ["GROUP", "LEADER", "COPIES ON", "EVENTS"].map(str::to_owned);
    let row = |group: &GroupStatus| {
        let copies: Vec<_> = group.replicas.iter().map(|replica| copy_told(group, replica)).collect();
        [
            group.group.to_string(),
            group.leader.map_or("none".to_owned(), |leader| leader.to_string()),
            copies.join(", "),
            group.events.map_or("-".to_owned(), |events| events.to_string()),
        ]
    };
    words::table(&std::iter::once(titles).chain(status.groups.iter().map(row)).collect::<Vec<_>>())
}

/// The broker, and what is remarkable about its copy.
fn copy_told(group: &GroupStatus, replica: &ReplicaStatus) -> String {
    let mut told = replica.replica.broker().to_string();
    match replica.role {
        ReplicaRole::Voter => {}
        ReplicaRole::Learner => told.push_str(" learner"),
        ReplicaRole::Leaving => told.push_str(" leaving"),
    }
    match replica.state {
        ReplicaState::UpToDate => {}
        ReplicaState::Behind => match group.lag(replica) {
            Some(lag) => told.push_str(&format!(" behind by {lag}")),
            None => told.push_str(" behind"),
        },
        ReplicaState::Away => told.push_str(" away"),
        ReplicaState::Damaged => told.push_str(" damaged"),
        ReplicaState::Dead => told.push_str(" dead"),
        ReplicaState::Unknown => told.push_str(" not known"),
    }
    told
}

/// Its members are a promise to scripts: see docs/cli.md.
fn as_json(status: &ClusterStatus) -> Value {
    let troubles = troubles(status);
    let removed = status.removed.iter().map(|gone| json!({ "broker": gone.broker, "at": words::timestamp(gone.at) }));
    json!({
        "cluster": status.cluster.to_string(),
        "created": words::timestamp(status.created),
        "now": words::timestamp(status.now),
        "timing": status.timing,
        "replication": status.replication,
        "replace_after_secs": status.replace_after_ms as f64 / 1e3,
        "answered_by": status.answered_by,
        "metadata_leader": metadata_leader(status),
        "healthy": troubles.is_empty(),
        "settled": is_settled(status),
        "troubles": troubles.iter().map(trouble_json).collect::<Vec<_>>(),
        "notes": notes(status),
        "brokers": status.brokers.iter().map(|broker| broker_json(status, broker)).collect::<Vec<_>>(),
        "groups": status.groups.iter().map(group_json).collect::<Vec<_>>(),
        "removed": removed.collect::<Vec<_>>(),
    })
}

fn trouble_json(trouble: &Trouble) -> Value {
    let Trouble { kind, text, by_itself, next } = trouble;
    json!({ "kind": kind, "text": text, "by_itself": by_itself, "next": next })
}

fn broker_json(status: &ClusterStatus, broker: &BrokerStatus) -> Value {
    json!({
        "broker": broker.broker,
        "state": state_word(broker),
        "away_secs": broker.away_for_ms.map(|ms| ms as f64 / 1e3),
        "draining": broker.draining,
        "edge": broker.edge,
        "zone": broker.zone,
        "clients": broker.client_address,
        "peers": broker.peer_address,
        "joined": words::timestamp(broker.joined),
        "replicas": status.replicas_of(broker.broker),
        "leads": status.leads(broker.broker),
        "program": broker.agent,
        "start": broker.start,
    })
}

fn group_json(group: &GroupStatus) -> Value {
    let replica = |replica: &ReplicaStatus| {
        json!({
            "replica": replica.replica.to_string(),
            "broker": replica.replica.broker(),
            "role": replica.role,
            "state": replica.state,
            "matched": replica.matched,
            "lag_entries": group.lag(replica),
            "lag_events": replica.lag_events,
        })
    };
    json!({
        "group": group.group.to_string(),
        "version": group.version,
        "leader": group.leader,
        "preferred_leader": group.preferred_leader,
        "has_majority": group.has_majority(),
        "under_replicated": group.is_under_replicated(),
        "last_index": group.last_index,
        "applied": group.applied,
        "head": group.events.map(|events| events.start),
        "tail": group.events.map(|events| events.end),
        "moving": group.moving,
        "replicas": group.replicas.iter().map(replica).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample::{away, cluster};

    #[test]
    fn what_is_wrong_comes_first_and_everything_after_it() {
        let mut status = cluster(4, 2);
        away(&mut status, 2, 180_000);
        status.groups[6].replicas[0].state = ReplicaState::Behind;
        status.groups[6].replicas[0].matched = Some(470);
        let expected = "\
TROUBLE: broker 2 is away for 3 min; 7 groups have a copy less
  by itself: in 7 min it is given up, and its replicas are rebuilt elsewhere
  next: start it again; if it never comes back, do not wait: anyport admin remove 2

cluster 11111111-1111-1111-1111-111111111111: lan timing, 3 copies wanted, a broker is given up after 10 min away
broker 0 tells this; broker 0 leads the metadata

BROKER  STATE           ZONE  REPLICAS  LEADS  CLIENTS        PEERS          PROGRAM
0       up              a     7         4      10.0.0.0:7400  10.0.0.0:7401  anyportd/0.1.0
1       up              b     7         3      10.0.0.1:7400  10.0.0.1:7401  anyportd/0.1.0
2       AWAY for 3 min  c     7         0      10.0.0.2:7400  10.0.0.2:7401  -
3       up              a     1         0      10.0.0.3:7400  10.0.0.3:7401  anyportd/0.1.0

            broker 0  broker 1  broker 2  broker 3
            up        up        AWAY      up
metadata    L         f         x         l
registry    LfLf      fLfL      xxxx      ....
partitions  L+        fL        xx        ..
            L leads  f follows  + catches up  l learns, without a vote  x away  . none

GROUP        LEADER  COPIES ON                  EVENTS
metadata     0       0, 1, 2 away, 3 learner    -
registry 0   0       0, 1, 2 away               -
registry 1   1       0, 1, 2 away               -
registry 2   0       0, 1, 2 away               -
registry 3   1       0, 1, 2 away               -
partition 0  0       0, 1, 2 away               [100, 1234)
partition 1  1       0 behind by 30, 1, 2 away  [100, 1234)
";
        assert_eq!(text(&status), expected);
    }

    #[test]
    fn of_a_healthy_cluster_the_first_line_says_it() {
        let told = text(&cluster(3, 8));
        assert!(told.starts_with("healthy: 3 brokers, 13 groups, no copy is missing\n\ncluster "), "{told}");
        let alone = text(&cluster(1, 8));
        assert!(
            alone.starts_with("healthy: 1 broker, 13 groups, no copy is missing\nnote: each group has one copy"),
            "{alone}"
        );
    }

    #[test]
    fn scripts_get_the_same_in_members_that_stay() {
        let mut status = cluster(3, 1);
        away(&mut status, 2, 180_000);
        let json = as_json(&status);
        assert_eq!(
            (&json["healthy"], &json["settled"], &json["metadata_leader"]),
            (&json!(false), &json!(false), &json!(0))
        );
        assert_eq!(json["troubles"][0]["kind"], "away");
        let broker = json!({
            "broker": 2, "state": "away", "away_secs": 180.0, "draining": false, "edge": false, "zone": "c",
            "clients": "10.0.0.2:7400", "peers": "10.0.0.2:7401", "joined": "1970-01-12T13:46:40Z", "replicas": 6,
            "leads": 0, "program": null, "start": 7,
        });
        assert_eq!(json["brokers"][2], broker);
        let group = &json["groups"][5];
        assert_eq!(
            (&group["group"], &group["head"], &group["tail"]),
            (&json!("partition 0"), &json!(100), &json!(1234))
        );
        let replica = json!({
            "replica": "2.1", "broker": 2, "role": "voter", "state": "away", "matched": 500, "lag_entries": 0, "lag_events": 0,
        });
        assert_eq!(group["replicas"][2], replica);
        assert_eq!(
            (&as_json(&cluster(3, 1))["healthy"], &as_json(&cluster(3, 1))["settled"]),
            (&json!(true), &json!(true))
        );
    }
}
