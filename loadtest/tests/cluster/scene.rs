//! What the stories share: a cluster in a folder of its own, producers and listeners, and the oracle that watches.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use anyport_client::PublisherOptions;
use anyport_loadtest::drive::{Access, Attending, Ongoing, Pace};
use anyport_loadtest::oracle::{FilterId, Oracle};
use anyport_loadtest::runner::{ClusterOptions, ClusterProcesses};
use anyport_loadtest::workload::{Seed, Synthetic};
use anyport_protocol::BrokerId;
use anyport_protocol::message::admin::{ClusterStatus, GroupName};

/// Far more than anything here takes on a busy machine; who waits longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// So many events a second that every partition has some under way at any moment, and few enough for a busy machine.
const RATE: f64 = 400.0;

pub struct Scene {
    // Before the folder, so that the processes are gone when their files are removed.
    pub cluster: ClusterProcesses,
    pub oracle: Arc<Oracle>,
    pub everything: FilterId,
    pub seed: Seed,
    _folder: Option<tempfile::TempDir>,
}

impl Scene {
    /// So many brokers, settled.
    pub async fn set(brokers: usize) -> Result<Self> {
        Self::set_with(ClusterOptions::of(brokers)).await
    }

    /// With ANYPORT_KEEP set its folder stays, with the brokers' logs.
    pub async fn set_with(options: ClusterOptions) -> Result<Self> {
        let mut folder = tempfile::tempdir().context("make a folder for a cluster")?;
        folder.disable_cleanup(std::env::var_os("ANYPORT_KEEP").is_some());
        eprintln!("in {}", folder.path().display());
        let scene = Self::set_in(folder.path(), options).await?;
        Ok(Self { _folder: Some(folder), ..scene })
    }

    /// In a folder that has been prepared, and outlives the scene.
    pub async fn set_in(folder: &Path, options: ClusterOptions) -> Result<Self> {
        Ok(Self::of(ClusterProcesses::start(folder, options).await?))
    }

    /// Over a cluster that is there.
    pub fn of(cluster: ClusterProcesses) -> Self {
        let oracle = Arc::new(Oracle::new());
        let everything = oracle.filter(|_| true);
        Self { cluster, oracle, everything, seed: Seed::announced(), _folder: None }
    }

    /// The way to all brokers that were not removed.
    pub fn access(&self) -> Access {
        self.access_to(&self.cluster.present().collect::<Vec<_>>())
    }

    /// The way to these brokers, tried in this order.
    pub fn access_to(&self, brokers: &[usize]) -> Access {
        Access {
            servers: self.cluster.servers_in_order(brokers),
            home: self.cluster.home(),
            oracle: Arc::clone(&self.oracle),
            everything: self.everything,
        }
    }

    /// A producer at a steady rate, until it is told to end.
    pub async fn publishing(&self, access: &Access) -> Result<Ongoing> {
        let events = Synthetic::new(self.seed, 256, 200);
        Ongoing::begin_at(access, events, Pace::PerSecond(RATE), PublisherOptions::default()).await
    }

    /// So many events, all acked. Only once in a story, which has one producer.
    pub async fn publish(&self, access: &Access, count: usize) -> Result<()> {
        let events = Synthetic::new(self.seed, 256, 200).take(count);
        let options = PublisherOptions::default();
        let publishing = Ongoing::begin_at(access, events, Pace::AsFastAsAcked, options).await?;
        publishing.acked_more(count as u64).await?;
        publishing.end().await.map(drop)
    }

    /// Ends the story: the producer is done, everybody gets everything, the oracle finds nothing, and the log holds what was acked.
    pub async fn end(self, publishing: Ongoing, listeners: Vec<Attending>) -> Result<()> {
        let report = publishing.end().await?;
        assert_eq!((report.unknown, report.refused), (0, 0), "every event is acked in the end");
        self.judge(listeners).await?;
        let log = self.access().log().await?;
        log.assert_dense_and_unique();
        assert_eq!(log.len() as u64, report.acked, "the log holds what was acked and nothing else");
        Ok(())
    }

    /// Everybody gets everything, and the oracle finds nothing.
    pub async fn judge(&self, listeners: Vec<Attending>) -> Result<()> {
        for listener in listeners {
            listener.has_everything(PATIENCE).await?;
            listener.leave().await?;
        }
        self.oracle.verdict().assert_clean();
        Ok(())
    }
}

/// How many groups a broker leads.
pub fn leads(status: &ClusterStatus, broker: BrokerId) -> usize {
    status.groups.iter().filter(|group| group.leader == Some(broker)).count()
}

/// Who leads a partition.
pub fn leader_of(status: &ClusterStatus, partition: u16) -> Option<BrokerId> {
    status.group(GroupName::Partition(anyport_protocol::PartitionId(partition)))?.leader
}

/// The authority that signs the brokers' certificates, as clients of this home folder trust it.
pub fn authority(home: &Path) -> Result<PathBuf> {
    let mut files = std::fs::read_dir(home.join("ca"))?.map(|file| file.map(|file| file.path()));
    files
        .find(|file| file.as_ref().is_ok_and(|path| path.extension().is_some_and(|end| end == "pem")))
        .context("a CA")?
        .context("list the authorities")
}
