//! The Service Point Map: where what is offered, and how clients are to behave about it.
//!
//! The map is a table. A row, a [`ServicePoint`], offers one service at one place; clients keep the table, choose by it, and change their
//! behaviour when a row does. Brokers derive the same table from the same metadata, so one *revision* means one table everywhere, and any
//! broker can tell anybody what has changed since an earlier one ([`MapDelta`]).
//!
//! Read [`point`] first, then [`table`], then [`codec`] (the four encodings).

pub mod bucket;
pub mod codec;
pub mod command;
pub mod names;
pub mod point;
pub mod selection;
pub mod table;

pub use bucket::Bucket;
pub use codec::{Encoding, MapError, NotShared};
pub use command::MapCommand;
pub use names::{BadMapName, Host, ProviderId, ServiceId, ServiceVersion};
pub use point::{PointKey, Policy, ServicePoint, Sphere, SphereEpoch, Validity};
pub use selection::Selection;
pub use table::{Map, MapDelta, UnknownRevision};
