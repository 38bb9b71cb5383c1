//! Where a process runs: in this process's network, or in another with addresses of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Result;
use tokio::process::Command;

use super::ports::free_loopback_port;

#[derive(Clone, Debug)]
pub struct Place {
    /// Which it listens on.
    pub ip: Ipv4Addr,
    /// The command that puts it there, such as `ip netns exec b1`; none for this process's own network.
    pub entered_by: Vec<String>,
}

impl Default for Place {
    fn default() -> Self {
        Self { ip: Ipv4Addr::LOCALHOST, entered_by: Vec::new() }
    }
}

impl Place {
    /// An address here. In another network nobody else can have taken it; asking for a free one costs nothing there.
    pub(super) fn free_address(&self) -> Result<SocketAddr> {
        Ok(SocketAddr::new(IpAddr::V4(self.ip), free_loopback_port()?))
    }

    pub(super) fn command(&self, program: &Path) -> Command {
        let mut words = self.entered_by.iter();
        let Some(first) = words.next() else { return Command::new(program) };
        let mut command = Command::new(first);
        command.args(words).arg(program);
        command
    }
}
