//! All partitions of the cluster, as sessions, feeds and publish streams see them.

use std::sync::{Arc, PoisonError, RwLock};

use anyport_protocol::filter::Filter;
use anyport_protocol::message::feed::FeedId;
use anyport_protocol::message::publish::{PublishBatch, Published};
use anyport_protocol::{Code, Fault, Offset, PartitionId, WallMs};
use anyport_storage::{Bounds, GroupId};
use futures_util::future::{Either, ready};

use super::beginners::Beginners;
use super::forwarding::Forwarding;
use super::links::no_replica;
use super::tail::Tail;
use super::words::{FindAnswer, Sought};
use super::{Links, reading};
use crate::feed::{Caught, ReadGrants, catch_up};
use crate::partition::{FollowAnswer, FollowRequest, FollowerId, PartitionHandle};

const NOT_LED_RETRY_MS: u32 = 50;

/// A handle on all partitions; clones share it.
#[derive(Clone, Debug)]
pub struct Partitions {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// By id: the replica that this broker serves from, which may come and go.
    placed: Box<[RwLock<Option<PartitionHandle>>]>,
    /// By id: how the others are followed.
    tails: Box<[Tail]>,
    forwarding: Forwarding,
    beginners: Beginners,
    links: Links,
    grants: ReadGrants,
}

impl Partitions {
    pub fn new(count: u16, links: Links, grants: ReadGrants) -> Self {
        let placed = (0..count).map(|_| RwLock::default()).collect();
        let tails = (0..count).map(PartitionId).map(Tail::new).collect();
        let (forwarding, beginners) = (Forwarding::new(links.clone()), Beginners::default());
        Self { shared: Arc::new(Shared { placed, tails, forwarding, beginners, links, grants }) }
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
        if let Some(tail) = self.shared.tails.get(usize::from(id.0)) {
            tail.close();
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

    pub(super) fn grants(&self) -> &ReadGrants {
        &self.shared.grants
    }

    /// The replica placed here, if there is one.
    pub fn placed(&self, id: PartitionId) -> Option<PartitionHandle> {
        let place = self.shared.placed.get(usize::from(id.0))?;
        place.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn way(&self, id: PartitionId) -> Way {
        Way { id, partitions: self.clone() }
    }

    /// Hands a batch over before it returns, to the partition's leader wherever that is, so that batches of one caller keep their
    /// order; the future is the outcome.
    pub fn publish(&self, batch: PublishBatch) -> impl Future<Output = Published> + Send + use<> {
        let numbered = self.shared.beginners.handle_batch(&batch);
        let (outcome, shared) = (self.hand_over(batch), Arc::clone(&self.shared));
        async move { shared.beginners.handle_answer(numbered, outcome.await) }
    }

    fn hand_over(&self, batch: PublishBatch) -> impl Future<Output = Published> + Send + use<> {
        let id = batch.partition;
        if id.0 >= self.count() {
            let text = format!("partition {id} of {}", self.count());
            return Either::Left(ready(Published::Refused(Fault::new(Code::UnknownPartition, text))));
        }
        let placed = self.placed(id);
        if let Some(open) = placed.as_ref().filter(|placed| placed.is_open()) {
            return Either::Right(Either::Left(open.publish(batch)));
        }
        let group = GroupId::Partition(id);
        // Any of the others knows better than nobody who leads.
        match (self.shared.links.leader(group).or_else(|| self.shared.links.candidates(group).first().copied()), placed)
        {
            (Some(broker), _) => Either::Right(Either::Right(self.shared.forwarding.publish(broker, batch))),
            // It says itself why it takes none.
            (None, Some(placed)) => Either::Right(Either::Left(placed.publish(batch))),
            (None, None) => Either::Left(ready(Published::Refused(no_replica(group)))),
        }
    }

    /// Takes a batch that another broker has forwarded, if it is to be taken here: it is not sent on. Otherwise the fault's value is the
    /// broker that may lead.
    pub fn publish_here(&self, batch: PublishBatch) -> impl Future<Output = Published> + Send + use<> {
        let id = batch.partition;
        match self.placed(id).filter(PartitionHandle::is_open) {
            Some(open) => Either::Left(open.publish(batch)),
            None => {
                let leader = self.shared.links.leader(GroupId::Partition(id));
                let text = format!("partition {id} is not open at broker {}", self.shared.links.own);
                let fault = Fault::retry_after(Code::NotReady, NOT_LED_RETRY_MS, text);
                let value = leader.map(|leader| u64::from(leader.0));
                Either::Right(ready(Published::Refused(Fault { value, ..fault })))
            }
        }
    }

    /// Where each partition begins and ends, by id; none where it cannot be learnt in time.
    pub async fn bounds(&self) -> Vec<Option<Bounds>> {
        self.learn(|id| self.placed(id).map(|placed| placed.bounds()), |bounds| bounds).await
    }

    /// Each partition's tail, by id; none where it cannot be learnt in time.
    pub async fn tails(&self) -> Vec<Option<Offset>> {
        let known = |id: PartitionId| {
            let placed = self.placed(id).map(|placed| placed.bounds().tail);
            placed.or_else(|| self.shared.tails[usize::from(id.0)].known())
        };
        self.learn(known, |bounds| bounds.tail).await
    }

    /// What is known here, and for all else where the logs begin and end elsewhere.
    async fn learn<T: Copy>(
        &self,
        known: impl Fn(PartitionId) -> Option<T>,
        of: impl Fn(Bounds) -> T,
    ) -> Vec<Option<T>> {
        let known: Vec<Option<T>> = self.ids().map(known).collect();
        let missing: Vec<_> = self.ids().zip(&known).filter(|(_, known)| known.is_none()).map(|(id, _)| id).collect();
        if missing.is_empty() {
            return known;
        }
        let found = reading::bounds(&self.shared.links, &missing).await;
        self.ids().zip(known).map(|(id, known)| known.or_else(|| found.get(&id).map(|bounds| of(*bounds)))).collect()
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

    /// Reads a piece of the log through a filter into the frames of a feed.
    pub async fn read(&self, feed: FeedId, filter: &Filter, from: Offset, bytes_max: usize) -> Result<Caught, Fault> {
        match self.placed() {
            Some(placed) => {
                let filter = filter.clone();
                self.in_placed(placed, move |placed| catch_up(placed.reader(), feed, &filter, from, bytes_max)).await
            }
            None => {
                let known_tail = self.tail().known().unwrap_or_default();
                reading::read(&self.shared().links, feed, filter, from, bytes_max, known_tail).await
            }
        }
    }

    /// The first offset appended at or after this time; the tail if there is none.
    pub async fn offset_at(&self, wall: WallMs) -> Result<Offset, Fault> {
        match self.placed() {
            Some(placed) => self.in_placed(placed, move |placed| placed.reader().offset_at(wall)).await,
            None => match reading::find(&self.shared().links, self.id, Sought::OffsetAt(wall)).await? {
                FindAnswer::OffsetAt(offset) => Ok(offset),
                FindAnswer::AppendedAt(_) => unreachable!("an answer of the kind that was asked for"),
            },
        }
    }

    /// When the first retained event at or after this offset was appended; none if there is none.
    pub async fn appended_at(&self, offset: Offset) -> Result<Option<WallMs>, Fault> {
        match self.placed() {
            Some(placed) => self.in_placed(placed, move |placed| placed.reader().appended_at(offset)).await,
            None => match reading::find(&self.shared().links, self.id, Sought::AppendedAt(offset)).await? {
                FindAnswer::AppendedAt(wall) => Ok(wall),
                FindAnswer::OffsetAt(_) => unreachable!("an answer of the kind that was asked for"),
            },
        }
    }

    /// Asks to be told of what is stored from the position on, which must be the tail.
    pub async fn follow(&self, request: FollowRequest) -> FollowAnswer {
        match self.placed() {
            Some(placed) => placed.follow(request).await,
            None => self.tail().follow(&self.shared().links, request).await,
        }
    }

    /// Dismisses a follower, who may still find in its sink what was sent before.
    pub fn unfollow(&self, follower: FollowerId) {
        // It may have begun where it would not begin now; the name of a follower is never used twice.
        if let Some(placed) = self.placed() {
            placed.unfollow(follower);
        }
        self.tail().unfollow(follower);
    }

    fn shared(&self) -> &Shared {
        &self.partitions.shared
    }

    fn tail(&self) -> &Tail {
        &self.shared().tails[usize::from(self.id.0)]
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
