//! One of every message of the control stream, and what a client does with what a broker says.

use anyport_protocol::message::{
    Ack, Acked, CloseSession, Credit, EndSubscription, FeedState, GoAway, Hello, ListSubscriptions, LoggedIn, Login,
    LostEnd, OpenSession, Ping, Pong, Refused, Register, Registered, Reopen, ResumePoint, SessionClosed, SessionOpened,
    SessionReport, Start, Subscribe, SubscribeOutcome, Subscribed, SubscriptionEnded, SubscriptionList,
    SubscriptionReport, SubscriptionState, TakenOver, ToBroker, ToClient, Unsubscribe, Unsubscribed, Welcome,
};
use anyport_protocol::{
    ClientId, ClusterId, Code, Cursor, Fault, Incarnation, LogEpoch, Nonce, Offset, OffsetRange, PartitionId,
    SessionEpoch, SubscriptionName, WallMs, partitioner,
};

const WALL: WallMs = WallMs(1_790_000_000_123);
const NONCE: Nonce = Nonce(*b"sixteen random b");
const CURSOR: Cursor = Cursor { epoch: LogEpoch(1), offset: Offset(1_000_000) };

/// Asks a message everything that it can be asked: numbers of a broker may be any.
pub fn look_at(message: &ToClient) {
    match message {
        ToClient::SessionOpened(opened) => opened.subscriptions.iter().for_each(subscription),
        ToClient::Subscribed(Subscribed { state, .. }) => subscription(state),
        ToClient::SubscriptionList(list) => {
            for report in &list.subscriptions {
                let _ = (report.behind(list.server_time), report.behind(WallMs(0)), report.expires());
            }
        }
        ToClient::Refused(refused) => fault(&refused.fault),
        ToClient::SubscriptionEnded(ended) => fault(&ended.fault),
        _ => {}
    }
}

fn subscription(state: &SubscriptionState) {
    let _ = state.waiting_max();
    for FeedState { lost, .. } in &state.feeds {
        if let Some(lost) = lost {
            assert!(lost.range.start <= lost.range.end);
            let _ = (lost.range.len(), lost.range.contains(lost.range.end));
        }
    }
}

fn fault(fault: &Fault) {
    let _ = (fault.to_string(), fault.retry(), fault.code());
    assert!(!fault.explanation().meaning.is_empty());
}

/// A frame of every message, with something in every field.
pub fn one_of_each() -> Vec<Vec<u8>> {
    let encoded = |message: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = Vec::new();
        message(&mut frame);
        frame
    };
    let to_broker = to_broker().into_iter().map(|message| encoded(&|out| message.encode(7, out)));
    let to_client = to_client().into_iter().map(|message| encoded(&|out| message.encode(7, out)));
    to_broker.chain(to_client).collect()
}

fn to_broker() -> [ToBroker; 13] {
    let (name, incarnation) = (name(), Incarnation(4));
    let cursors = vec![(incarnation, vec![(PartitionId(0), CURSOR), (PartitionId(7), CURSOR)])];
    let resume = vec![ResumePoint { incarnation, cursors: vec![CURSOR; 3] }];
    let mut subscribe = Subscribe::new(name.clone(), "data.mag > 4", Start::Time(WALL));
    subscribe.expired = Some(Incarnation(3));
    [
        Hello::of_this_version("fuzz").into(),
        Register {}.into(),
        Login { token: "v4.public.abc".into() }.into(),
        OpenSession { epoch: SessionEpoch(9), nonce: NONCE, resume, registry_seen: 5 }.into(),
        subscribe.into(),
        Unsubscribe { name: name.clone() }.into(),
        Ack { cursors: cursors.clone() }.into(),
        Credit { incarnation, bytes_total: 1 << 20 }.into(),
        Reopen { incarnation, partition: PartitionId(2), position: CURSOR }.into(),
        CloseSession { cursors }.into(),
        Ping {}.into(),
        ListSubscriptions { after: Some(name.clone()), registry_seen: 5 }.into(),
        EndSubscription { name, incarnation }.into(),
    ]
}

fn to_client() -> [ToClient; 14] {
    let (client, token, expires) = (ClientId::from_bytes([1; 16]), String::from("v4.public.abc"), WALL);
    let (name, incarnation, registry_index) = (name(), Incarnation(4), 12);
    let fault = Fault::retry_after(Code::RetryAfter, 50, "busy").with_value(3);
    let lost = Some(LostEnd { epoch: LogEpoch(0), range: OffsetRange::new(Offset(6), Offset(10)) });
    let feed =
        FeedState { partition: PartitionId(1), start: CURSOR, position: CURSOR, tail: Offset(99), acked: CURSOR, lost };
    let filter = String::from("data.mag > 4");
    let state = SubscriptionState {
        name: name.clone(),
        incarnation,
        filter: filter.clone(),
        inactive_expiry_secs: 60,
        feeds: vec![feed; 2],
    };
    let report = SubscriptionReport {
        name: name.clone(),
        incarnation,
        filter,
        waiting_max: 9,
        waiting_is_exact: true,
        oldest_waiting: Some(WALL),
        gone: 1,
        inactive_expiry_secs: 60,
        last_used: WALL,
    };
    let session = SessionReport { epoch: SessionEpoch(9), last_seen: WALL, is_open_here: true };
    [
        Welcome {
            version: 1,
            cluster: ClusterId::from_bytes([2; 16]),
            partitions: 8,
            partitioner: partitioner::NAME.into(),
            server_time: WALL,
            event_bytes_max: 1 << 20,
            relaxed: false,
            agent: "fuzz".into(),
        }
        .into(),
        Registered { client, token: token.clone(), expires }.into(),
        LoggedIn { client, expires, renewed: Some(token) }.into(),
        SessionOpened { epoch: SessionEpoch(9), registry_index, subscriptions: vec![state.clone(); 2], unfenced: true }
            .into(),
        Subscribed { outcome: SubscribeOutcome::Created, state, registry_index }.into(),
        Unsubscribed { registry_index }.into(),
        Acked { registry_index }.into(),
        SessionClosed {}.into(),
        Pong { server_time: WALL }.into(),
        SubscriptionList { server_time: WALL, session, total: 2, subscriptions: vec![report; 2], more: false }.into(),
        Refused { fault: fault.clone() }.into(),
        TakenOver { epoch: SessionEpoch(9), nonce: NONCE }.into(),
        SubscriptionEnded { name, incarnation, fault }.into(),
        GoAway { reconnect_after_ms: 100, to: Some("b.example:7400".into()), spread_over_ms: 7 }.into(),
    ]
}

fn name() -> SubscriptionName {
    "quakes".parse().expect("a good name")
}
