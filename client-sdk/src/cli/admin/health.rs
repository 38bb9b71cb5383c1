//! What is wrong with a cluster, in words: the worst first, with what happens by itself and what to type.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::cli::words;
use crate::protocol::message::admin::{
    BrokerStatus, ClusterStatus, GroupName, GroupStatus, ReplicaRole, ReplicaState, ReplicaStatus,
};
use crate::protocol::{BrokerId, PartitionId};

/// Something that a person should know before it becomes worse.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// A promise to scripts: see docs/cli.md.
    pub(super) kind: &'static str,
    pub(super) text: String,
    pub(super) by_itself: String,
    pub(super) next: Option<String>,
}

/// The worst first. None means healthy.
pub(super) fn troubles(status: &ClusterStatus) -> Vec<Trouble> {
    let mut found = without_majority(status);
    found.extend(without_leader(status));
    found.extend(dead(status));
    found.extend(damaged(status));
    found.extend(status.brokers.iter().filter_map(|broker| gone(status, broker)));
    found.extend(behind(status));
    found
}

/// What is under way, and needs nobody.
pub(super) fn notes(status: &ClusterStatus) -> Vec<String> {
    let draining = || status.brokers.iter().filter(|broker| broker.draining);
    let mut notes: Vec<_> = draining().map(|broker| drain_told(status, broker)).collect();
    let leaving = draining().map(|broker| broker.broker).filter(|broker| !status.is_drained(*broker));
    notes.extend(leaving.filter_map(|broker| drain_warning(status, broker)));
    notes.extend(status.groups.iter().filter_map(|group| Some(format!("{}: {}", group.group, group.moving.as_ref()?))));
    let has_one_voter = status.groups.iter().any(|group| group.voters().count() == 1);
    if has_one_voter && status.replication >= 3 && status.brokers.iter().filter(|broker| keeps(broker)).count() < 3 {
        notes.push("each group has one copy with a vote until there are three brokers: a disk that is lost takes its events along".into());
    }
    notes
}

/// Nothing is wrong and nothing under way.
pub(super) fn is_settled(status: &ClusterStatus) -> bool {
    let is_at_rest =
        |replica: &ReplicaStatus| replica.role != ReplicaRole::Leaving && replica.state == ReplicaState::UpToDate;
    let groups = &status.groups;
    troubles(status).is_empty()
        && groups.iter().all(|group| group.moving.is_none() && group.replicas.iter().all(is_at_rest))
        && status.brokers.iter().all(|broker| !broker.draining || status.is_drained(broker.broker))
}

/// How far a drain has come.
pub(super) fn drain_told(status: &ClusterStatus, broker: &BrokerStatus) -> String {
    let number = broker.broker;
    if status.is_drained(number) {
        return format!("broker {number} is drained: it stops by itself, and is removed");
    }
    let (replicas, leads) = (status.replicas_of(number), status.leads(number));
    format!("broker {number} is draining: {} left, of which it leads {leads}", counted(replicas, "replica"))
}

/// For who has just asked for it, or may still take it back.
pub(super) fn drain_warning(status: &ClusterStatus, broker: BrokerId) -> Option<String> {
    let record = status.broker(broker)?;
    let then = votes_given_up(status, record)?;
    Some(format!("without broker {broker} {then}. Add one first, or take it back: anyport admin drain {broker} --undo"))
}

/// What it costs to do without a broker, where fewer than three are left: two voters would be no majority when one fails.
fn votes_given_up(status: &ClusterStatus, broker: &BrokerStatus) -> Option<&'static str> {
    let others = status.brokers.iter().filter(|other| other.broker != broker.broker && keeps(other)).count();
    match others {
        _ if broker.edge || status.replication < 2 => None,
        1 => Some("each group has one copy: an ack says that one disk has the event"),
        2 => Some("each group has one voter and a copy without a vote: an ack says that one disk has the event"),
        _ => None,
    }
}

/// One line for all groups that wait for the same brokers.
fn without_majority(status: &ClusterStatus) -> Vec<Trouble> {
    let mut by_missing: BTreeMap<(bool, Vec<BrokerId>, usize), Vec<GroupName>> = BTreeMap::new();
    for group in status.groups.iter().filter(|group| !group.has_majority()) {
        let missing: Vec<_> =
            group.voters().filter(|voter| !voter.state.runs()).map(|voter| voter.replica.broker()).collect();
        let voters = group.voters().count();
        let wanted = (voters / 2 + 1).saturating_sub(voters - missing.len());
        by_missing.entry((group.group != GroupName::Metadata, missing, wanted)).or_default().push(group.group);
    }
    let trouble = |((_, missing, wanted), groups): ((bool, Vec<BrokerId>, usize), Vec<GroupName>)| {
        let missed = brokers_told(&missing);
        let awaited = some_of(&missing, wanted);
        Trouble {
            kind: "no_majority",
            text: format!("{} {} no majority without {missed}. {}", names(&groups), has(&groups), meaning(&groups)),
            by_itself: format!("it waits for {awaited}; then it goes on, and nothing is lost"),
            next: Some(format!("start {awaited} again; if that cannot be: anyport admin recover")),
        }
    };
    by_missing.into_iter().map(trouble).collect()
}

/// What people notice of it.
fn meaning(groups: &[GroupName]) -> &'static str {
    let is_shard = |group: &GroupName| matches!(group, GroupName::Registry(_));
    match groups {
        [GroupName::Metadata] => "No broker can join, be drained or be replaced; events flow where they can",
        _ if groups.iter().all(is_shard) => "Its clients get events, but what they acknowledge is not remembered yet",
        _ if groups.iter().any(is_shard) => {
            "Publishes are refused, and acknowledgements not remembered yet; what is stored is delivered"
        }
        _ => "Publishes to it are refused; what is stored is delivered",
    }
}

fn without_leader(status: &ClusterStatus) -> Option<Trouble> {
    let groups: Vec<_> = status
        .groups
        .iter()
        .filter(|group| group.leader.is_none() && group.has_majority())
        .map(|group| group.group)
        .collect();
    let within = if status.timing == "wan" { "ten seconds" } else { "two seconds" };
    (!groups.is_empty()).then(|| Trouble {
        kind: "no_leader",
        text: format!("{} {} no leader just now", names(&groups), has(&groups)),
        by_itself: format!("one is elected within {within}"),
        next: Some("if it stays so: look at the logs of the brokers that have it".into()),
    })
}

fn dead(status: &ClusterStatus) -> Vec<Trouble> {
    let trouble = |(broker, groups): (BrokerId, Vec<GroupName>)| Trouble {
        kind: "dead",
        text: format!("what broker {broker} has of {} is dead: it takes nothing more", names(&groups)),
        by_itself: format!("nothing, until broker {broker} is started again"),
        next: Some(format!("look into the log of broker {broker} for the reason, then start it again")),
    };
    by_broker(status, ReplicaState::Dead).into_iter().map(trouble).collect()
}

fn damaged(status: &ClusterStatus) -> Vec<Trouble> {
    let trouble = |(broker, groups): (BrokerId, Vec<GroupName>)| Trouble {
        kind: "damaged",
        text: format!("what broker {broker} has of {} cannot be read", names(&groups)),
        by_itself: "it is rebuilt from the other copies".into(),
        next: Some(format!("look at the disk of broker {broker}")),
    };
    by_broker(status, ReplicaState::Damaged).into_iter().map(trouble).collect()
}

/// The groups whose replica is in this state, for each broker that has some.
fn by_broker(status: &ClusterStatus, state: ReplicaState) -> BTreeMap<BrokerId, Vec<GroupName>> {
    let mut by_broker: BTreeMap<BrokerId, Vec<GroupName>> = BTreeMap::new();
    for (group, replica) in replicas(status).filter(|(_, replica)| replica.state == state) {
        by_broker.entry(replica.replica.broker()).or_default().push(group.group);
    }
    by_broker
}

fn gone(status: &ClusterStatus, broker: &BrokerStatus) -> Option<Trouble> {
    let number = broker.broker;
    match broker.away_for_ms {
        // It has ended by itself, as it should, and is about to be removed.
        _ if broker.draining && status.is_drained(number) => None,
        Some(ms) => Some(away(status, broker, Duration::from_millis(ms))),
        None if !broker.reached => Some(Trouble {
            kind: "silent",
            text: format!("broker {number} cannot be reached from broker {}, which tells this", status.answered_by),
            by_itself: "if it makes no progress the cluster soon counts it as away".into(),
            next: Some(format!("ask it: anyport admin status --peer {}", broker.peer_address)),
        }),
        None => None,
    }
}

fn away(status: &ClusterStatus, broker: &BrokerStatus, since: Duration) -> Trouble {
    let (number, replicas) = (broker.broker, status.replicas_of(broker.broker));
    let missed = match replicas {
        0 => "it has no replicas".to_owned(),
        1 => "1 group has a copy less".to_owned(),
        replicas => format!("{replicas} groups have a copy less"),
    };
    let left = Duration::from_millis(status.replace_after_ms).saturating_sub(since);
    let when = if left.is_zero() { "now".to_owned() } else { format!("in {}", words::age(left)) };
    let has_room = status.brokers.iter().filter(|other| other.broker != number && counts(other)).count()
        >= status.replication.into();
    let is_frozen = status.group(GroupName::Metadata).is_some_and(|metadata| !metadata.has_majority());
    let by_itself = match replicas {
        _ if is_frozen => "nothing, as long as the metadata has no majority".to_owned(),
        0 => format!("{when} it is given up"),
        _ if has_room => format!("{when} it is given up, and its replicas are rebuilt elsewhere"),
        _ => {
            let then = votes_given_up(status, broker).map_or(String::new(), |then| format!("; from then on {then}"));
            format!("{when} it is given up, but there are not brokers enough to take its replicas{then}")
        }
    };
    let instead = match (replicas, has_room) {
        (0, _) | (_, true) => format!("if it never comes back, do not wait: anyport admin remove {number}"),
        _ => format!("or another in its place: anyportd --cluster TOKEN --join {}", peer_to_join(status)),
    };
    Trouble {
        kind: "away",
        text: format!("broker {number} is away for {}; {missed}", words::age(since)),
        by_itself,
        next: Some(format!("start it again; {instead}")),
    }
}

/// There is a trouble of its own for each replica in such a state.
fn is_told_of_itself(state: ReplicaState) -> bool {
    matches!(state, ReplicaState::Away | ReplicaState::Damaged | ReplicaState::Dead)
}

/// Groups with too few good copies for which nothing above is to blame.
fn behind(status: &ClusterStatus) -> Option<Trouble> {
    let is_told =
        |group: &&GroupStatus| !group.has_majority() || group.voters().any(|voter| is_told_of_itself(voter.state));
    let groups: Vec<_> = status.groups.iter().filter(|group| group.is_under_replicated() && !is_told(group)).collect();
    if groups.is_empty() {
        return None;
    }
    let late = groups.iter().flat_map(|group| group.voters()).filter(|voter| voter.state != ReplicaState::UpToDate);
    let late: BTreeSet<_> = late.map(|voter| voter.replica.broker()).collect();
    let lag = groups.iter().flat_map(|group| group.voters().filter_map(|voter| group.lag(voter))).max().unwrap_or(0);
    let named: Vec<_> = groups.iter().map(|group| group.group).collect();
    let late: Vec<_> = late.into_iter().collect();
    let verb = if late.len() == 1 { "catches" } else { "catch" };
    Some(Trouble {
        kind: "behind",
        text: format!("{} {} a copy too few that is up to date", names(&named), has(&named)),
        by_itself: format!("{} {verb} up; at most {} behind", brokers_told(&late), entries(lag)),
        next: None,
    })
}

/// It may have replicas, and is there.
fn counts(broker: &BrokerStatus) -> bool {
    broker.away_for_ms.is_none() && keeps(broker)
}

/// It may have replicas, and keeps those it has while it is away.
fn keeps(broker: &BrokerStatus) -> bool {
    !broker.edge && !broker.draining
}

fn peer_to_join(status: &ClusterStatus) -> &str {
    status.broker(status.answered_by).map_or("ADDRESS", |broker| &broker.peer_address)
}

fn replicas(status: &ClusterStatus) -> impl Iterator<Item = (&GroupStatus, &ReplicaStatus)> {
    status.groups.iter().flat_map(|group| group.replicas.iter().map(move |replica| (group, replica)))
}

fn has(groups: &[GroupName]) -> &'static str {
    if groups.len() == 1 { "has" } else { "have" }
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn entries(count: u64) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

/// "broker 1", "brokers 1 and 2".
fn brokers_told(brokers: &[BrokerId]) -> String {
    let noun = if brokers.len() == 1 { "broker" } else { "brokers" };
    format!("{noun} {}", listed(brokers, "and"))
}

/// So many of these: "broker 1 or 2".
fn some_of(brokers: &[BrokerId], wanted: usize) -> String {
    match wanted {
        _ if wanted >= brokers.len() => brokers_told(brokers),
        1 => format!("broker {}", listed(brokers, "or")),
        _ => format!("{wanted} of the {}", brokers_told(brokers)),
    }
}

fn listed(brokers: &[BrokerId], last: &str) -> String {
    let numbers: Vec<_> = brokers.iter().map(ToString::to_string).collect();
    match numbers.as_slice() {
        [first @ .., second, end] => {
            let first: String = first.iter().map(|number| format!("{number}, ")).collect();
            format!("{first}{second} {last} {end}")
        }
        few => few.concat(),
    }
}

/// "metadata, registry 0-3, partitions 0, 2-7".
pub(super) fn names(groups: &[GroupName]) -> String {
    let shards = numbers(groups, |group| if let GroupName::Registry(shard) = group { Some(shard) } else { None });
    let partitions =
        numbers(groups, |group| if let GroupName::Partition(PartitionId(id)) = group { Some(id) } else { None });
    let mut told = Vec::new();
    told.extend(groups.contains(&GroupName::Metadata).then(|| "the metadata".to_owned()));
    told.extend((!shards.is_empty()).then(|| format!("registry {}", ranges(&shards))));
    let noun = if partitions.len() == 1 { "partition" } else { "partitions" };
    told.extend((!partitions.is_empty()).then(|| format!("{noun} {}", ranges(&partitions))));
    told.join(", ")
}

fn numbers(groups: &[GroupName], number_of: impl Fn(GroupName) -> Option<u16>) -> Vec<u16> {
    let numbers: BTreeSet<_> = groups.iter().copied().filter_map(number_of).collect();
    numbers.into_iter().collect()
}

fn ranges(numbers: &[u16]) -> String {
    let ranges = numbers.chunk_by(|before, after| before + 1 == *after);
    let told = ranges.map(|range| match range {
        [first, .., last] => format!("{first}-{last}"),
        _ => range[0].to_string(),
    });
    told.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::sample::{away, cluster};

    /// As a person reads it.
    fn told(status: &ClusterStatus) -> String {
        let trouble = |trouble: &Trouble| {
            let next = trouble.next.as_ref().map_or(String::new(), |next| format!("  next: {next}\n"));
            format!("{}\n  by itself: {}\n{next}", trouble.text, trouble.by_itself)
        };
        troubles(status).iter().map(trouble).collect()
    }

    #[test]
    fn a_cluster_where_all_is_well_has_no_trouble() {
        for brokers in [1, 2, 3, 5] {
            let status = cluster(brokers, 8);
            assert_eq!(told(&status), "", "{brokers}");
            assert!(is_settled(&status));
            assert_eq!(notes(&status).len(), usize::from(brokers < 3), "{:?}", notes(&status));
        }
    }

    #[test]
    fn of_a_broker_that_is_away_it_is_said_what_becomes_of_its_replicas_and_when() {
        let mut status = cluster(4, 8);
        away(&mut status, 2, 180_000);
        assert_eq!(
            told(&status),
            "broker 2 is away for 3 min; 13 groups have a copy less\n  \
             by itself: in 7 min it is given up, and its replicas are rebuilt elsewhere\n  \
             next: start it again; if it never comes back, do not wait: anyport admin remove 2\n"
        );
        away(&mut status, 2, 700_000);
        assert!(told(&status).contains("by itself: now it is given up"), "{}", told(&status));
    }

    #[test]
    fn where_there_are_not_brokers_enough_another_is_asked_for() {
        let mut status = cluster(3, 8);
        away(&mut status, 2, 180_000);
        assert_eq!(
            told(&status),
            "broker 2 is away for 3 min; 13 groups have a copy less\n  \
             by itself: in 7 min it is given up, but there are not brokers enough to take its replicas; from then on each group has \
             one voter and a copy without a vote: an ack says that one disk has the event\n  \
             next: start it again; or another in its place: anyportd --cluster TOKEN --join 10.0.0.0:7401\n"
        );
        assert_eq!(notes(&status), Vec::<String>::new(), "it still has its votes");
    }

    #[test]
    fn groups_without_a_majority_come_first_and_together() {
        let mut status = cluster(3, 8);
        away(&mut status, 1, 60_000);
        away(&mut status, 2, 60_000);
        status.groups.iter_mut().for_each(|group| group.leader = None);
        let told = told(&status);
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(
            lines[..6],
            [
                "the metadata has no majority without brokers 1 and 2. No broker can join, be drained or be replaced; events flow \
                 where they can",
                "  by itself: it waits for broker 1 or 2; then it goes on, and nothing is lost",
                "  next: start broker 1 or 2 again; if that cannot be: anyport admin recover",
                "registry 0-3, partitions 0-7 have no majority without brokers 1 and 2. Publishes are refused, and acknowledgements \
                 not remembered yet; what is stored is delivered",
                "  by itself: it waits for broker 1 or 2; then it goes on, and nothing is lost",
                "  next: start broker 1 or 2 again; if that cannot be: anyport admin recover",
            ]
        );
        assert!(
            lines[6].starts_with("broker 1 is away") && lines[7].contains("as long as the metadata has no majority"),
            "{told}"
        );
    }

    #[test]
    fn an_election_is_told_apart_from_a_majority_that_is_lost() {
        let mut status = cluster(3, 8);
        status.groups[7].leader = None;
        let troubles = troubles(&status);
        assert_eq!((troubles.len(), troubles[0].kind), (1, "no_leader"));
        assert_eq!(troubles[0].text, "partition 2 has no leader just now");
    }

    #[test]
    fn a_copy_that_catches_up_is_waited_for() {
        let mut status = cluster(3, 8);
        for group in &mut status.groups[5..8] {
            (group.replicas[2].state, group.replicas[2].matched) = (ReplicaState::Behind, Some(496));
        }
        assert_eq!(
            told(&status),
            "partitions 0-2 have a copy too few that is up to date\n  by itself: broker 2 catches up; at most 4 entries behind\n"
        );
        assert!(!is_settled(&status));
    }

    #[test]
    fn a_silent_broker_is_not_yet_away_and_a_damaged_copy_is_rebuilt() {
        let mut status = cluster(3, 8);
        status.brokers[1].reached = false;
        status.groups[5].replicas[2].state = ReplicaState::Damaged;
        let kinds: Vec<_> = troubles(&status).iter().map(|trouble| trouble.kind).collect();
        assert_eq!(kinds, ["damaged", "silent"]);
    }

    #[test]
    fn a_dead_copy_is_not_said_to_be_rebuilt() {
        let mut status = cluster(3, 8);
        for group in &mut status.groups[5..7] {
            group.replicas[2].state = ReplicaState::Dead;
        }
        assert_eq!(
            told(&status),
            "what broker 2 has of partitions 0-1 is dead: it takes nothing more\n  \
             by itself: nothing, until broker 2 is started again\n  \
             next: look into the log of broker 2 for the reason, then start it again\n"
        );
    }

    #[test]
    fn a_drain_is_told_until_the_broker_has_nothing_left_and_its_end_is_no_trouble() {
        let mut status = cluster(4, 8);
        status.brokers[0].draining = true;
        assert_eq!(notes(&status), ["broker 0 is draining: 13 replicas left, of which it leads 7"]);
        assert!(!is_settled(&status) && troubles(&status).is_empty());
        status.brokers[0].draining = false;
        status.brokers[3].draining = true;
        assert_eq!(notes(&status), ["broker 3 is drained: it stops by itself, and is removed"]);
        assert!(is_settled(&status));
        away(&mut status, 3, 1_000);
        assert_eq!(told(&status), "");
    }

    #[test]
    fn who_drains_one_of_three_brokers_is_told_that_one_vote_is_left() {
        let mut status = cluster(3, 8);
        let warning = drain_warning(&status, BrokerId(2)).expect("two are left");
        assert_eq!(
            warning,
            "without broker 2 each group has one voter and a copy without a vote: an ack says that one disk has the event. Add one \
             first, or take it back: anyport admin drain 2 --undo"
        );
        status.brokers[2].draining = true;
        assert_eq!(notes(&status), ["broker 2 is draining: 13 replicas left, of which it leads 0", &warning]);
        assert_eq!(drain_warning(&cluster(4, 8), BrokerId(2)), None);
        status.brokers[2].edge = true;
        assert_eq!(drain_warning(&status, BrokerId(2)), None, "an edge has no votes");
    }

    #[test]
    fn as_many_brokers_are_waited_for_as_a_majority_needs() {
        let brokers = [1, 2, 4].map(BrokerId);
        assert_eq!(some_of(&brokers, 1), "broker 1, 2 or 4");
        assert_eq!(some_of(&brokers, 2), "2 of the brokers 1, 2 and 4");
        assert_eq!(some_of(&brokers, 3), "brokers 1, 2 and 4");
        assert_eq!(some_of(&brokers[..1], 1), "broker 1");
    }

    #[test]
    fn groups_are_named_in_ranges() {
        let partition = |id| GroupName::Partition(PartitionId(id));
        assert_eq!(
            names(&[partition(0), partition(2), partition(3), partition(4), GroupName::Metadata]),
            "the metadata, partitions 0, 2-4"
        );
        assert_eq!(names(&[partition(9)]), "partition 9");
        assert_eq!(names(&[GroupName::Registry(1), GroupName::Registry(0)]), "registry 0-1");
    }
}
