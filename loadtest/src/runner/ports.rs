//! Ports on which a broker can be killed and started again.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use anyhow::{Result, bail};
use rand::Rng;

/// Below the range from which systems give ports to outgoing sockets (Linux: from 32768), so that while a broker is
/// down no client's socket can happen to take its port.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// A port of 127.0.0.1 that is free for UDP and TCP right now. Chosen at random, because tests run beside each other
/// and a port is only taken when the broker binds it.
pub fn free_loopback_port() -> Result<u16> {
    let mut rng = rand::rng();
    for _ in 0..100 {
        let port = rng.random_range(PORTS);
        let address = (Ipv4Addr::LOCALHOST, port);
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return Ok(port);
        }
    }
    bail!("a hundred ports of 127.0.0.1 between {} and {} are all taken", PORTS.start, PORTS.end)
}
