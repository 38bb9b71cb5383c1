//! What happens to a client, told to the brokers that may have a session of it. Best effort: the registry is what decides, and whoever
//! misses a notice learns of it from the answer to the client's next request.

use std::collections::HashMap;
use std::time::Duration;

use anyport_protocol::{BrokerId, Fault};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::words::{Notice, Notices};
use super::{Links, Task};
use crate::Broker;
use crate::peer::Call;
use crate::peer::body::encode;
use crate::session::Push;

/// Notices that wait to be told, and for each broker those that wait while it is being told others. More are dropped.
const NOTICES_MAX: usize = 4096;

/// In one call.
const NOTICES_PER_CALL: usize = 1024;

const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Tells all other brokers that are there, many notices in one call. Ends its task when it is dropped.
#[derive(Debug)]
pub struct Notifier {
    notices: mpsc::Sender<Notice>,
    _task: Task,
}

impl Notifier {
    pub fn start(links: Links) -> Self {
        let (notices, inbox) = mpsc::channel(NOTICES_MAX);
        Self { notices, _task: Task::spawn(run(links, inbox)) }
    }

    pub fn tell(&self, notice: Notice) {
        if let Err(lost) = self.notices.try_send(notice) {
            tracing::debug!(%lost, "tell other brokers");
        }
    }
}

async fn run(links: Links, mut inbox: mpsc::Receiver<Notice>) {
    let mut waiting: HashMap<BrokerId, Vec<Notice>> = HashMap::new();
    let mut calls = FuturesUnordered::new();
    let mut called: Vec<BrokerId> = Vec::new();
    loop {
        tokio::select! {
            notice = inbox.recv() => match notice {
                Some(notice) => push(&links, &mut waiting, &notice),
                None => return,
            },
            Some((broker, told)) = calls.next(), if !calls.is_empty() => {
                let told: Result<Bytes, Fault> = told;
                if let Err(fault) = told {
                    tracing::debug!(%broker, %fault, "tell a broker");
                }
                called.retain(|busy| *busy != broker);
            }
        }
        for (broker, notices) in waiting.iter_mut().filter(|(_, notices)| !notices.is_empty()) {
            if called.contains(broker) {
                continue;
            }
            called.push(*broker);
            let notices = notices.drain(..notices.len().min(NOTICES_PER_CALL)).collect();
            let (broker, links, body) = (*broker, links.clone(), encode(&Notices { notices }));
            calls.push(async move {
                (broker, links.ask(broker, Call::SessionOpened, body, Instant::now() + CALL_TIMEOUT).await)
            });
        }
    }
}

fn push(links: &Links, waiting: &mut HashMap<BrokerId, Vec<Notice>>, notice: &Notice) {
    let reached = links.peers.reached();
    let reached = reached.borrow();
    waiting.retain(|broker, _| reached.contains(broker));
    for broker in reached.iter().filter(|broker| **broker != links.own) {
        let notices = waiting.entry(*broker).or_default();
        if notices.len() < NOTICES_MAX {
            notices.push(notice.clone());
        }
    }
}

/// Another broker has told it.
pub(super) fn on_notice(broker: &Broker, notice: Notice) {
    match notice {
        Notice::SessionOpened { client, epoch, nonce } => broker.sessions.opened_elsewhere(client, epoch, nonce),
        // What is applied here is announced by whoever applies it.
        Notice::SubscriptionEnded { client, .. } if broker.registry.has(client) => {}
        Notice::SubscriptionEnded { client, ended } => broker.sessions.push(client, Push::SubscriptionEnded(ended)),
    }
}
