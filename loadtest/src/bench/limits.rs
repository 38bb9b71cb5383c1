//! The bare limits of this machine: a QUIC ping-pong and a synced write, with nothing of Anyport in between.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, ServerConfig};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;

use super::latency::Latencies;

/// One event there and one ack back.
const REQUEST_BYTES: usize = 300;
const ANSWER_BYTES: usize = 64;

/// Round trips on one QUIC stream between two endpoints of this process, paced as the publisher is.
pub async fn ping_pong(rounds: u32, every: Duration) -> Result<Latencies> {
    let (server, client) = endpoints()?;
    let address = server.local_addr()?;
    let echo = tokio::spawn(echo(server));
    let connection = client.connect(address, "localhost")?.await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    let mut latencies = Latencies::default();
    let (request, mut answer) = (vec![1; REQUEST_BYTES], vec![0; ANSWER_BYTES]);
    let mut next = tokio::time::Instant::now();
    for _ in 0..rounds {
        next += every;
        tokio::time::sleep_until(next).await;
        let begun = Instant::now();
        send.write_all(&request).await?;
        receive.read_exact(&mut answer).await?;
        latencies.record(begun.elapsed());
    }
    echo.abort();
    Ok(latencies)
}

async fn echo(server: Endpoint) -> Result<()> {
    let connection = server.accept().await.context("nobody connects")?.await?;
    let (mut send, mut receive) = connection.accept_bi().await?;
    let mut request = vec![0; REQUEST_BYTES];
    loop {
        receive.read_exact(&mut request).await?;
        send.write_all(&request[..ANSWER_BYTES]).await?;
    }
}

/// Appends of one event, each followed by fdatasync, in the broker's folder.
pub fn synced_writes(folder: &Path, rounds: u32, every: Duration) -> Result<Latencies> {
    let mut file = File::create(folder.join("synced"))?;
    let event = [7; REQUEST_BYTES];
    let mut latencies = Latencies::default();
    for _ in 0..rounds {
        std::thread::sleep(every);
        let begun = Instant::now();
        file.write_all(&event)?;
        file.sync_data()?;
        latencies.record(begun.elapsed());
    }
    Ok(latencies)
}

fn endpoints() -> Result<(Endpoint, Endpoint)> {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(
            vec![certified.cert.der().clone()],
            PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into()),
        )?;
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone())?;
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = Endpoint::server(ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server)?)), loopback)?;
    let mut endpoint = Endpoint::client(loopback)?;
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(QuicClientConfig::try_from(client)?)));
    Ok((server, endpoint))
}
