//! Events over HTTP: `POST /events`, as the HTTP protocol binding of CloudEvents 1.0 has it, for curl and for producers in any language.
//!
//! An event that comes this way is stored as any other: it is answered once it is synced, and the same tokens let its sender in. What
//! HTTP lacks are numbers by which an event sent again is known. A request may bring its own ([`numbered`]); otherwise the broker
//! gives them ([`lanes`]), and a request that is sent again because its answer was lost is stored again.
//!
//! ```text
//!   listener   connections, their bounds, TLS
//!     service    one request: who, which mode, how much
//!       binary, json   what is sent, as events        -> sorted   by partition, in batches
//!       delivery       to the partitions, until each batch's fate is known  (settling decides)
//!       answer         what became of each event, as status and JSON
//! ```
//! It is hyper with one route: axum's `serve` has no bound on connections or their time, and no TLS.

mod answer;
mod binary;
mod body;
mod delivery;
#[cfg(test)]
pub(crate) mod fuzz;
mod json;
mod lanes;
mod listener;
mod mode;
mod numbered;
mod service;
mod settling;
mod sorted;
mod token;

pub use listener::{HttpLimits, HttpListener, HttpServer};
