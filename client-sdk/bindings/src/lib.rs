//! The SDK for other languages: one facade, of which UniFFI makes Kotlin, Swift and Python (`make bindings`).
//!
//! It decides nothing; what a client does is in [`anyport_client`]. It makes calls survive a border at which they can be given up
//! (docs/adr/0014): another language gives up a call by dropping its future (Kotlin, Python), or cannot (Swift), and may drop it when
//! it is done and its result not yet taken. So:
//!
//! - Tasks of the SDK own connections and events. A call waits for them and owns nothing.
//! - No result of a call that waits is the only place where something is. Objects come from constructors that do not
//!   wait, and [`Batch`] is empty until it is opened, which does not wait either.
//! - An event counts only when it is acked.
//! - What comes by the hundred crosses the border by the hundred: one call for a batch of events, one for its ack.
//!
//! Comments of public items are the documentation of all languages, so they speak of no one language.

mod batch;
mod client;
mod error;
mod event;
mod outbox;
mod publisher;
mod runtime;
mod subscription;

pub use batch::{Batch, Contents, Delivery, Notice};
pub use client::{Client, ClientOptions, Status};
pub use error::{AnyportError, Why};
pub use event::{AttributeValue, Event};
pub use outbox::{Outbox, OutboxStatus};
pub use publisher::{Published, Publisher, Stored};
pub use runtime::stop_runtime;
pub use subscription::{Start, SubscribeOptions, Subscription};

uniffi::setup_scaffolding!("anyport");
