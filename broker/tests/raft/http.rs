//! The port for HTTP on these groups, with bounds that a test can wait for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyport_broker::Broker;
use anyport_broker::cluster::GroupOptions;
use anyport_broker::http::{HttpLimits, HttpListener, HttpServer};
use anyport_broker::net::DevAuthority;
use anyport_broker::partition::Retention;
use anyport_protocol::{ClientId, Offset, WallMs};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::{PRODUCER, TestGroups, batch, options, stored_at};

const SOON: Duration = Duration::from_millis(100);

struct TestPort {
    groups: TestGroups,
    broker: Arc<Broker>,
    address: SocketAddr,
    server: HttpServer,
}

impl TestPort {
    async fn open(options: GroupOptions, limits: HttpLimits) -> Self {
        Self::open_with(options, limits, None).await
    }

    async fn open_with(options: GroupOptions, limits: HttpLimits, tls: Option<rustls::ServerConfig>) -> Self {
        let groups = TestGroups::start(options).await;
        let broker = groups.broker();
        let listener = HttpListener::bind("127.0.0.1:0".parse().expect("an address")).await.expect("a free port");
        let address = listener.address();
        let server = listener.serve(Arc::clone(&broker), tls, limits);
        Self { groups, broker, address, server }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("it listens")
    }

    /// A good post of one event, after which the broker is to close the connection.
    fn post(&self) -> String {
        self.post_with(&self.broker.tokens.issue(ClientId([1; 16]), anyport_broker::clock::wall()).0)
    }

    fn post_with(&self, token: &str) -> String {
        let headers = "ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /http\r\nce-type: t\r\nContent-Type: text/plain";
        format!(
            "POST /events HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n{headers}\r\nConnection: close\r\n\
             Content-Length: 4\r\n\r\ndata"
        )
    }

    async fn ask(&self, request: &str) -> String {
        exchange(self.connect().await, request).await
    }
}

/// Sends a request and reads whatever comes until the broker closes the connection.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.expect("send");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    // A connection may be reset instead of closed, where something sent was not read.
    let _ = read.expect("the broker closes the connection");
    String::from_utf8(answer).expect("text")
}

fn stored(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(r#""outcome":"stored""#)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_trickles_a_head_or_a_body_is_not_waited_for() {
    let limits = HttpLimits { head_timeout: SOON, body_timeout: SOON, ..HttpLimits::default() };
    let port = TestPort::open(options(), limits).await;
    let post = port.post();
    assert_eq!(port.ask("").await, "", "an idle connection is closed");
    let head = port.ask(&post[..20]).await;
    assert!(head.is_empty() || head.starts_with("HTTP/1.1 408"), "{head}");
    let body = port.ask(&post[..post.len() - 1]).await;
    assert!(body.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{body}");
    assert!(stored(&port.ask(&post).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_past_the_bound_are_closed_and_one_that_ends_makes_room() {
    let port = TestPort::open(options(), HttpLimits { connections_max: 1, ..HttpLimits::default() }).await;
    let post = port.post();
    let mut first = port.connect().await;
    first.write_all(&post.as_bytes()[..10]).await.expect("send");
    assert_eq!(port.ask("").await, "");
    assert!(stored(&exchange(first, &post[10..]).await));
    let again = async {
        while !stored(&port.ask(&post).await) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), again).await.expect("there is room again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_connection_gets_no_further_request() {
    let port = TestPort::open(options(), HttpLimits { age_max: SOON, ..HttpLimits::default() }).await;
    let kept = port.post().replace("Connection: close\r\n", "");
    let answer = port.ask(&kept).await;
    assert!(stored(&answer), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_whose_time_is_over_is_told_apart_from_a_bad_one() {
    let port = TestPort::open(options(), HttpLimits::default()).await;
    let (expired, _) = port.broker.tokens.issue(ClientId([1; 16]), WallMs(0));
    let answer = port.ask(&port.post_with(&expired)).await;
    assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{answer}");
    assert!(answer.contains(r#""name":"TokenExpired""#), "{answer}");
    assert!(port.ask(&port.post_with("v4.public.x")).await.contains(r#""name":"BadToken""#));
    assert!(stored(&port.ask(&port.post()).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_numbers_of_a_post_begin_anew_where_retention_has_forgotten_the_last_ones() {
    let retention = Retention { age: None, bytes: Some(64 << 10), check_every: Duration::from_millis(20) };
    let port = TestPort::open(GroupOptions { retention, ..options() }, HttpLimits::default()).await;
    assert!(stored(&port.ask(&port.post()).await));
    let partition = port.groups.partition();
    for at in 0..100 {
        assert_eq!(partition.publish(batch(PRODUCER, at * 100, 100, "t")).await, stored_at(1 + at * 100));
    }
    let forgotten = async {
        while partition.bounds().head <= Offset(1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), forgotten).await.expect("trimmed in time");
    let answer = port.ask(&port.post()).await;
    assert!(stored(&answer) && answer.contains(r#""offset":10001"#), "{answer}");
    assert!(stored(&port.ask(&port.post()).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_whose_fate_is_lost_with_the_store_is_answered_as_maybe_stored() {
    let port = TestPort::open(options(), HttpLimits { fate_timeout: SOON, ..HttpLimits::default() }).await;
    port.groups.die_after_the_next_sync();
    let answer = port.ask(&port.post()).await;
    assert!(answer.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"), "{answer}");
    assert!(answer.contains(r#""outcome":"maybe-stored""#), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_closed_answers_what_has_begun_and_takes_nothing_more() {
    let port = TestPort::open(options(), HttpLimits::default()).await;
    let post = port.post();
    let (begun, rest) = post.split_at(post.len() - 1);
    let mut stream = port.connect().await;
    stream.write_all(begun.as_bytes()).await.expect("send");
    let idle = port.connect().await;
    // Connections are taken in their order, so those two have been by now.
    assert!(stored(&port.ask(&post).await));
    let stopping = tokio::spawn(port.server.stop());
    assert_eq!(exchange(idle, "").await, "", "a connection that asks nothing is closed");
    assert!(stored(&exchange(stream, rest).await));
    stopping.await.expect("it stops");
    assert!(TcpStream::connect(port.address).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_taken_over_tls_and_never_beside_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = DevAuthority::open(folder.path()).expect("made");
    let identity = authority.issue([127, 0, 0, 1].into()).expect("issued");
    let tls = identity.server_config().expect("a good certificate");
    let port = TestPort::open_with(options(), HttpLimits::default(), Some(tls)).await;
    assert!(port.server.url().starts_with("https://127.0.0.1:"));

    let mut trusted = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).expect("PEM");
    trusted.add(certificate).expect("a certificate");
    let client = rustls::ClientConfig::builder_with_provider(anyport_broker::crypto_provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(trusted)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TlsConnector::from(Arc::new(client)).connect(name, port.connect().await).await.expect("a handshake");
    assert!(stored(&exchange(stream, &port.post()).await));
    assert!(!port.ask(&port.post()).await.contains("HTTP/1.1"), "plain HTTP is not understood");
}
