//! Sessions at a broker without replicas: opened, delivered to, taken over, and served while the registry cannot commit.

use anyport_broker::peer::Call;
use anyport_protocol::message::{Ack, EndSubscription, ListSubscriptions, SubscriptionState, ToClient};
use anyport_protocol::{ClientId, Code, Cursor, Incarnation, Offset, PartitionId, ProducerId, WallMs};
use anyport_storage::registry::Command;

use crate::client::{Port, WireClient};
use crate::edge::{CORE, CoreAndEdge};
use crate::support::{batch, stored_at};

const CLIENT: ClientId = ClientId([5; 16]);
const PRODUCER: ProducerId = ProducerId([8; 16]);

async fn registered() -> CoreAndEdge {
    let cluster = CoreAndEdge::start().await;
    cluster.core.registry.apply(Command::Register { client: CLIENT, now: WallMs(1) }).await.expect("registered");
    cluster
}

fn acked_to(state: &SubscriptionState, offset: u64) -> Ack {
    let cursor = Cursor { epoch: state.feeds[0].start.epoch, offset: Offset(offset) };
    Ack { cursors: vec![(state.incarnation, vec![(PartitionId(0), cursor)])] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_at_an_edge_replays_follows_and_acks() {
    let cluster = registered().await;
    let port = Port::open(&cluster.edge);
    assert_eq!(cluster.core.publish(batch(PRODUCER, 0, 3, "t")).await, stored_at(0));
    let mut client = WireClient::log_in(&port, &cluster.edge, CLIENT).await;
    assert!(!client.open_session(1).await.unfenced);
    let state = client.subscribe("quakes").await;
    assert_eq!((state.feeds[0].position.offset, state.feeds[0].tail), (Offset(0), Offset(3)));
    client.credit(&state).await;
    assert_eq!(client.delivered().await, [0, 1, 2]);
    assert_eq!(cluster.core.publish(batch(PRODUCER, 3, 1, "t")).await, stored_at(3));
    assert_eq!(client.delivered().await, [3]);
    let ToClient::Acked(acked) = client.ask(acked_to(&state, 4)).await else { panic!("not acked") };
    // Whoever is asked with that index knows it.
    let list = ListSubscriptions { after: None, registry_seen: acked.registry_index };
    let ToClient::SubscriptionList(list) = client.ask(list).await else { panic!("no list") };
    assert_eq!(list.subscriptions[0].waiting_max, 0);
    drop(client);
    port.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_taken_over_by_one_at_another_broker() {
    let cluster = registered().await;
    let (edge_port, core_port) = (Port::open(&cluster.edge), Port::open(&cluster.core));
    let mut older = WireClient::log_in(&edge_port, &cluster.edge, CLIENT).await;
    older.open_session(1).await;
    let mut newer = WireClient::log_in(&core_port, &cluster.core, CLIENT).await;
    newer.open_session(2).await;
    let ToClient::TakenOver(taken) = older.pushed().await else { panic!("not told") };
    assert_eq!((taken.epoch.0, taken.nonce.0), (2, [2; 16]));
    drop((older, newer));
    edge_port.close().await;
    core_port.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_at_an_edge_is_told_that_its_subscription_has_ended() {
    let cluster = registered().await;
    let announcing =
        tokio::spawn(anyport_broker::session::announce_ended(cluster.core.clone(), cluster.groups.groups.ended()));
    let port = Port::open(&cluster.edge);
    let mut client = WireClient::log_in(&port, &cluster.edge, CLIENT).await;
    client.open_session(1).await;
    let state = client.subscribe("quakes").await;
    let mut other = WireClient::log_in(&port, &cluster.edge, CLIENT).await;
    let end = EndSubscription { name: state.name.clone(), incarnation: state.incarnation };
    assert!(matches!(other.ask(end).await, ToClient::Unsubscribed(_)));
    let ToClient::SubscriptionEnded(ended) = client.pushed().await else { panic!("not told") };
    assert_eq!((ended.incarnation, ended.fault.code()), (state.incarnation, Some(Code::SubscriptionRemoved)));
    drop((client, other));
    announcing.abort();
    port.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_cannot_commit_is_delivered_to_and_acks_once_it_can() {
    let cluster = registered().await;
    let port = Port::open(&cluster.edge);
    let mut client = WireClient::log_in(&port, &cluster.edge, CLIENT).await;
    client.open_session(1).await;
    let state = client.subscribe("quakes").await;
    drop(client);
    assert_eq!(cluster.core.publish(batch(PRODUCER, 0, 3, "t")).await, stored_at(0));

    cluster.wires.refuse(Some(Call::RegistryCommand));
    let mut client = WireClient::log_in(&port, &cluster.edge, CLIENT).await;
    let opened = client.open_session(2).await;
    assert!(opened.unfenced);
    assert_eq!(opened.subscriptions[0].incarnation, state.incarnation);
    client.credit(&state).await;
    assert_eq!(client.delivered().await, [0, 1, 2]);
    let refused = client.refused(acked_to(&state, 3)).await;
    assert!(refused.is(Code::NotReady) && refused.retry(), "{refused}");

    cluster.wires.refuse(None);
    while !matches!(client.ask(acked_to(&state, 3)).await, ToClient::Acked(_)) {
        tokio::task::yield_now().await;
    }
    // The session is fenced: what an older one says is refused.
    let (record, _) = cluster.core.registry.record(CLIENT, 0).await.expect("readable");
    let record = record.expect("registered");
    assert_eq!((record.epoch.0, record.subscriptions[0].cursors[0].offset), (2, Offset(3)));
    drop(client);
    port.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unfenced_session_gives_way_to_a_newer_one_that_committed() {
    let cluster = registered().await;
    let (edge_port, core_port) = (Port::open(&cluster.edge), Port::open(&cluster.core));
    let mut newer = WireClient::log_in(&core_port, &cluster.core, CLIENT).await;
    cluster.wires.refuse(Some(Call::RegistryCommand));
    let mut older = WireClient::log_in(&edge_port, &cluster.edge, CLIENT).await;
    assert!(older.open_session(1).await.unfenced);
    newer.open_session(2).await;
    let ToClient::TakenOver(taken) = older.pushed().await else { panic!("not told") };
    assert_eq!(taken.epoch.0, 2);
    drop((older, newer));
    edge_port.close().await;
    core_port.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_nobody_within_reach_has_opens_no_session() {
    let cluster = registered().await;
    let port = Port::open(&cluster.edge);
    cluster.wires.cut(CORE);
    let mut client = WireClient::log_in(&port, &cluster.edge, CLIENT).await;
    let open = anyport_protocol::message::OpenSession {
        epoch: anyport_protocol::SessionEpoch(1),
        nonce: anyport_protocol::Nonce([1; 16]),
        resume: vec![],
        registry_seen: 0,
    };
    let refused = client.refused(open).await;
    assert!(refused.retry(), "{refused}");
    let early = Ack { cursors: vec![(Incarnation(1), vec![])] };
    assert!(client.refused(early).await.is(Code::NoSession));
    drop(client);
    port.close().await;
}
