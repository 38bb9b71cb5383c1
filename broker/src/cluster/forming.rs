//! Joining a cluster, and telling it where this broker is.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyport_protocol::{BrokerId, Code, Fault};
use anyport_storage::metadata::{Command, Refusal, Reply};
use bytes::Bytes;

use super::answers::{Known, Welcome};
use super::seat::Seat;
use crate::clock;
use crate::peer::{Call, Directory, PeerAddress, PeerEndpoint, PeerKey, body};

/// Between two attempts to join.
const TRY_EVERY: Duration = Duration::from_millis(500);

/// How long one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a person who waits is told why.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// How this broker introduces itself to others.
#[derive(Clone, Debug)]
pub struct Introduction {
    pub key: PeerKey,
    pub peer_address: String,
    pub client_address: String,
    pub zone: String,
    pub edge: bool,
    /// Drawn at each start of the process.
    pub start: u64,
}

impl Introduction {
    fn join(&self) -> Command {
        let Self { key, peer_address, client_address, zone, edge, start } = self.clone();
        Command::Join { key, peer_address, client_address, zone, edge, start, now: clock::wall() }
    }

    pub(super) fn announce(&self, broker: BrokerId) -> Command {
        let Self { key, peer_address, client_address, zone, start, .. } = self.clone();
        Command::Announce { broker, key, peer_address, client_address, zone, start, now: clock::wall() }
    }
}

/// Where to ask for a seat.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Peer addresses of the cluster.
    pub join: Vec<String>,
    /// The folder that belongs to no cluster yet.
    pub folder: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum FormingError {
    #[error("{folder} belongs to no cluster yet: start with --bootstrap to make one, or with --join ADDR to join one")]
    NoWish { folder: PathBuf },
    #[error("the cluster refuses this broker: {0}")]
    Refused(Refusal),
    #[error("{from} answers what cannot be understood: {why}")]
    Answer { from: String, why: String },
}

/// Asks one after the other for a number, until one of them gets it decided.
pub async fn join(
    endpoint: &PeerEndpoint,
    wish: &Wish,
    introduction: &Introduction,
) -> Result<(Seat, Directory), FormingError> {
    let mut told: Option<Instant> = None;
    for address in wish.join.iter().cycle() {
        let why = match ask(endpoint, address, Call::Join, introduction.join()).await {
            Ok((Reply::Joined { broker, replica, facts }, directory)) => {
                tracing::info!(%broker, cluster = %facts.cluster, "joined");
                let mut seat = Seat::new(broker, replica, &facts);
                seat.peers = addresses_of(&directory, broker);
                return Ok((seat, directory));
            }
            // Its earlier self may have just died: its lease ends soon.
            Ok((Reply::Refused(refusal @ (Refusal::KeyInUse { .. } | Refusal::NotCreated)), _)) => refusal.to_string(),
            Ok((Reply::Refused(refusal), _)) => return Err(FormingError::Refused(refusal)),
            Ok((reply, _)) => {
                return Err(FormingError::Answer { from: address.clone(), why: format!("{reply:?}") });
            }
            Err(fault) => fault.to_string(),
        };
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            tracing::warn!(address, why, "join the cluster; this is tried until it works");
            told = Some(Instant::now());
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
    Err(FormingError::NoWish { folder: wish.folder.clone() })
}

/// What became of an announcement.
#[derive(Debug)]
pub(super) enum Announced {
    Done,
    Removed,
    Failed(String),
}

/// Says at this address where this broker is now.
pub(super) async fn announce(
    endpoint: &PeerEndpoint,
    address: &str,
    broker: BrokerId,
    introduction: &Introduction,
) -> Announced {
    match ask(endpoint, address, Call::Announce, introduction.announce(broker)).await {
        Ok((Reply::Announced, _)) => Announced::Done,
        Ok((Reply::Refused(Refusal::Removed { .. } | Refusal::UnknownBroker { .. }), _)) => Announced::Removed,
        Ok((reply, _)) => Announced::Failed(format!("{reply:?}")),
        Err(fault) => Announced::Failed(fault.to_string()),
    }
}

async fn ask(
    endpoint: &PeerEndpoint,
    address: &str,
    call: Call,
    command: Command,
) -> Result<(Reply, Directory), Fault> {
    let lost = |why: String| Fault::new(Code::NotReady, why);
    let asked = endpoint.join_call(address, call, Bytes::from(command.encode()));
    let answer = match tokio::time::timeout(ATTEMPT_TIMEOUT, asked).await {
        Ok(answer) => answer.map_err(|error| lost(error.to_string()))?,
        Err(_) => return Err(lost("no answer in time".to_owned())),
    };
    let welcome = body::decode::<Welcome>(&answer)?.0;
    let reply = Reply::decode(&welcome.reply).map_err(|bad| lost(bad.to_string()))?;
    let known = |Known { broker, address, key }| (broker, PeerAddress { address, key });
    Ok((reply, welcome.brokers.into_iter().map(known).collect()))
}

/// Where the others are.
pub(super) fn addresses_of(directory: &Directory, me: BrokerId) -> Vec<String> {
    directory.iter().filter(|(broker, _)| **broker != me).map(|(_, peer)| peer.address.clone()).collect()
}
