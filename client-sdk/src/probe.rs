//! Asking one broker how it is and how it sees a client, once: no session, no registration, no second try. For people and scripts
//! that want to know what is; a [`crate::Client`] is for getting work done in spite of it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyport_protocol::message::{
    Hello, ListSubscriptions, Login, Ping, SessionReport, SubscriptionList, ToBroker, ToClient, Welcome,
};
use anyport_protocol::{ClientId, ClusterId, WallMs};
use tokio::time::timeout;

use crate::Error;
use crate::home::{Home, Identity};
use crate::net::{
    ConnectError, Connection, Dialer, FrameReader, FrameWriter, Patience, StreamError, Trust, check_server,
};

/// The least of so many round trips is told: what is above it is other people's work.
const PINGS: u32 = 5;

const AGENT: &str = concat!("anyport-probe/", env!("CARGO_PKG_VERSION"));

#[derive(Clone, Debug)]
pub struct ProbeOptions {
    /// An address (`host:port`).
    pub server: String,
    pub home: PathBuf,
    /// Which identity to ask for.
    pub name: String,
    /// For everything together.
    pub timeout: Duration,
}

/// What a broker says of itself.
#[derive(Clone, Debug)]
pub struct BrokerReport {
    /// Its program and version, such as `anyportd/0.1.0`.
    pub agent: String,
    pub cluster: ClusterId,
    pub partitions: u16,
    /// It acks before it has synced: a crash of its machine may lose what it acked.
    pub relaxed: bool,
    pub server_time: WallMs,
    /// Until the handshake was done.
    pub connected_in: Duration,
    /// Of a question and its answer.
    pub round_trip: Duration,
    /// As the transport estimates it.
    pub transport_round_trip: Duration,
    /// None where there is no identity of that name.
    pub identity: Option<Result<IdentityReport, Error>>,
}

/// How the broker sees a client.
#[derive(Clone, Debug)]
pub struct IdentityReport {
    pub client: ClientId,
    pub token_expires: WallMs,
    pub session: SessionReport,
    pub subscriptions: u32,
}

/// Asks. An error says why there is nothing to tell of the broker.
pub async fn probe(options: ProbeOptions) -> Result<BrokerReport, Error> {
    check_server(&options.server)?;
    let home = Home::new(options.home.clone(), &options.name)?;
    let identity = home.load_identity()?;
    let trust = Trust::load(&home.authorities())?;
    let probe = Probe { server: &options.server, limit: options.timeout };
    let asked = timeout(options.timeout, probe.ask(&trust, identity)).await;
    asked.unwrap_or_else(|_| Err(probe.unreachable("no answer".to_owned())))
}

struct Probe<'a> {
    server: &'a str,
    limit: Duration,
}

impl Probe<'_> {
    async fn ask(&self, trust: &Trust, identity: Option<Identity>) -> Result<BrokerReport, Error> {
        let begun = Instant::now();
        // Nothing goes out early, so that the handshake alone is timed.
        let connected = Dialer::new(false).connect(self.server, trust, Patience::Long, &[], false, self.limit).await;
        let (connection, writer, reader) = connected.map_err(|error| self.not_connected(&error))?;
        let connected_in = begun.elapsed();
        let mut talk = Talk { probe: self, writer, reader, number: 0 };
        let welcome = match talk.ask(Hello::of_this_version(AGENT)).await? {
            ToClient::Welcome(welcome) => welcome,
            other => return Err(Error::unexpected(&other)),
        };
        let round_trip = talk.least_round_trip().await?;
        let identity = match identity {
            Some(identity) => Some(talk.identify(&welcome, identity).await),
            None => None,
        };
        Ok(report(welcome, &connection, connected_in, round_trip, identity))
    }

    fn not_connected(&self, error: &ConnectError) -> Error {
        match error {
            ConnectError::Certificate(reason) => {
                Error::Certificate { server: self.server.to_owned(), reason: reason.clone() }
            }
            other => self.unreachable(other.to_string()),
        }
    }

    fn unreachable(&self, last: String) -> Error {
        Error::Unreachable { servers: self.server.to_owned(), waited_secs: self.limit.as_secs(), last }
    }
}

fn report(
    welcome: Welcome,
    connection: &Connection,
    connected_in: Duration,
    round_trip: Duration,
    identity: Option<Result<IdentityReport, Error>>,
) -> BrokerReport {
    let transport_round_trip = connection.round_trip();
    connection.close(0, "the probe is done");
    let Welcome { agent, cluster, partitions, relaxed, server_time, .. } = welcome;
    BrokerReport {
        agent,
        cluster,
        partitions,
        relaxed,
        server_time,
        connected_in,
        round_trip,
        transport_round_trip,
        identity,
    }
}

/// One question after the other.
struct Talk<'a> {
    probe: &'a Probe<'a>,
    writer: FrameWriter,
    reader: FrameReader,
    number: u32,
}

impl Talk<'_> {
    async fn ask(&mut self, question: impl Into<ToBroker>) -> Result<ToClient, Error> {
        match self.exchange(&question.into()).await {
            Ok(ToClient::Refused(refused)) => Err(Error::Refused(refused.fault)),
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.probe.unreachable(error.to_string())),
        }
    }

    async fn exchange(&mut self, question: &ToBroker) -> Result<ToClient, StreamError> {
        self.number += 1;
        let mut frame = Vec::new();
        question.encode(self.number, &mut frame);
        self.writer.write(&frame).await?;
        loop {
            let (header, body) = self.reader.next().await?.ok_or(StreamError::Truncated)?;
            // What is pushed meanwhile concerns a session, and there is none here.
            if header.request == self.number {
                return Ok(ToClient::decode(header.message_type, &body)?);
            }
        }
    }

    async fn least_round_trip(&mut self) -> Result<Duration, Error> {
        let mut least = Duration::MAX;
        for _ in 0..PINGS {
            let asked = Instant::now();
            self.ask(Ping {}).await?;
            least = least.min(asked.elapsed());
        }
        Ok(least)
    }

    async fn identify(&mut self, welcome: &Welcome, identity: Identity) -> Result<IdentityReport, Error> {
        if identity.cluster != welcome.cluster {
            let (expected, found) = (identity.cluster.to_string(), welcome.cluster.to_string());
            return Err(Error::OtherCluster { server: self.probe.server.to_owned(), expected, found });
        }
        let logged_in = match self.ask(Login { token: identity.token }).await? {
            ToClient::LoggedIn(logged_in) => logged_in,
            other => return Err(Error::unexpected(&other)),
        };
        let SubscriptionList { session, total, .. } = match self.ask(ListSubscriptions::default()).await? {
            ToClient::SubscriptionList(list) => list,
            other => return Err(Error::unexpected(&other)),
        };
        let (client, token_expires) = (logged_in.client, logged_in.expires);
        Ok(IdentityReport { client, token_expires, session, subscriptions: total })
    }
}
