//! Opening this broker's store, and finding out who it is among others: what comes before anything is served.
//!
//! A broker alone opens its store or refuses to start. One of many has a seat (see [`Seat`]) and others to turn to: if its store is damaged,
//! empty where it should not be, or its number is used up, it takes a new seat, and its replicas are built anew from the others. What
//! the store was is set aside, never deleted: it may be the last copy of something.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyport_protocol::{BrokerId, ClusterId, LogEpoch, ReplicaId, WallMs};
use anyport_storage::{GroupId, OpenError, Store, StoreError, StoreOptions};

use crate::clock;
use crate::cluster::{self, FormingError, Introduction, Member, Membership, NewCluster, Seat, SeatError, Wish};
use crate::config::Config;
use crate::identity::TokenAuthority;
use crate::net::{BindError, BundleError, ClusterIdentity};
use crate::peer::{Directory, PeerEndpoint};
use crate::server::REGISTRY_SHARDS;

/// The row that says of which broker a store is.
const SEAT_ROW: &str = "seat";

#[derive(Debug, thiserror::Error)]
pub enum SeatingError {
    #[error("open the store in {path}: {source}")]
    Store { path: PathBuf, source: OpenError },
    #[error("read the broker's own facts: {0}")]
    Facts(#[from] StoreError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Forming(#[from] FormingError),
    #[error(transparent)]
    Seat(#[from] SeatError),
    #[error("{path} holds a store of a broker that was in no cluster or in another one; join with another --data")]
    ForeignStore { path: PathBuf },
    #[error("set the old store in {path} aside: {source}")]
    SetAside { path: PathBuf, source: io::Error },
}

/// Why a broker does not go on from its seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The cluster has given its number up.
    Removed,
    Store {
        why: String,
    },
}

/// The store of a broker that is its whole cluster.
pub async fn alone(config: &Config) -> Result<(Store, Membership), SeatingError> {
    let new_epoch = config.restored.then(|| epoch_of(clock::wall()));
    let counts = [config.partitions, REGISTRY_SHARDS];
    let options = StoreOptions { new_epoch, ..options(config, counts) };
    let store = open(&config.data, options).await?;
    Ok((store, Membership::Alone(new_cluster(config))))
}

/// A seat in a cluster, and its store. `lost` is known of a broker that has run and starts again.
pub async fn one_of_many(
    config: &Config,
    identity: ClusterIdentity,
    lost: Option<Lost>,
) -> Result<(Store, Membership), SeatingError> {
    let introduction = Introduction {
        key: identity.key(),
        peer_address: config.many.peer_address(),
        client_address: config.client_address(),
        zone: config.many.zone.clone(),
        edge: config.many.edge,
        start: rand::random(),
    };
    let endpoint = PeerEndpoint::bind(config.many.peer, &identity)?;
    let seating = Seating { config, endpoint, introduction };
    match (Seat::load(&config.data)?, lost) {
        (Some(seat), Some(lost)) => seating.anew(seat, &lost).await,
        (Some(seat), None) => seating.again(seat).await,
        (None, _) if config.many.bootstrap => seating.bootstrap().await,
        (None, _) => seating.join().await,
    }
}

struct Seating<'a> {
    config: &'a Config,
    endpoint: PeerEndpoint,
    introduction: Introduction,
}

impl Seating<'_> {
    /// Makes a cluster; of a broker that was alone so far, with all it has.
    async fn bootstrap(self) -> Result<(Store, Membership), SeatingError> {
        let store = open(&self.config.data, options(self.config, [self.config.partitions, REGISTRY_SHARDS])).await?;
        let new = new_cluster(self.config);
        let standing = store.metadata()?.facts().cloned();
        let facts = standing.unwrap_or_else(|| new.clone().facts(self.config.partitions, REGISTRY_SHARDS));
        let seat = Seat::new(BrokerId::FIRST, ReplicaId::FIRST, &facts);
        seat.save(&self.config.data)?;
        self.member(store, seat, Directory::new(), Some(new))
    }

    async fn join(self) -> Result<(Store, Membership), SeatingError> {
        if self.config.data.join("store").exists() {
            return Err(SeatingError::ForeignStore { path: self.config.data.clone() });
        }
        let wish = Wish { join: self.config.many.join.clone(), folder: self.config.data.clone() };
        let (seat, directory) = cluster::join(&self.endpoint, &wish, &self.introduction).await?;
        seat.save(&self.config.data)?;
        let store = open(&self.config.data, options(self.config, seat.counts())).await?;
        self.member(store, seat, directory, None)
    }

    /// Goes on from the seat of an earlier start, if its store is what it was.
    async fn again(self, seat: Seat) -> Result<(Store, Membership), SeatingError> {
        // Where there are others, a replica whose log is damaged is rebuilt from theirs.
        let open_damaged = !seat.peers.is_empty();
        let options = StoreOptions { open_damaged, ..options(self.config, seat.counts()) };
        let lost = match open(&self.config.data, options).await {
            // Without the metadata nothing says what the rest is.
            Ok(store) if store.damaged().contains(&GroupId::Metadata) => {
                Lost::Store { why: "its copy of the metadata is damaged".to_owned() }
            }
            Ok(store) => match self.is_of(&store, &seat)? {
                true => {
                    // The first broker's facts may not have been committed before its first end.
                    let new = (seat.broker == BrokerId::FIRST).then(|| new_cluster_named(self.config, seat.cluster()));
                    return self.member(store, seat, Directory::new(), new);
                }
                false => Lost::Store { why: "it is empty where it should not be".to_owned() },
            },
            Err(SeatingError::Store { path, source }) if is_damage(&source) => match seat.peers.is_empty() {
                true => return Err(SeatingError::Store { path, source }),
                false => Lost::Store { why: source.to_string() },
            },
            Err(error) => return Err(error),
        };
        self.anew(seat, &lost).await
    }

    fn is_of(&self, store: &Store, seat: &Seat) -> Result<bool, SeatingError> {
        let row = store.local(SEAT_ROW)?;
        Ok(!seat.begun || row.is_some_and(|row| row == seat.broker.0.to_le_bytes()))
    }

    /// Joins as new. The old store is set aside only when the others have agreed.
    async fn anew(self, old: Seat, lost: &Lost) -> Result<(Store, Membership), SeatingError> {
        tracing::warn!(broker = %old.broker, ?lost, "this broker joins the cluster as new; its replicas are built from the others");
        let join = old.peers.iter().chain(&self.config.many.join).cloned().collect();
        let wish = Wish { join, folder: self.config.data.clone() };
        let (seat, directory) = cluster::join(&self.endpoint, &wish, &self.introduction).await?;
        set_aside(&self.config.data, old.broker)?;
        seat.save(&self.config.data)?;
        let store = open(&self.config.data, options(self.config, seat.counts())).await?;
        self.member(store, seat, directory, None)
    }

    /// From here on an empty store is a loss.
    fn member(
        self,
        store: Store,
        mut seat: Seat,
        directory: Directory,
        new: Option<NewCluster>,
    ) -> Result<(Store, Membership), SeatingError> {
        if !seat.begun {
            store.put_local(SEAT_ROW, &seat.broker.0.to_le_bytes())?;
            seat.begun = true;
            seat.save(&self.config.data)?;
        }
        let (endpoint, introduction, folder) = (self.endpoint, self.introduction, self.config.data.clone());
        let member = Member { seat, endpoint, directory, introduction, new, folder };
        Ok((store, Membership::OneOfMany(Box::new(member))))
    }
}

/// Damage of what the store holds, not of the way to it.
fn is_damage(error: &OpenError) -> bool {
    match error {
        OpenError::MarkMissing { .. }
        | OpenError::MarkDamaged { .. }
        | OpenError::ShortOfMark { .. }
        | OpenError::Distrusted { .. }
        | OpenError::Store(StoreError::Damaged(_)) => true,
        // RocksDB tells a lock that is held, and want of permission, from damage in its text alone.
        OpenError::Engine { cause, .. } => cause.starts_with("Corruption"),
        _ => false,
    }
}

fn set_aside(data: &Path, broker: BrokerId) -> Result<(), SeatingError> {
    let aside = data.join(format!("lost-broker-{broker}"));
    let failed = |source| SeatingError::SetAside { path: data.to_owned(), source };
    fs::create_dir_all(&aside).map_err(failed)?;
    for name in ["store", "synced.mark", "distrusted.txt"] {
        match fs::rename(data.join(name), aside.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    tracing::warn!(folder = %aside.display(), "the old store is kept there; delete it when nothing is missing");
    Ok(())
}

async fn open(data: &Path, options: StoreOptions) -> Result<Store, SeatingError> {
    let path = data.to_owned();
    let opened = tokio::task::spawn_blocking(move || Store::open(&path, options));
    let opened = opened.await.expect("opening does not panic, and nothing aborts it");
    opened.map_err(|source| SeatingError::Store { path: data.to_owned(), source })
}

fn options(config: &Config, [partitions, registry_shards]: [u16; 2]) -> StoreOptions {
    StoreOptions { sync: config.fsync.into(), partitions, registry_shards, ..StoreOptions::default() }
}

/// The minute: after what the copy's own later life has used, and another than that of an earlier return to the same copy.
fn epoch_of(now: WallMs) -> LogEpoch {
    LogEpoch(u32::try_from(now.0 / 60_000).unwrap_or(u32::MAX - 1))
}

/// What the cluster is if this start is its first: nobody else's.
fn new_cluster(config: &Config) -> NewCluster {
    new_cluster_named(config, ClusterId::from_bytes(rand::random()))
}

fn new_cluster_named(config: &Config, cluster: ClusterId) -> NewCluster {
    let replace_after = config.many.replace_after.0.unwrap_or_default();
    NewCluster {
        cluster,
        created: clock::wall(),
        token_key: TokenAuthority::generate_key(),
        timing: config.many.timing,
        replication: config.many.replication,
        replace_after_ms: u64::try_from(replace_after.as_millis()).unwrap_or(u64::MAX),
    }
}
