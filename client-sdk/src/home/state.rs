//! Where a client has got to, as bytes: the state file, and the resume token of one subscription.
//!
//! ```text
//!   state        = version u8 (2) | session epoch u64 | registry index seen u64 | count u16 | subscription *
//!                  | count u16 | expired *                                 these two are not in version 1
//!   token        = version u8 (1) | client id 16 B | subscription
//!   subscription = name length u8 | name | filter length u16 | filter | incarnation u64 | partitions u16 | (log epoch u32 | offset u64) *
//!   expired      = name length u8 | name | incarnation u64
//! ```
//! Integers are little-endian. Losing the file loses no event: the epoch is asked for anew, and the registry has the cursors that
//! were acked. So a file that cannot be read is reported and taken as absent.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use anyport_protocol::limits::TOMBSTONES_PER_CLIENT_MAX;
use anyport_protocol::{ClientId, Cursor, Incarnation, LogEpoch, Offset, SessionEpoch, SubscriptionName};
use bytes::Buf;

use super::{Home, read, replace};
use crate::Error;

const STATE_VERSION: u8 = 2;
const STATE_WITHOUT_EXPIRED: u8 = 1;
const TOKEN_VERSION: u8 = 1;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResumeState {
    /// The highest epoch that may have been used.
    pub(crate) epoch: SessionEpoch,
    pub(crate) registry_seen: u64,
    pub(crate) subscriptions: BTreeMap<SubscriptionName, SavedSubscription>,
    /// What expired under these names, and the application has been told so: the next request says that it knows.
    pub(crate) expired: BTreeMap<SubscriptionName, Incarnation>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SavedSubscription {
    pub(crate) filter: String,
    pub(crate) incarnation: Incarnation,
    /// By partition: everything below is acked.
    pub(crate) cursors: Vec<Cursor>,
}

/// One subscription's position, to be stored together with the effects of its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResumeToken {
    pub(crate) client: ClientId,
    pub(crate) name: SubscriptionName,
    pub(crate) subscription: SavedSubscription,
}

impl Home {
    pub(crate) fn load_state(&self) -> Result<ResumeState, Error> {
        let path = self.file("state");
        let Some(bytes) = read(&path)? else { return Ok(ResumeState::default()) };
        Ok(ResumeState::decode(&bytes).unwrap_or_else(|reason| {
            tracing::warn!(path = %path.display(), reason, "the client's saved positions cannot be read; the broker's are used");
            ResumeState::default()
        }))
    }

    pub(crate) fn save_state(&self, state: &ResumeState) -> Result<(), Error> {
        self.make_client_folder()?;
        replace(&self.file("state"), &state.encode())
    }

    /// One life of a subscription has ended, at its client's own wish: subscribing anew is not to be told of it. A process that has
    /// the session writes the file itself, and learns it from the broker.
    pub(crate) fn forget_subscription(&self, name: &SubscriptionName, ended: Incarnation) -> Result<(), Error> {
        let _nobody_writes = match self.lock_session() {
            Ok(lock) => lock,
            Err(Error::InUse { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut state = self.load_state()?;
        match state.subscriptions.get(name) {
            Some(saved) if saved.incarnation == ended => {
                state.subscriptions.remove(name);
                self.save_state(&state)
            }
            _ => Ok(()),
        }
    }
}

impl ResumeState {
    /// The application knows that this life of a subscription is over.
    pub(crate) fn expiry_told(&mut self, name: &SubscriptionName, incarnation: Incarnation) {
        if self.subscriptions.get(name).is_some_and(|saved| saved.incarnation <= incarnation) {
            self.subscriptions.remove(name);
        }
        let known = self.expired.entry(name.clone()).or_insert(incarnation);
        *known = incarnation.max(*known);
        // As many as the broker remembers. One forgotten here is told once more.
        while self.expired.len() > TOMBSTONES_PER_CLIENT_MAX {
            let oldest = self.expired.iter().min_by_key(|(_, incarnation)| **incarnation).map(|(name, _)| name.clone());
            self.expired.remove(&oldest.expect("there are some"));
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![STATE_VERSION];
        out.extend_from_slice(&self.epoch.0.to_le_bytes());
        out.extend_from_slice(&self.registry_seen.to_le_bytes());
        out.extend_from_slice(&(self.subscriptions.len() as u16).to_le_bytes());
        for (name, subscription) in &self.subscriptions {
            subscription.push(name, &mut out);
        }
        out.extend_from_slice(&(self.expired.len() as u16).to_le_bytes());
        for (name, incarnation) in &self.expired {
            push_name(name, &mut out);
            out.extend_from_slice(&incarnation.0.to_le_bytes());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let (version, mut reader) = Reader::new(bytes, STATE_WITHOUT_EXPIRED..=STATE_VERSION)?;
        let epoch = SessionEpoch(reader.take(8)?.get_u64_le());
        let registry_seen = reader.take(8)?.get_u64_le();
        let count = reader.take(2)?.get_u16_le();
        let subscriptions = (0..count).map(|_| reader.subscription()).collect::<Result<_, _>>()?;
        let count = if version == STATE_WITHOUT_EXPIRED { 0 } else { reader.take(2)?.get_u16_le() };
        let expired = (0..count).map(|_| reader.expired()).collect::<Result<_, _>>()?;
        reader.finish(Self { epoch, registry_seen, subscriptions, expired })
    }

    /// Learns what another copy of the same client's state knows: of everything the later.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.epoch = self.epoch.max(other.epoch);
        self.registry_seen = self.registry_seen.max(other.registry_seen);
        for (name, other) in other.subscriptions {
            match self.subscriptions.get_mut(&name) {
                Some(own) if own.incarnation == other.incarnation => larger(&mut own.cursors, &other.cursors),
                Some(own) if own.incarnation > other.incarnation => {}
                _ => drop(self.subscriptions.insert(name, other)),
            }
        }
    }
}

/// Partition by partition the larger of both.
pub(crate) fn larger(cursors: &mut Vec<Cursor>, others: &[Cursor]) {
    if cursors.len() < others.len() {
        cursors.resize(others.len(), Cursor::default());
    }
    for (cursor, other) in cursors.iter_mut().zip(others) {
        *cursor = (*cursor).max(*other);
    }
}

impl ResumeToken {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![TOKEN_VERSION];
        out.extend_from_slice(self.client.as_bytes());
        self.subscription.push(&self.name, &mut out);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let (_, mut reader) = Reader::new(bytes, TOKEN_VERSION..=TOKEN_VERSION)?;
        let mut client = [0; 16];
        reader.take(16)?.copy_to_slice(&mut client);
        let (name, subscription) = reader.subscription()?;
        reader.finish(Self { client: ClientId::from_bytes(client), name, subscription })
    }
}

impl SavedSubscription {
    fn push(&self, name: &SubscriptionName, out: &mut Vec<u8>) {
        push_name(name, out);
        // Far below its length field's end: see the protocol's limits.
        out.extend_from_slice(&(self.filter.len() as u16).to_le_bytes());
        out.extend_from_slice(self.filter.as_bytes());
        out.extend_from_slice(&self.incarnation.0.to_le_bytes());
        out.extend_from_slice(&(self.cursors.len() as u16).to_le_bytes());
        for cursor in &self.cursors {
            out.extend_from_slice(&cursor.epoch.0.to_le_bytes());
            out.extend_from_slice(&cursor.offset.0.to_le_bytes());
        }
    }
}

fn push_name(name: &SubscriptionName, out: &mut Vec<u8>) {
    // Below its length field's end: see the protocol's limits.
    out.push(name.as_str().len() as u8);
    out.extend_from_slice(name.as_str().as_bytes());
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads the version, too.
    fn new(bytes: &'a [u8], known: RangeInclusive<u8>) -> Result<(u8, Self), &'static str> {
        match bytes.split_first() {
            Some((version, rest)) if known.contains(version) => Ok((*version, Self { rest })),
            Some(_) => Err("a version that is not known here"),
            None => Err("it is empty"),
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or("it ends early")?;
        self.rest = rest;
        Ok(taken)
    }

    fn text(&mut self, length: usize) -> Result<String, &'static str> {
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| "a text in it is not UTF-8")?;
        Ok(text.to_owned())
    }

    fn name(&mut self) -> Result<SubscriptionName, &'static str> {
        let length = self.take(1)?.get_u8();
        self.text(length.into())?.try_into().map_err(|_| "a name in it is none")
    }

    fn expired(&mut self) -> Result<(SubscriptionName, Incarnation), &'static str> {
        Ok((self.name()?, Incarnation(self.take(8)?.get_u64_le())))
    }

    fn subscription(&mut self) -> Result<(SubscriptionName, SavedSubscription), &'static str> {
        let name = self.name()?;
        let length = self.take(2)?.get_u16_le();
        let filter = self.text(length.into())?;
        let incarnation = Incarnation(self.take(8)?.get_u64_le());
        let partitions = self.take(2)?.get_u16_le();
        let cursors = (0..partitions).map(|_| self.cursor()).collect::<Result<_, _>>()?;
        Ok((name, SavedSubscription { filter, incarnation, cursors }))
    }

    fn cursor(&mut self) -> Result<Cursor, &'static str> {
        let mut bytes = self.take(12)?;
        Ok(Cursor { epoch: LogEpoch(bytes.get_u32_le()), offset: Offset(bytes.get_u64_le()) })
    }

    fn finish<T>(self, whole: T) -> Result<T, &'static str> {
        if self.rest.is_empty() { Ok(whole) } else { Err("there are bytes after its end") }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn saved(cursors: Vec<(u32, u64)>) -> SavedSubscription {
        let cursor = |(epoch, offset)| Cursor { epoch: LogEpoch(epoch), offset: Offset(offset) };
        SavedSubscription {
            filter: "data.mag >= 4.5".into(),
            incarnation: Incarnation(7),
            cursors: cursors.into_iter().map(cursor).collect(),
        }
    }

    fn state(cursors: Vec<(u32, u64)>) -> ResumeState {
        let name = "quakes".parse().expect("a name");
        ResumeState {
            epoch: SessionEpoch(3),
            registry_seen: 99,
            subscriptions: BTreeMap::from([(name, saved(cursors))]),
            expired: BTreeMap::from([("storms".parse().expect("a name"), Incarnation(5))]),
        }
    }

    fn token() -> ResumeToken {
        let name = "quakes".parse().expect("a name");
        ResumeToken { client: ClientId([0x11; 16]), name, subscription: saved(vec![(0, 5)]) }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.chunks(32).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n").collect()
    }

    #[test]
    fn state_and_token_are_as_in_the_golden_files() {
        assert_eq!(hex(&state(vec![(0, 17), (1, 1 << 40)]).encode()), include_str!("../../tests/golden/state-2.hex"));
        assert_eq!(hex(&token().encode()), include_str!("../../tests/golden/token.hex"));
        assert_eq!(ResumeToken::decode(&token().encode()), Ok(token()));
    }

    #[test]
    fn a_state_of_the_first_version_is_read_as_ever() {
        let digits = include_str!("../../tests/golden/state.hex").replace('\n', "");
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
        let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
        let expected = ResumeState { expired: BTreeMap::new(), ..state(vec![(0, 17), (1, 1 << 40)]) };
        assert_eq!(ResumeState::decode(&bytes), Ok(expected));
    }

    #[test]
    fn what_is_told_of_an_expiry_leaves_a_later_life_alone() {
        let name: SubscriptionName = "quakes".parse().expect("a name");
        let mut state = state(vec![]);
        state.expiry_told(&name, Incarnation(6));
        assert!(state.subscriptions.contains_key(&name), "it lives, in incarnation 7");
        state.expiry_told(&name, Incarnation(7));
        assert_eq!((state.subscriptions.len(), state.expired[&name]), (0, Incarnation(7)));
    }

    #[test]
    fn the_oldest_of_too_many_that_expired_is_forgotten() {
        let mut state = ResumeState::default();
        let name = |n: u64| format!("s{n}").parse().expect("a name");
        for n in 0..=TOMBSTONES_PER_CLIENT_MAX as u64 {
            state.expiry_told(&name(n), Incarnation(n + 1));
        }
        assert_eq!(state.expired.len(), TOMBSTONES_PER_CLIENT_MAX);
        assert!(!state.expired.contains_key(&name(0)));
    }

    #[test]
    fn a_state_cut_short_or_too_long_is_an_error_and_no_panic() {
        let mut whole = state(vec![(1, 2)]).encode();
        for length in 0..whole.len() {
            assert!(ResumeState::decode(&whole[..length]).is_err(), "{length}");
        }
        whole.push(0);
        assert!(ResumeState::decode(&whole).is_err());
    }

    #[test]
    fn a_damaged_file_is_taken_as_absent() {
        let root = tempfile::tempdir().expect("temporary folder");
        let home = Home::new(root.path().into(), "phone").expect("a good name");
        home.save_state(&state(vec![(0, 1)])).expect("save");
        assert_eq!(home.load_state().expect("load"), state(vec![(0, 1)]));
        std::fs::write(home.file("state"), b"\x01garbage").expect("write");
        assert_eq!(home.load_state().expect("load"), ResumeState::default());
    }

    #[test]
    fn what_is_removed_is_forgotten_in_the_life_that_was_meant_and_unless_somebody_else_writes() {
        let root = tempfile::tempdir().expect("temporary folder");
        let home = Home::new(root.path().into(), "phone").expect("a good name");
        let name = "quakes".parse().expect("a name");
        home.save_state(&state(vec![(0, 1)])).expect("save");
        home.forget_subscription(&name, Incarnation(6)).expect("another life of it");
        let session = home.lock_session().expect("free");
        home.forget_subscription(&name, Incarnation(7)).expect("left to the other process");
        assert_eq!(home.load_state().expect("load"), state(vec![(0, 1)]));
        drop(session);
        home.forget_subscription(&name, Incarnation(7)).expect("forgotten");
        assert_eq!(
            home.load_state().expect("load"),
            ResumeState { subscriptions: BTreeMap::new(), ..state(Vec::new()) }
        );
    }

    #[test]
    fn of_two_copies_of_a_state_the_later_of_everything_counts() {
        let mut own = state(vec![(0, 17), (1, 4)]);
        own.absorb(ResumeState { epoch: SessionEpoch(2), registry_seen: 120, ..state(vec![(0, 20), (0, 90), (0, 1)]) });
        assert_eq!((own.epoch, own.registry_seen), (SessionEpoch(3), 120));
        assert_eq!(own.subscriptions, state(vec![(0, 20), (1, 4), (0, 1)]).subscriptions);

        let mut later = state(vec![(0, 1)]);
        later.subscriptions.values_mut().for_each(|saved| saved.incarnation = Incarnation(8));
        own.absorb(later.clone());
        assert_eq!(own.subscriptions, later.subscriptions, "a later life counts, and where it is");
        own.absorb(state(vec![(9, 99)]));
        assert_eq!(own.subscriptions, later.subscriptions);
    }

    proptest! {
        #[test]
        fn a_state_survives_its_file(cursors: Vec<(u32, u64)>) {
            let state = state(cursors);
            prop_assert_eq!(ResumeState::decode(&state.encode()), Ok(state));
        }

        #[test]
        fn any_bytes_decode_or_err(bytes: Vec<u8>) {
            let _ = ResumeState::decode(&bytes);
            let _ = ResumeToken::decode(&bytes);
        }
    }
}
