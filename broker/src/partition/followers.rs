//! Who follows the tail, and which of the events just stored each of them gets.
//!
//! Owned by the partition's task, with the tail itself: so registering at a position and comparing it with the tail are one
//! step. Invariant: everything below `tail` has been evaluated for every follower. Followers with the same filter share its
//! evaluation and the list of events.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyport_protocol::event::EncodedEvent;
use anyport_protocol::filter::Filter;
use anyport_protocol::message::feed::FeedId;
use anyport_protocol::{Offset, OffsetRange};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::live::{FollowAnswer, FollowRequest, FollowerId, Live, LiveWindow};

/// What an event costs in a queue beside its bytes.
const EVENT_OVERHEAD_BYTES: usize = 40;

#[derive(Debug)]
struct Follower {
    feed: FeedId,
    /// Up to where it has been told.
    told: Offset,
    window: Arc<LiveWindow>,
    sink: mpsc::UnboundedSender<Live>,
}

type Group = BTreeMap<FollowerId, Follower>;

#[derive(Debug)]
pub struct Followers {
    tail: Offset,
    groups: HashMap<Filter, Group>,
    filters: HashMap<FollowerId, Filter>,
}

impl Followers {
    pub fn new(tail: Offset) -> Self {
        Self { tail, groups: HashMap::new(), filters: HashMap::new() }
    }

    pub fn tail(&self) -> Offset {
        self.tail
    }

    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Registers the follower if it is at the tail.
    pub fn follow(&mut self, request: FollowRequest) -> FollowAnswer {
        let FollowRequest { feed, position, filter, window, sink } = request;
        if position != self.tail {
            return FollowAnswer::Behind { tail: self.tail };
        }
        let id = FollowerId::next();
        self.filters.insert(id, filter.clone());
        self.groups.entry(filter).or_default().insert(id, Follower { feed, told: position, window, sink });
        FollowAnswer::Following(id)
    }

    /// Dismisses a follower, who is told nothing more.
    pub fn unfollow(&mut self, id: FollowerId) {
        let Some(filter) = self.filters.remove(&id) else { return };
        if let Some(group) = self.groups.get_mut(&filter) {
            group.remove(&id);
            if group.is_empty() {
                self.groups.remove(&filter);
            }
        }
    }

    /// The events of `range` are stored, which begins at the tail.
    pub fn stored(&mut self, range: OffsetRange, events: impl Iterator<Item = (Offset, Bytes)>) {
        assert_eq!(range.start, self.tail, "batches are stored one after the other");
        let mut matches: Vec<Vec<(Offset, Bytes)>> = vec![Vec::new(); self.groups.len()];
        for (offset, bytes) in events {
            let checked = EncodedEvent::check(&bytes);
            for (filter, matches) in self.groups.keys().zip(&mut matches) {
                // What is stored was checked when it was published.
                if filter.is_always() || checked.as_ref().is_ok_and(|event| filter.passes(event)) {
                    matches.push((offset, bytes.clone()));
                }
            }
        }
        let mut left = Vec::new();
        for (group, matches) in self.groups.values_mut().zip(matches) {
            if !matches.is_empty() {
                deliver(group, range, matches, &mut left);
            }
        }
        left.into_iter().for_each(|id| self.unfollow(id));
        self.tail = range.end;
    }

    /// Nobody follows, so nobody needs the events.
    pub fn move_tail(&mut self, tail: Offset) {
        assert!(self.is_empty(), "events would be passed over");
        self.tail = tail;
    }

    /// Tells those who were told nothing for a while how far they have come.
    pub fn tell_progress(&mut self) {
        let tail = self.tail;
        let mut gone = Vec::new();
        for (id, follower) in self.groups.values_mut().flatten().filter(|(_, follower)| follower.told < tail) {
            follower.told = tail;
            let progress = Live::Progress { feed: follower.feed, follower: *id, upto: tail };
            if follower.sink.send(progress).is_err() {
                gone.push(*id);
            }
        }
        gone.into_iter().for_each(|id| self.unfollow(id));
    }

    /// All leave: what is stored from here on is not evaluated. They read it, or wait for it elsewhere.
    pub fn dismiss_all(&mut self) {
        self.filters.clear();
        for (follower, Follower { feed, sink, .. }) in self.groups.drain().flat_map(|(_, group)| group) {
            // One who is gone does not mind.
            let _ = sink.send(Live::Left { feed, follower, evaluated: self.tail });
        }
    }
}

/// Sends what matches to everybody of a group, and notes who has no room for it or is gone.
fn deliver(group: &mut Group, range: OffsetRange, matches: Vec<(Offset, Bytes)>, left: &mut Vec<FollowerId>) {
    let bytes = matches.iter().map(|(_, event)| event.len() + EVENT_OVERHEAD_BYTES).sum();
    let events: Arc<[_]> = matches.into();
    for (&id, follower) in group {
        let feed = follower.feed;
        let live = if follower.window.take(bytes) {
            let covers = OffsetRange::new(follower.told, range.end);
            follower.told = range.end;
            Live::Frame { feed, follower: id, covers, events: Arc::clone(&events), bytes }
        } else {
            left.push(id);
            Live::Left { feed, follower: id, evaluated: range.start }
        };
        if follower.sink.send(live).is_err() {
            left.push(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use anyport_protocol::event::Event;
    use anyport_protocol::{Incarnation, PartitionId};

    use super::*;

    struct Reader {
        id: FollowerId,
        window: Arc<LiveWindow>,
        inbox: mpsc::UnboundedReceiver<Live>,
    }

    impl Reader {
        fn frames(&mut self) -> Vec<String> {
            let mut frames = Vec::new();
            while let Ok(live) = self.inbox.try_recv() {
                frames.push(match live {
                    Live::Frame { covers, events, bytes, .. } => {
                        self.window.give_back(bytes);
                        let offsets: Vec<_> = events.iter().map(|(offset, _)| offset.0).collect();
                        format!("{covers} {offsets:?}")
                    }
                    Live::Progress { upto, .. } => format!("progress {upto}"),
                    Live::Left { evaluated, .. } => format!("left {evaluated}"),
                });
            }
            frames
        }
    }

    fn follow(
        followers: &mut Followers,
        position: u64,
        filter: &str,
        window_bytes: i64,
    ) -> Result<Reader, FollowAnswer> {
        let (sink, inbox) = mpsc::unbounded_channel();
        let window = Arc::new(LiveWindow::new(window_bytes));
        let request = FollowRequest {
            feed: FeedId { incarnation: Incarnation(1), partition: PartitionId(0) },
            position: Offset(position),
            filter: Filter::compile(filter).expect("compiles"),
            window: Arc::clone(&window),
            sink,
        };
        match followers.follow(request) {
            FollowAnswer::Following(id) => Ok(Reader { id, window, inbox }),
            refused => Err(refused),
        }
    }

    /// Stores one event of each of these types.
    fn store(followers: &mut Followers, types: &[&str]) {
        let events = types.iter().enumerate().map(|(at, event_type)| {
            let event = Event::builder("1", "/test", *event_type).build().expect("valid");
            (followers.tail().plus(at as u64), Bytes::from(event.encode()))
        });
        let events: Vec<_> = events.collect();
        let range = OffsetRange::new(followers.tail(), followers.tail().plus(types.len() as u64));
        followers.stored(range, events.into_iter());
    }

    #[test]
    fn only_who_is_at_the_tail_may_follow() {
        let mut followers = Followers::new(Offset(10));
        for position in [9, 11] {
            let refused = follow(&mut followers, position, "", 100).err();
            assert_eq!(refused, Some(FollowAnswer::Behind { tail: Offset(10) }));
        }
        assert!(follow(&mut followers, 10, "", 100).is_ok());
    }

    #[test]
    fn frames_chain_over_batches_without_a_match() {
        let mut followers = Followers::new(Offset(10));
        let mut reader = follow(&mut followers, 10, "type = 'a'", 10_000).expect("at the tail");
        store(&mut followers, &["b", "a"]);
        store(&mut followers, &["b", "b", "b"]);
        store(&mut followers, &["a", "b", "a"]);
        assert_eq!(reader.frames(), ["[10, 12) [11]", "[12, 18) [15, 17]"]);
    }

    #[test]
    fn followers_of_one_filter_share_their_events() {
        let mut followers = Followers::new(Offset(0));
        let mut readers: Vec<_> =
            (0..2).map(|_| follow(&mut followers, 0, "type = 'a'", 10_000).expect("at the tail")).collect();
        store(&mut followers, &["a"]);
        let frames: Vec<_> = readers.iter_mut().filter_map(|reader| reader.inbox.try_recv().ok()).collect();
        let [Live::Frame { events: first, .. }, Live::Frame { events: second, .. }] = frames.as_slice() else {
            panic!("both get a frame")
        };
        assert!(Arc::ptr_eq(first, second));
    }

    #[test]
    fn who_has_no_room_leaves_with_what_was_evaluated() {
        let mut followers = Followers::new(Offset(0));
        let mut reader = follow(&mut followers, 0, "type = 'a'", 1).expect("at the tail");
        store(&mut followers, &["a"]);
        store(&mut followers, &["b", "b"]);
        store(&mut followers, &["b", "a"]);
        store(&mut followers, &["a"]);
        assert_eq!(reader.frames(), ["[0, 1) [0]", "left 3"]);
        assert!(followers.is_empty());
    }

    #[test]
    fn quiet_followers_are_told_how_far_they_have_come_only_if_they_have() {
        let mut followers = Followers::new(Offset(0));
        let mut reader = follow(&mut followers, 0, "type = 'a'", 10_000).expect("at the tail");
        followers.tell_progress();
        store(&mut followers, &["b", "b"]);
        followers.tell_progress();
        followers.tell_progress();
        store(&mut followers, &["a"]);
        assert_eq!(reader.frames(), ["progress 2", "[2, 3) [2]"]);
    }

    #[test]
    fn who_is_dismissed_is_told_nothing_more_and_who_is_gone_is_forgotten() {
        let mut followers = Followers::new(Offset(0));
        let mut dismissed = follow(&mut followers, 0, "", 10_000).expect("at the tail");
        let gone = follow(&mut followers, 0, "", 10_000).expect("at the tail");
        followers.unfollow(dismissed.id);
        drop(gone);
        store(&mut followers, &["a"]);
        assert_eq!(dismissed.frames(), Vec::<String>::new());
        assert!(followers.is_empty());
    }

    #[test]
    fn all_leave_when_the_partition_stops() {
        let mut followers = Followers::new(Offset(4));
        let mut reader = follow(&mut followers, 4, "type = 'a'", 10_000).expect("at the tail");
        store(&mut followers, &["b"]);
        followers.dismiss_all();
        assert_eq!(reader.frames(), ["left 5"]);
        assert!(followers.is_empty());
    }
}
