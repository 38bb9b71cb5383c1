//! Every message and every named part of messages, with all of its fields. What is new in the code does not compile here, or is
//! missed by the test that counts types, until it is added.

use anyport_protocol::map::{Host, PointKey, ServiceId};
use anyport_protocol::message::publish::Published;
use anyport_protocol::message::*;
use anyport_protocol::{
    ClientId, ClusterId, Code, Cursor, Fault, Incarnation, LogEpoch, Nonce, Offset, OffsetRange, PartitionId,
    SessionEpoch, WallMs,
};

use super::shape::Sample;

const INCARNATION: Incarnation = Incarnation(7);
const CURSOR: Cursor = Cursor { epoch: LogEpoch(1), offset: Offset(40) };
/// With the highest end, so that a start may be of any width: a range that ends before its start is refused.
const RANGE: OffsetRange = OffsetRange { start: Offset(30), end: Offset(u64::MAX) };
const LOST: LostEnd = LostEnd { epoch: LogEpoch(1), range: RANGE };
const FEED: FeedState = FeedState {
    partition: PartitionId(3),
    start: CURSOR,
    position: CURSOR,
    tail: Offset(40),
    acked: CURSOR,
    lost: Some(LOST),
};
const SESSION: SessionReport = SessionReport { epoch: SessionEpoch(5), last_seen: WallMs(1), is_open_here: true };

/// In the order of their types: requests, then answers and pushes.
pub fn messages() -> Vec<Sample> {
    let mut messages = requests();
    messages.extend(answers());
    messages
}

fn requests() -> Vec<Sample> {
    let open =
        OpenSession { epoch: SessionEpoch(5), nonce: Nonce([9; 16]), resume: vec![resume_point()], registry_seen: 90 };
    let subscribe = Subscribe {
        name: name(),
        filter: "type = 't'".to_owned(),
        start: Start::Earliest,
        seek: true,
        inactive_expiry_secs: 60,
        expired: Some(INCARNATION),
        temporary: true,
    };
    vec![
        Sample::of("Hello", &Hello::of_this_version("example/1")),
        Sample::of("Register", &Register {}),
        Sample::of("Login", &Login { token: "v4.public.AAAA".to_owned() }),
        Sample::of("OpenSession", &open),
        Sample::of("Subscribe", &subscribe),
        Sample::of("Unsubscribe", &Unsubscribe { name: name() }),
        Sample::of("Ack", &Ack { cursors: moves() }),
        Sample::of("Credit", &Credit { incarnation: INCARNATION, bytes_total: 4 << 20 }),
        Sample::of("Reopen", &Reopen { incarnation: INCARNATION, partition: PartitionId(3), position: CURSOR }),
        Sample::of("CloseSession", &CloseSession { cursors: moves() }),
        Sample::of("Ping", &Ping {}),
        Sample::of("ListSubscriptions", &ListSubscriptions { after: Some(name()), registry_seen: 90 }),
        Sample::of("EndSubscription", &EndSubscription { name: name(), incarnation: INCARNATION }),
        Sample::of("GetMap", &GetMap { have: 7, service: Some(service()), zone: "north".to_owned(), follow: true }),
        Sample::of("Advertise", &Advertise { row: vec![1], lease_ms: 30_000 }),
        Sample::of("Withdraw", &Withdraw { key: point_key() }),
    ]
}

fn answers() -> Vec<Sample> {
    let welcome = Welcome {
        version: 1,
        cluster: ClusterId([4; 16]),
        partitions: 8,
        partitioner: anyport_protocol::partitioner::NAME.to_owned(),
        server_time: WallMs(1),
        event_bytes_max: 1 << 20,
        relaxed: true,
        agent: "anyportd/0.1.0".to_owned(),
    };
    let client = ClientId([2; 16]);
    let list = SubscriptionList {
        server_time: WallMs(1),
        session: SESSION,
        total: 1,
        subscriptions: vec![report()],
        more: true,
    };
    let opened =
        SessionOpened { epoch: SessionEpoch(5), registry_index: 91, subscriptions: vec![state()], unfenced: true };
    let subscribed = Subscribed { outcome: SubscribeOutcome::Created, state: state(), registry_index: 91 };
    vec![
        Sample::of("Welcome", &welcome),
        Sample::of("Registered", &Registered { client, token: "v4.public.AAAA".to_owned(), expires: WallMs(1) }),
        Sample::of("LoggedIn", &LoggedIn { client, expires: WallMs(1), renewed: Some("v4.public.AAAA".to_owned()) }),
        Sample::of("SessionOpened", &opened),
        Sample::of("Subscribed", &subscribed),
        Sample::of("Unsubscribed", &Unsubscribed { registry_index: 91 }),
        Sample::of("Acked", &Acked { registry_index: 91 }),
        Sample::of("SessionClosed", &SessionClosed {}),
        Sample::of("Pong", &Pong { server_time: WallMs(1) }),
        Sample::of("SubscriptionList", &list),
        Sample::of("MapAnswer", &MapAnswer { server_time: WallMs(1), is_whole: true, map: vec![1] }),
        Sample::of("Advertised", &Advertised {}),
        Sample::of("Refused", &Refused { fault: fault() }),
        Sample::of("TakenOver", &TakenOver { epoch: SessionEpoch(6), nonce: Nonce([9; 16]) }),
        Sample::of("SubscriptionEnded", &SubscriptionEnded { name: name(), incarnation: INCARNATION, fault: fault() }),
        Sample::of(
            "GoAway",
            &GoAway { reconnect_after_ms: 1000, to: Some("b.example:7400".to_owned()), spread_over_ms: 5000 },
        ),
    ]
}

fn service() -> ServiceId {
    ServiceId::known(ServiceId::SESSION)
}

fn point_key() -> PointKey {
    let provider = "weather".parse().expect("a good name");
    let host = Host { inet: Some([127, 0, 0, 1].into()), name: Some("w.example".to_owned()), port: 7400 };
    PointKey { service: service(), provider, host, from: Some(WallMs(1)) }
}

/// What has a name of its own within messages: with fields, or one of several forms.
pub fn parts() -> Vec<Sample> {
    let mut parts = vec![
        Sample::of("Cursor", &CURSOR),
        Sample::of("OffsetRange", &RANGE),
        Sample::of("LostEnd", &LOST),
        Sample::of("ResumePoint", &resume_point()),
        Sample::of("SubscriptionState", &state()),
        Sample::of("FeedState", &FEED),
        Sample::of("SessionReport", &SESSION),
        Sample::of("SubscriptionReport", &report()),
        Sample::of("Fault", &fault()),
        Sample::of("PointKey", &point_key()),
        Sample::of("Host", &point_key().host),
    ];
    parts.extend(forms());
    parts
}

/// Of what takes several forms, each.
pub fn forms() -> Vec<Sample> {
    let starts = [Start::Earliest, Start::Latest, Start::Time(WallMs(1))];
    let outcomes = [
        SubscribeOutcome::Created,
        SubscribeOutcome::Attached,
        SubscribeOutcome::FilterChanged,
        SubscribeOutcome::Sought,
    ];
    let published = [
        Published::Stored { first: Offset(0) },
        Published::AlreadyStored { first: Some(Offset(0)) },
        Published::Refused(fault()),
    ];
    // A form that is new does not compile here.
    for start in starts {
        match start {
            Start::Earliest | Start::Latest | Start::Time(_) => {}
        }
    }
    for outcome in outcomes {
        match outcome {
            SubscribeOutcome::Created
            | SubscribeOutcome::Attached
            | SubscribeOutcome::FilterChanged
            | SubscribeOutcome::Sought => {}
        }
    }
    for published in &published {
        match published {
            Published::Stored { .. } | Published::AlreadyStored { .. } | Published::Refused(_) => {}
        }
    }
    let starts = starts.iter().map(|start| Sample::of("Start", start));
    let outcomes = outcomes.iter().map(|outcome| Sample::of("SubscribeOutcome", outcome));
    let published = published.iter().map(|published| Sample::of("Published", published));
    starts.chain(outcomes).chain(published).collect()
}

fn name() -> anyport_protocol::SubscriptionName {
    "strong".parse().expect("a name")
}

fn moves() -> Vec<(Incarnation, Vec<(PartitionId, Cursor)>)> {
    vec![(INCARNATION, vec![(PartitionId(3), CURSOR)])]
}

fn resume_point() -> ResumePoint {
    ResumePoint { incarnation: INCARNATION, cursors: vec![CURSOR] }
}

fn state() -> SubscriptionState {
    SubscriptionState {
        name: name(),
        incarnation: INCARNATION,
        filter: "type = 't'".to_owned(),
        inactive_expiry_secs: 60,
        feeds: vec![FEED],
    }
}

fn report() -> SubscriptionReport {
    SubscriptionReport {
        name: name(),
        incarnation: INCARNATION,
        filter: "type = 't'".to_owned(),
        waiting_max: 17,
        waiting_is_exact: true,
        oldest_waiting: Some(WallMs(1)),
        gone: 0,
        inactive_expiry_secs: 60,
        last_used: WallMs(1),
    }
}

fn fault() -> Fault {
    Fault { retry_after_ms: Some(50), ..Fault::new(Code::OutOfSequence, "the batch begins at number 9").with_value(4) }
}
