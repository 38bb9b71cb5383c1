//! A cluster whose groups do what they are assigned, when the test says so.

use std::borrow::Borrow;
use std::collections::BTreeSet;

use anyport_protocol::{BrokerId, ClusterId, WallMs};
use anyport_storage::GroupId;
use anyport_storage::metadata::{Assignment, ClusterFacts, ClusterState, Command, Reply, Timing, decide};

use super::plan;

/// A replica is a group and a broker.
pub(super) type Replicas = BTreeSet<(GroupId, BrokerId)>;

#[derive(Clone, Debug)]
pub(super) struct Cluster {
    pub state: ClusterState,
}

impl Cluster {
    /// One broker with all groups: this many, besides the metadata.
    pub fn new(groups: u16, replication: u8, zone: &str) -> Self {
        let facts = ClusterFacts {
            cluster: ClusterId([1; 16]),
            partitions: groups - 1,
            registry_shards: 1,
            created: WallMs(1),
            token_key: vec![],
            timing: Timing::Lan,
            replication,
            replace_after_ms: 1,
        };
        let mut cluster = Self { state: ClusterState::default() };
        cluster.ask(Command::Create(facts));
        let [peer_address, client_address, zone] = ["a", "a", zone].map(str::to_owned);
        let (broker, key, start, now) = (BrokerId::FIRST, [0; 32], 0, WallMs(1));
        cluster.ask(Command::Announce { broker, key, peer_address, client_address, zone, start, now });
        cluster
    }

    /// This many brokers in one zone, with everything as planned.
    pub fn of(brokers: u32, groups: u16) -> Self {
        let mut cluster = Self::new(groups, 3, "");
        for _ in 1..brokers {
            cluster.join("");
            cluster.work();
        }
        cluster
    }

    pub fn ask(&mut self, command: impl Borrow<Command>) -> Reply {
        let (changed, reply) = decide(&self.state, command.borrow());
        self.state = changed.unwrap_or_else(|| self.state.clone());
        reply
    }

    pub fn join(&mut self, zone: &str) -> BrokerId {
        self.join_as(zone, false)
    }

    pub fn join_as(&mut self, zone: &str, edge: bool) -> BrokerId {
        let id = self.state.next_broker;
        let mut key = [0; 32];
        key[..4].copy_from_slice(&id.0.to_le_bytes());
        let [peer_address, client_address, zone] = ["a", "a", zone].map(str::to_owned);
        let joined =
            self.ask(Command::Join { key, peer_address, client_address, zone, edge, start: 0, now: WallMs(1) });
        assert!(matches!(joined, Reply::Joined { broker, .. } if broker == id), "{joined:?}");
        id
    }

    pub fn away(&mut self, broker: BrokerId) {
        self.ask(Command::LeaseEnded { broker, start: 0, now: WallMs(2) });
    }

    pub fn back(&mut self, broker: BrokerId) {
        self.ask(Command::LeaseBegun { broker, start: 0 });
    }

    pub fn drain(&mut self, broker: BrokerId, draining: bool) {
        self.ask(Command::Drain { broker, draining });
    }

    pub fn remove(&mut self, broker: BrokerId) {
        self.ask(Command::Remove { broker, now: WallMs(3) });
    }

    /// Makes a plan and has the metadata take it.
    pub fn plan(&mut self) -> Vec<Command> {
        let commands = plan(&self.state);
        for command in &commands {
            let reply = self.ask(command.clone());
            assert!(matches!(reply, Reply::Assigned(_)), "{command:?}: {reply:?}");
        }
        commands
    }

    pub fn settle(&mut self, group: GroupId) {
        let Assignment { version, .. } = self.state.assignments[&group];
        let members = self.state.assignments[&group].replicas().collect();
        assert_eq!(self.ask(Command::Settled { group, version, members }), Reply::Done);
    }

    pub fn settle_all(&mut self) {
        let groups: Vec<_> = self.state.assignments.keys().copied().collect();
        groups.into_iter().for_each(|group| self.settle(group));
    }

    /// Plans and settles until nothing is left to do. One plan is enough.
    pub fn work(&mut self) {
        self.settle_all();
        self.plan();
        self.settle_all();
        assert_eq!(plan(&self.state), [], "a plan made of a plan is empty");
    }

    /// Of all groups but the metadata.
    pub fn placed(&self) -> impl Iterator<Item = (GroupId, &Assignment)> {
        self.state
            .assignments
            .iter()
            .map(|(group, assignment)| (*group, assignment))
            .filter(|(group, _)| *group != GroupId::Metadata)
    }

    pub fn replicas(&self) -> Replicas {
        let of = |(group, assignment): (GroupId, &Assignment)| {
            assignment.replicas().map(|replica| (group, replica.broker())).collect::<Vec<_>>()
        };
        self.placed().flat_map(of).collect()
    }

    pub fn load(&self, broker: BrokerId) -> usize {
        self.replicas().iter().filter(|(_, holder)| *holder == broker).count()
    }

    pub fn leads(&self, broker: BrokerId) -> usize {
        self.placed().filter(|(_, assignment)| assignment.leader == broker).count()
    }

    pub fn metadata(&self) -> &Assignment {
        &self.state.assignments[&GroupId::Metadata]
    }
}
