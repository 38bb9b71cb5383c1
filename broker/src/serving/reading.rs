//! Reading a partition of which no replica is placed here: asking a broker that has one. It filters, so that only what matches crosses.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyport_protocol::filter::Filter;
use anyport_protocol::message::feed::FeedId;
use anyport_protocol::{BrokerId, Code, Fault, Offset, OffsetRange, PartitionId};
use anyport_storage::{Bounds, GroupId, ReadError};
use bytes::Bytes;

use tokio::time::Instant;

use super::links::no_replica;
use super::words::{BoundsAnswer, BoundsRequest, FindAnswer, FindRequest, ReadAnswer, ReadRequest, Sought};
use super::{Links, Partitions};
use crate::feed::{Caught, Frames, ReadGrants, catch_up};
use crate::partition::PartitionHandle;
use crate::peer::Call;
use crate::peer::body::{decode, encode, encode_with};

/// How long one broker may take to read a piece; then another is asked.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the answer of where a log begins and ends is worth waiting for.
const BOUNDS_TIMEOUT: Duration = Duration::from_secs(1);

/// Of the log, at a time: what one asks for is held in memory.
const BYTES_MAX: usize = 1 << 20;

/// Filters kept compiled for brokers that read here; past it all are forgotten.
const FILTERS_MAX: usize = 1024;

/// Reads by asking, the nearest first. `known_tail` is the least that the tail is: a replica that does not have all below it is behind,
/// and nobody who stops at its end has reached the tail.
pub(super) async fn read(
    links: &Links,
    feed: FeedId,
    filter: &Filter,
    from: Offset,
    bytes_max: usize,
    known_tail: Offset,
) -> Result<Caught, Fault> {
    let request = encode(&ReadRequest {
        partition: feed.partition,
        incarnation: feed.incarnation,
        filter: filter.text().to_owned(),
        from,
        bytes_max: u32::try_from(bytes_max).unwrap_or(u32::MAX),
    });
    let (mut at_the_end, mut refused) = (None, no_replica(GroupId::Partition(feed.partition)));
    for broker in links.candidates(GroupId::Partition(feed.partition)) {
        let answer = links.inquire(broker, Call::Read, request.clone(), Instant::now() + READ_TIMEOUT).await;
        match answer.and_then(|body| caught(&body, from)) {
            // It has all that there is to be read.
            Ok((caught, tail)) if !caught.covers.is_empty() || (tail == from && known_tail <= from) => {
                return Ok(caught);
            }
            Ok((caught, _)) if known_tail <= from => at_the_end = Some(caught),
            Ok(_) => refused = behind(feed.partition),
            // Damage there may be none elsewhere.
            Err(fault) if fault.is(Code::StoreFailed) || refused.is(Code::NotReady) => refused = fault,
            Err(_) => {}
        }
    }
    at_the_end.ok_or(refused)
}

fn behind(partition: PartitionId) -> Fault {
    Fault::retry_after(Code::RetryAfter, 100, format!("the replicas of partition {partition} within reach are behind"))
}

fn caught(body: &Bytes, from: Offset) -> Result<(Caught, Offset), Fault> {
    let (ReadAnswer { covers, credit_bytes, events, tail }, frames) = decode(body)?;
    if covers.start != from {
        return Err(Fault::new(Code::MalformedFrame, format!("asked for {from}, a broker answers {covers}")));
    }
    Ok((Caught { covers, frames: Frames { bytes: frames.into(), credit_bytes, events } }, tail))
}

pub(super) async fn find(links: &Links, partition: PartitionId, sought: Sought) -> Result<FindAnswer, Fault> {
    let request = encode(&FindRequest { partition, sought });
    let mut refused = no_replica(GroupId::Partition(partition));
    for broker in links.candidates(GroupId::Partition(partition)) {
        let answer = links.inquire(broker, Call::Find, request.clone(), Instant::now() + READ_TIMEOUT).await;
        match (answer.and_then(|body| Ok(decode::<FindAnswer>(&body)?.0)), sought) {
            (Ok(found @ FindAnswer::OffsetAt(_)), Sought::OffsetAt(_))
            | (Ok(found @ FindAnswer::AppendedAt(_)), Sought::AppendedAt(_)) => return Ok(found),
            (Ok(_), _) => {}
            (Err(fault), _) => refused = fault,
        }
    }
    Err(refused)
}

/// Where these begin and end, as far as it can be learnt in time. Each broker is asked once about all it may know.
pub(super) async fn bounds(links: &Links, partitions: &[PartitionId]) -> HashMap<PartitionId, Bounds> {
    let deadline = Instant::now() + BOUNDS_TIMEOUT;
    let mut to_ask: HashMap<PartitionId, Vec<BrokerId>> = HashMap::new();
    for partition in partitions {
        let mut candidates = links.candidates(GroupId::Partition(*partition));
        candidates.reverse();
        to_ask.insert(*partition, candidates);
    }
    let mut found = HashMap::new();
    loop {
        let mut round: BTreeMap<BrokerId, Vec<PartitionId>> = BTreeMap::new();
        for (partition, candidates) in to_ask.iter_mut().filter(|(partition, _)| !found.contains_key(*partition)) {
            if let Some(broker) = candidates.pop() {
                round.entry(broker).or_default().push(*partition);
            }
        }
        if round.is_empty() || Instant::now() >= deadline {
            return found;
        }
        let asked = round.into_iter().map(|(broker, partitions)| async move {
            let request = encode(&BoundsRequest { partitions });
            let answer = links.inquire(broker, Call::Bounds, request, deadline).await;
            answer.and_then(|body| Ok(decode::<BoundsAnswer>(&body)?.0.bounds)).unwrap_or_default()
        });
        for (partition, OffsetRange { start: head, end: tail }) in
            futures_util::future::join_all(asked).await.into_iter().flatten()
        {
            found.insert(partition, Bounds { head, tail });
        }
    }
}

/// The side that has the replica.
#[derive(Debug)]
pub(super) struct Reads {
    grants: ReadGrants,
    filters: Mutex<HashMap<String, Filter>>,
}

impl Reads {
    pub(super) fn new(grants: ReadGrants) -> Self {
        Self { grants, filters: Mutex::default() }
    }

    pub(super) async fn read(&self, partitions: &Partitions, body: &Bytes) -> Result<Bytes, Fault> {
        let (ReadRequest { partition, incarnation, filter, from, bytes_max }, _) = decode(body)?;
        let placed = placed(partitions, partition)?;
        let filter = self.compiled(filter)?;
        let (feed, bytes_max) = (FeedId { incarnation, partition }, (bytes_max as usize).min(BYTES_MAX));
        self.on(placed, move |placed| {
            let caught = catch_up(placed.reader(), feed, &filter, from, bytes_max)?;
            // After the read: what it had come to is at most this.
            Ok::<_, ReadError>((caught, placed.bounds().tail))
        })
        .await
        .map(|(Caught { covers, frames }, tail)| {
            let tail = if covers.is_empty() && from < tail { from } else { tail };
            let Frames { bytes, credit_bytes, events } = frames;
            encode_with(&ReadAnswer { covers, credit_bytes, events, tail }, &bytes)
        })
    }

    pub(super) async fn find(&self, partitions: &Partitions, body: &Bytes) -> Result<Bytes, Fault> {
        let (FindRequest { partition, sought }, _) = decode(body)?;
        let placed = placed(partitions, partition)?;
        let found = self.on(placed, move |placed| match sought {
            Sought::OffsetAt(wall) => placed.reader().offset_at(wall).map(FindAnswer::OffsetAt),
            Sought::AppendedAt(offset) => placed.reader().appended_at(offset).map(FindAnswer::AppendedAt),
        });
        Ok(encode(&found.await?))
    }

    /// Filters of many feeds are the same, and one feed comes again with each piece.
    fn compiled(&self, text: String) -> Result<Filter, Fault> {
        let mut filters = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(filter) = filters.get(&text) {
            return Ok(filter.clone());
        }
        let filter = Filter::compile(&text).map_err(|error| Fault::new(Code::BadFilter, error.to_string()))?;
        if filters.len() >= FILTERS_MAX {
            filters.clear();
        }
        filters.insert(text, filter.clone());
        Ok(filter)
    }

    async fn on<T: Send + 'static, E: std::error::Error + Send + 'static>(
        &self,
        placed: PartitionHandle,
        read: impl FnOnce(&PartitionHandle) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Fault> {
        let read = self.grants.run(move || read(&placed)).await;
        read.map_err(|error| Fault::new(Code::StoreFailed, error.to_string()))
    }
}

pub(super) fn bounds_here(partitions: &Partitions, body: &Bytes) -> Result<Bytes, Fault> {
    let (BoundsRequest { partitions: asked }, _) = decode(body)?;
    let bounds = asked.into_iter().filter_map(|id| {
        let Bounds { head, tail } = partitions.placed(id)?.bounds();
        Some((id, OffsetRange::new(head, tail)))
    });
    Ok(encode(&BoundsAnswer { bounds: bounds.collect() }))
}

fn placed(partitions: &Partitions, id: PartitionId) -> Result<PartitionHandle, Fault> {
    partitions.placed(id).ok_or_else(|| no_replica(GroupId::Partition(id)))
}
