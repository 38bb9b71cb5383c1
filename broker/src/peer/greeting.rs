//! The first exchange on a connection: who is there, and whether both want each other.

use std::time::Duration;

use anyport_protocol::message::DecodeError;
use anyport_protocol::{BrokerId, ClusterId};

use super::connection::Other;
use super::frames::{FrameType, Greeting, SHORT_BYTES_MAX};
use super::{Directory, PeerKey};
use crate::net::{FrameReader, FrameWriter, Goodbye, OpenError, PeerConnection, Purpose, ReadError, WriteError};

/// A greeting is a handful of numbers; somebody of a later version may have more to say.
const GREETING_BYTES_MAX: usize = 4 << 10;

#[derive(Debug, thiserror::Error)]
pub(super) enum GreetingError {
    #[error("{0}")]
    Open(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("{0}")]
    Gone(String),
    #[error("{text}")]
    Unwanted { why: Goodbye, text: String },
}

impl GreetingError {
    fn unwanted(why: Goodbye, text: impl Into<String>) -> Self {
        Self::Unwanted { why, text: text.into() }
    }

    /// With which code to hang up, where the connection is not gone already.
    pub(super) fn goodbye(&self) -> Goodbye {
        match self {
            Self::Unwanted { why, .. } => *why,
            Self::Read(ReadError::TooLarge(_)) => Goodbye::FrameTooLarge,
            _ => Goodbye::Malformed,
        }
    }
}

impl From<DecodeError> for GreetingError {
    fn from(error: DecodeError) -> Self {
        Self::Read(error.into())
    }
}

/// The common stream of a connection, after the greetings.
pub(super) type CommonStream = (FrameReader, FrameWriter);

/// By who has dialled: says who is here, and hears who is there.
pub(super) async fn greet(
    wire: &PeerConnection,
    own: &Greeting,
    patience: Duration,
) -> Result<(Greeting, CommonStream), GreetingError> {
    in_time(patience, async {
        let hello = FrameType::Hello.number();
        let (mut reader, writer) = wire.open(hello, own.encode().into(), SHORT_BYTES_MAX).await?;
        let (header, body) = match reader.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Err(ReadError::Truncated.into()),
            Err(error) => return Err(gone_or(wire, error)),
        };
        if header.message_type != FrameType::Welcome.number() {
            return Err(DecodeError::UnknownType(header.message_type).into());
        }
        Ok((Greeting::decode(&body)?, (reader, writer)))
    })
    .await
}

/// By who was dialled: hears who is there, and says who is here if that one is wanted.
pub(super) async fn welcome<O>(
    wire: &PeerConnection,
    own: &Greeting,
    patience: Duration,
    admit: impl AsyncFnOnce(Greeting) -> Result<O, GreetingError>,
) -> Result<(O, CommonStream), GreetingError> {
    in_time(patience, async {
        let mut stream = wire.accept().await.map_err(|error| GreetingError::Gone(error.to_string()))?;
        let limit = |message_type| (message_type == FrameType::Hello.number()).then_some(GREETING_BYTES_MAX);
        let (_, hello) = stream.first_frame(limit).await.map_err(|error| gone_or(wire, error))?;
        let other = admit(Greeting::decode(&hello)?).await?;
        let (reader, mut writer) = stream.into_frames(SHORT_BYTES_MAX);
        let mut frame = Vec::new();
        anyport_protocol::message::push_frame(&mut frame, FrameType::Welcome.number(), 0, |body| {
            body.extend(own.encode());
        });
        writer.write(&frame).await?;
        Ok((other, (reader, writer)))
    })
    .await
}

async fn in_time<T>(
    patience: Duration,
    exchange: impl Future<Output = Result<T, GreetingError>>,
) -> Result<T, GreetingError> {
    let silence = || Err(GreetingError::unwanted(Goodbye::Silent, "nothing was said"));
    tokio::time::timeout(patience, exchange).await.unwrap_or_else(|_| silence())
}

/// Where the connection is gone, its end says more than the stream's.
fn gone_or(wire: &PeerConnection, error: ReadError) -> GreetingError {
    match wire.close_reason() {
        Some(reason) => GreetingError::Gone(reason.to_string()),
        None => error.into(),
    }
}

/// Whether who has dialled is wanted, and as whom.
pub(super) fn admit(
    greeting: &Greeting,
    purpose: Purpose,
    key: PeerKey,
    (own, cluster): (BrokerId, ClusterId),
    directory: &Directory,
) -> Result<Other, GreetingError> {
    let unwanted = |why, text: String| Err(GreetingError::unwanted(why, text));
    if !greeting.has_our_version() {
        return unwanted(Goodbye::OtherVersion, other_version(greeting));
    }
    let Some(broker) = greeting.broker else {
        return match purpose {
            Purpose::Peer => Ok(Other::Newcomer(key)),
            _ => unwanted(Goodbye::Malformed, "who has no number has nothing to say about Raft".to_owned()),
        };
    };
    if greeting.cluster != Some(cluster) {
        return unwanted(Goodbye::OtherCluster, other_cluster(greeting, cluster));
    }
    match directory.get(&broker) {
        _ if broker <= own => {
            unwanted(Goodbye::OtherBroker, format!("broker {broker} dials broker {own}, which must dial it"))
        }
        None => unwanted(Goodbye::UnknownBroker, format!("broker {broker} is not in the directory of broker {own}")),
        Some(known) if known.key != key => {
            unwanted(Goodbye::OtherBroker, format!("broker {broker} has another key, says broker {own}'s directory"))
        }
        Some(_) => Ok(Other::Broker(broker)),
    }
}

/// Whether who was dialled is the one that was meant. Its key was compared before anything was said.
pub(super) fn check_dialled(welcome: &Greeting, meant: BrokerId, cluster: ClusterId) -> Result<(), GreetingError> {
    if !welcome.has_our_version() {
        return Err(GreetingError::unwanted(Goodbye::OtherVersion, other_version(welcome)));
    }
    if welcome.cluster != Some(cluster) {
        return Err(GreetingError::unwanted(Goodbye::OtherCluster, other_cluster(welcome, cluster)));
    }
    if welcome.broker != Some(meant) {
        let text = format!("where broker {meant} was expected there is {}", named(welcome));
        return Err(GreetingError::unwanted(Goodbye::OtherBroker, text));
    }
    Ok(())
}

fn other_version(greeting: &Greeting) -> String {
    let Greeting { version_min, version_max, .. } = greeting;
    format!("{} speaks versions {version_min} to {version_max} of what brokers say to each other", named(greeting))
}

fn other_cluster(greeting: &Greeting, cluster: ClusterId) -> String {
    let theirs = greeting.cluster.map_or_else(|| "none".to_owned(), |theirs| theirs.to_string());
    format!("{} is of the cluster {theirs}, and this is {cluster}", named(greeting))
}

fn named(greeting: &Greeting) -> String {
    greeting.broker.map_or_else(|| "somebody without a number".to_owned(), |broker| format!("broker {broker}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::PeerAddress;

    const CLUSTER: ClusterId = ClusterId([1; 16]);
    const OWN: (BrokerId, ClusterId) = (BrokerId(1), CLUSTER);
    const KEY: PeerKey = [7; 32];

    fn directory() -> Directory {
        let known = |broker| (BrokerId(broker), PeerAddress { address: "b:1".into(), key: KEY });
        [known(0), known(2)].into()
    }

    fn refusal(greeting: &Greeting, purpose: Purpose, key: PeerKey) -> Goodbye {
        admit(greeting, purpose, key, OWN, &directory()).expect_err("refused").goodbye()
    }

    #[test]
    fn a_broker_that_the_directory_names_is_admitted_with_its_key_alone() {
        let greeting = Greeting::of(Some(BrokerId(2)), Some(CLUSTER));
        let admitted = admit(&greeting, Purpose::Raft, KEY, OWN, &directory()).expect("admitted");
        assert!(matches!(admitted, Other::Broker(BrokerId(2))));
        assert_eq!(refusal(&greeting, Purpose::Raft, [8; 32]), Goodbye::OtherBroker);
    }

    #[test]
    fn another_cluster_another_version_and_an_unknown_number_are_refused() {
        let greeting = |broker, cluster| Greeting::of(Some(BrokerId(broker)), cluster);
        assert_eq!(refusal(&greeting(2, Some(ClusterId([2; 16]))), Purpose::Peer, KEY), Goodbye::OtherCluster);
        assert_eq!(refusal(&greeting(2, None), Purpose::Peer, KEY), Goodbye::OtherCluster);
        assert_eq!(refusal(&greeting(3, Some(CLUSTER)), Purpose::Peer, KEY), Goodbye::UnknownBroker);
        let later = Greeting { version_min: 2, version_max: 3, ..greeting(2, Some(CLUSTER)) };
        assert_eq!(refusal(&later, Purpose::Peer, KEY), Goodbye::OtherVersion);
    }

    #[test]
    fn a_lower_broker_waits_to_be_dialled() {
        assert_eq!(refusal(&Greeting::of(Some(BrokerId(0)), Some(CLUSTER)), Purpose::Raft, KEY), Goodbye::OtherBroker);
        assert_eq!(refusal(&Greeting::of(Some(BrokerId(1)), Some(CLUSTER)), Purpose::Raft, KEY), Goodbye::OtherBroker);
    }

    #[test]
    fn a_newcomer_is_heard_but_not_on_the_way_of_raft() {
        let newcomer = Greeting::of(None, None);
        let admitted = admit(&newcomer, Purpose::Peer, KEY, OWN, &directory()).expect("admitted");
        assert!(matches!(admitted, Other::Newcomer(KEY)));
        assert_eq!(refusal(&newcomer, Purpose::Raft, KEY), Goodbye::Malformed);
    }

    #[test]
    fn who_was_dialled_must_be_the_one_that_was_meant() {
        let there = Greeting::of(Some(BrokerId(0)), Some(CLUSTER));
        assert!(check_dialled(&there, BrokerId(0), CLUSTER).is_ok());
        let other = check_dialled(&there, BrokerId(5), CLUSTER).expect_err("another broker");
        assert_eq!(
            (other.goodbye(), other.to_string().as_str()),
            (Goodbye::OtherBroker, "where broker 5 was expected there is broker 0")
        );
    }
}
