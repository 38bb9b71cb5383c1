//! `anyport admin recover`: going on without a majority that is lost for good. It says what may be lost before it acts.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::super::args::Common;
use super::super::exit::{Exit, Failure};
use super::super::output;
use super::super::tell::{note, say};
use super::args::{Reach, Recover};
use crate::ClientCode;
use crate::admin::OperatorError;
use crate::protocol::message::admin::{GroupRecovery, RecoverPlan, Survivor};
use crate::protocol::{BrokerId, ReplicaId};

/// Brokers start anew, and a lease may have to end before its broker is given up.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(super) async fn run(common: &Common, options: Recover) -> Result<Exit, Failure> {
    let operator = options.reach.connect().await?;
    let plan = operator.recover_plan().await?;
    if common.json {
        output::print_json(&as_json(&plan)).await?;
    } else {
        output::print(text(&plan)).await?;
    }
    // A script that wants to do it says so beforehand.
    if plan.groups.is_empty() || (common.json && !options.yes) {
        return Ok(Exit::Done);
    }
    if !options.yes && !is_confirmed(&plan).await? {
        return Err(Failure::new(
            Exit::Failed,
            "nothing was done: that is not the cluster's id",
            "anyport admin recover, and type the id",
        ));
    }
    carry_out(&options.reach, &plan).await?;
    say("the groups go on from the replicas named; next: anyport admin status");
    Ok(Exit::Done)
}

/// In rounds: the metadata goes first, then what it has to agree on, and brokers start anew in between.
async fn carry_out(reach: &Reach, agreed: &RecoverPlan) -> Result<(), Failure> {
    let lost: BTreeSet<_> = agreed.groups.iter().flat_map(|group| &group.lost).map(|lost| lost.broker()).collect();
    let deadline = Instant::now() + PATIENCE;
    let mut left = 0;
    loop {
        let trouble = match round(reach, &lost).await {
            Ok(0) => return Ok(()),
            Ok(groups) => {
                if std::mem::replace(&mut left, groups) != groups {
                    note("recovering", &format!("{groups} groups to go"), json!({ "groups": groups }));
                }
                format!("{groups} groups are still without a majority")
            }
            Err(error) => error.to_string(),
        };
        if Instant::now() >= deadline {
            let text = format!("not done within {} s: {trouble}", PATIENCE.as_secs());
            return Err(Failure::new(Exit::Failed, text, "look at the plan as it is now: anyport admin recover"));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// How many groups are still to be recovered. Only brokers that the operator has given up are: one that just starts anew is waited for.
async fn round(reach: &Reach, lost: &BTreeSet<BrokerId>) -> Result<usize, OperatorError> {
    let operator = reach.connect().await?;
    let plan = operator.recover_plan().await?;
    if plan.groups.is_empty() {
        let status = operator.status().await?;
        for broker in lost.iter().filter(|broker| status.broker(**broker).is_some_and(|record| !record.reached)) {
            operator.remove(*broker).await?;
        }
    } else if plan.groups.iter().flat_map(|group| &group.lost).all(|replica| lost.contains(&replica.broker())) {
        operator.recover(&plan).await?;
    }
    Ok(plan.groups.len())
}

/// The id of the cluster, typed: nobody does that by mistake.
async fn is_confirmed(plan: &RecoverPlan) -> Result<bool, Failure> {
    say("if one of those brokers may come back, start it instead: then nothing is lost");
    say("once given up, they must never start again on the data they have");
    say("to give them up, type the cluster's id, which stands in the first line:");
    let read = || {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line)
    };
    let typed = spawn_blocking(read).await.unwrap_or_else(|_| Ok(String::new()));
    let typed = typed.map_err(|error| Failure::of(ClientCode::Unreadable, format!("stdin: {error}")))?;
    Ok(typed.trim() == plan.cluster.to_string())
}

fn text(plan: &RecoverPlan) -> String {
    if plan.groups.is_empty() {
        return format!("cluster {}: every group has its majority; there is nothing to recover\n", plan.cluster);
    }
    let noun = if plan.groups.len() == 1 { "group has" } else { "groups have" };
    let mut text = format!("cluster {}: {} {noun} lost the majority\n", plan.cluster, plan.groups.len());
    plan.groups.iter().for_each(|group| text.push_str(&group_told(group)));
    text
}

fn group_told(group: &GroupRecovery) -> String {
    let lost: Vec<_> = group.lost.iter().map(|replica| replica.broker().to_string()).collect();
    let mut text = format!("\n{}: lost with broker {}\n", group.group, lost.join(", "));
    for survivor in &group.survivors {
        let chosen = if group.chosen == Some(survivor.replica) { ", and is gone on from" } else { "" };
        text.push_str(&format!("  broker {} has {}{chosen}\n", survivor.replica.broker(), survivor_told(survivor)));
    }
    match group.chosen {
        Some(_) if group.may_lose.is_empty() => text.push_str("  may be lost: what was acknowledged behind that\n"),
        Some(_) => text.push_str(&format!("  may be lost: {}\n", group.may_lose)),
        None => text.push_str("  may be lost: all of it; no copy is left, and it begins empty\n"),
    }
    text
}

fn survivor_told(survivor: &Survivor) -> String {
    let Survivor { last_term, last_index, committed, .. } = survivor;
    let events = survivor.tail.map_or(String::new(), |tail| format!("events below {tail}; "));
    format!("{events}its log up to {last_index} of term {last_term}, of which {committed} was in a majority for sure")
}

/// Its members are a promise to scripts: see docs/cli.md.
fn as_json(plan: &RecoverPlan) -> Value {
    let survivor = |survivor: &Survivor| {
        json!({
            "broker": survivor.replica.broker(), "replica": survivor.replica.to_string(), "last_term": survivor.last_term,
            "last_index": survivor.last_index, "committed": survivor.committed, "tail": survivor.tail,
        })
    };
    let brokers = |replicas: &[ReplicaId]| replicas.iter().map(|replica| replica.broker()).collect::<Vec<BrokerId>>();
    let group = |group: &GroupRecovery| {
        json!({
            "group": group.group.to_string(), "lost": brokers(&group.lost), "chosen": group.chosen.map(ReplicaId::broker),
            "survivors": group.survivors.iter().map(survivor).collect::<Vec<_>>(), "may_lose": group.may_lose,
        })
    };
    json!({ "cluster": plan.cluster.to_string(), "groups": plan.groups.iter().map(group).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::admin::GroupName;
    use crate::protocol::{ClusterId, Offset, PartitionId};

    fn plan() -> RecoverPlan {
        let replica = |broker| ReplicaId::new(BrokerId(broker), 1);
        let survivor =
            Survivor { replica: replica(0), last_term: 4, last_index: 120, committed: 118, tail: Some(Offset(900)) };
        let group = GroupRecovery {
            group: GroupName::Partition(PartitionId(3)),
            lost: vec![replica(1), replica(2)],
            survivors: vec![survivor],
            chosen: Some(replica(0)),
            may_lose: "events from 900 on that were acknowledged before brokers 1 and 2 were lost".into(),
        };
        let nothing = GroupRecovery {
            group: GroupName::Registry(1),
            survivors: Vec::new(),
            chosen: None,
            may_lose: String::new(),
            ..group.clone()
        };
        RecoverPlan { cluster: ClusterId([0x11; 16]), token: "t".into(), groups: vec![group, nothing] }
    }

    #[test]
    fn a_plan_says_of_each_group_what_is_left_and_what_may_be_lost() {
        let expected = "\
cluster 11111111-1111-1111-1111-111111111111: 2 groups have lost the majority

partition 3: lost with broker 1, 2
  broker 0 has events below 900; its log up to 120 of term 4, of which 118 was in a majority for sure, and is gone on from
  may be lost: events from 900 on that were acknowledged before brokers 1 and 2 were lost

registry 1: lost with broker 1, 2
  may be lost: all of it; no copy is left, and it begins empty
";
        assert_eq!(text(&plan()), expected);
        let nothing = RecoverPlan { groups: Vec::new(), ..plan() };
        assert!(text(&nothing).ends_with("there is nothing to recover\n"));
    }

    #[test]
    fn scripts_get_the_same_in_members_that_stay() {
        let json = as_json(&plan());
        let survivor =
            json!({ "broker": 0, "replica": "0.1", "last_term": 4, "last_index": 120, "committed": 118, "tail": 900 });
        assert_eq!(json["groups"][0]["survivors"], json!([survivor]));
        assert_eq!((&json["groups"][0]["chosen"], &json["groups"][1]["chosen"]), (&json!(0), &Value::Null));
        assert_eq!(json["groups"][0]["lost"], json!([1, 2]));
    }
}
