//! All partitions of the cluster, as sessions, feeds and publish streams see them.

use std::sync::{Arc, PoisonError, RwLock};

use anyport_protocol::filter::Filter;
use anyport_protocol::message::feed::FeedId;
use anyport_protocol::message::publish::{PublishBatch, Published};
use anyport_protocol::{Code, Fault, Offset, PartitionId, WallMs};
use anyport_storage::Bounds;
use futures_util::future::{Either, join_all, ready};

use super::Links;
use crate::feed::{Caught, ReadGrants, catch_up};
use crate::partition::{FollowAnswer, FollowRequest, FollowerId, PartitionHandle};

const NO_REPLICA_RETRY_MS: u32 = 200;

/// A handle on all partitions; clones share it.
#[derive(Clone, Debug)]
pub struct Partitions {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// By id: the replica that this broker serves from, which may come and go.
    placed: Box<[RwLock<Option<PartitionHandle>>]>,
    #[expect(dead_code, reason = "the way to other brokers comes next")]
    links: Links,
    grants: ReadGrants,
}

impl Partitions {
    pub fn new(count: u16, links: Links, grants: ReadGrants) -> Self {
        let placed = (0..count).map(|_| RwLock::default()).collect();
        Self { shared: Arc::new(Shared { placed, links, grants }) }
    }

    pub fn count(&self) -> u16 {
        u16::try_from(self.shared.placed.len()).expect("made from one")
    }

    pub fn ids(&self) -> impl Iterator<Item = PartitionId> + use<> {
        (0..self.count()).map(PartitionId)
    }

    /// From here on this broker serves from its own replica. It must have caught up: while it has not, others are further.
    pub fn place(&self, handle: PartitionHandle) {
        let id = handle.id();
        if let Some(earlier) = self.replace(id, Some(handle)) {
            earlier.dismiss_followers();
        }
    }

    /// From here on this broker serves from others' replicas; those who follow its own go on there.
    pub fn remove(&self, id: PartitionId) {
        if let Some(earlier) = self.replace(id, None) {
            earlier.dismiss_followers();
        }
    }

    fn replace(&self, id: PartitionId, handle: Option<PartitionHandle>) -> Option<PartitionHandle> {
        let place = self.shared.placed.get(usize::from(id.0))?;
        std::mem::replace(&mut *place.write().unwrap_or_else(PoisonError::into_inner), handle)
    }

    /// The replica placed here, if there is one.
    pub fn placed(&self, id: PartitionId) -> Option<PartitionHandle> {
        let place = self.shared.placed.get(usize::from(id.0))?;
        place.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn way(&self, id: PartitionId) -> Way {
        Way { id, partitions: self.clone() }
    }

    /// Hands a batch over before it returns, so that batches of one caller keep their order; the future is the outcome.
    pub fn publish(&self, batch: PublishBatch) -> impl Future<Output = Published> + Send + use<> {
        let id = batch.partition;
        if id.0 >= self.count() {
            let text = format!("partition {id} of {}", self.count());
            return Either::Left(ready(Published::Refused(Fault::new(Code::UnknownPartition, text))));
        }
        match self.placed(id) {
            Some(placed) => Either::Right(placed.publish(batch)),
            None => Either::Left(ready(Published::Refused(no_replica(id)))),
        }
    }

    /// Where each partition begins and ends, by id.
    pub async fn bounds(&self) -> Vec<Result<Bounds, Fault>> {
        join_all(self.ids().map(|id| async move { self.way(id).bounds().await })).await
    }

    /// Each partition's tail, by id; none where it cannot be learnt now.
    pub async fn tails(&self) -> Vec<Option<Offset>> {
        self.bounds().await.into_iter().map(|bounds| bounds.ok().map(|bounds| bounds.tail)).collect()
    }
}

/// The way to one partition, found anew at each use.
#[derive(Clone, Debug)]
pub struct Way {
    id: PartitionId,
    partitions: Partitions,
}

impl Way {
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// Retained events, as far as they are applied where it is asked. The true tail may be further on, never less.
    pub async fn bounds(&self) -> Result<Bounds, Fault> {
        match self.placed() {
            Some(placed) => Ok(placed.bounds()),
            None => Err(no_replica(self.id)),
        }
    }

    /// Reads a piece of the log through a filter into the frames of a feed.
    pub async fn read(&self, feed: FeedId, filter: &Filter, from: Offset, bytes_max: usize) -> Result<Caught, Fault> {
        match self.placed() {
            Some(placed) => {
                let filter = filter.clone();
                self.in_placed(placed, move |placed| catch_up(placed.reader(), feed, &filter, from, bytes_max)).await
            }
            None => Err(no_replica(self.id)),
        }
    }

    /// The first offset appended at or after this time; the tail if there is none.
    pub async fn offset_at(&self, wall: WallMs) -> Result<Offset, Fault> {
        match self.placed() {
            Some(placed) => self.in_placed(placed, move |placed| placed.reader().offset_at(wall)).await,
            None => Err(no_replica(self.id)),
        }
    }

    /// When the first retained event at or after this offset was appended; none if there is none.
    pub async fn appended_at(&self, offset: Offset) -> Result<Option<WallMs>, Fault> {
        match self.placed() {
            Some(placed) => self.in_placed(placed, move |placed| placed.reader().appended_at(offset)).await,
            None => Err(no_replica(self.id)),
        }
    }

    /// Asks to be told of what is stored from the position on, which must be the tail.
    pub async fn follow(&self, request: FollowRequest) -> FollowAnswer {
        match self.placed() {
            Some(placed) => placed.follow(request).await,
            None => FollowAnswer::Gone,
        }
    }

    /// Dismisses a follower, who may still find in its sink what was sent before.
    pub fn unfollow(&self, follower: FollowerId) {
        if let Some(placed) = self.placed() {
            placed.unfollow(follower);
        }
    }

    fn placed(&self) -> Option<PartitionHandle> {
        self.partitions.placed(self.id)
    }

    async fn in_placed<T: Send + 'static, E: std::error::Error + Send + 'static>(
        &self,
        placed: PartitionHandle,
        read: impl FnOnce(&PartitionHandle) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Fault> {
        let read = self.partitions.shared.grants.run(move || read(&placed)).await;
        read.map_err(|error| Fault::new(Code::StoreFailed, error.to_string()))
    }
}

fn no_replica(id: PartitionId) -> Fault {
    let text = format!("no replica of partition {id} can be reached from here");
    Fault::retry_after(Code::NotReady, NO_REPLICA_RETRY_MS, text)
}
