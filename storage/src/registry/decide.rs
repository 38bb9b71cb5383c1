//! The rules of the registry, as one function of values: a record and a command give a record and a reply.
//!
//! Order is the log's. What may come late, twice or from a session that has been taken over is told apart here and nowhere
//! else: by epoch and nonce (sessions), by incarnation (subscriptions), by maxima (cursors).

use std::cmp::Ordering;

use anyport_protocol::limits::SUBSCRIPTIONS_PER_CLIENT_MAX;
use anyport_protocol::message::SubscribeOutcome;
use anyport_protocol::{Cursor, Incarnation, Nonce, PartitionId, SessionEpoch, SubscriptionName, WallMs};

use super::command::{Command, IgnoredMove, Refusal, Reply};
use super::record::{ClientRecord, SubscriptionRecord};

/// What becomes of a client's record, `None` if it stays as it is, and what the proposer is told.
pub fn decide(record: Option<&ClientRecord>, command: &Command) -> (Option<ClientRecord>, Reply) {
    match (record, command) {
        (None, Command::Register { now, .. }) => (Some(ClientRecord::new(*now)), Reply::Registered { created: *now }),
        (None, _) => (None, Reply::Refused(Refusal::UnknownClient)),
        (Some(record), command) => {
            let mut changed = record.clone();
            match apply(&mut changed, command) {
                Ok(reply) => ((changed != *record).then_some(changed), reply),
                Err(refusal) => (None, Reply::Refused(refusal)),
            }
        }
    }
}

fn apply(record: &mut ClientRecord, command: &Command) -> Result<Reply, Refusal> {
    match command {
        Command::Register { .. } => Ok(Reply::Registered { created: record.created }),
        Command::Open { epoch, nonce, now, .. } => open(record, *epoch, *nonce, *now),
        Command::Subscribe {
            epoch, name, filter, starts, seek, inactive_expiry_secs, expired, temporary, now, ..
        } => {
            fence(record, *epoch)?;
            record.seen(*now);
            let wanted = SubscriptionRecord {
                name: name.clone(),
                filter: filter.clone(),
                incarnation: record.next_incarnation,
                inactive_expiry_secs: *inactive_expiry_secs,
                temporary: *temporary,
                last_used: *now,
                starts: starts.clone(),
                cursors: starts.clone(),
            };
            subscribe(record, wanted, *seek, *expired)
        }
        Command::Unsubscribe { epoch, name, .. } => {
            fence(record, *epoch)?;
            unsubscribe(record, name)
        }
        Command::Cursors { epoch, cursors, now, .. } => {
            fence(record, *epoch)?;
            record.seen(*now);
            Ok(Reply::CursorsApplied { ignored: move_cursors(record, cursors, *now) })
        }
        Command::End { name, incarnation, now, .. } => {
            let ended = end(record, name, *incarnation)?;
            record.seen(*now);
            Ok(ended)
        }
        Command::Expire { name, incarnation, unused_since, now, .. } => {
            expire(record, name, *incarnation, *unused_since, *now)
        }
    }
}

/// Repeating the open of the present session is answered alike and changes nothing: it may be a copy, from long ago.
fn open(record: &mut ClientRecord, epoch: SessionEpoch, nonce: Nonce, now: WallMs) -> Result<Reply, Refusal> {
    let repeated = epoch == record.epoch && nonce == record.nonce && epoch != SessionEpoch(0);
    if !repeated {
        if epoch <= record.epoch {
            return Err(Refusal::StaleEpoch { current: record.epoch });
        }
        record.epoch = epoch;
        record.nonce = nonce;
        record.seen(now);
        record.subscriptions.iter_mut().for_each(|subscription| subscription.used(now));
    }
    Ok(Reply::Opened { record: record.clone() })
}

/// Lets only the newest session pass.
fn fence(record: &ClientRecord, epoch: SessionEpoch) -> Result<(), Refusal> {
    match epoch.cmp(&record.epoch) {
        Ordering::Less => Err(Refusal::StaleEpoch { current: record.epoch }),
        Ordering::Equal if epoch != SessionEpoch(0) => Ok(()),
        Ordering::Equal | Ordering::Greater => Err(Refusal::NotOpen { current: record.epoch }),
    }
}

fn place(record: &ClientRecord, name: &SubscriptionName) -> Result<usize, Refusal> {
    let at = record.subscriptions.iter().position(|subscription| subscription.name == *name);
    at.ok_or_else(|| Refusal::UnknownSubscription { name: name.clone() })
}

/// `wanted` is the subscription as it would be if it began now, with the next incarnation; `expired` is what the client knows to
/// have expired under its name.
fn subscribe(
    record: &mut ClientRecord,
    mut wanted: SubscriptionRecord,
    seek: bool,
    expired: Option<Incarnation>,
) -> Result<Reply, Refusal> {
    let Ok(at) = place(record, &wanted.name) else {
        return create(record, wanted, expired);
    };
    let present = &mut record.subscriptions[at];
    if !seek && present.filter == wanted.filter {
        present.used(wanted.last_used);
        present.temporary &= wanted.temporary;
        return Ok(subscribed(SubscribeOutcome::Attached, present));
    }
    let outcome = if seek {
        SubscribeOutcome::Sought
    } else {
        wanted.starts = reached(&present.cursors, &wanted.starts);
        wanted.cursors = wanted.starts.clone();
        SubscribeOutcome::FilterChanged
    };
    wanted.used(present.last_used);
    let reply = subscribed(outcome, &wanted);
    *present = wanted;
    take_incarnation(record);
    Ok(reply)
}

/// Never a silent fresh start: over a tombstone only for who names what lies there. A repetition of such a request finds the
/// subscription it made, and attaches to it.
fn create(
    record: &mut ClientRecord,
    wanted: SubscriptionRecord,
    expired: Option<Incarnation>,
) -> Result<Reply, Refusal> {
    if let Some(tombstone) = record.tombstone(&wanted.name).filter(|tombstone| expired != Some(tombstone.incarnation)) {
        return Err(Refusal::Expired { name: wanted.name, incarnation: tombstone.incarnation });
    }
    let subscriptions = record.subscriptions.len();
    if subscriptions >= SUBSCRIPTIONS_PER_CLIENT_MAX {
        return Err(Refusal::LimitReached { subscriptions, limit: SUBSCRIPTIONS_PER_CLIENT_MAX });
    }
    let reply = subscribed(SubscribeOutcome::Created, &wanted);
    record.take_tombstone(&wanted.name);
    record.subscriptions.push(wanted);
    take_incarnation(record);
    Ok(reply)
}

fn unsubscribe(record: &mut ClientRecord, name: &SubscriptionName) -> Result<Reply, Refusal> {
    let incarnation = match record.take_tombstone(name) {
        Some(tombstone) => tombstone.incarnation,
        None => {
            let at = place(record, name)?;
            record.subscriptions.remove(at).incarnation
        }
    };
    Ok(Reply::Unsubscribed { incarnation })
}

/// The positions a subscription has come to; for partitions new to it, the given ones.
fn reached(cursors: &[Cursor], starts: &[Cursor]) -> Vec<Cursor> {
    cursors.iter().chain(starts.iter().skip(cursors.len())).copied().collect()
}

fn take_incarnation(record: &mut ClientRecord) {
    let next = record.next_incarnation.0.checked_add(1);
    record.next_incarnation =
        Incarnation(next.expect("counts single commands from 1, so 2^64 of them cannot have been"));
}

fn subscribed(outcome: SubscribeOutcome, subscription: &SubscriptionRecord) -> Reply {
    Reply::Subscribed { outcome, subscription: subscription.clone() }
}

/// Returns what was ignored.
fn move_cursors(
    record: &mut ClientRecord,
    moves: &[(Incarnation, Vec<(PartitionId, Cursor)>)],
    now: WallMs,
) -> Vec<IgnoredMove> {
    let mut ignored = Vec::new();
    for &(incarnation, ref cursors) in moves {
        let current = record.subscriptions.iter_mut().find(|subscription| subscription.incarnation == incarnation);
        let Some(subscription) = current else {
            ignored.push(IgnoredMove::NotCurrent { incarnation });
            continue;
        };
        subscription.used(now);
        for &(partition, cursor) in cursors {
            match subscription.cursors.get_mut(usize::from(partition.0)) {
                Some(present) => *present = cursor.max(*present),
                None => ignored.push(IgnoredMove::UnknownPartition { incarnation, partition }),
            }
        }
    }
    ignored
}

/// Not fenced by an epoch: the client asks beside whatever session it has.
fn end(record: &mut ClientRecord, name: &SubscriptionName, incarnation: Incarnation) -> Result<Reply, Refusal> {
    let at = place(record, name)?;
    let current = record.subscriptions[at].incarnation;
    if current != incarnation {
        return Err(Refusal::OtherIncarnation { name: name.clone(), current });
    }
    record.subscriptions.remove(at);
    Ok(Reply::Ended { incarnation })
}

/// Not fenced by an epoch, since no session asks for it; incarnation and time of last use stand in.
fn expire(
    record: &mut ClientRecord,
    name: &SubscriptionName,
    incarnation: Incarnation,
    unused_since: WallMs,
    now: WallMs,
) -> Result<Reply, Refusal> {
    let at = place(record, name)?;
    let present = &record.subscriptions[at];
    if present.incarnation != incarnation || present.last_used > unused_since {
        return Err(Refusal::TooEarly { incarnation: present.incarnation, last_used: present.last_used });
    }
    let ended = record.subscriptions.remove(at);
    record.bury(ended, now);
    Ok(Reply::Expired { incarnation })
}
