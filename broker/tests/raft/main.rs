//! The groups of a broker on a real store: what they promise across stops, crashes and trims.

mod follow;
mod metadata;
mod publish;
mod registry;
mod retention;
mod support;
