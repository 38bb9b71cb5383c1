//! Whatever a message of the control stream says, it says after the wire; cut short it says nothing.

use anyport_protocol::message::{
    Ack, Acked, CloseSession, Credit, EndSubscription, FeedState, FrameHeader, GoAway, HEADER_BYTES, Hello,
    ListSubscriptions, LoggedIn, Login, LostEnd, OpenSession, Ping, Pong, Refused, Register, Registered, Reopen,
    ResumePoint, SessionClosed, SessionOpened, SessionReport, Start, Subscribe, SubscribeOutcome, Subscribed,
    SubscriptionEnded, SubscriptionList, SubscriptionReport, SubscriptionState, TakenOver, ToBroker, ToClient,
    Unsubscribe, Unsubscribed, Welcome,
};
use anyport_protocol::{
    ClientId, ClusterId, Cursor, Fault, Incarnation, LogEpoch, Nonce, Offset, OffsetRange, PartitionId, SessionEpoch,
    SubscriptionName, WallMs,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn cursor() -> impl Strategy<Value = Cursor> {
    any::<(u32, u64)>().prop_map(|(epoch, offset)| Cursor { epoch: LogEpoch(epoch), offset: Offset(offset) })
}

fn name() -> impl Strategy<Value = SubscriptionName> {
    "[^\\p{Cc}]{1,30}".prop_map(|name| name.parse().expect("at most 120 bytes without control characters"))
}

fn incarnation() -> impl Strategy<Value = Incarnation> {
    any::<u64>().prop_map(Incarnation)
}

fn wall() -> impl Strategy<Value = WallMs> {
    any::<u64>().prop_map(WallMs)
}

/// Codes of later versions, too.
fn fault() -> impl Strategy<Value = Fault> {
    (any::<u16>(), any::<String>(), any::<Option<u64>>(), any::<Option<u32>>())
        .prop_map(|(code, text, value, retry_after_ms)| Fault { code, text, value, retry_after_ms })
}

fn cursors() -> impl Strategy<Value = Vec<(Incarnation, Vec<(PartitionId, Cursor)>)>> {
    let moved = (any::<u16>().prop_map(PartitionId), cursor());
    vec((incarnation(), vec(moved, 0..10)), 0..4)
}

fn lost() -> impl Strategy<Value = LostEnd> {
    any::<(u32, u64, u64)>().prop_map(|(epoch, a, b)| LostEnd {
        epoch: LogEpoch(epoch),
        range: OffsetRange::new(Offset(a.min(b)), Offset(a.max(b))),
    })
}

fn feed() -> impl Strategy<Value = FeedState> {
    (any::<(u16, u64)>(), cursor(), cursor(), cursor(), option::of(lost())).prop_map(
        |((partition, tail), start, position, acked, lost)| FeedState {
            partition: PartitionId(partition),
            start,
            position,
            tail: Offset(tail),
            acked,
            lost,
        },
    )
}

fn state() -> impl Strategy<Value = SubscriptionState> {
    (name(), incarnation(), any::<String>(), any::<u64>(), vec(feed(), 0..10)).prop_map(
        |(name, incarnation, filter, inactive_expiry_secs, feeds)| SubscriptionState {
            name,
            incarnation,
            filter,
            inactive_expiry_secs,
            feeds,
        },
    )
}

fn report() -> impl Strategy<Value = SubscriptionReport> {
    let waiting = (any::<(u64, bool)>(), option::of(wall()));
    (name(), incarnation(), any::<String>(), waiting, any::<(u64, u64)>(), wall()).prop_map(
        |(name, incarnation, filter, ((waiting_max, waiting_is_exact), oldest_waiting), (gone, expiry), last_used)| {
            SubscriptionReport {
                name,
                incarnation,
                filter,
                waiting_max,
                waiting_is_exact,
                oldest_waiting,
                gone,
                inactive_expiry_secs: expiry,
                last_used,
            }
        },
    )
}

fn session() -> impl Strategy<Value = SessionReport> {
    any::<(u64, u64, bool)>().prop_map(|(epoch, last_seen, is_open_here)| SessionReport {
        epoch: SessionEpoch(epoch),
        last_seen: WallMs(last_seen),
        is_open_here,
    })
}

fn subscribe() -> impl Strategy<Value = Subscribe> {
    let start = prop_oneof![Just(Start::Earliest), Just(Start::Latest), wall().prop_map(Start::Time)];
    (name(), any::<String>(), start, any::<(bool, u64, bool)>(), option::of(incarnation())).prop_map(
        |(name, filter, start, (seek, inactive_expiry_secs, temporary), expired)| Subscribe {
            seek,
            inactive_expiry_secs,
            temporary,
            expired,
            ..Subscribe::new(name, filter, start)
        },
    )
}

fn to_broker() -> impl Strategy<Value = ToBroker> {
    let resume = (incarnation(), vec(cursor(), 0..10));
    let resume = vec(resume.prop_map(|(incarnation, cursors)| ResumePoint { incarnation, cursors }), 0..4);
    prop_oneof![
        any::<(u16, u16, String)>().prop_map(|(version_min, version_max, agent)| Hello {
            version_min,
            version_max,
            agent
        }
        .into()),
        prop_oneof![Just(Register {}.into()), Just(Ping {}.into())],
        any::<String>().prop_map(|token| Login { token }.into()),
        (any::<(u64, [u8; 16], u64)>(), resume).prop_map(|((epoch, nonce, registry_seen), resume)| {
            OpenSession { epoch: SessionEpoch(epoch), nonce: Nonce(nonce), resume, registry_seen }.into()
        }),
        subscribe().prop_map(ToBroker::from),
        name().prop_map(|name| Unsubscribe { name }.into()),
        cursors().prop_map(|cursors| Ack { cursors }.into()),
        cursors().prop_map(|cursors| CloseSession { cursors }.into()),
        (incarnation(), any::<u64>()).prop_map(|(incarnation, bytes_total)| Credit { incarnation, bytes_total }.into()),
        (incarnation(), any::<u16>(), cursor()).prop_map(|(incarnation, partition, position)| {
            Reopen { incarnation, partition: PartitionId(partition), position }.into()
        }),
        (option::of(name()), any::<u64>()).prop_map(|(after, registry_seen)| ListSubscriptions {
            after,
            registry_seen
        }
        .into()),
        (name(), incarnation()).prop_map(|(name, incarnation)| EndSubscription { name, incarnation }.into()),
    ]
}

fn welcome() -> impl Strategy<Value = Welcome> {
    (any::<(u16, [u8; 16], u16, String)>(), wall(), any::<(u32, bool, String)>()).prop_map(
        |((version, cluster, partitions, partitioner), server_time, (event_bytes_max, relaxed, agent))| Welcome {
            version,
            cluster: ClusterId(cluster),
            partitions,
            partitioner,
            server_time,
            event_bytes_max,
            relaxed,
            agent,
        },
    )
}

fn to_client() -> impl Strategy<Value = ToClient> {
    use SubscribeOutcome::{Attached, Created, FilterChanged, Sought};
    let client = || any::<[u8; 16]>().prop_map(ClientId);
    let outcome = prop::sample::select(vec![Created, Attached, FilterChanged, Sought]);
    prop_oneof![
        welcome().prop_map(ToClient::from),
        (client(), any::<String>(), wall())
            .prop_map(|(client, token, expires)| Registered { client, token, expires }.into()),
        (client(), wall(), any::<Option<String>>()).prop_map(|(client, expires, renewed)| LoggedIn {
            client,
            expires,
            renewed
        }
        .into()),
        (any::<(u64, u64)>(), vec(state(), 0..4)).prop_map(|((epoch, registry_index), subscriptions)| {
            SessionOpened { epoch: SessionEpoch(epoch), registry_index, subscriptions, unfenced: epoch % 2 == 1 }.into()
        }),
        (outcome, state(), any::<u64>()).prop_map(|(outcome, state, registry_index)| Subscribed {
            outcome,
            state,
            registry_index
        }
        .into()),
        any::<u64>().prop_map(|registry_index| Unsubscribed { registry_index }.into()),
        any::<u64>().prop_map(|registry_index| Acked { registry_index }.into()),
        wall().prop_map(|server_time| Pong { server_time }.into()),
        (wall(), session(), any::<(u32, bool)>(), vec(report(), 0..4)).prop_map(
            |(server_time, session, (total, more), subscriptions)| {
                SubscriptionList { server_time, session, total, subscriptions, more }.into()
            }
        ),
        fault().prop_map(|fault| Refused { fault }.into()),
        any::<(u64, [u8; 16])>().prop_map(|(epoch, nonce)| TakenOver {
            epoch: SessionEpoch(epoch),
            nonce: Nonce(nonce)
        }
        .into()),
        (name(), incarnation(), fault()).prop_map(|(name, incarnation, fault)| SubscriptionEnded {
            name,
            incarnation,
            fault
        }
        .into()),
        any::<(u32, Option<String>, u32)>().prop_map(|(reconnect_after_ms, to, spread_over_ms)| GoAway {
            reconnect_after_ms,
            to,
            spread_over_ms
        }
        .into()),
        Just(SessionClosed {}.into()),
    ]
}

/// Type and body of a frame, whose header must say what it was made with.
fn parts(frame: &[u8], request: u32) -> (u16, &[u8]) {
    let (header, body) = frame.split_first_chunk::<HEADER_BYTES>().expect("a header");
    let header = FrameHeader::decode(header, body.len()).expect("its own length is no more than it has");
    assert_eq!((header.request, header.body_bytes as usize), (request, body.len()));
    (header.message_type, body)
}

proptest! {
    #[test]
    fn a_request_is_after_the_wire_what_it_was_and_cut_short_it_is_none(
        message in to_broker(), request: u32, cut: prop::sample::Index,
    ) {
        let mut frame = Vec::new();
        message.encode(request, &mut frame);
        let (message_type, body) = parts(&frame, request);
        prop_assert_eq!(ToBroker::decode(message_type, body).expect("its own bytes"), message);
        prop_assert!(ToBroker::decode(message_type, &body[..cut.index(body.len())]).is_err());
        prop_assert!(ToClient::decode(message_type, body).is_err(), "a number means one message");
    }

    #[test]
    fn an_answer_is_after_the_wire_what_it_was_and_cut_short_it_is_none(
        message in to_client(), request: u32, cut: prop::sample::Index,
    ) {
        let mut frame = Vec::new();
        message.encode(request, &mut frame);
        let (message_type, body) = parts(&frame, request);
        prop_assert_eq!(ToClient::decode(message_type, body).expect("its own bytes"), message);
        prop_assert!(ToClient::decode(message_type, &body[..cut.index(body.len())]).is_err());
    }
}
