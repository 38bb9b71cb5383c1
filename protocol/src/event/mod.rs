//! Events: the CloudEvents 1.0 model, its JSON form, and the one binary encoding that is sent and stored.
//!
//! - [`EncodedEvent`] is what the hot path handles: bytes whose envelope has been checked, read in place. Nothing is copied, and
//!   data is not looked at.
//! - [`Event`] is the owned model for whoever makes an event or wants it whole. It is valid from the moment it is built, so
//!   encoding it cannot fail.
//! - [`framed`] strings encoded events together, the same way on the wire and in the store.
//!
//! Invariant: equal events have equal bytes, and an event survives `Event -> JSON -> Event` and `Event -> bytes -> Event`; only line ends
//! between the tokens of JSON data become blanks, because an event in JSON is one line.
//! Everything that can be wrong with an event is an [`EventError`].

mod attributes;
mod base64;
mod builder;
mod data;
mod encode;
mod encoded;
mod error;
pub mod framed;
mod json_in;
mod json_out;
mod known;
mod model;
mod rfc3339;
mod varint;

pub use attributes::Attributes;
pub use builder::EventBuilder;
pub(crate) use data::declares_json;
pub use data::{Data, DataRef};
pub use encoded::{ENCODING_VERSION, EncodedEvent};
pub use error::EventError;
pub use model::{AttributeRef, AttributeValue, Event};
