//! The groups of a broker on a real store: what they promise across stops, crashes and trims. And the port
//! for HTTP before them.

mod client;
mod edge;
mod follow;
mod http;
mod metadata;
mod publish;
mod reader;
mod registry;
mod retention;
mod sessions;
mod support;
mod wires;
