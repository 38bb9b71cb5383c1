//! Connections: taking them, bounding them, ending them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::limits::{ATTRIBUTES_MAX, HTTP_HEAD_BYTES_MAX};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::service::Service;
use crate::Broker;

/// What HTTP may take of this broker.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// At up to 128 KiB each before anybody is known; a connection has one request under way. More are closed at once.
    pub connections_max: usize,
    /// Of all requests under way, so that together they cannot fill the memory. What they become is held by the partitions' budgets.
    pub bodies_bytes_max: usize,
    /// For the handshake of TLS.
    pub handshake_timeout: Duration,
    /// From one request's end to the end of the next one's head: who trickles headers holds a connection no longer than who idles.
    pub head_timeout: Duration,
    /// The largest body passes in it at 35 kB/s.
    pub body_timeout: Duration,
    /// How long a request may wait to learn whether it is stored. A proposal is given up after two seconds, and what follows it is
    /// known a sync after the partition is open again; who waits longer meets a disk or a quorum that is gone.
    pub fate_timeout: Duration,
    /// So old a connection gets no further request: one whose owner does not read its answers ends, too.
    pub age_max: Duration,
    /// How long the last request of a connection may take once it is to end.
    pub last_request_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            bodies_bytes_max: 64 << 20,
            handshake_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            fate_timeout: Duration::from_secs(6),
            age_max: Duration::from_secs(600),
            last_request_timeout: Duration::from_secs(60),
        }
    }
}

/// Headers beside those of an event: what clients and proxies add.
const OTHER_HEADERS_MAX: usize = 64;

/// When the process has no file for another connection, it has none a moment later either.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long requests may take that are under way when the broker stops.
const GRACE: Duration = Duration::from_secs(2);

/// A port that is taken and not served yet, so that one in use is reported before anything else starts.
#[derive(Debug)]
pub struct HttpListener {
    tcp: TcpListener,
    address: SocketAddr,
}

impl HttpListener {
    pub async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let tcp = TcpListener::bind(address).await?;
        let address = tcp.local_addr()?;
        Ok(Self { tcp, address })
    }

    /// With the port the system chose if it was asked to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves plain HTTP, or HTTPS if there is a configuration for TLS.
    pub fn serve(self, broker: Arc<Broker>, tls: Option<rustls::ServerConfig>, limits: HttpLimits) -> HttpServer {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", self.address);
        let tls = tls.map(|mut config| {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            TlsAcceptor::from(Arc::new(config))
        });
        let stop = CancellationToken::new();
        let service = Arc::new(Service::new(broker, &limits));
        let door = Door { service, tls, limits, stop: stop.clone() };
        HttpServer { url, stop, task: tokio::spawn(door.serve(self.tcp)) }
    }
}

/// A listener that is being served.
#[derive(Debug)]
pub struct HttpServer {
    url: String,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl HttpServer {
    /// Scheme, address and port.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Takes nothing more, and returns once what was under way is answered or has had its time.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(failed) = self.task.await {
            tracing::error!(%failed, "serve events over HTTP");
        }
    }
}

/// What every connection needs.
#[derive(Clone)]
struct Door {
    service: Arc<Service>,
    tls: Option<TlsAcceptor>,
    limits: HttpLimits,
    stop: CancellationToken,
}

impl Door {
    async fn serve(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, remote)) => self.admit(stream, remote, &mut connections),
                    Err(error) => {
                        tracing::debug!(%error, "accept");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
            metrics::gauge!("anyport_http_connections").set(connections.len() as f64);
        }
        drop(listener);
        let ended = async { while connections.join_next().await.is_some() {} };
        let _ = timeout(GRACE, ended).await;
        connections.shutdown().await;
    }

    fn admit(&self, stream: TcpStream, remote: SocketAddr, connections: &mut JoinSet<()>) {
        if connections.len() >= self.limits.connections_max {
            metrics::counter!("anyport_http_connections_refused_total").increment(1);
            return;
        }
        let span = tracing::debug_span!("http", %remote);
        connections.spawn(self.clone().connection(stream).instrument(span));
    }

    async fn connection(self, stream: TcpStream) {
        // An answer is small and written at once; it fails only on a connection that is gone.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else { return self.requests(stream).await };
        match timeout(self.limits.handshake_timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.requests(stream).await,
            Ok(Err(error)) => tracing::debug!(%error, "handshake"),
            Err(_) => tracing::debug!("no handshake in time"),
        }
    }

    async fn requests(&self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = service_fn(|request: Request<Incoming>| {
            let service = Arc::clone(&self.service);
            async move { Ok::<_, Infallible>(service.respond(request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_timeout)
            .max_headers(ATTRIBUTES_MAX + OTHER_HEADERS_MAX)
            .max_header_size(HTTP_HEAD_BYTES_MAX)
            .max_buf_size(2 * HTTP_HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return log_end(ended),
            () = self.stop.cancelled() => {}
            () = sleep(self.limits.age_max) => {}
        }
        connection.as_mut().graceful_shutdown();
        match timeout(self.limits.last_request_timeout, connection).await {
            Ok(ended) => log_end(ended),
            Err(_) => tracing::debug!("the last request took too long"),
        }
    }
}

/// A client that is gone, too slow or no client of HTTP is no error of ours.
fn log_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "the connection ended");
    }
}
