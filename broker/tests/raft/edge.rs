//! A broker without replicas serves all that one with replicas serves.

use std::sync::Arc;
use std::time::Duration;

use anyport_broker::Broker;
use anyport_broker::peer::{Call, PeerStreamKind};
use anyport_broker::serving::{Links, Notice};
use anyport_broker::session::Push;
use anyport_protocol::message::publish::Published;
use anyport_protocol::{BrokerId, ClientId, Code, Nonce, Offset, PartitionId, ProducerId, SessionEpoch, WallMs};
use anyport_storage::GroupId;
use anyport_storage::registry::{Command, Reply};
use futures_util::future::join_all;
use tokio::sync::mpsc;

use crate::reader::WayReader;
use crate::support::{TestGroups, already_at, batch, options, stored_at};
use crate::wires::Wires;

pub const CORE: BrokerId = BrokerId(0);
pub const EDGE: BrokerId = BrokerId(7);
const PARTITION: GroupId = GroupId::Partition(PartitionId(0));
const PRODUCER: ProducerId = ProducerId([7; 16]);

/// A broker with all replicas and one with none.
pub struct CoreAndEdge {
    pub wires: Wires,
    pub groups: TestGroups,
    pub core: Arc<Broker>,
    pub edge: Arc<Broker>,
    pub edge_links: Links,
}

impl CoreAndEdge {
    pub async fn start() -> Self {
        let (wires, groups) = (Wires::default(), TestGroups::start(options()).await);
        let (core_links, edge_links) = (wires.links(CORE), wires.links(EDGE));
        let core = groups.broker_with(core_links);
        groups.groups.place(&core.partitions, &core.registry);
        let edge = groups.broker_with(edge_links.clone());
        wires.serve(CORE, &core);
        wires.serve(EDGE, &edge);
        Self { wires, groups, core, edge, edge_links }
    }

    /// Publishes batches of three at the edge until so many events are stored.
    async fn publish(&self, producer: u8, batches: std::ops::Range<u64>) {
        for at in batches {
            let event_type = if at % 3 == 0 { "rare" } else { "common" };
            let batch = batch(ProducerId::from_bytes([producer; 16]), at * 3, 3, event_type);
            let stored = self.edge.publish(batch).await;
            assert!(matches!(stored, Published::Stored { .. }), "{stored:?}");
        }
    }
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("in time")
}

fn refused(published: &Published, code: Code) -> bool {
    matches!(published, Published::Refused(fault) if fault.is(code))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_at_an_edge_is_stored_once_and_over_one_stream() {
    let cluster = CoreAndEdge::start().await;
    let batches = (0..50).map(|at| cluster.edge.publish(batch(PRODUCER, at * 2, 2, "t")));
    // All are handed over before any is answered.
    let outcomes = in_time(join_all(batches.collect::<Vec<_>>())).await;
    assert_eq!(outcomes, (0..50).map(|at| stored_at(at * 2)).collect::<Vec<_>>());
    assert_eq!(in_time(cluster.edge.publish(batch(PRODUCER, 98, 2, "t"))).await, already_at(98));
    assert_eq!(cluster.wires.streams(PeerStreamKind::Publish), [CORE]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_an_edge_replay_and_follow_lose_nothing_and_share_one_stream() {
    let cluster = CoreAndEdge::start().await;
    cluster.publish(1, 0..50).await;
    let filters = ["", "", "", "type = 'rare'", "type = 'rare'", "type IN ('rare', 'last')"];
    let readers = filters.map(|filter| tokio::spawn(WayReader::new(&cluster.edge, filter, 1 << 20).run(Offset(301))));
    cluster.publish(2, 0..50).await;
    let last = cluster.edge.publish(batch(ProducerId::from_bytes([3; 16]), 0, 1, "rare")).await;
    assert_eq!(last, stored_at(300));
    let seen: Vec<_> = in_time(join_all(readers)).await.into_iter().map(|reader| reader.expect("read").seen).collect();
    assert_eq!(seen[0], (0..301).collect::<Vec<_>>());
    assert_eq!((&seen[1], &seen[2]), (&seen[0], &seen[0]));
    assert_eq!(seen[3].len(), 2 * 17 * 3 + 1);
    assert_eq!((&seen[4], &seen[5]), (&seen[3], &seen[3]));
    assert_eq!(cluster.wires.streams(PeerStreamKind::Tail), [CORE], "one stream for all who follow");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_at_an_edge_falls_behind_and_reads_again() {
    let cluster = CoreAndEdge::start().await;
    let reader = tokio::spawn(WayReader::new(&cluster.edge, "", 200).run(Offset(300)));
    cluster.publish(1, 0..100).await;
    let reader = in_time(reader).await.expect("read");
    assert_eq!(reader.seen, (0..300).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_cut_while_following_is_taken_up_again_where_it_was() {
    let cluster = CoreAndEdge::start().await;
    cluster.publish(1, 0..10).await;
    let reader = WayReader::new(&cluster.edge, "", 1 << 20);
    let progress = reader.progress();
    let reading = tokio::spawn(reader.run(Offset(60)));
    in_time(progress.clone().wait_for(|at| *at >= Offset(30))).await.expect("it reads");
    cluster.wires.cut(CORE);
    assert!(refused(&in_time(cluster.edge.publish(batch(PRODUCER, 0, 1, "t"))).await, Code::NotReady));
    // What the core stores while the edge cannot see it.
    let unseen = cluster.core.publish(batch(ProducerId::from_bytes([1; 16]), 30, 15, "t")).await;
    assert_eq!(unseen, stored_at(30));
    cluster.wires.heal(CORE);
    in_time(progress.clone().wait_for(|at| *at >= Offset(45))).await.expect("it reads on");
    cluster.publish(1, 15..20).await;
    assert_eq!(in_time(reading).await.expect("read").seen, (0..60).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_may_come_and_go_under_a_running_feed() {
    let cluster = CoreAndEdge::start().await;
    let reader = WayReader::new(&cluster.edge, "", 1 << 20);
    let progress = reader.progress();
    let reading = tokio::spawn(reader.run(Offset(120)));
    let came_to =
        async |offset| drop(in_time(progress.clone().wait_for(|at| *at >= Offset(offset))).await.expect("reads"));
    cluster.publish(1, 0..10).await;
    came_to(30).await;
    // As if the edge had got a replica that has caught up.
    cluster.edge.partitions.place(cluster.groups.partition());
    cluster.publish(1, 10..20).await;
    came_to(60).await;
    cluster.edge.partitions.remove(PartitionId(0));
    cluster.publish(1, 20..30).await;
    came_to(90).await;
    cluster.publish(1, 30..40).await;
    assert_eq!(in_time(reading).await.expect("read").seen, (0..120).collect::<Vec<_>>());
    assert_eq!(cluster.wires.streams(PeerStreamKind::Tail), [CORE, CORE], "before and after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_goes_to_the_leader_that_is_named_when_it_comes_again() {
    let cluster = CoreAndEdge::start().await;
    // A third, without replicas, is taken for the leader; it knows who is.
    let third = BrokerId(9);
    let third_links = cluster.wires.links(third);
    cluster.wires.serve(third, &cluster.groups.broker_with(third_links.clone()));
    cluster.edge_links.leaders.note(PARTITION, third);
    third_links.leaders.note(PARTITION, CORE);
    let (first, second) =
        (cluster.edge.publish(batch(PRODUCER, 0, 1, "t")), cluster.edge.publish(batch(PRODUCER, 1, 1, "t")));
    let first = in_time(first).await;
    assert!(
        matches!(&first, Published::Refused(fault) if fault.is(Code::NotReady) && fault.value.is_none()),
        "{first:?}"
    );
    // It may have been handed over after the first was answered, to a leader that misses the first.
    let second = in_time(second).await;
    assert!(refused(&second, Code::NotReady) || refused(&second, Code::OutOfSequence), "{second:?}");
    assert_eq!(cluster.edge_links.leaders.get(PARTITION), Some(CORE));
    // What was on its way behind the first must not look like a producer that is forgotten.
    assert!(refused(&in_time(cluster.edge.publish(batch(PRODUCER, 2, 1, "t"))).await, Code::OutOfSequence));
    assert_eq!(in_time(cluster.edge.publish(batch(PRODUCER, 0, 1, "t"))).await, stored_at(0));
    assert_eq!(in_time(cluster.edge.publish(batch(PRODUCER, 1, 1, "t"))).await, stored_at(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_to_forward_to_is_told_at_once() {
    let cluster = CoreAndEdge::start().await;
    cluster.wires.cut(CORE);
    let published = in_time(cluster.edge.publish(batch(PRODUCER, 0, 1, "t"))).await;
    assert!(refused(&published, Code::NotReady), "{published:?}");
    assert_eq!(cluster.edge.partitions.tails().await, [None], "an honest answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_finds_positions_by_time_and_time_by_position() {
    let cluster = CoreAndEdge::start().await;
    cluster.publish(1, 0..2).await;
    let way = cluster.edge.partitions.way(PartitionId(0));
    assert_eq!(way.offset_at(WallMs(0)).await.expect("found"), Offset(0));
    let appended = way.appended_at(Offset(5)).await.expect("found").expect("retained");
    assert!(way.offset_at(WallMs(appended.0 + 1)).await.expect("found") >= Offset(6));
    assert_eq!(way.appended_at(Offset(6)).await.expect("found"), None);
    let bounds = cluster.edge.partitions.bounds().await[0].expect("known");
    assert_eq!((bounds.head, bounds.tail), (Offset(0), Offset(6)));
    assert_eq!(cluster.wires.calls(Call::Bounds), 1);
}

fn client(id: u8) -> ClientId {
    ClientId::from_bytes([id; 16])
}

fn register(id: u8) -> Command {
    Command::Register { client: client(id), now: WallMs(1) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_changed_and_read_through_an_edge() {
    let cluster = CoreAndEdge::start().await;
    let (reply, index) = in_time(cluster.edge.registry.apply(register(1))).await.expect("registered");
    assert!(matches!(reply, Reply::Registered { .. }), "{reply:?}");
    assert_eq!(cluster.edge_links.leaders.get(GroupId::Registry(0)), Some(CORE));
    let (record, seen) = in_time(cluster.edge.registry.record(client(1), index)).await.expect("read");
    assert!(record.is_some() && seen >= index);
    // Nobody has seen that index: an older answer is none.
    let early = in_time(cluster.edge.registry.record(client(1), seen + 1)).await.expect_err("too early");
    assert!(early.is(Code::RetryAfter), "{early}");
    cluster.wires.cut(CORE);
    let unreachable = in_time(cluster.edge.registry.apply(register(2))).await.expect_err("nobody is there");
    assert!(unreachable.is(Code::NotReady), "{unreachable}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_has_not_seen_what_the_client_has_waits_for_it() {
    let cluster = CoreAndEdge::start().await;
    let (_, index) = in_time(cluster.edge.registry.apply(register(1))).await.expect("registered");
    let registry = cluster.core.registry.clone();
    let waiting = tokio::spawn(async move { registry.record(client(2), index + 1).await });
    in_time(cluster.edge.registry.apply(register(2))).await.expect("registered");
    let (record, seen) = in_time(waiting).await.expect("no panic").expect("it came");
    assert!(record.is_some() && seen > index);
}

fn live_session(broker: &Broker, epoch: u64) -> mpsc::Receiver<Push> {
    let (pushes, inbox) = mpsc::channel(4);
    broker.sessions.opened(client(1), SessionEpoch(epoch), Nonce([epoch as u8; 16]), 1, pushes);
    inbox
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_opened_at_one_broker_takes_over_from_an_older_one_at_another() {
    let cluster = CoreAndEdge::start().await;
    let (mut older, mut newer) = (live_session(&cluster.core, 4), live_session(&cluster.edge, 5));
    let notice = Notice::SessionOpened { client: client(1), epoch: SessionEpoch(5), nonce: Nonce([5; 16]) };
    cluster.edge.notifier.tell(notice);
    let Some(Push::TakenOver(taken)) = in_time(older.recv()).await else { panic!("nothing pushed") };
    assert_eq!((taken.epoch, taken.nonce), (SessionEpoch(5), Nonce([5; 16])));
    // The older one's own notice is late, and takes nothing over.
    let late = Notice::SessionOpened { client: client(1), epoch: SessionEpoch(4), nonce: Nonce([4; 16]) };
    cluster.core.notifier.tell(late);
    while cluster.wires.calls(Call::SessionOpened) < 2 {
        tokio::task::yield_now().await;
    }
    assert!(newer.try_recv().is_err());
}
