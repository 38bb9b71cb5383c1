//! The Service Point Map as the metadata has it: derived from the brokers' records, shaped by operators, and joined by what others
//! advertise.
//!
//! One state gives one map, so every broker has the same one under the same revision. The revision grows with each change of what is in
//! the map and with nothing else.

use std::collections::BTreeMap;

use anyport_protocol::limits::{MAP_OTHERS_BYTES_MAX, MAP_POINTS_MAX, MAP_ROW_BYTES_MAX};
use anyport_protocol::map::{
    Bucket, Host, Map, MapCommand, PointKey, Policy, ProviderId, Selection, ServiceId, ServicePoint, Sphere,
    SphereEpoch,
};
use anyport_protocol::{BrokerId, ClientId, WallMs};
use serde::{Deserialize, Serialize};

use super::command::{Refusal, Reply};
use super::facts::ClusterFacts;
use super::state::{BrokerRecord, ClusterState};
use crate::group::GroupId;

/// After a recovery, when the last changes may be lost that clients have seen: no revision is given twice.
const RECOVERED_LEAP: u64 = 1 << 20;

/// What the map is made of beside the brokers' records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapState {
    pub revision: u64,
    /// How operators shaped services of this cluster; a service without a rule is as by default.
    pub rules: BTreeMap<ServiceId, ServiceRule>,
    pub advertised: BTreeMap<PointKey, Advertised>,
    pub selection: Selection,
}

/// A row of somebody else's, for a time. That it is made longer again and again is no change of the map, so no client is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advertised {
    pub point: ServicePoint,
    /// Nobody else may change it while it is there.
    pub by: ClientId,
    pub until: WallMs,
}

/// Of one service of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRule {
    pub epoch: SphereEpoch,
    /// For clients that believe in an earlier epoch.
    pub commands: Vec<MapCommand>,
    pub policy: Policy,
    /// Whether a broker is preferred for the clients whose registry shards it is to lead.
    pub by_shard: bool,
}

impl MapState {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl ClusterState {
    pub fn service_map(&self) -> Map {
        Map::new(self.map.revision, self.service_points())
    }

    fn service_points(&self) -> Vec<ServicePoint> {
        let Some(facts) = &self.facts else { return Vec::new() };
        let provider: ProviderId = facts.cluster.to_string().parse().expect("the text of an id is a good name");
        let alive = self.brokers.values().filter(|record| record.away_since.is_none() && !record.leaving);
        let of_brokers = alive.filter_map(|record| {
            let host: Host = record.client_address.parse().ok()?;
            let of_service = |service| self.point_of(ServiceId::known(service), &provider, record, &host, facts);
            Some(ServiceId::OF_A_BROKER.map(of_service))
        });
        of_brokers.flatten().chain(self.map.advertised.values().map(|advertised| advertised.point.clone())).collect()
    }

    fn point_of(
        &self,
        service: ServiceId,
        provider: &ProviderId,
        record: &BrokerRecord,
        host: &Host,
        facts: &ClusterFacts,
    ) -> ServicePoint {
        let rule = self.map.rules.get(&service).cloned().unwrap_or_default();
        let sphere = Sphere { provider: provider.clone(), epoch: rule.epoch };
        let bucket = rule.by_shard.then(|| {
            let is_led = |shard: &u16| {
                self.assignments.get(&GroupId::Registry(*shard)).is_some_and(|group| group.leader == record.id)
            };
            Bucket { of: facts.registry_shards, buckets: (0..facts.registry_shards).filter(is_led).collect() }
        });
        ServicePoint {
            zone: record.zone.clone(),
            load: record.load,
            weight: if record.draining { 0 } else { ServicePoint::WEIGHT_DEFAULT },
            bucket,
            commands: rule.commands,
            policy: rule.policy,
            ..ServicePoint::new(service, sphere, host.clone())
        }
    }

    /// Gives the map its next revision if it is another than before.
    pub(super) fn count_map_change(&mut self, before: &Self) {
        if self.service_points() != before.service_points() || self.map.selection != before.map.selection {
            self.map.revision += 1;
        }
    }

    pub(super) fn leap_map_revision(&mut self) {
        self.map.revision += RECOVERED_LEAP;
    }

    pub(super) fn note_load(&mut self, broker: BrokerId, start: u64, load: u16) -> Result<Reply, Refusal> {
        let record = self.known(broker)?;
        if record.start != start {
            return Err(Refusal::OtherStart { broker });
        }
        record.load = load;
        Ok(Reply::Done)
    }

    pub(super) fn leave_map(&mut self, broker: BrokerId, start: u64) -> Result<Reply, Refusal> {
        let record = self.known(broker)?;
        if record.start != start {
            return Err(Refusal::OtherStart { broker });
        }
        record.leaving = true;
        Ok(Reply::Done)
    }

    pub(super) fn shape(&mut self, service: &ServiceId, change: &ServiceChange) -> Result<Reply, Refusal> {
        if !ServiceId::OF_A_BROKER.contains(&service.as_str()) {
            return Err(Refusal::NotOfBrokers { service: service.clone() });
        }
        let rule = self.map.rules.entry(service.clone()).or_default();
        if let Some(policy) = &change.policy {
            rule.policy = policy.clone();
        }
        if let Some(by_shard) = change.by_shard {
            rule.by_shard = by_shard;
        }
        if let Some(commands) = &change.new_epoch {
            rule.epoch = SphereEpoch(rule.epoch.0 + 1);
            rule.commands = commands.clone();
        }
        Ok(Reply::Done)
    }

    pub(super) fn advertise(
        &mut self,
        facts: &ClusterFacts,
        advertised: Advertised,
        now: WallMs,
    ) -> Result<Reply, Refusal> {
        let point = &advertised.point;
        // By what is said of these clients choose where their events go.
        if ServiceId::OF_A_BROKER.contains(&point.service.as_str()) {
            return Err(Refusal::OfBrokers { service: point.service.clone() });
        }
        let bytes = Map::new(0, [point.clone()]).encode().len();
        if bytes > MAP_ROW_BYTES_MAX {
            return Err(Refusal::TooLong { bytes, limit: MAP_ROW_BYTES_MAX });
        }
        if point.sphere.provider.as_str() == facts.cluster.to_string() {
            return Err(Refusal::ProviderTaken { provider: point.sphere.provider.clone() });
        }
        // What is over leaves with whatever comes.
        self.map.advertised.retain(|_, other| other.until > now);
        let key = point.key();
        self.check_owner(&key, advertised.by)?;
        let others = self.map.advertised.iter().filter(|(other, _)| **other != key);
        let with_it = others.map(|(_, other)| other.point.clone()).chain([point.clone()]);
        let all = Map::new(0, with_it);
        let bytes = all.encode().len();
        if bytes > MAP_OTHERS_BYTES_MAX || all.points().len() > MAP_POINTS_MAX / 2 {
            return Err(Refusal::MapFull { rows: self.map.advertised.len(), limit: MAP_OTHERS_BYTES_MAX });
        }
        self.map.advertised.insert(key, advertised);
        Ok(Reply::Done)
    }

    fn check_owner(&self, key: &PointKey, client: ClientId) -> Result<(), Refusal> {
        match self.map.advertised.get(key) {
            Some(present) if present.by != client => Err(Refusal::OfAnother { service: key.service.clone() }),
            _ => Ok(()),
        }
    }

    pub(super) fn withdraw(&mut self, key: &PointKey, client: ClientId) -> Result<Reply, Refusal> {
        self.check_owner(key, client)?;
        self.map.advertised.remove(key);
        Ok(Reply::Done)
    }

    pub(super) fn expire(&mut self, now: WallMs) -> Result<Reply, Refusal> {
        self.map.advertised.retain(|_, advertised| advertised.until > now);
        Ok(Reply::Done)
    }
}

/// What an operator wants of a service; what is none stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceChange {
    pub policy: Option<Policy>,
    pub by_shard: Option<bool>,
    /// Begins an epoch: clients that believe in an earlier one do this.
    pub new_epoch: Option<Vec<MapCommand>>,
}
