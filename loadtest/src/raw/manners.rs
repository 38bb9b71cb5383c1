//! What a scripted broker says.

use std::fmt;

use anyport_protocol::message::publish::{PublishBatch, Published};
use anyport_protocol::message::{
    Acked, FeedState, LoggedIn, PROTOCOL_VERSION, Pong, Refused, Registered, SessionClosed, SessionOpened,
    SubscribeOutcome, Subscribed, SubscriptionState, ToBroker, ToClient, Welcome,
};
use anyport_protocol::{
    ClientId, ClusterId, Code, Cursor, Fault, Incarnation, Offset, PartitionId, WallMs, limits, partitioner,
};

/// The one client that scripted brokers know.
const CLIENT: ClientId = ClientId([7; 16]);

/// The one subscription, over the one partition, and where its log ends.
pub const INCARNATION: Incarnation = Incarnation(1);
const TAIL: Offset = Offset(0);

type OnRequest = dyn Fn(&ToBroker) -> Option<ToClient> + Send + Sync;
type OnBatch = dyn Fn(&PublishBatch) -> Published + Send + Sync;

/// How a scripted broker answers; None leaves a request without an answer.
pub struct Manners {
    pub request: Box<OnRequest>,
    pub batch: Box<OnBatch>,
}

impl fmt::Debug for Manners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Manners")
    }
}

impl Default for Manners {
    fn default() -> Self {
        let stored = |batch: &PublishBatch| Published::Stored { first: Offset(batch.first_number.0) };
        Self { request: Box::new(polite), batch: Box::new(stored) }
    }
}

impl Manners {
    /// Refuses every publish like this.
    pub fn refusing_publishes(code: Code) -> Self {
        Self { batch: Box::new(move |_| Published::Refused(Fault::new(code, "as the script says"))), ..Self::default() }
    }

    /// Opens sessions that the registry has not taken, and never will.
    pub fn leaving_sessions_unfenced() -> Self {
        let request = |request: &ToBroker| match polite(request)? {
            ToClient::SessionOpened(opened) => Some(SessionOpened { unfenced: true, ..opened }.into()),
            other => Some(other),
        };
        Self { request: Box::new(request), ..Self::default() }
    }

    /// Opens no session.
    pub fn refusing_sessions(fault: Fault) -> Self {
        let request = move |request: &ToBroker| match request {
            ToBroker::OpenSession(_) => Some(Refused { fault: fault.clone() }.into()),
            other => polite(other),
        };
        Self { request: Box::new(request), ..Self::default() }
    }
}

/// All is well, and nothing ever happens.
pub fn polite(request: &ToBroker) -> Option<ToClient> {
    let (expires, token) = (WallMs(u64::MAX), "token".to_owned());
    Some(match request {
        ToBroker::Hello(_) => welcome().into(),
        ToBroker::Register(_) => Registered { client: CLIENT, token, expires }.into(),
        ToBroker::Login(_) => LoggedIn { client: CLIENT, expires, renewed: None }.into(),
        ToBroker::OpenSession(open) => {
            let resumed = open.resume.iter().find(|point| point.incarnation == INCARNATION);
            let subscriptions = resumed.map(|point| state("all", point.cursors.first().copied().unwrap_or_default()));
            SessionOpened {
                epoch: open.epoch,
                registry_index: 1,
                subscriptions: subscriptions.into_iter().collect(),
                unfenced: false,
            }
            .into()
        }
        ToBroker::Subscribe(subscribe) => {
            let state = state(subscribe.name.as_str(), Cursor::default());
            Subscribed { outcome: SubscribeOutcome::Created, state, registry_index: 1 }.into()
        }
        ToBroker::Ack(_) => Acked { registry_index: 1 }.into(),
        ToBroker::CloseSession(_) => SessionClosed {}.into(),
        // As a broker of a version that had none.
        ToBroker::GetMap(_) => {
            Refused { fault: Fault::new(Code::UnknownMessage, "message type 14 is not known") }.into()
        }
        ToBroker::Ping(_) => Pong { server_time: WallMs(0) }.into(),
        _ => return None,
    })
}

fn welcome() -> Welcome {
    Welcome {
        version: PROTOCOL_VERSION,
        cluster: ClusterId([1; 16]),
        partitions: 1,
        partitioner: partitioner::NAME.to_owned(),
        server_time: WallMs(0),
        event_bytes_max: u32::try_from(limits::EVENT_BYTES_MAX).expect("a limit of the wire"),
        relaxed: false,
        agent: "scripted".to_owned(),
    }
}

fn state(name: &str, position: Cursor) -> SubscriptionState {
    let (partition, start) = (PartitionId(0), Cursor::default());
    SubscriptionState {
        name: name.parse().expect("a name that was parsed before"),
        incarnation: INCARNATION,
        filter: String::new(),
        inactive_expiry_secs: limits::INACTIVE_EXPIRY_SECS_DEFAULT,
        feeds: vec![FeedState { partition, start, position, tail: TAIL, acked: start, lost: None }],
    }
}
