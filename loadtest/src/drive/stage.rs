//! The set of a story: one broker, its clients, and the oracle that watches them all.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anyport_client::{Client, Start};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::{Access, Attending, Log};
use crate::oracle::{FilterId, Oracle, Verdict};
use crate::runner::{BrokerOptions, BrokerProcess};

/// Between two looks at a condition that nothing announces.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until the condition holds; an error that names it if that takes too long.
pub async fn until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + within;
    while !holds() {
        ensure!(Instant::now() < deadline, "waited {within:?} for this: {what}");
        sleep(LOOK).await;
    }
    Ok(())
}

/// One broker in a folder of its own. The oracle knows one filter, which everything passes.
#[derive(Debug)]
pub struct Stage {
    // Before the folder, so that the process is gone when its files are removed.
    pub broker: BrokerProcess,
    pub oracle: Arc<Oracle>,
    everything: FilterId,
    folder: PathBuf,
    _removed_at_the_end: Option<TempDir>,
}

impl Stage {
    pub async fn set(options: BrokerOptions) -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder for a broker")?;
        let stage = Self::set_in(folder.path(), options).await?;
        Ok(Self { _removed_at_the_end: Some(folder), ..stage })
    }

    /// In a folder that has been prepared, and stays.
    pub async fn set_in(folder: &Path, options: BrokerOptions) -> Result<Self> {
        let broker = BrokerProcess::start(folder, options).await?;
        let oracle = Arc::new(Oracle::new());
        let everything = oracle.filter(|_| true);
        Ok(Self { broker, oracle, everything, folder: folder.to_owned(), _removed_at_the_end: None })
    }

    /// Another process over the same data, started otherwise, on other ports. The one before must have ended.
    pub async fn start_otherwise(&mut self, options: BrokerOptions) -> Result<()> {
        self.broker = BrokerProcess::start(&self.folder, options).await?;
        Ok(())
    }

    /// The way to it for clients.
    pub fn access(&self) -> Access {
        Access {
            servers: vec![self.broker.address().to_string()],
            home: self.broker.home(),
            oracle: Arc::clone(&self.oracle),
            everything: self.everything,
        }
    }

    pub async fn client(&self, name: &str) -> Result<Client> {
        self.access().client(name).await
    }

    /// A client that subscribes to everything and takes, tells the oracle and acks until it leaves.
    pub async fn listener(&self, name: &str, start: Start) -> Result<Attending> {
        self.access().listener(name, start).await
    }

    /// Everything that the log has now, read by a client that nobody has seen before.
    pub async fn log(&self) -> Result<Log> {
        self.access().log().await
    }

    pub fn verdict(&self) -> Verdict {
        self.oracle.verdict()
    }
}
