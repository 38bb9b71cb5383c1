//! The groups of a broker on a real store: what they promise across stops, crashes and trims. And the port
//! for HTTP before them.

mod follow;
mod http;
mod metadata;
mod publish;
mod registry;
mod retention;
mod support;
