//! Commands of many clients go together, and what was replied stays so.

use std::time::Duration;

use anyport_broker::cluster::GroupOptions;
use anyport_broker::registry::{EndCause, Ended, Housekeeping, RegistryHandle};
use anyport_protocol::message::SubscribeOutcome;
use anyport_protocol::{ClientId, Cursor, Incarnation, Nonce, SessionEpoch, WallMs};
use anyport_storage::registry::{ClientRecord, Command, Refusal, Reply};
use futures_util::future::join_all;
use tokio::sync::mpsc;

use crate::support::{TestGroups, options};

fn client(id: u8) -> ClientId {
    ClientId::from_bytes([id; 16])
}

fn register(id: u8) -> Command {
    Command::Register { client: client(id), now: WallMs(1) }
}

fn subscribe(id: u8, inactive_expiry_secs: u64) -> Command {
    Command::Subscribe {
        client: client(id),
        epoch: SessionEpoch(1),
        name: "quakes".parse().expect("a name"),
        filter: "type = 'quake'".into(),
        starts: vec![Cursor::default()],
        seek: false,
        inactive_expiry_secs,
        expired: None,
        temporary: false,
        now: WallMs(1),
    }
}

async fn record(registry: &RegistryHandle, id: u8) -> Option<ClientRecord> {
    registry.record(client(id), 0).await.expect("readable").0
}

async fn assert_all_registered(registry: &RegistryHandle) {
    for id in 0..200 {
        assert!(record(registry, id).await.is_some(), "client {id}");
    }
}

async fn open_with_subscription(broker: &TestGroups, id: u8, inactive_expiry_secs: u64) {
    let registry = &broker.groups.registry;
    registry.apply(register(id)).await.expect("registered");
    let open = Command::Open { client: client(id), epoch: SessionEpoch(1), nonce: Nonce([id; 16]), now: WallMs(1) };
    registry.apply(open).await.expect("opened");
    let (reply, _) = registry.apply(subscribe(id, inactive_expiry_secs)).await.expect("subscribed");
    assert!(matches!(reply, Reply::Subscribed { .. }), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_many_clients_share_entries_and_survive_a_restart() {
    let broker = TestGroups::start(GroupOptions { registry_shards: 2, ..options() }).await;
    let replies = join_all((0..200).map(|id| broker.groups.registry.apply(register(id)))).await;
    let mut indexes: Vec<u64> = replies.into_iter().map(|reply| reply.expect("registered").1).collect();
    indexes.sort_unstable();
    indexes.dedup();
    assert!(indexes.len() < 50, "200 commands took {} entries", indexes.len());
    open_with_subscription(&broker, 7, 3600).await;

    let broker = broker.restart().await;
    let registry = &broker.groups.registry;
    assert_all_registered(registry).await;
    let record = record(registry, 7).await.expect("registered");
    assert_eq!(record.subscriptions.len(), 1);
    assert_eq!(self::record(registry, 250).await, None);
}

/// Ends what nobody uses as soon as it may.
fn eager() -> GroupOptions {
    let housekeeping = Housekeeping {
        every: Duration::from_millis(20),
        grace: Duration::ZERO,
        clients_per_scan: 2,
        ..Housekeeping::default()
    };
    GroupOptions { housekeeping, ..options() }
}

async fn next_ended(ended: &mut mpsc::Receiver<Ended>) -> Option<Ended> {
    tokio::time::timeout(Duration::from_secs(10), ended.recv()).await.expect("in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_nobody_uses_ends_and_it_is_announced() {
    let broker = TestGroups::start(eager()).await;
    let mut ended = broker.groups.ended();
    for id in 0..5 {
        // Last used in 1970, all but one for ever.
        open_with_subscription(&broker, id, if id == 3 { 60 } else { u64::MAX / 2000 }).await;
    }
    let told = next_ended(&mut ended).await;
    let name = "quakes".parse().expect("a name");
    assert_eq!(told, Some(Ended { client: client(3), name, incarnation: Incarnation(1), cause: EndCause::Unused }));
    let record = record(&broker.groups.registry, 3).await.expect("still registered");
    assert!(record.subscriptions.is_empty());
    broker.groups.shutdown().await;
    assert_eq!(ended.recv().await, None, "the others live, and the stream ends with the registry");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expired_is_told_after_a_restart_too_and_begun_anew_by_who_knows() {
    let broker = TestGroups::start(eager()).await;
    open_with_subscription(&broker, 3, 60).await;
    next_ended(&mut broker.groups.ended()).await.expect("last used in 1970");

    let broker = broker.restart().await;
    let (refused, _) = broker.groups.registry.apply(subscribe(3, 60)).await.expect("answered");
    let incarnation = Incarnation(1);
    assert_eq!(refused, Reply::Refused(Refusal::Expired { name: "quakes".parse().expect("a name"), incarnation }));
    let mut knowing = subscribe(3, 60);
    if let Command::Subscribe { expired, .. } = &mut knowing {
        *expired = Some(incarnation);
    }
    let (reply, _) = broker.groups.registry.apply(knowing).await.expect("answered");
    assert!(matches!(reply, Reply::Subscribed { outcome: SubscribeOutcome::Created, .. }), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_has_grown_is_purged_and_nothing_is_lost_with_it() {
    let housekeeping =
        Housekeeping { every: Duration::from_millis(20), log_bytes_max: 4096, ..Housekeeping::default() };
    let broker = TestGroups::start(GroupOptions { housekeeping, ..options() }).await;
    for id in 0..200 {
        broker.groups.registry.apply(register(id)).await.expect("registered");
    }
    broker.registry_log_is_purged().await;
    let broker = broker.restart().await;
    assert_all_registered(&broker.groups.registry).await;
    broker.groups.registry.apply(register(201)).await.expect("registered");
}
