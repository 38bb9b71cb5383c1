//! A broker as its clients see it.

use std::collections::VecDeque;
use std::time::Duration;

use anyport_protocol::map::{Host, ServiceId, ServicePoint, Sphere};

use super::admission::Admission;
use super::cause::CauseId;
use super::queue::Moment;

/// Few, so that letting everybody in takes long against round trips. A broker on two cores of a small machine lets in ten times as many.
pub const ADMITTED_PER_SECOND: f64 = 20.0;

#[derive(Debug)]
pub struct Broker {
    pub host: Host,
    pub zone: u8,
    pub is_up: bool,
    /// Whether the map lists it: by its lease, so for a while after it has died.
    pub is_listed: bool,
    /// Sends everybody away and takes nobody.
    pub is_leaving: bool,
    /// It has begun a moment ago, and has not its share yet.
    pub is_new: bool,
    /// The cause of all that is done so that it gets its share.
    pub filling: CauseId,
    /// How long it thinks before every answer.
    pub delay: Duration,
    pub capacity: u32,
    pub clients: u32,
    pub admission: Admission,
    /// Who came when: the one who is here longest is first. Some have left.
    pub arrivals: VecDeque<(u32, Moment)>,
}

impl Broker {
    pub fn new(number: usize, zone: u8, capacity: u32) -> Self {
        let name = format!("broker-{number}.example");
        Self {
            host: Host { inet: None, name: Some(name), port: 7400 },
            zone,
            is_up: true,
            is_listed: true,
            is_leaving: false,
            is_new: false,
            filling: 0,
            delay: Duration::ZERO,
            capacity,
            clients: 0,
            admission: Admission::new(ADMITTED_PER_SECOND),
            arrivals: VecDeque::new(),
        }
    }

    pub fn is_full(&self) -> bool {
        self.clients >= self.capacity
    }

    /// Its row, as it tells it the others about once a second.
    pub fn point(&self, sphere: &Sphere) -> ServicePoint {
        let load = u64::from(self.clients) * 1000 / u64::from(self.capacity.max(1));
        ServicePoint {
            zone: format!("zone-{}", self.zone),
            load: u16::try_from(load).unwrap_or(u16::MAX),
            weight: if self.is_leaving { 0 } else { ServicePoint::WEIGHT_DEFAULT },
            ..ServicePoint::new(ServiceId::known(ServiceId::SESSION), sphere.clone(), self.host.clone())
        }
    }
}
