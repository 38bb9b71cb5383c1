//! The task that owns all connections: it dials the brokers below this one, welcomes those above it, and hangs up on whom the
//! directory does not name any more.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_protocol::limits::CONTROL_FRAME_BYTES_MAX;
use anyport_protocol::{BrokerId, ClusterId};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::connection::{Connected, Other};
use super::dial::TOLD_AGAIN;
use super::endpoint::LinkProfile;
use super::frames::Greeting;
use super::greeting::{CommonStream, GreetingError, admit, welcome};
use super::links::{Links, NOT_NAMED};
use super::{Answers, Directory, Link, PeerAddress};
use crate::net::{Goodbye, PeerAttempt, PeerConnection, PeerSocket, Purpose};

/// Two for each broker above this one, newcomers, and operators. More are refused.
const CONNECTIONS_MAX: usize = 4096;

/// Handshakes under way above which a sender must first show its address, and above which it is refused.
const HANDSHAKES_UNVALIDATED_MAX: usize = 64;
const HANDSHAKES_MAX: usize = 1024;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A broker that has just joined may dial before this one has heard that it did.
const DIRECTORY_WAIT: Duration = Duration::from_secs(1);

/// Questions of one operator that are answered at once.
const OPERATOR_STREAMS: usize = 16;

/// How long the others get to hear that this broker stops.
const GOODBYE: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) socket: PeerSocket,
    pub(super) own: BrokerId,
    pub(super) cluster: ClusterId,
    pub(super) profile: LinkProfile,
    pub(super) directory: watch::Receiver<Directory>,
    pub(super) answers: Arc<dyn Answers>,
    pub(super) links: Arc<Links>,
}

/// Somebody who has connected, and who that is.
enum Guest {
    Peer(Arc<Connected>, Other, CommonStream),
    Operator(PeerConnection),
}

/// Somebody who has connected in vain.
struct Refusal {
    remote: SocketAddr,
    why: Goodbye,
    text: String,
}

/// What the task keeps between its turns.
#[derive(Default)]
struct Kept {
    /// Two tasks for each broker that is dialled.
    dialling: BTreeMap<BrokerId, JoinSet<()>>,
    handshakes: JoinSet<Result<Guest, Refusal>>,
    guests: JoinSet<()>,
    /// When each reason for a refusal was told last.
    told: BTreeMap<Goodbye, Instant>,
}

impl Keeper {
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut kept = Kept::default();
        let mut directory = self.directory.clone();
        directory.mark_changed();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Ok(()) = directory.changed() => self.follow_directory(&mut kept),
                Some(greeted) = kept.handshakes.join_next(), if !kept.handshakes.is_empty() => {
                    self.on_greeted(greeted, &mut kept);
                }
                Some(_) = kept.guests.join_next(), if !kept.guests.is_empty() => {}
                // Last, so that a flood of them holds up nothing else.
                attempt = self.socket.accept() => match attempt {
                    Some(attempt) => self.on_attempt(attempt, &mut kept),
                    None => break,
                },
            }
        }
        self.socket.close(GOODBYE).await;
    }

    fn on_greeted(self: &Arc<Self>, greeted: Result<Result<Guest, Refusal>, JoinError>, kept: &mut Kept) {
        let Refusal { remote, why, text } = match greeted {
            Ok(Ok(guest)) => return drop(kept.guests.spawn(Arc::clone(self).host(guest))),
            Ok(Err(refusal)) => refusal,
            Err(failed) => return tracing::error!(%failed, "a handshake on the peer port"),
        };
        if kept.told.get(&why).is_some_and(|told| told.elapsed() < TOLD_AGAIN) {
            return tracing::debug!(%remote, ?why, "refused on the peer port: {text}");
        }
        kept.told.insert(why, Instant::now());
        tracing::warn!(%remote, ?why, "refused on the peer port: {text}");
    }

    pub(super) fn named(&self, broker: BrokerId) -> Option<PeerAddress> {
        self.directory.borrow().get(&broker).cloned()
    }

    /// Of each pair the higher number dials, so that both never do at the same time.
    fn follow_directory(self: &Arc<Self>, kept: &mut Kept) {
        let named = self.directory.borrow().clone();
        kept.dialling.retain(|broker, _| named.contains_key(broker));
        for broker in named.keys().filter(|broker| **broker < self.own) {
            kept.dialling.entry(*broker).or_insert_with(|| {
                let dial = |link| Arc::clone(self).keep_dialling(*broker, link);
                [Link::Raft, Link::Bulk].into_iter().map(dial).collect()
            });
        }
        self.links
            .keep_only(|broker, connected| named.get(&broker).is_some_and(|named| named.key == connected.wire.key()));
    }

    fn on_attempt(self: &Arc<Self>, attempt: PeerAttempt, kept: &mut Kept) {
        let handshakes = kept.handshakes.len();
        if handshakes >= HANDSHAKES_MAX || kept.guests.len() >= CONNECTIONS_MAX {
            attempt.refuse();
        } else if handshakes >= HANDSHAKES_UNVALIDATED_MAX && !attempt.address_is_validated() {
            attempt.validate_address();
        } else {
            kept.handshakes.spawn(Arc::clone(self).receive(attempt));
        }
    }

    /// Handshake and greetings.
    async fn receive(self: Arc<Self>, attempt: PeerAttempt) -> Result<Guest, Refusal> {
        let remote = attempt.remote();
        let refusal = |why, text| Refusal { remote, why, text };
        let wire = tokio::time::timeout(HANDSHAKE_TIMEOUT, attempt.accept()).await;
        let wire = wire.map_err(|_| refusal(Goodbye::Silent, "the handshake takes too long".to_owned()))?;
        let wire = wire.map_err(|error| refusal(Goodbye::WrongCertificate, error.to_string()))?;
        if wire.purpose() == Purpose::Operator {
            return Ok(Guest::Operator(wire));
        }
        let own = Greeting::of(Some(self.own), Some(self.cluster));
        match welcome(&wire, &own, self.profile.patience(), async |greeting| self.admit(&greeting, &wire).await).await {
            Ok((other, common)) => Ok(Guest::Peer(Connected::new(wire), other, common)),
            Err(error) => {
                let (why, text) = (error.goodbye(), error.to_string());
                wire.close(why, &text);
                Err(refusal(why, text))
            }
        }
    }

    async fn admit(&self, greeting: &Greeting, wire: &PeerConnection) -> Result<Other, GreetingError> {
        if let Some(broker) = greeting.broker {
            let mut directory = self.directory.clone();
            // Whether it was in time, the directory says below.
            let _ = tokio::time::timeout(DIRECTORY_WAIT, directory.wait_for(|named| named.contains_key(&broker))).await;
        }
        admit(greeting, wire.purpose(), wire.key(), (self.own, self.cluster), &self.directory.borrow())
    }

    async fn host(self: Arc<Self>, guest: Guest) {
        match guest {
            Guest::Peer(connected, other, common) => self.serve(&connected, other, common).await,
            Guest::Operator(wire) => self.serve_operator(&wire).await,
        }
    }

    /// Serves a connection that both want, until it ends.
    pub(super) async fn serve(&self, connected: &Arc<Connected>, other: Other, (reader, writer): CommonStream) {
        let link = if connected.wire.purpose() == Purpose::Raft { Link::Raft } else { Link::Bulk };
        let Other::Broker(broker) = other else {
            connected.run(other, Arc::clone(&self.answers), reader, writer).await;
            return;
        };
        let lifetime = self.links.begin(broker, link, connected);
        // The directory may have changed while they greeted, when there was nothing yet to hang up on.
        if self.named(broker).is_none_or(|named| named.key != connected.wire.key()) {
            return connected.wire.close(Goodbye::UnknownBroker, NOT_NAMED);
        }
        tracing::info!(%broker, ?link, "connected with a broker");
        let why = connected.run(other, Arc::clone(&self.answers), reader, writer).await;
        if link == Link::Raft && connected.wire.is_silent() {
            // Others lead by now what it led: whoever waits for its answers is to ask them.
            self.links.hang_up(broker, Link::Bulk);
        }
        drop(lifetime);
        tracing::info!(%broker, ?link, "the connection with a broker has ended: {why}");
    }

    async fn serve_operator(&self, wire: &PeerConnection) {
        let mut streams = JoinSet::new();
        while let Ok(stream) = wire.accept().await {
            while streams.try_join_next().is_some() {}
            if streams.len() >= OPERATOR_STREAMS {
                streams.join_next().await;
            }
            let (reader, writer) = stream.into_frames(CONTROL_FRAME_BYTES_MAX);
            streams.spawn(self.answers.operator(reader, writer));
        }
    }
}
