//! The client side of Anyport: publish events, subscribe by content, leave, and come back to exactly what was missed.
//!
//! ```no_run
//! # async fn story() -> Result<(), Box<dyn std::error::Error>> {
//! use anyport_client::{Client, ClientOptions, SubscribeOptions};
//!
//! let client = Client::connect(ClientOptions::default()).await?;
//! let quakes = client.subscribe(SubscribeOptions::new("strong", "data.mag >= 4.5")).await?;
//! while let Some(batch) = quakes.next_batch(100, std::time::Duration::from_secs(60)).await {
//!     // ... do something with batch.deliveries ...
//!     quakes.ack_batch(&batch.deliveries);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Complete programs are in `client-sdk/examples`. Read [`Client`] first, then [`Publisher`] and [`Subscription`]. What decides is in plain state machines (`numbering`, `chain`,
//! `cover`, `inbox`, `session`, `director`), what awaits is in thin tasks around them. This crate stores no events and knows no broker
//! from the inside. Its types own what they hold, so that bindings for other languages can wrap them.

#[cfg(feature = "admin")]
pub mod admin;
mod backoff;
pub mod cli;

mod client;
mod codes;
pub mod director;
mod driver;
mod error;
mod home;
mod identities;
mod impatience;
mod map_view;
mod net;
mod outbox;
mod probe;
mod publisher;
mod subscription;

pub use anyport_protocol as protocol;
pub use anyport_protocol::filter::Filter;
pub use anyport_protocol::message::Start;
pub use client::{Client, ClientOptions, MapWatch, StatusWatch};
pub use codes::ClientCode;
pub use driver::Status;
pub use error::{Error, PublishError};
pub use identities::{ExportedIdentity, Identities, ImportedIdentity, LocalIdentity};
pub use map_view::{MapView, MapViewOptions};
pub use outbox::{Outbox, OutboxOptions, OutboxStatus};
pub use probe::{BrokerReport, IdentityReport, ProbeOptions, probe};
pub use publisher::{Acked, PublishCounts, Publisher, PublisherOptions, Receipt};
pub use subscription::{Batch, Delivery, DeliveryStream, Notice, SubscribeOptions, Subscription};
