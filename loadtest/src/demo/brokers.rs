//! The brokers of the story, called A, B, C and D in the order of joining.

use std::path::{Path, PathBuf};

use anyhow::Result;
use anyport_client::{Client, Status};
use anyport_protocol::BrokerId;
use anyport_protocol::message::admin::{ClusterStatus, ReplicaRole, ReplicaState};

use super::picture::Picture;
use crate::runner::{ClusterOptions, ClusterProcesses};

pub const A: usize = 0;
pub const B: usize = 1;
pub const C: usize = 2;
pub const D: usize = 3;

const NAMES: [char; 4] = ['A', 'B', 'C', 'D'];

/// How long a broker may be away before its copies are made anew on others: ten minutes would be no demo.
const REPLACE_AFTER: &str = "8s";

pub struct Brokers {
    cluster: ClusterProcesses,
    /// How the cluster calls them, lost or not.
    numbers: Vec<BrokerId>,
}

impl Brokers {
    /// A, B and C, each of which leads something.
    pub async fn start(folder: &Path) -> Result<Self> {
        let options = ClusterOptions::of(3).with(&["--replace-after", REPLACE_AFTER]);
        let cluster = ClusterProcesses::start(folder, options).await?;
        let all_lead = |status: &ClusterStatus| status.brokers.iter().all(|broker| status.leads(broker.broker) > 0);
        cluster.settle_as("led by all", all_lead).await?;
        let mut numbers = Vec::new();
        for at in [A, B, C] {
            numbers.push(cluster.number_of(at).await?);
        }
        Ok(Self { cluster, numbers })
    }

    /// Where a client connects that tries these in this order.
    pub fn servers(&self, order: &[usize]) -> Vec<String> {
        self.cluster.servers_in_order(order)
    }

    pub fn home(&self) -> PathBuf {
        self.cluster.home()
    }

    /// The broker at which a client is.
    pub fn serving(&self, client: &Client) -> char {
        let Status::Connected { server } = client.status() else { return '?' };
        let is_there = |at: &usize| self.cluster.broker(*at).address().to_string() == server;
        self.cluster.present().find(is_there).map_or('?', |at| NAMES[at])
    }

    pub async fn kill_for_good(&mut self, at: usize) -> Result<()> {
        self.cluster.remove(at).await
    }

    /// Waits until others lead all that this broker led.
    pub async fn led_without(&self, at: usize) -> Result<()> {
        let lost = self.numbers[at];
        let is_led = |status: &ClusterStatus| {
            status.groups.iter().all(|group| group.leader.is_some_and(|leader| leader != lost))
        };
        self.cluster.status_until("led by others", is_led).await.map(drop)
    }

    /// One more joins, and is given its share of the copies.
    pub async fn join(&mut self) -> Result<()> {
        let at = self.cluster.add(&[]).await?;
        let new = self.cluster.number_of(at).await?;
        self.numbers.push(new);
        let has_share = |status: &ClusterStatus| has_share(status, new);
        self.cluster.status_until("done with the new broker's share", has_share).await.map(drop)
    }

    /// Waits until the cluster does not count on the return of this broker any more.
    pub async fn given_up(&self, at: usize) -> Result<()> {
        let lost = self.numbers[at];
        self.cluster.status_until("tired of waiting", |status| status.broker(lost).is_none()).await.map(drop)
    }

    /// Waits until every group has all its copies.
    pub async fn whole(&self) -> Result<()> {
        self.cluster.settle().await
    }

    pub async fn picture(&self) -> Result<Picture> {
        let status = self.cluster.status().await?;
        Ok(Picture::of(&status, NAMES.into_iter().zip(self.numbers.iter().copied())))
    }
}

/// It votes, all its copies are good, and nothing is on the move.
fn has_share(status: &ClusterStatus, broker: BrokerId) -> bool {
    let replicas = || status.groups.iter().flat_map(|group| &group.replicas);
    let its = || replicas().filter(|replica| replica.replica.broker() == broker);
    its().any(|replica| replica.role == ReplicaRole::Voter)
        && its().all(|replica| replica.state == ReplicaState::UpToDate)
        && replicas().all(|replica| replica.role != ReplicaRole::Leaving)
        && status.groups.iter().all(|group| group.leader.is_some())
}
