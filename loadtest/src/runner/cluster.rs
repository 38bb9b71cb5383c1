//! Several brokers that belong together, each a [`BrokerProcess`] that can be killed, frozen, wiped and started again.
//!
//! Its folder holds `keys` (what `anyport admin cluster-init` makes), `home` (what `ANYPORT_HOME` names for all clients) and a folder
//! for each broker, by its place in the order of starting.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use anyport_client::admin::{Operator, picture};
use anyport_protocol::BrokerId;
use anyport_protocol::message::admin::{ClusterStatus, GroupName, GroupStatus, ReplicaRole, ReplicaState};
use tokio::time::{Instant, sleep};

use super::member::Membership;
use super::{BrokerOptions, BrokerProcess, Cli, Place};

/// Between two looks at a cluster that settles.
const LOOK: Duration = Duration::from_millis(100);

/// Most commands ask one question; a recovery has brokers start anew.
const COMMAND: Duration = Duration::from_secs(60);

/// How a cluster is formed.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Where the first brokers run; as many are started.
    pub places: Vec<Place>,
    /// How every broker is started.
    pub broker: BrokerOptions,
    /// How long the cluster may take to settle after it was formed or changed.
    pub settle_timeout: Duration,
}

impl ClusterOptions {
    pub fn of(brokers: usize) -> Self {
        Self {
            places: vec![Place::default(); brokers],
            broker: BrokerOptions::default(),
            settle_timeout: Duration::from_secs(60),
        }
    }

    /// Every broker is told these, too.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.broker.arguments.extend(arguments.iter().map(ToString::to_string));
        self
    }
}

/// A cluster on this machine. Dropped, all its brokers are killed.
#[derive(Debug)]
pub struct ClusterProcesses {
    folder: PathBuf,
    options: ClusterOptions,
    /// Of those removed only the place is left.
    brokers: Vec<Option<BrokerProcess>>,
}

impl ClusterProcesses {
    /// Makes the keys, begins a cluster with the first broker, and has the others join it one after the other. Returns when every
    /// broker serves and every group has all its replicas.
    pub async fn start(folder: &Path, options: ClusterOptions) -> Result<Self> {
        let cluster = Self::form(folder, options).await?;
        cluster.settle().await?;
        Ok(cluster)
    }

    /// The same, but waits for the brokers alone.
    pub async fn form(folder: &Path, options: ClusterOptions) -> Result<Self> {
        let mut cluster = Self::prepare(folder, options).await?;
        for place in cluster.options.places.clone() {
            cluster.add_at(place, &[]).await?;
        }
        Ok(cluster)
    }

    /// Makes the keys, and starts nobody: the first broker that is added begins the cluster.
    pub async fn prepare(folder: &Path, options: ClusterOptions) -> Result<Self> {
        let cluster = Self { folder: folder.to_owned(), options, brokers: Vec::new() };
        std::fs::create_dir_all(cluster.home()).context("create the home folder of the cluster's clients")?;
        cluster.make_keys().await?;
        Ok(cluster)
    }

    async fn make_keys(&self) -> Result<()> {
        let (keys, count) = (self.keys().display().to_string(), self.options.places.len().to_string());
        let hosts = self.options.places.iter().map(|place| place.ip.to_string());
        let hosts: Vec<_> = hosts.flat_map(|host| ["--host".to_owned(), host]).collect();
        let words = ["admin", "cluster-init", &keys, "--brokers", &count];
        self.admin(&words.into_iter().chain(hosts.iter().map(String::as_str)).collect::<Vec<_>>()).await.map(drop)
    }

    /// Runs `anyport admin ...` as the operator of this cluster. Returns what it printed, and whether it found everything well.
    async fn admin(&self, arguments: &[&str]) -> Result<(String, bool)> {
        /// What the command says by its exit code: it could be asked, and something is not as it should be.
        const DEGRADED: i32 = 3;
        let output = Cli::new(&self.home(), "")?.run(arguments, "", COMMAND).await?;
        match output.code {
            Some(0) => Ok((output.stdout, true)),
            Some(DEGRADED) => Ok((output.stdout, false)),
            code => bail!("anyport {} ends with {code:?}: {}", arguments.join(" "), output.stderr.trim()),
        }
    }

    /// Where its clients find its certificate authority and their identities.
    pub fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    pub fn keys(&self) -> PathBuf {
        self.folder.join("keys")
    }

    /// A broker by its place in the order of starting.
    ///
    /// # Panics
    /// If it was removed, or there never was one.
    pub fn broker(&self, at: usize) -> &BrokerProcess {
        self.brokers[at].as_ref().expect("this broker was not removed")
    }

    /// # Panics
    /// As [`ClusterProcesses::broker`].
    pub fn broker_mut(&mut self, at: usize) -> &mut BrokerProcess {
        self.brokers[at].as_mut().expect("this broker was not removed")
    }

    /// The places of all that were not removed.
    pub fn present(&self) -> impl Iterator<Item = usize> {
        self.brokers.iter().enumerate().filter(|(_, broker)| broker.is_some()).map(|(at, _)| at)
    }

    /// Where clients connect: any will do.
    pub fn servers(&self) -> Vec<String> {
        self.servers_in_order(&self.present().collect::<Vec<_>>())
    }

    /// Where a client connects that tries these brokers in this order.
    pub fn servers_in_order(&self, order: &[usize]) -> Vec<String> {
        order.iter().map(|at| self.broker(*at).address().to_string()).collect()
    }

    /// One more broker joins, told these arguments beside those of every broker. Returns its place.
    pub async fn add(&mut self, arguments: &[&str]) -> Result<usize> {
        self.add_at(Place::default(), arguments).await
    }

    /// One more broker tries to join for so long, with a bundle that need not be one of this cluster's.
    pub async fn try_to_add(&mut self, bundle: &Path, within: Duration) -> Result<usize> {
        let place = Place::default();
        let peer = place.free_address()?;
        let patience = std::mem::replace(&mut self.options.broker.ready_timeout, within);
        let added = self.add_as(place, peer, bundle.to_owned(), &[]).await;
        self.options.broker.ready_timeout = patience;
        added
    }

    /// One more broker joins, its process in this environment.
    pub async fn add_in(&mut self, environment: &[(String, String)]) -> Result<usize> {
        let of_all = std::mem::replace(&mut self.options.broker.environment, environment.to_vec());
        let added = self.add(&[]).await;
        self.options.broker.environment = of_all;
        added
    }

    /// One more broker joins, at this address for the others.
    pub async fn add_on(&mut self, peer: SocketAddr, arguments: &[&str]) -> Result<usize> {
        let bundle = self.bundle(self.brokers.len()).await?;
        self.add_as(Place::default(), peer, bundle, arguments).await
    }

    async fn add_at(&mut self, place: Place, arguments: &[&str]) -> Result<usize> {
        let (peer, bundle) = (place.free_address()?, self.bundle(self.brokers.len()).await?);
        self.add_as(place, peer, bundle, arguments).await
    }

    async fn add_as(&mut self, place: Place, peer: SocketAddr, bundle: PathBuf, arguments: &[&str]) -> Result<usize> {
        let at = self.brokers.len();
        let membership = Membership { bundle, peer, joins: self.seed(at), home: self.home() };
        let mut options = self.options.broker.clone();
        options.arguments.extend(arguments.iter().map(ToString::to_string));
        let mut broker = BrokerProcess::member(&self.folder_of(at), place, membership, options)?;
        broker.start_again().await.with_context(|| format!("start broker {at}"))?;
        self.brokers.push(Some(broker));
        Ok(at)
    }

    /// The folder that a broker has, or will have.
    pub fn folder_of(&self, at: usize) -> PathBuf {
        self.folder.join(format!("broker-{at}"))
    }

    /// The file by which a broker joins. Who has used one is known by it.
    async fn bundle(&self, at: usize) -> Result<PathBuf> {
        let bundle = self.keys().join(format!("broker-{}.pem", at + 1));
        if !bundle.exists() {
            let (keys, out) = (self.keys().display().to_string(), bundle.display().to_string());
            self.admin(&["admin", "join-token", &keys, "--out", &out]).await?;
        }
        Ok(bundle)
    }

    /// Whom a broker asks to let it in.
    fn seed(&self, newcomer: usize) -> Option<SocketAddr> {
        let others = self.present().filter(|at| *at != newcomer && self.broker(*at).pid().is_some());
        others.filter_map(|at| self.broker(at).peer_address()).next()
    }

    /// Kills a broker for good: it is not counted any more, and never started again.
    pub async fn remove(&mut self, at: usize) -> Result<()> {
        let mut broker = self.brokers[at].take().context("a broker that was removed already")?;
        if broker.pid().is_some() {
            broker.kill().await?;
        }
        Ok(())
    }

    /// Empties the store of a broker that does not run, so that at its next start it joins as a new one.
    pub fn wipe(&mut self, at: usize) -> Result<()> {
        let seed = self.seed(at).context("a broker to join")?;
        let broker = self.broker_mut(at);
        broker.wipe()?;
        broker.membership_mut().context("one of a cluster")?.joins = Some(seed);
        Ok(())
    }

    /// How the cluster is, as any broker that runs sees it.
    pub async fn status(&self) -> Result<ClusterStatus> {
        Ok(Operator::connect(&self.operator(), &self.peers()).await?.status().await?)
    }

    /// Runs `anyport admin ...` as the operator, who asks any broker that runs. Returns what it printed, and whether it found everything
    /// well.
    pub async fn operate(&self, words: &[&str]) -> Result<(String, bool)> {
        let (operator, peers) = (self.operator().display().to_string(), self.peers().join(","));
        let reach = ["--cluster", &operator, "--peer", &peers];
        self.admin(&[&["admin"], words, &reach].concat()).await
    }

    fn operator(&self) -> PathBuf {
        self.keys().join("admin.pem")
    }

    fn peers(&self) -> Vec<String> {
        let running = self.present().filter(|at| self.broker(*at).pid().is_some());
        running.filter_map(|at| self.broker(at).peer_address()).map(|peer| peer.to_string()).collect()
    }

    /// How the cluster calls a broker.
    pub async fn number_of(&self, at: usize) -> Result<BrokerId> {
        let status = self.status().await?;
        let address = self.broker(at).address().to_string();
        // One that was wiped has an older number too.
        let records = status.brokers.iter().filter(|record| record.client_address == address);
        records
            .map(|record| record.broker)
            .max()
            .with_context(|| format!("{address} is in no record:\n{}", picture(&status)))
    }

    /// The place of a broker that the cluster calls so.
    pub fn place_of(&self, status: &ClusterStatus, number: BrokerId) -> Option<usize> {
        let address = &status.broker(number)?.client_address;
        self.present().find(|at| self.broker(*at).address().to_string() == *address)
    }

    /// Waits until every broker that was not removed is counted on, and every group has a leader and all its replicas.
    pub async fn settle(&self) -> Result<()> {
        self.settle_as("whole", |_| true).await
    }

    /// The same, and until this holds of the status.
    pub async fn settle_as(&self, what: &str, holds: impl Fn(&ClusterStatus) -> bool) -> Result<()> {
        let is_settled = |status: &ClusterStatus| is_whole(status, self.present().count()) && holds(status);
        self.status_until(what, is_settled).await.map(drop)
    }

    /// Waits until this holds of the status.
    pub async fn status_until(&self, what: &str, holds: impl Fn(&ClusterStatus) -> bool) -> Result<ClusterStatus> {
        let deadline = Instant::now() + self.options.settle_timeout;
        loop {
            match self.status().await {
                Ok(status) if holds(&status) => return Ok(status),
                Ok(status) => {
                    ensure!(Instant::now() < deadline, "the cluster is not {what} in time:\n{}", picture(&status));
                }
                Err(error) => ensure!(Instant::now() < deadline, "the cluster is not {what} in time: {error:#}"),
            }
            sleep(LOOK).await;
        }
    }
}

/// So many brokers are counted on, and every group has all the copies that it can have on them.
fn is_whole(status: &ClusterStatus, brokers: usize) -> bool {
    let alive = || status.brokers.iter().filter(|broker| broker.away_for_ms.is_none() && broker.reached);
    let with_copies = alive().filter(|broker| !broker.edge && !broker.draining).count();
    // A second copy cannot outvote the first, so it has no vote.
    let voters = if with_copies < 3 { 1 } else { with_copies.min(status.replication.into()) };
    let has_all = |group: &GroupStatus| {
        let all_good = group
            .replicas
            .iter()
            .all(|replica| replica.role != ReplicaRole::Leaving && replica.state == ReplicaState::UpToDate);
        // Of the metadata everybody has a copy, and up to five vote.
        let enough = match group.group {
            GroupName::Metadata => group.voters().count() >= voters,
            _ => group.voters().count() == voters,
        };
        group.leader.is_some() && group.moving.is_none() && all_good && enough
    };
    alive().count() == brokers && status.groups.iter().all(has_all)
}
