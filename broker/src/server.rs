//! Starting and stopping a broker, each read top to bottom in order.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::{ClusterId, Code, LogEpoch, WallMs};
use anyport_storage::{OpenError, Poison, Store, StoreError, StoreOptions};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin};
use crate::clock;
use crate::cluster::{self, Groups, NewCluster};
use crate::config::{Config, Fsync};
use crate::epochs::{EpochsError, LogEpochs};
use crate::feed::ReadGrants;
use crate::http::{HttpLimits, HttpListener, HttpServer};
use crate::identity::{BadKey, TokenAuthority};
use crate::net::{self, BindError, DevAuthority, EndpointOptions, Identity, Keys, Listener, TlsError};
use crate::registry::RegistryHandle;
use crate::serving::{Links, Notifier, Partitions};
use crate::session::{self, ConnectionLimits, Push, SessionTable};
use crate::shared::Broker;
use anyport_protocol::message::GoAway;

/// Shards of the client registry. Fixed for the life of a store.
pub(crate) const REGISTRY_SHARDS: u16 = 4;

/// How long a notice takes to be on its way.
const NOTICE: Duration = Duration::from_millis(100);

/// How long clients get to hear that the broker leaves.
const GOODBYE: Duration = Duration::from_millis(500);

/// How long a failed disk gets to keep a note of its failure for the next start.
const FAILURE_NOTE: Duration = Duration::from_secs(5);

/// How often the store is asked whether it has failed; after that nothing is acked any more, so only the exit waits for this.
const POISON_POLL: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("open the store in {path}: {source}")]
    Store { path: PathBuf, source: OpenError },
    #[error("read the broker's own facts: {0}")]
    Facts(#[from] StoreError),
    #[error(transparent)]
    TokenKey(#[from] BadKey),
    #[error(transparent)]
    Epochs(#[from] EpochsError),
    #[error("start the groups: {0}")]
    Groups(#[from] cluster::StartError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("listen on tcp {address} for the admin port: {source}")]
    Admin { address: SocketAddr, source: std::io::Error },
    #[error("listen on tcp {address} for events over HTTP (`--http off` does without): {source}")]
    Http { address: SocketAddr, source: std::io::Error },
    #[error("use the certificate for HTTPS: {0}")]
    Certificate(#[from] rustls::Error),
}

/// A running broker.
#[derive(Debug)]
pub struct Server {
    broker: Arc<Broker>,
    store: Store,
    groups: Groups,
    listener: Listener,
    http: Option<HttpServer>,
    stop_admin: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts everything; when this returns, clients are being served.
pub async fn start(config: &Config, metrics: PrometheusHandle) -> Result<Server, StartError> {
    admin::begin_counters();
    // Ports first: that another broker runs here is the commonest reason not to start.
    let admin_listener =
        admin::bind(config.admin).await.map_err(|source| StartError::Admin { address: config.admin, source })?;
    let http_listener = bind_http(config).await?;
    let store = open_store(config).await?;
    let keys = own_keys(&store)?;
    let listener = net::bind(EndpointOptions {
        listen: config.listen,
        identity: tls_identity(config, config.listen.ip())?,
        keys,
    })?;

    let groups = cluster::start(store.clone(), config.group_options(), new_cluster()).await?;
    let tokens = TokenAuthority::new(groups.facts.cluster, &groups.facts.token_key)?;
    let tails: Vec<_> = groups.partitions.iter().map(|partition| partition.bounds().tail).collect();
    let epochs = LogEpochs::load(&store, &tails)?;
    let (links, grants) =
        (Links::alone(), ReadGrants::new(std::thread::available_parallelism().map_or(2, usize::from)));
    let partitions = Partitions::new(groups.facts.partitions, links.clone(), grants.clone());
    let notifier = Notifier::start(links.clone());
    let registry = RegistryHandle::new(groups.facts.registry_shards, links, grants);
    groups.place(&partitions, &registry);
    let broker = Arc::new(Broker {
        cluster: groups.facts.cluster,
        partitions,
        registry,
        sessions: SessionTable::default(),
        notifier,
        tokens,
        epochs,
        relaxed: config.fsync != Fsync::Always,
    });

    let http = http_listener.map(|listener| start_http(config, &broker, listener)).transpose()?;
    let stop_admin = CancellationToken::new();
    let admin = Admin { metrics, healthy: healthy(&store), ready: groups.ready_probe() };
    let tasks = vec![
        tokio::spawn(admin::serve(admin, admin_listener, stop_admin.clone())),
        tokio::spawn(session::serve(Arc::clone(&broker), listener.clone(), ConnectionLimits::default())),
        tokio::spawn(session::announce_ended(Arc::clone(&broker), groups.ended())),
    ];
    Ok(Server { broker, store, groups, listener, http, stop_admin, tasks })
}

impl Server {
    /// Where clients connect, with the port the system chose if it was asked to.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where events are taken over HTTP, if anywhere.
    pub fn http_url(&self) -> Option<&str> {
        self.http.as_ref().map(HttpServer::url)
    }

    pub fn partitions(&self) -> usize {
        usize::from(self.broker.partitions.count())
    }

    /// Resolves when the store has failed: the process must end, and what it has not synced is not trusted again.
    pub async fn failed(&self) -> Poison {
        let poison = loop {
            match self.store.poisoned() {
                Some(poison) => break poison,
                None => tokio::time::sleep(POISON_POLL).await,
            }
        };
        let settled = async {
            while !self.store.failure_is_settled() {
                tokio::time::sleep(POISON_POLL).await;
            }
        };
        if tokio::time::timeout(FAILURE_NOTE, settled).await.is_err() {
            tracing::error!("the disk does not even take a note of its failure");
        }
        poison
    }

    /// Stops in order: clients are told, connections end, what was posted is answered, groups stop proposing, the store syncs and
    /// closes.
    pub async fn stop(self) -> Result<(), StoreError> {
        let reconnect_after_ms = 1000;
        if !self.broker.sessions.is_empty() {
            self.broker.sessions.push_to_all(&Push::GoAway(GoAway { reconnect_after_ms }));
            // A notice written at the moment its connection is closed would not be sent any more.
            tokio::time::sleep(NOTICE).await;
        }
        self.listener.close(Code::ShuttingDown, GOODBYE).await;
        if let Some(http) = self.http {
            http.stop().await;
        }
        self.groups.shutdown().await;
        self.stop_admin.cancel();
        for task in self.tasks {
            // The accept loop ends with its listener; the other two by what was just cancelled and shut down.
            if let Err(failed) = task.await {
                tracing::error!(%failed, "a task of the broker");
            }
        }
        drop(self.broker);
        tokio::task::spawn_blocking(move || self.store.close()).await.unwrap_or_else(|failed| {
            tracing::error!(%failed, "close the store");
            Ok(())
        })
    }
}

async fn open_store(config: &Config) -> Result<Store, StartError> {
    let path = config.data.clone();
    let options = StoreOptions {
        sync: config.fsync.into(),
        partitions: config.partitions,
        registry_shards: REGISTRY_SHARDS,
        new_epoch: config.restored.then(|| epoch_of(clock::wall())),
        ..StoreOptions::default()
    };
    let opened = tokio::task::spawn_blocking({
        let path = path.clone();
        move || Store::open(&path, options)
    });
    let opened = opened.await.expect("opening does not panic, and nothing aborts it");
    opened.map_err(|source| StartError::Store { path, source })
}

/// The minute: after what the copy's own later life has used, and another than that of an earlier return to the same copy.
fn epoch_of(now: WallMs) -> LogEpoch {
    LogEpoch(u32::try_from(now.0 / 60_000).unwrap_or(u32::MAX - 1))
}

/// What the cluster is if this start is its first: nobody else's.
fn new_cluster() -> NewCluster {
    let (cluster, token_key) = (ClusterId::from_bytes(rand::random()), TokenAuthority::generate_key());
    NewCluster { cluster, created: clock::wall(), token_key }
}

/// What this broker made at its first start, for itself alone, and must not change.
fn own_keys(store: &Store) -> Result<Keys, StartError> {
    let reset_secret = kept(store, "quic-reset-secret", || rand::random::<[u8; 64]>().to_vec())?;
    let connection_id_key = kept(store, "quic-connection-id-key", || rand::random::<[u8; 8]>().to_vec())?;
    Ok(Keys {
        reset_secret: reset_secret.try_into().map_err(|_| BadKey)?,
        connection_id_key: u64::from_le_bytes(connection_id_key.try_into().map_err(|_| BadKey)?),
    })
}

/// The kept value, made and synced at the first start.
fn kept(store: &Store, name: &str, make: impl FnOnce() -> Vec<u8>) -> Result<Vec<u8>, StoreError> {
    if let Some(value) = store.local(name)? {
        return Ok(value);
    }
    let value = make();
    store.put_local(name, &value)?;
    Ok(value)
}

async fn bind_http(config: &Config) -> Result<Option<HttpListener>, StartError> {
    let Some(address) = config.http_address() else { return Ok(None) };
    HttpListener::bind(address).await.map(Some).map_err(|source| StartError::Http { address, source })
}

/// Tokens do not travel unencrypted beyond this machine.
fn start_http(config: &Config, broker: &Arc<Broker>, listener: HttpListener) -> Result<HttpServer, StartError> {
    let tls = match listener.address().ip() {
        ip if ip.is_loopback() => None,
        ip => Some(tls_identity(config, ip)?.server_config()?),
    };
    Ok(listener.serve(Arc::clone(broker), tls, HttpLimits::default()))
}

/// What clients are shown that connect to this address.
fn tls_identity(config: &Config, address: IpAddr) -> Result<Identity, TlsError> {
    if let (Some(chain), Some(key)) = (&config.tls_cert, &config.tls_key) {
        return Identity::load(chain, key);
    }
    let authority = DevAuthority::open(&config.data.join("dev-ca"))?;
    authority.publish(&config.home.join("ca").join(format!("dev-{}.pem", config.listen.port())))?;
    authority.issue(address)
}

fn healthy(store: &Store) -> admin::Probe {
    let store = store.clone();
    Arc::new(move || store.poisoned().map_or(Ok(()), |poison| Err(poison.to_string())))
}
