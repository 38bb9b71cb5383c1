//! Starts, kills and restarts the real programs: [`BrokerProcess`] runs `anyportd`, [`ClusterProcesses`] several that belong together,
//! [`Cli`] runs `anyport`.
//!
//! Both are the binaries a user would run, found by [`Program::find`]; building them is the caller's business. Only a
//! process started here is ever signalled, and only while it is unreaped, so that its number cannot have passed to
//! another.

mod broker;
mod cli;
mod cluster;
mod member;
mod metrics;
mod place;
mod ports;
mod preload;
mod program;
mod small_disk;

pub use broker::{BrokerOptions, BrokerProcess};
pub use cli::{Cli, CliOutput, RunningCli};
pub use cluster::{ClusterOptions, ClusterProcesses};
pub use place::Place;
pub use ports::free_loopback_port;
pub use preload::{preload, skipped};
pub use program::Program;
pub use small_disk::SmallDisk;
