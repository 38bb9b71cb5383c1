//! The thread for what must not delay a commit: rewriting the mark file and dropping the files of purged entries.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::engine::Disk;
use crate::error::OpenError;
use crate::group::GroupId;
use crate::keys;
use crate::mark::{Mark, MarkFile};
use crate::options::Step;

/// Between two marks: what a power cut together with damage to the log's end could hide.
const MARK_INTERVAL: Duration = Duration::from_secs(1);

/// Files in level 0 are never dropped as a whole, so the keeper comes back for them once compaction has moved them on.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

enum Message {
    DropFiles { group: GroupId, upto: u64 },
    Forget { group: GroupId, done: SyncSender<()> },
    Stop,
}

pub(crate) struct Keeper {
    queue: Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Asks the keeper to drop the files of a group's purged entries.
#[derive(Clone)]
pub(crate) struct Broom {
    queue: Sender<Message>,
    group: GroupId,
}

impl Keeper {
    pub(crate) fn start(disk: Arc<Disk>, file: MarkFile, mark: Mark) -> Result<Self, OpenError> {
        let (queue, inbox) = mpsc::channel();
        let task = KeeperThread { disk, file, mark, inbox, purged: BTreeMap::new() };
        let thread = thread::Builder::new()
            .name("store-keeper".into())
            .spawn(|| task.run())
            .map_err(|cause| OpenError::Thread { name: "store-keeper", cause })?;
        Ok(Self { queue, thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn broom(&self, group: GroupId) -> Broom {
        Broom { queue: self.queue.clone(), group }
    }

    /// Forgets how far a group was purged, before this returns: it begins anew, and its new entries are not the old ones.
    pub(crate) fn forget(&self, group: GroupId) {
        let (done, is_done) = mpsc::sync_channel(1);
        // If the keeper has stopped nothing is dropped any more.
        if self.queue.send(Message::Forget { group, done }).is_ok() {
            let _ = is_done.recv();
        }
    }

    pub(crate) fn stop(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        let _ = self.queue.send(Message::Stop);
        if thread.thread().id() != thread::current().id() && thread.join().is_err() {
            tracing::error!("the keeper thread panicked");
        }
    }
}

impl Broom {
    /// Every entry up to and including this one is purged. Call it when that is durable.
    pub(crate) fn sweep(&self, upto: u64) {
        // Not sent if the store is stopping: the next start sweeps again.
        let _ = self.queue.send(Message::DropFiles { group: self.group, upto });
    }
}

struct KeeperThread {
    disk: Arc<Disk>,
    file: MarkFile,
    mark: Mark,
    inbox: Receiver<Message>,
    /// Up to where each group is purged.
    purged: BTreeMap<GroupId, u64>,
}

impl KeeperThread {
    fn run(mut self) {
        let mut swept = Instant::now();
        loop {
            match self.inbox.recv_timeout(MARK_INTERVAL) {
                Ok(Message::DropFiles { group, upto }) => {
                    self.purged.insert(group, upto);
                    self.drop_files(group, upto);
                }
                Ok(Message::Forget { group, done }) => {
                    self.purged.remove(&group);
                    let _ = done.send(());
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if swept.elapsed() >= SWEEP_INTERVAL {
                swept = Instant::now();
                self.purged.iter().for_each(|(group, upto)| self.drop_files(*group, *upto));
            }
            self.rewrite_mark();
        }
    }

    fn rewrite_mark(&mut self) {
        let synced = self.disk.synced();
        if synced <= self.mark.synced {
            return;
        }
        let mark = Mark { synced, ..self.mark };
        if self.disk.step(Step::Mark, || self.file.write(&mark)).is_ok() {
            self.mark = mark;
        }
    }

    /// Drops whole files. What is left of purged entries shares its file with retained ones and goes with that file later: a
    /// range tombstone for it would span to the newest key of its file, and drag everything between through compaction.
    /// Nobody reads it, because every iterator is bounded from below.
    fn drop_files(&self, group: GroupId, upto: u64) {
        let Some(column) = self.disk.db.cf_handle(&group.to_string()) else { return };
        let (from, to) = (keys::record(0, 0), keys::record(upto, u16::MAX));
        if let Err(cause) = self.disk.db.delete_file_in_range_cf(&column, from, to) {
            tracing::warn!(%group, upto, %cause, "drop files of purged entries");
        }
    }
}
