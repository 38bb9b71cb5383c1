//! A small picture of a cluster: brokers beside each other, and below each a sign for every group in turn.
//!
//! ```text
//!             broker 0  broker 1  broker 2
//!             up        up        AWAY
//! metadata    L         f         x
//! registry    Lfff      fLfL      xxxx
//! partitions  LffLffLL  fLffLfff  xxxxxxxx
//!             L leads  f follows  x away
//! ```

use anyport_protocol::message::admin::{
    BrokerStatus, ClusterStatus, GroupName, GroupStatus, ReplicaRole, ReplicaState,
};
use anyport_protocol::{BrokerId, PartitionId};

/// Signs in a row; more go below.
const SIGNS_PER_LINE: usize = 16;
/// Brokers beside each other; more go below.
const BROKERS_PER_BLOCK: usize = 5;

/// What a broker can have of a group, and what that is called.
pub const SIGNS: [(char, &str); 10] = [
    ('L', "leads"),
    ('f', "follows"),
    ('+', "catches up"),
    ('l', "learns, without a vote"),
    ('-', "leaves"),
    ('x', "away"),
    ('!', "damaged"),
    ('#', "dead"),
    ('?', "not known"),
    ('.', "none"),
];

/// Ends with a line that explains the signs in it.
pub fn picture(status: &ClusterStatus) -> String {
    let mut text = String::new();
    for brokers in status.brokers.chunks(BROKERS_PER_BLOCK) {
        draw_block(&mut text, status, brokers);
    }
    let signs = |sign: &&(char, &str)| {
        status.groups.iter().any(|group| status.brokers.iter().any(|broker| sign_of(group, broker.broker) == sign.0))
    };
    let used: Vec<_> = SIGNS.iter().filter(signs).map(|(sign, meaning)| format!("{sign} {meaning}")).collect();
    text.push_str(&line("", &[used.join("  ")], 0));
    text
}

fn draw_block(text: &mut String, status: &ClusterStatus, brokers: &[BrokerStatus]) {
    let titles: Vec<_> = brokers.iter().map(|broker| format!("broker {}", broker.broker)).collect();
    let states: Vec<_> = brokers.iter().map(|broker| state_of(broker).to_owned()).collect();
    let mut rows = vec![(String::new(), titles), (String::new(), states)];
    for (title, is_in) in sections() {
        let groups: Vec<_> = status.groups.iter().filter(|group| is_in(group.group)).collect();
        for (place, groups) in groups.chunks(SIGNS_PER_LINE).enumerate() {
            let signs = |broker: &BrokerStatus| groups.iter().map(|group| sign_of(group, broker.broker)).collect();
            let title = if place == 0 { title } else { "" };
            rows.push((title.to_owned(), brokers.iter().map(signs).collect()));
        }
    }
    let width = rows.iter().flat_map(|(_, cells)| cells).map(|cell| cell.chars().count()).max().unwrap_or(0);
    rows.iter().for_each(|(title, cells)| text.push_str(&line(title, cells, width)));
}

type Section = (&'static str, fn(GroupName) -> bool);

fn sections() -> [Section; 3] {
    [
        ("metadata", |group| group == GroupName::Metadata),
        ("registry", |group| matches!(group, GroupName::Registry(_))),
        ("partitions", |group| matches!(group, GroupName::Partition(PartitionId(_)))),
    ]
}

/// In a word that catches the eye where it should.
fn state_of(broker: &BrokerStatus) -> &'static str {
    match broker {
        BrokerStatus { away_for_ms: Some(_), .. } => "AWAY",
        BrokerStatus { reached: false, .. } => "SILENT",
        BrokerStatus { draining: true, .. } => "draining",
        BrokerStatus { edge: true, .. } => "edge",
        _ => "up",
    }
}

/// One of [`SIGNS`].
pub fn sign_of(group: &GroupStatus, broker: BrokerId) -> char {
    let Some(replica) = group.replica_of(broker) else { return '.' };
    match (replica.state, replica.role) {
        (ReplicaState::Away, _) => 'x',
        (ReplicaState::Damaged, _) => '!',
        (ReplicaState::Dead, _) => '#',
        (ReplicaState::Unknown, _) => '?',
        (_, _) if group.leader == Some(broker) => 'L',
        (_, ReplicaRole::Leaving) => '-',
        (ReplicaState::Behind, _) => '+',
        (ReplicaState::UpToDate, ReplicaRole::Voter) => 'f',
        (ReplicaState::UpToDate, ReplicaRole::Learner) => 'l',
    }
}

fn line(title: &str, cells: &[String], width: usize) -> String {
    let cells: String = cells.iter().map(|cell| format!("  {cell:width$}")).collect();
    format!("{title:10}{cells}").trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::super::sample::{away, cluster};
    use super::*;

    #[test]
    fn brokers_stand_beside_each_other_and_groups_in_turn() {
        let mut status = cluster(3, 8);
        away(&mut status, 2, 180_000);
        let expected = "
            broker 0  broker 1  broker 2
            up        up        AWAY
metadata    L         f         x
registry    LfLf      fLfL      xxxx
partitions  LfLfLfLf  fLfLfLfL  xxxxxxxx
            L leads  f follows  x away
";
        assert_eq!(format!("\n{}", picture(&status)), expected);
    }

    #[test]
    fn a_copy_that_moves_is_seen_on_both_brokers() {
        let mut status = cluster(4, 2);
        let group = status.groups.last_mut().expect("a partition");
        group.replicas[2].role = ReplicaRole::Leaving;
        let mut new = group.replicas[2].clone();
        new.replica = anyport_protocol::ReplicaId::new(BrokerId(3), 9);
        (new.role, new.state) = (ReplicaRole::Voter, ReplicaState::Behind);
        group.replicas.push(new);
        let picture = picture(&status);
        let partitions = picture.lines().find(|line| line.starts_with("partitions")).expect("a line");
        assert_eq!(partitions, "partitions  Lf        fL        f-        .+");
        assert!(
            picture.ends_with("L leads  f follows  + catches up  l learns, without a vote  - leaves  . none\n"),
            "{picture}"
        );
    }

    #[test]
    fn many_brokers_and_partitions_go_below_each_other() {
        let picture = picture(&cluster(6, 20));
        assert!(picture.lines().all(|line| line.chars().count() < 110), "{picture}");
        assert_eq!(picture.lines().filter(|line| line.contains("broker ")).count(), 2, "{picture}");
        assert!(
            picture.lines().any(|line| line.starts_with("          ") && line.trim_start().starts_with("Lf")),
            "{picture}"
        );
    }
}
