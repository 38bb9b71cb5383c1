//! The rules of the metadata, as one function of values: a state and a command give a state and a reply.
//!
//! Order is the log's. What may come late or twice is told apart here and nowhere else: by the start of a process (joins and
//! leases) and by the version of an assignment.

use anyport_protocol::limits::{ADDRESS_BYTES_MAX, BROKERS_MAX, ZONE_BYTES_MAX};
use anyport_protocol::map::ServicePoint;
use anyport_protocol::{BrokerId, LogEpoch, Offset, WallMs};

use super::command::{Command, Refusal, Reply};
use super::facts::ClusterFacts;
use super::service_map::Advertised;
use super::state::{BrokerRecord, ClusterState, EpochBegan};
use crate::group::GroupId;

/// What becomes of the state, `None` if it stays as it is, and what the proposer is told.
pub fn decide(state: &ClusterState, command: &Command) -> (Option<ClusterState>, Reply) {
    match (&state.facts, command) {
        (None, Command::Create(facts)) => (Some(ClusterState::created(facts.clone())), Reply::Created(facts.clone())),
        (None, _) => (None, Reply::Refused(Refusal::NotCreated)),
        (Some(facts), command) => {
            let mut changed = state.clone();
            match changed.obey(facts, command) {
                Ok(reply) => {
                    changed.count_map_change(state);
                    ((changed != *state).then_some(changed), reply)
                }
                Err(refusal) => (None, Reply::Refused(refusal)),
            }
        }
    }
}

impl ClusterState {
    /// What is left behind by a refusal is thrown away.
    fn obey(&mut self, facts: &ClusterFacts, command: &Command) -> Result<Reply, Refusal> {
        match command {
            Command::Create(_) => Ok(Reply::Created(facts.clone())),
            Command::Join { .. } => self.join(facts, newcomer(self.next_broker, command)),
            Command::Announce { broker, .. } => self.announce(newcomer(*broker, command)),
            Command::LeaseEnded { broker, start, now } => self.lease(*broker, *start, Some(*now)),
            Command::LeaseBegun { broker, start } => self.lease(*broker, *start, None),
            Command::Drain { broker, draining } => {
                self.known(*broker)?.draining = *draining;
                Ok(Reply::Done)
            }
            Command::Remove { broker, now } => self.remove(*broker, *now),
            Command::Assign { group, version, voters, learners, leader } => {
                self.assign(*group, *version, voters, learners, *leader)
            }
            Command::Rebuild { group, replica } => self.rebuild(*group, *replica),
            Command::Settled { group, version, members } => self.settled(*group, *version, members),
            Command::BeginEpoch { epoch, tails } => self.begin_epoch(facts, *epoch, tails),
            Command::Load { broker, start, load } => self.note_load(*broker, *start, *load),
            Command::Leave { broker, start } => self.leave_map(*broker, *start),
            Command::Shape { service, change } => self.shape(service, change),
            Command::Select { selection } => {
                self.map.selection = *selection;
                Ok(Reply::Done)
            }
            Command::Advertise { point, client, until, now } => {
                let advertised = Advertised { point: ServicePoint::clone(point), by: *client, until: *until };
                self.advertise(facts, advertised, *now)
            }
            Command::Withdraw { key, client } => self.withdraw(key, *client),
            Command::Expire { now } => self.expire(*now),
            Command::Recover { lost, groups, empty, epoch, now } => {
                self.leap_map_revision();
                for broker in lost {
                    self.remove(*broker, *now)?;
                }
                for (group, replica) in groups {
                    self.go_on_from(*group, *replica)?;
                }
                for (group, broker) in empty {
                    self.begin_empty(*group, *broker)?;
                }
                epoch.as_ref().map_or(Ok(Reply::Done), |began| self.begin_epoch(facts, began.epoch, &began.tails))
            }
        }
    }

    fn join(&mut self, facts: &ClusterFacts, record: BrokerRecord) -> Result<Reply, Refusal> {
        check_lengths(&record)?;
        let (broker, joined) = match self.with_key(&record.key) {
            // The first answer may have been lost.
            Some(present) if present.start == record.start => (present.id, false),
            Some(BrokerRecord { id, away_since: None, .. }) => return Err(Refusal::KeyInUse { broker: *id }),
            Some(&BrokerRecord { id, .. }) => {
                self.use_up(id, record.joined);
                (record.id, true)
            }
            None => (record.id, true),
        };
        if joined {
            self.add(record)?;
        }
        let replica = self.with_learner(GroupId::Metadata, broker)?;
        Ok(Reply::Joined { broker, replica, facts: facts.clone() })
    }

    fn add(&mut self, record: BrokerRecord) -> Result<(), Refusal> {
        let brokers = self.brokers.len();
        if brokers >= BROKERS_MAX {
            return Err(Refusal::TooManyBrokers { brokers, limit: BROKERS_MAX });
        }
        let next = record.id.0.checked_add(1);
        self.next_broker = BrokerId(next.expect("counts brokers from 0, so 2^32 of them cannot have been"));
        self.brokers.insert(record.id, record);
        Ok(())
    }

    /// `announced` is its record as it would be if it had none.
    fn announce(&mut self, announced: BrokerRecord) -> Result<Reply, Refusal> {
        check_lengths(&announced)?;
        let broker = announced.id;
        if let Some(other) = self.with_key(&announced.key).filter(|other| other.id != broker) {
            return Err(Refusal::KeyInUse { broker: other.id });
        }
        // Who created the cluster never joined it.
        if broker == BrokerId::FIRST && !self.removed.contains_key(&broker) {
            self.brokers.entry(broker).or_insert_with(|| announced.clone());
        }
        let record = self.known(broker)?;
        if record.key != announced.key {
            return Err(Refusal::OtherKey { broker });
        }
        let BrokerRecord { edge, away_since, draining, joined, load, .. } = *record;
        *record = BrokerRecord { edge, away_since, draining, joined, load, ..announced };
        Ok(Reply::Announced)
    }

    fn lease(&mut self, broker: BrokerId, start: u64, ended: Option<WallMs>) -> Result<Reply, Refusal> {
        let record = self.known(broker)?;
        if record.start != start {
            return Err(Refusal::OtherStart { broker });
        }
        record.away_since = ended.map(|now| record.away_since.unwrap_or(now));
        Ok(Reply::Done)
    }

    fn remove(&mut self, broker: BrokerId, now: WallMs) -> Result<Reply, Refusal> {
        if self.removed.contains_key(&broker) {
            return Ok(Reply::Done);
        }
        self.known(broker)?;
        if self.brokers.len() == 1 {
            return Err(Refusal::LastBroker { broker });
        }
        self.use_up(broker, now);
        Ok(Reply::Done)
    }

    fn use_up(&mut self, broker: BrokerId, now: WallMs) {
        self.brokers.remove(&broker);
        self.removed.insert(broker, now);
    }

    fn begin_epoch(&mut self, facts: &ClusterFacts, epoch: LogEpoch, tails: &[Offset]) -> Result<Reply, Refusal> {
        let (expected, found) = (facts.partitions, tails.len());
        if found != usize::from(expected) {
            return Err(Refusal::OtherPartitions { expected, found });
        }
        let began = EpochBegan { epoch, tails: tails.to_vec() };
        match self.epochs.last() {
            Some(last) if *last == began => {}
            Some(last) if last.epoch >= epoch => return Err(Refusal::StaleEpoch { current: last.epoch }),
            _ => self.epochs.push(began),
        }
        Ok(Reply::Done)
    }

    fn with_key(&self, key: &[u8; 32]) -> Option<&BrokerRecord> {
        self.brokers.values().find(|record| record.key == *key)
    }

    pub(super) fn known(&mut self, broker: BrokerId) -> Result<&mut BrokerRecord, Refusal> {
        if self.removed.contains_key(&broker) {
            return Err(Refusal::Removed { broker });
        }
        self.brokers.get_mut(&broker).ok_or(Refusal::UnknownBroker { broker })
    }
}

/// The record of a broker that joins, or announces itself, for the first time.
fn newcomer(id: BrokerId, command: &Command) -> BrokerRecord {
    let (Command::Join { key, peer_address, client_address, zone, start, now, .. }
    | Command::Announce { key, peer_address, client_address, zone, start, now, .. }) = command
    else {
        unreachable!("no other command says where a broker is")
    };
    BrokerRecord {
        id,
        key: *key,
        peer_address: peer_address.clone(),
        client_address: client_address.clone(),
        zone: zone.clone(),
        edge: matches!(command, Command::Join { edge: true, .. }),
        start: *start,
        away_since: None,
        draining: false,
        joined: *now,
        load: 0,
        leaving: false,
    }
}

fn check_lengths(record: &BrokerRecord) -> Result<(), Refusal> {
    let addresses = [&record.peer_address, &record.client_address].map(|address| (address, ADDRESS_BYTES_MAX));
    for (text, limit) in addresses.into_iter().chain([(&record.zone, ZONE_BYTES_MAX)]) {
        if text.len() > limit {
            return Err(Refusal::TooLong { bytes: text.len(), limit });
        }
    }
    Ok(())
}
