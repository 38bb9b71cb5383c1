//! Starting and stopping a broker, each read top to bottom in order.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::Code;
use anyport_protocol::map::Host;
use anyport_storage::{OpenError, Poison, Store, StoreError};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin};
use crate::cluster::{self, Dismissal, Groups};
use crate::config::{BadConfig, Config, Fsync};
use crate::epochs::{EpochsError, LogEpochs};
use crate::feed::ReadGrants;
use crate::http::{HttpLimits, HttpListener, HttpServer};
use crate::identity::{BadKey, TokenAuthority};
use crate::map::{self, Advertising};
use crate::net::{self, BindError, ClusterIdentity, DevAuthority, EndpointOptions, Identity, Keys, Listener, TlsError};
use crate::seating::{self, Lost, SeatingError};
use crate::serving::{Notifier, Serving};
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
    #[error(transparent)]
    Config(#[from] BadConfig),
    #[error(transparent)]
    Seating(#[from] SeatingError),
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

impl StartError {
    /// Whether somebody has a port, or this process the store: whoever starts anew may be that somebody, for a moment.
    pub fn is_of_what_is_in_use(&self) -> bool {
        match self {
            Self::Bind(BindError::Socket { source, .. })
            | Self::Seating(SeatingError::Bind(BindError::Socket { source, .. }))
            | Self::Admin { source, .. }
            | Self::Http { source, .. } => source.kind() == std::io::ErrorKind::AddrInUse,
            // As RocksDB says it.
            Self::Seating(SeatingError::Store { source: OpenError::Engine { cause, .. }, .. }) => {
                cause.contains("lock hold by current process")
            }
            _ => false,
        }
    }
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
///
/// `lost` is why an earlier start in this process gave up its seat in the cluster, if it did.
pub async fn start(config: &Config, metrics: PrometheusHandle, lost: Option<Lost>) -> Result<Server, StartError> {
    admin::begin_counters();
    config.check()?;
    // Ports first: that another broker runs here is the commonest reason not to start.
    let admin_listener =
        admin::bind(config.admin).await.map_err(|source| StartError::Admin { address: config.admin, source })?;
    let http_listener = bind_http(config).await?;
    let http_address = http_listener.as_ref().map(HttpListener::address);
    let bundle = config.many.cluster.as_deref().map(ClusterIdentity::load).transpose().map_err(SeatingError::from)?;
    let shown = bundle.as_ref().map(|bundle| Shown::new(config, Some(bundle), http_address)).transpose()?;
    let (store, membership) = match bundle {
        None => seating::alone(config).await?,
        Some(bundle) => seating::one_of_many(config, bundle, lost).await?,
    };
    // After the store, whose folder keeps the development authority.
    let Shown { identity, https } = shown.map_or_else(|| Shown::new(config, None, http_address), Ok)?;
    let listener = net::bind(EndpointOptions { listen: config.listen, identity, keys: own_keys(&store)? })?;

    let grants = ReadGrants::new(std::thread::available_parallelism().map_or(2, usize::from));
    let groups = cluster::start(store.clone(), config.group_options(), membership, grants).await?;
    groups.begin_epochs(&store).await?;
    let stop_admin = CancellationToken::new();
    let (service_map, keeping_map) = map::keep(groups.state.clone(), own_host(config, &listener), stop_admin.clone());
    let broker = Arc::new(Broker {
        cluster: groups.facts.cluster,
        partitions: groups.partitions.clone(),
        registry: groups.registry.clone(),
        sessions: SessionTable::default(),
        notifier: Notifier::start(groups.links.clone()),
        tokens: TokenAuthority::new(groups.facts.cluster, &groups.facts.token_key)?,
        epochs: LogEpochs::new(groups.state.clone()),
        relaxed: config.fsync != Fsync::Always,
        health: groups.health.clone(),
        map: service_map,
        advertising: Advertising::new(groups.metadata()),
    });
    groups.serve(Serving::new(Arc::clone(&broker)));

    let http = http_listener.map(|listener| listener.serve(Arc::clone(&broker), https, HttpLimits::default()));
    let admin = Admin { metrics, healthy: healthy(&store), ready: groups.ready_probe() };
    let limits = ConnectionLimits { connections_max: config.connections_max, ..ConnectionLimits::default() };
    let mut tasks = vec![
        tokio::spawn(keeping_map),
        tokio::spawn(map::expire(groups.metadata(), groups.state.clone(), stop_admin.clone())),
        tokio::spawn(admin::serve(admin, admin_listener, stop_admin.clone())),
        tokio::spawn(session::serve(Arc::clone(&broker), listener.clone(), limits)),
        tokio::spawn(session::announce_ended(Arc::clone(&broker), groups.ended())),
        tokio::spawn(session::begin_anew(Arc::clone(&broker), groups.state.clone(), stop_admin.clone())),
    ];
    if let Some(tell) = groups.tell_load() {
        let of = listener.clone();
        let load = move || map::thousandths(of.connections(), limits.connections_max);
        tasks.push(tokio::spawn(map::report_load(load, tell, stop_admin.clone())));
        let handing_over = session::hand_over(Arc::clone(&broker), config.client_address(), stop_admin.clone());
        tasks.push(tokio::spawn(handing_over));
    }
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

    /// Resolves when this broker is to stop because of what the cluster has decided.
    pub async fn dismissed(&self) -> Dismissal {
        self.groups.dismissed().await
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
        self.groups.leave_map().await;
        let reconnect_after_ms = 1000;
        if !self.broker.sessions.is_empty() {
            self.broker.sessions.push_to_all(&Push::GoAway(GoAway { reconnect_after_ms, ..GoAway::default() }));
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
            // The accept loop ends with its listener; the others by what was just cancelled and shut down.
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

/// Where clients find this broker, as far as it can tell.
fn own_host(config: &Config, listener: &Listener) -> Option<Host> {
    let bound = listener.local_addr().ok().filter(|address| !address.ip().is_unspecified());
    let address = config.many.advertise.clone().or(bound.map(|address| address.to_string()));
    address?.parse().ok()
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

/// The certificates that clients are shown.
struct Shown {
    identity: Identity,
    /// Over HTTPS, if events are taken beyond this machine: tokens do not travel there unencrypted.
    https: Option<rustls::ServerConfig>,
}

impl Shown {
    fn new(config: &Config, bundle: Option<&ClusterIdentity>, http: Option<SocketAddr>) -> Result<Self, StartError> {
        let identity = tls_identity(config, bundle, config.listen.ip())?;
        let beyond = http.map(|address| address.ip()).filter(|ip| !ip.is_loopback());
        let https = beyond.map(|ip| tls_identity(config, bundle, ip)?.server_config().map_err(StartError::from));
        Ok(Self { identity, https: https.transpose()? })
    }
}

/// What clients are shown that connect to this address.
fn tls_identity(config: &Config, bundle: Option<&ClusterIdentity>, address: IpAddr) -> Result<Identity, TlsError> {
    if let (Some(chain), Some(key)) = (&config.tls_cert, &config.tls_key) {
        return Identity::load(chain, key);
    }
    if let Some(bundle) = bundle {
        return Ok(bundle.client_facing());
    }
    let authority = DevAuthority::open(&config.data.join("dev-ca"))?;
    authority.publish(&config.home.join("ca").join(format!("dev-{}.pem", config.listen.port())))?;
    authority.issue(address)
}

fn healthy(store: &Store) -> admin::Probe {
    let store = store.clone();
    Arc::new(move || store.poisoned().map_or(Ok(()), |poison| Err(poison.to_string())))
}
