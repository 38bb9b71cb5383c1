//! Feeds: what moves one subscription along one partition. Replay and follow are one loop.
//!
//! A feed has a position. Behind the tail it reads storage in bounded chunks; at the tail it follows the partition; without
//! credit it simply falls behind, and reads storage again. So a slow client is a short offline client, and nothing is queued
//! without bound: live frames are bounded by the subscription's [`LiveWindow`](crate::partition::LiveWindow), reads by
//! [`ReadGrants`], and what is on its way by the client's credit.
//!
//! [`Feed`] decides; [`DeliveryTask`](task) does.

mod delivery;
mod grants;
mod outbox;
mod read;
mod state;
mod task;

pub(crate) use read::{Caught, Frames, catch_up, write_frames};

pub use delivery::{DeliveryHandle, DeliveryOptions, Trouble};
pub use grants::ReadGrants;
pub use state::{Feed, Wish};
