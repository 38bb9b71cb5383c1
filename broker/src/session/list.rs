//! How a client's subscriptions stand, read from its record and from where the logs begin and end. Needs no session and disturbs
//! none.

use std::sync::Arc;

use anyport_protocol::filter::Filter;
use anyport_protocol::message::{
    ListSubscriptions, SUBSCRIPTIONS_PER_ANSWER, SessionReport, SubscriptionList, SubscriptionReport,
};
use anyport_protocol::{ClientId, Code, Fault, WallMs};
use anyport_storage::Bounds;
use anyport_storage::registry::SubscriptionRecord;
use futures_util::future::try_join_all;

use super::control::{Control, Next, refused};
use super::subscribe::not_known_now;
use crate::{Broker, clock};

impl Control {
    /// Answered out of turn: reading the disk must not hold up credit.
    pub(super) fn on_list(&self, list: ListSubscriptions) -> Result<Next, Fault> {
        let client = self.client()?;
        let broker = Arc::clone(&self.broker);
        Ok(Next::Later(Box::pin(async move {
            match listed(&broker, client, &list).await {
                Ok(list) => list.into(),
                Err(fault) => refused(fault),
            }
        })))
    }
}

async fn listed(broker: &Broker, client: ClientId, list: &ListSubscriptions) -> Result<SubscriptionList, Fault> {
    let (record, _) = broker.registry.record(client, list.registry_seen).await?;
    let record = record.ok_or_else(|| Fault::new(Code::UnknownClient, "no such client is registered here"))?;
    let bounds: Option<Vec<Bounds>> = broker.partitions.bounds().await.into_iter().collect();
    let bounds = bounds.ok_or_else(not_known_now)?;
    let comes_after =
        |subscription: &&SubscriptionRecord| list.after.as_ref().is_none_or(|after| subscription.name > *after);
    let mut found: Vec<_> = record.subscriptions.iter().filter(comes_after).collect();
    found.sort_by_key(|subscription| &subscription.name);
    let more = found.len() > SUBSCRIPTIONS_PER_ANSWER;
    found.truncate(SUBSCRIPTIONS_PER_ANSWER);
    let mut subscriptions = Vec::with_capacity(found.len());
    for subscription in found {
        subscriptions.push(report(broker, subscription, &bounds).await?);
    }
    let is_open_here = record.epoch.0 > 0 && broker.sessions.epoch(client) == Some(record.epoch);
    Ok(SubscriptionList {
        server_time: clock::wall(),
        session: SessionReport { epoch: record.epoch, last_seen: record.last_seen, is_open_here },
        total: u32::try_from(record.subscriptions.len()).expect("at most SUBSCRIPTIONS_PER_CLIENT_MAX"),
        subscriptions,
        more,
    })
}

async fn report(
    broker: &Broker,
    subscription: &SubscriptionRecord,
    bounds: &[Bounds],
) -> Result<SubscriptionReport, Fault> {
    let (mut waiting_max, mut gone, mut oldest) = (0, 0, Vec::new());
    for (partition, Bounds { head, tail }) in broker.partitions.ids().zip(bounds) {
        let cursor = subscription.cursors.get(usize::from(partition.0)).copied().unwrap_or_default();
        let position = broker.epochs.place(partition, cursor).0.offset;
        let next = position.max(*head);
        gone += next.0 - position.0;
        if next < *tail {
            waiting_max += tail.0 - next.0;
            let partition = broker.partitions.way(partition);
            oldest.push(async move { partition.appended_at(next).await });
        }
    }
    let oldest_waiting: Option<WallMs> = try_join_all(oldest).await?.into_iter().flatten().min();
    let everything_matches = Filter::compile(&subscription.filter).is_ok_and(|filter| filter.is_always());
    Ok(SubscriptionReport {
        name: subscription.name.clone(),
        incarnation: subscription.incarnation,
        filter: subscription.filter.clone(),
        waiting_max,
        waiting_is_exact: waiting_max == 0 || everything_matches,
        oldest_waiting,
        gone,
        inactive_expiry_secs: subscription.inactive_expiry_secs,
        last_used: subscription.last_used,
    })
}
