//! Going on without a majority that is lost for good, because an operator says so.
//!
//! 1. A *plan* ([`plan`]) is made by any broker, from what every broker that can be reached says of its replicas ([`Survey`]): the groups
//!    without a majority, what is left of each, and the copy that it is to go on from: the one whose log ends last, which has all that
//!    any other copy knows to be committed.
//! 2. What only the lost brokers may have had is gone. Before a partition goes on, the metadata begins a log epoch at the end of the
//!    chosen copy, so that a position beyond it is never taken for one of today; see `epochs.rs`.
//! 3. The broker of the chosen copy notes it, and starts anew in its process. Before any replica runs, the log is given an entry that says:
//!    this replica alone is the group ([`forced`]). It then leads, and the stewards bring the group back to its size as ever.
//!
//! The metadata goes first, and alone: without it nothing else can be agreed on.

mod forced;
mod operating;
mod plan;
mod survey;

pub use forced::ForceError;
pub(super) use forced::{Forced, carry_out};
pub(super) use survey::{Survey, Surveyed};
