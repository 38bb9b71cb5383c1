//! A client that speaks the wire to a broker of this process, request by request.

use std::sync::Arc;
use std::time::Duration;

use anyport_broker::Broker;
use anyport_broker::net::{self, ALPN, DevAuthority, EndpointOptions, Keys, Listener};
use anyport_broker::session::{self, ConnectionLimits};
use anyport_protocol::limits::FRAME_BYTES_MAX;
use anyport_protocol::message::feed::{FeedContent, FeedFrame};
use anyport_protocol::message::{
    Credit, FrameBuffer, Hello, Login, OpenSession, SessionOpened, Start, StreamKind, Subscribe, SubscriptionState,
    ToBroker, ToClient,
};
use anyport_protocol::{ClientId, Fault, Nonce, SessionEpoch};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, RecvStream, SendStream};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(20);

/// A port for clients of one broker.
pub struct Port {
    listener: Listener,
    authority: DevAuthority,
    accepting: JoinHandle<()>,
    _folder: TempDir,
}

impl Port {
    pub fn open(broker: &Arc<Broker>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = DevAuthority::open(folder.path()).expect("an authority");
        let listen: std::net::SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let identity = authority.issue(listen.ip()).expect("a certificate");
        let keys = Keys { reset_secret: [1; 64], connection_id_key: 1 };
        let listener = net::bind(EndpointOptions { listen, identity, keys }).expect("a free port");
        let serving = session::serve(Arc::clone(broker), listener.clone(), ConnectionLimits::default());
        Self { listener, authority, accepting: tokio::spawn(serving), _folder: folder }
    }

    pub async fn close(self) {
        self.listener.close(anyport_protocol::Code::ShuttingDown, Duration::from_millis(100)).await;
        self.accepting.await.expect("no panic");
    }

    fn trusting(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(self.authority.certificate_pem().as_bytes()).expect("PEM");
        roots.add(certificate).expect("an authority");
        let mut tls = rustls::ClientConfig::builder_with_provider(anyport_broker::crypto_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("it has TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("its suites")))
    }
}

/// A client that has logged in, on its control stream.
pub struct WireClient {
    _endpoint: Endpoint,
    connection: quinn::Connection,
    send: SendStream,
    receive: RecvStream,
    buffer: FrameBuffer,
    next_request: u32,
    /// Of the stream that live frames come on.
    live: Option<(RecvStream, FrameBuffer)>,
}

impl WireClient {
    pub async fn log_in(port: &Port, broker: &Broker, client: ClientId) -> Self {
        let endpoint = Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a socket");
        let address = port.listener.local_addr().expect("bound");
        let connecting = endpoint.connect_with(port.trusting(), address, "localhost").expect("a good name");
        let connection = connecting.await.expect("a handshake");
        let (mut send, receive) = connection.open_bi().await.expect("a stream");
        send.write_all(&[StreamKind::Control as u8]).await.expect("it is read");
        let mut own = Self {
            _endpoint: endpoint,
            connection,
            send,
            receive,
            buffer: FrameBuffer::new(FRAME_BYTES_MAX),
            next_request: 1,
            live: None,
        };
        own.ask(Hello::of_this_version("wire")).await;
        let token = broker.tokens.issue(client, anyport_broker::clock::wall()).0;
        own.ask(Login { token }).await;
        own
    }

    pub async fn open_session(&mut self, epoch: u64) -> SessionOpened {
        let open = OpenSession {
            epoch: SessionEpoch(epoch),
            nonce: Nonce([epoch as u8; 16]),
            resume: vec![],
            registry_seen: 0,
        };
        let ToClient::SessionOpened(opened) = self.ask(open).await else { panic!("no session") };
        opened
    }

    pub async fn subscribe(&mut self, name: &str) -> SubscriptionState {
        let subscribe = Subscribe::new(name.parse().expect("a name"), "", Start::Earliest);
        let ToClient::Subscribed(subscribed) = self.ask(subscribe).await else { panic!("not subscribed") };
        subscribed.state
    }

    pub async fn credit(&mut self, state: &SubscriptionState) {
        self.tell(Credit { incarnation: state.incarnation, bytes_total: 1 << 20 }).await;
    }

    /// Waits for the offsets of the next events, on whichever stream they come.
    pub async fn delivered(&mut self) -> Vec<u64> {
        loop {
            let (stream, buffer) = match &mut self.live {
                Some(live) => live,
                none => {
                    let opened = tokio::time::timeout(PATIENCE, self.connection.accept_uni()).await;
                    let mut stream = opened.expect("in time").expect("a feed's stream");
                    stream.read_exact(&mut [0]).await.expect("what it is for");
                    none.insert((stream, FrameBuffer::new(FRAME_BYTES_MAX)))
                }
            };
            let Some((header, body)) = buffer.next_frame().expect("small") else {
                let chunk = tokio::time::timeout(PATIENCE, stream.read_chunk(1 << 16, true)).await.expect("in time");
                match chunk.expect("open") {
                    Some(chunk) => buffer.extend(&chunk.bytes),
                    // All of a replay is read; what follows comes on another stream.
                    None => self.live = None,
                }
                continue;
            };
            let frame = FeedFrame::decode(header.message_type, body).expect("a frame");
            let FeedContent::Events(events) = frame.content else { panic!("nothing is trimmed") };
            if !events.is_empty() {
                return events.into_iter().map(|(offset, _)| offset.0).collect();
            }
        }
    }

    async fn tell(&mut self, request: impl Into<ToBroker>) -> u32 {
        let number = self.next_request;
        self.next_request += 1;
        let mut frame = Vec::new();
        request.into().encode(number, &mut frame);
        self.send.write_all(&frame).await.expect("it is read");
        number
    }

    /// The answer; what was pushed before it is passed over.
    pub async fn ask(&mut self, request: impl Into<ToBroker>) -> ToClient {
        let number = self.tell(request).await;
        loop {
            let (request, message) = self.receive().await;
            if request == number {
                return message;
            }
        }
    }

    pub async fn refused(&mut self, request: impl Into<ToBroker>) -> Fault {
        match self.ask(request).await {
            ToClient::Refused(refused) => refused.fault,
            other => panic!("not refused but {other:?}"),
        }
    }

    pub async fn pushed(&mut self) -> ToClient {
        let (request, message) = self.receive().await;
        assert_eq!(request, 0, "nothing was asked: {message:?}");
        message
    }

    async fn receive(&mut self) -> (u32, ToClient) {
        loop {
            if let Some((header, body)) = self.buffer.next_frame().expect("small") {
                return (header.request, ToClient::decode(header.message_type, &body).expect("a message"));
            }
            let chunk = tokio::time::timeout(PATIENCE, self.receive.read_chunk(1 << 16, true)).await.expect("in time");
            self.buffer.extend(&chunk.expect("open").expect("more").bytes);
        }
    }
}
