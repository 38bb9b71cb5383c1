//! The engine's own tests of a log and a state machine, run on ours.
//!
//! Left out, each for one reason:
//! - `last_applied_state`, `get_initial_state_membership_from_log_and_sm`: they leave holes in the log or in what is applied, and
//!   our store refuses holes, which no running engine makes.
//!   The metadata and the registry leave out no more.
//! - partitions only, `snapshot_meta`, `transfer_snapshot`: they demand a snapshot at the applied index. A partition's is of the
//!   index it was trimmed to, so that retained events are replicated and not copied.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyport_protocol::PartitionId;
use anyport_storage::{GroupId, Store, StoreOptions};
use openraft::storage::RaftStateMachine;
use openraft::testing::{StoreBuilder, Suite};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use super::log_store::LogStore;
use super::metadata_machine::MetadataStateMachine;
use super::partition_machine::{Applied, PartitionStateMachine};
use super::registry_machine::RegistryStateMachine;
use super::types::{StorageError, TypeConfig};

/// Keeps a store while a test runs.
struct Guard {
    _folder: TempDir,
    _store: Store,
    _applied: Option<mpsc::Receiver<Applied>>,
}

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = StoreOptions { partitions: 1, registry_shards: 1, ..StoreOptions::default() };
    let store = Store::open(folder.path(), options).expect("open");
    (folder, store)
}

struct Metadata;

impl StoreBuilder<TypeConfig, LogStore, MetadataStateMachine, Guard> for Metadata {
    async fn build(&self) -> Result<(Guard, LogStore, MetadataStateMachine), StorageError> {
        let (folder, store) = store();
        let log = LogStore::new(store.log(GroupId::Metadata));
        let (machine, _) = MetadataStateMachine::new(store.metadata().expect("open"));
        Ok((Guard { _folder: folder, _store: store, _applied: None }, log, machine))
    }
}

struct Registries;

impl StoreBuilder<TypeConfig, LogStore, RegistryStateMachine, Guard> for Registries {
    async fn build(&self) -> Result<(Guard, LogStore, RegistryStateMachine), StorageError> {
        let (folder, store) = store();
        let log = LogStore::new(store.log(GroupId::Registry(0)));
        let machine = store.registry(0).expect("open");
        let snapshots = Arc::from(folder.path().join("snapshots"));
        let machine = RegistryStateMachine::new(machine, mpsc::channel(1).0, Arc::new(AtomicU64::new(0)), snapshots);
        Ok((Guard { _folder: folder, _store: store, _applied: None }, log, machine))
    }
}

struct Partitions;

impl StoreBuilder<TypeConfig, LogStore, PartitionStateMachine, Guard> for Partitions {
    async fn build(&self) -> Result<(Guard, LogStore, PartitionStateMachine), StorageError> {
        let (folder, store) = store();
        let log = LogStore::new(store.log(GroupId::Partition(PartitionId(0))));
        let (machine, _) = store.partition(PartitionId(0)).expect("open");
        let (applied, inbox) = mpsc::channel(64);
        let machine = PartitionStateMachine::new(machine, applied, watch::channel(None).0).expect("open");
        Ok((Guard { _folder: folder, _store: store, _applied: Some(inbox) }, log, machine))
    }
}

/// Runs one case on a new store.
async fn run<M, B, T, F>(builder: B, case: T)
where
    M: RaftStateMachine<TypeConfig>,
    B: StoreBuilder<TypeConfig, LogStore, M, Guard>,
    T: FnOnce(LogStore, M) -> F,
    F: Future<Output = Result<(), StorageError>>,
{
    let (_guard, log, machine) = builder.build().await.expect("build");
    case(log, machine).await.expect("the case holds");
}

type Cases<M, B> = Suite<TypeConfig, LogStore, M, B, Guard>;

macro_rules! cases {
    ($module:ident, $builder:expr, $machine:ty, $builder_type:ty: $($case:ident,)*) => {
        mod $module {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    run($builder, Cases::<$machine, $builder_type>::$case).await;
                }
            )*
        }
    };
}

macro_rules! of_all {
    ($($case:ident,)*) => {
        cases! { metadata, Metadata, MetadataStateMachine, Metadata: $($case,)* snapshot_meta, }
        cases! { registry, Registries, RegistryStateMachine, Registries: $($case,)* snapshot_meta, }
        cases! { partition, Partitions, PartitionStateMachine, Partitions: $($case,)* }
    };
}

of_all! {
    last_membership_in_log_initial,
    last_membership_in_log,
    last_membership_in_log_multi_step,
    get_membership_initial,
    get_membership_from_log_and_empty_sm,
    get_membership_from_empty_log_and_sm,
    get_membership_from_log_le_sm_last_applied,
    get_membership_from_log_gt_sm_last_applied_1,
    get_membership_from_log_gt_sm_last_applied_2,
    get_initial_state_without_init,
    get_initial_state_with_state,
    get_initial_state_last_log_gt_sm,
    get_initial_state_last_log_lt_sm,
    get_initial_state_log_ids,
    get_initial_state_re_apply_committed,
    save_vote,
    get_log_entries,
    limited_get_log_entries,
    try_get_log_entry,
    initial_logs,
    get_log_state,
    get_log_id,
    last_id_in_log,
    purge_logs_upto_0,
    purge_logs_upto_5,
    purge_logs_upto_20,
    delete_logs_since_11,
    delete_logs_since_0,
    append_to_log,
    apply_single,
    apply_multiple,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metadata_is_carried_to_another_replica() {
    Cases::<MetadataStateMachine, Metadata>::transfer_snapshot(&Metadata).await.expect("the case holds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_is_carried_to_another_replica() {
    Cases::<RegistryStateMachine, Registries>::transfer_snapshot(&Registries).await.expect("the case holds");
}
