//! The map as bytes, in four encodings: what all rows have in common is said once, in the header.
//!
//! ```text
//!   map    = version u8 (1) | encoding u8 | MessagePack: header, row *          of the whole, to the end of the bytes
//!   delta  = version u8 (1) | encoding u8 | MessagePack: header, [key *], row *
//!
//!   encoding            in the header                          in each row
//!   1  full             -                                      all
//!   2  one service      service, version                       the version where it is another
//!   3  one sphere       provider, epoch                        the epoch where it is another
//!   4  both             service, version, provider, epoch      version and epoch where they are others
//! ```
//! Header, keys and rows are MessagePack maps whose field names are one letter; what is as by default is left out, and what a reader does
//! not know is skipped. Decoding gives back the same rows, whichever encoding was chosen.

use serde::{Deserialize, Serialize};

use super::bucket::Bucket;
use super::command::MapCommand;
use super::names::{Host, ProviderId, ServiceId, ServiceVersion};
use super::point::{PointKey, Policy, ServicePoint, Sphere, SphereEpoch, Validity};
use super::table::{Map, MapDelta};
use crate::WallMs;
use crate::limits::MAP_POINTS_MAX;

const VERSION: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Encoding {
    Full = 1,
    OneService = 2,
    OneSphere = 3,
    OneServiceInOneSphere = 4,
}

impl Encoding {
    pub const ALL: [Self; 4] = [Self::Full, Self::OneService, Self::OneSphere, Self::OneServiceInOneSphere];

    fn has_service(self) -> bool {
        matches!(self, Self::OneService | Self::OneServiceInOneSphere)
    }

    fn has_provider(self) -> bool {
        matches!(self, Self::OneSphere | Self::OneServiceInOneSphere)
    }

    /// The one that says the most in the header.
    pub fn best_for(points: &[ServicePoint]) -> Self {
        let [one_service, one_provider] = [
            points.windows(2).all(|two| two[0].service == two[1].service),
            points.windows(2).all(|two| two[0].sphere.provider == two[1].sphere.provider),
        ];
        match (one_service && !points.is_empty(), one_provider && !points.is_empty()) {
            (true, true) => Self::OneServiceInOneSphere,
            (true, false) => Self::OneService,
            (false, true) => Self::OneSphere,
            (false, false) => Self::Full,
        }
    }
}

/// The rows do not have in common what the encoding says once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rows differ in what the encoding {0:?} says once for all of them")]
pub struct NotShared(pub Encoding);

#[derive(Debug, thiserror::Error)]
pub enum MapError {
    #[error("a map of version {0}, which is not known")]
    UnknownVersion(u8),
    #[error("a map in encoding {0}, which is not known")]
    UnknownEncoding(u8),
    #[error("the map ends before its header")]
    Truncated,
    #[error("the map cannot be read: {0}")]
    Body(#[from] rmp_serde::decode::Error),
    #[error("neither the header nor the row says the {0}")]
    Missing(&'static str),
    #[error("a map of more than {MAP_POINTS_MAX} rows")]
    TooLarge,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    #[serde(rename = "r")]
    revision: u64,
    /// Of a delta: where it begins.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    from: Option<u64>,
    #[serde(flatten)]
    shared: Shared,
}

/// What may be in the header, or in a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Shared {
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    service: Option<ServiceId>,
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    version: Option<ServiceVersion>,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    provider: Option<ProviderId>,
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    epoch: Option<SphereEpoch>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    #[serde(flatten)]
    own: Shared,
    #[serde(rename = "h")]
    host: Host,
    #[serde(rename = "z", default, skip_serializing_if = "String::is_empty")]
    zone: String,
    #[serde(rename = "l", default, skip_serializing_if = "is_zero")]
    load: u16,
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    weight: Option<u16>,
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    from: Option<WallMs>,
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    until: Option<WallMs>,
    #[serde(rename = "k", default, skip_serializing_if = "Vec::is_empty")]
    backups: Vec<Host>,
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    bucket: Option<Bucket>,
    #[serde(rename = "c", default, skip_serializing_if = "Vec::is_empty")]
    commands: Vec<MapCommand>,
    #[serde(rename = "d", default, skip_serializing_if = "String::is_empty")]
    data: String,
    #[serde(rename = "y", default, skip_serializing_if = "Option::is_none")]
    policy: Option<Policy>,
    #[serde(rename = "o", default, skip_serializing_if = "std::ops::Not::not")]
    redirects: bool,
}

fn is_zero(number: &u16) -> bool {
    *number == 0
}

impl Shared {
    fn of(points: &[ServicePoint], encoding: Encoding) -> Result<Self, NotShared> {
        let Some(first) = points.first() else { return Ok(Self::default()) };
        let mut shared = Self::default();
        if encoding.has_service() {
            (shared.service, shared.version) = (Some(first.service.clone()), Some(first.version));
        }
        if encoding.has_provider() {
            (shared.provider, shared.epoch) = (Some(first.sphere.provider.clone()), Some(first.sphere.epoch));
        }
        let fits = |point: &ServicePoint| {
            shared.service.as_ref().is_none_or(|service| *service == point.service)
                && shared.provider.as_ref().is_none_or(|provider| *provider == point.sphere.provider)
        };
        if points.iter().all(fits) { Ok(shared) } else { Err(NotShared(encoding)) }
    }

    /// What a row has to say beside this.
    fn rest_of(&self, point: &ServicePoint) -> Self {
        Self {
            service: self.service.is_none().then(|| point.service.clone()),
            version: (self.version != Some(point.version)).then_some(point.version),
            provider: self.provider.is_none().then(|| point.sphere.provider.clone()),
            epoch: (self.epoch != Some(point.sphere.epoch)).then_some(point.sphere.epoch),
        }
    }
}

impl Row {
    fn of(point: &ServicePoint, shared: &Shared) -> Self {
        let point = point.clone();
        Self {
            own: shared.rest_of(&point),
            host: point.host,
            zone: point.zone,
            load: point.load,
            weight: (point.weight != ServicePoint::WEIGHT_DEFAULT).then_some(point.weight),
            from: point.valid.from,
            until: point.valid.until,
            backups: point.backups,
            bucket: point.bucket,
            commands: point.commands,
            data: point.data,
            policy: (point.policy != Policy::default()).then_some(point.policy),
            redirects: point.redirects,
        }
    }

    fn into_point(self, shared: &Shared) -> Result<ServicePoint, MapError> {
        let missing = MapError::Missing;
        let Shared { service, version, provider, epoch } = self.own;
        let provider = provider.or_else(|| shared.provider.clone()).ok_or(missing("provider"))?;
        let epoch = epoch.or(shared.epoch).ok_or(missing("epoch"))?;
        Ok(ServicePoint {
            service: service.or_else(|| shared.service.clone()).ok_or(missing("service"))?,
            version: version.or(shared.version).ok_or(missing("version"))?,
            sphere: Sphere { provider, epoch },
            host: self.host,
            zone: self.zone,
            load: self.load,
            weight: self.weight.unwrap_or(ServicePoint::WEIGHT_DEFAULT),
            valid: Validity { from: self.from, until: self.until },
            backups: self.backups,
            bucket: self.bucket,
            commands: self.commands,
            data: self.data,
            policy: self.policy.unwrap_or_default(),
            redirects: self.redirects,
        })
    }
}

fn push(out: &mut Vec<u8>, part: &impl Serialize) {
    rmp_serde::encode::write_named(out, part)
        .expect("writing to a Vec does not fail and these have no unserializable part");
}

/// Reads what [`push`] wrote, one after the other.
struct Parts<'a>(&'a [u8]);

impl Parts<'_> {
    fn next<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, MapError> {
        let mut reader = rmp_serde::Deserializer::new(&mut self.0);
        Ok(T::deserialize(&mut reader)?)
    }

    fn rows(mut self, shared: &Shared) -> Result<Vec<ServicePoint>, MapError> {
        let mut points = Vec::new();
        while !self.0.is_empty() {
            if points.len() == MAP_POINTS_MAX {
                return Err(MapError::TooLarge);
            }
            points.push(self.next::<Row>()?.into_point(shared)?);
        }
        Ok(points)
    }
}

fn open(bytes: &[u8]) -> Result<(Encoding, Parts<'_>), MapError> {
    let (&[version, encoding], rest) = bytes.split_first_chunk().ok_or(MapError::Truncated)?;
    if version != VERSION {
        return Err(MapError::UnknownVersion(version));
    }
    let known = Encoding::ALL.into_iter().find(|known| *known as u8 == encoding);
    Ok((known.ok_or(MapError::UnknownEncoding(encoding))?, Parts(rest)))
}

impl Map {
    pub fn encode(&self) -> Vec<u8> {
        self.encode_as(Encoding::best_for(self.points())).expect("the best encoding for these rows fits them")
    }

    pub fn encode_as(&self, encoding: Encoding) -> Result<Vec<u8>, NotShared> {
        let shared = Shared::of(self.points(), encoding)?;
        let mut out = vec![VERSION, encoding as u8];
        push(&mut out, &Header { revision: self.revision, from: None, shared: shared.clone() });
        self.points().iter().for_each(|point| push(&mut out, &Row::of(point, &shared)));
        Ok(out)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, MapError> {
        let (_, mut parts) = open(bytes)?;
        let Header { revision, shared, .. } = parts.next()?;
        Ok(Self::new(revision, parts.rows(&shared)?))
    }
}

impl MapDelta {
    pub fn encode(&self) -> Vec<u8> {
        let encoding = Encoding::best_for(&self.changed);
        let shared = Shared::of(&self.changed, encoding).expect("the best encoding for these rows fits them");
        let mut out = vec![VERSION, encoding as u8];
        push(&mut out, &Header { revision: self.to, from: Some(self.from), shared: shared.clone() });
        push(&mut out, &self.gone);
        self.changed.iter().for_each(|point| push(&mut out, &Row::of(point, &shared)));
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, MapError> {
        let (_, mut parts) = open(bytes)?;
        let Header { revision: to, from, shared } = parts.next()?;
        let from = from.ok_or(MapError::Missing("revision that the change begins at"))?;
        let gone: Vec<PointKey> = parts.next()?;
        Ok(Self { from, to, gone, changed: parts.rows(&shared)? })
    }
}
