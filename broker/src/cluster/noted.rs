//! Whose data the store has of a group: a row of the broker's own, synced, and what follows from it.
//!
//! ```text
//!  replica-of-GROUP    has u64 | wiped u64       ids of replicas, little endian, zero for none; a row may end after the first
//! ```
//! Two things would lose what was acknowledged: to wipe data that still count, and to begin a replica anew under a name that it had before,
//! since it would have forgotten what it voted and stored. What a broker knows of the assignments may be old, above all when it starts.
//! So data are wiped only by an assignment that the cluster has confirmed since then, and that a name is used up is kept here,
//! where no copy of the metadata matters.

use anyport_protocol::ReplicaId;
use anyport_storage::{GroupId, Store};

use super::blocking::in_place;
use super::replicas::ReplicaError;

/// Written before what it tells of is done, so that a crash leaves no data that it does not tell of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Noted {
    /// The replica whose data these are. While they are being wiped it is also the last one wiped.
    pub(super) has: Option<ReplicaId>,
    /// The last one that was wiped here. Generations only grow, so all names up to it are used up.
    wiped: Option<ReplicaId>,
}

/// What is to be done next about a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// Note that what is here from now on is this replica's, and look again.
    Note(ReplicaId),
    Run(ReplicaId),
    /// Run the replica that a group is created with, have it create the group, and only then note it: a crash in between is made good.
    Create,
    /// And look again.
    Wipe,
    /// It can never run here again: the others are to rebuild it under another name.
    Replace(ReplicaId),
}

impl Noted {
    pub(super) fn read(store: &Store, group: GroupId) -> Result<Self, ReplicaError> {
        let row = store.local(&name(group)).map_err(|source| ReplicaError::Note { group, source })?;
        Ok(row.map_or_else(Self::default, |row| Self::decode(&row)))
    }

    pub(super) fn write(&self, store: &Store, group: GroupId) -> Result<(), ReplicaError> {
        in_place(|| store.put_local(&name(group), &self.encode()))
            .map_err(|source| ReplicaError::Note { group, source })
    }

    /// `wanted` is the replica that the broker is to have as far as it knows, which the cluster may have confirmed; `damaged` says that the
    /// log cannot be read.
    pub(super) fn step(&self, wanted: Option<ReplicaId>, confirmed: bool, damaged: bool) -> Step {
        match (self.has, wanted) {
            (Some(has), _) if self.is_used_up(has) => Step::Wipe,
            (Some(has), Some(wanted)) if has == wanted && damaged => Step::Replace(wanted),
            (Some(has), Some(wanted)) if has == wanted => Step::Run(wanted),
            (Some(_), _) if confirmed => Step::Wipe,
            (None, Some(wanted)) if self.is_used_up(wanted) && confirmed => Step::Replace(wanted),
            (None, Some(wanted)) if self.is_used_up(wanted) => Step::Nothing,
            (None, Some(ReplicaId::FIRST)) if !damaged => Step::Create,
            // Damage that nobody owns becomes this replica's, which is then replaced: its successor's assignment has it wiped.
            (None, Some(wanted)) => Step::Note(wanted),
            (Some(_) | None, _) => Step::Nothing,
        }
    }

    pub(super) fn with(self, replica: ReplicaId) -> Self {
        Self { has: Some(replica), ..self }
    }

    /// From here on the name is used up, whatever is left of its data.
    pub(super) fn wiping(self) -> Self {
        Self { wiped: self.has.max(self.wiped), ..self }
    }

    pub(super) fn wiped(self) -> Self {
        Self { has: None, ..self.wiping() }
    }

    fn is_used_up(&self, replica: ReplicaId) -> bool {
        self.wiped >= Some(replica)
    }

    fn encode(&self) -> [u8; 16] {
        let id = |replica: Option<ReplicaId>| replica.map_or(0, |replica| replica.0);
        let mut row = [0; 16];
        for (field, value) in row.chunks_exact_mut(8).zip([id(self.has), id(self.wiped)]) {
            field.copy_from_slice(&value.to_le_bytes());
        }
        row
    }

    /// The store has checked the row's seal.
    fn decode(row: &[u8]) -> Self {
        let id = |at: usize| row.get(at..)?.first_chunk().map(|id| ReplicaId(u64::from_le_bytes(*id)));
        let [has, wiped] = [0, 8].map(|at| id(at).filter(|id| id.0 != 0));
        Self { has, wiped }
    }
}

fn name(group: GroupId) -> String {
    format!("replica-of-{group}")
}

#[cfg(test)]
mod tests {
    use anyport_protocol::BrokerId;

    use super::*;

    const CONFIRMED: bool = true;
    const HEARD: bool = false;
    const WHOLE: bool = false;
    const DAMAGED: bool = true;

    fn replica(generation: u32) -> ReplicaId {
        ReplicaId::new(BrokerId(3), generation)
    }

    #[test]
    fn a_replica_begins_once_and_its_successor_begins_on_nothing() {
        let none = Noted::default();
        assert_eq!(none.step(None, CONFIRMED, WHOLE), Step::Nothing);
        assert_eq!(none.step(Some(replica(4)), HEARD, WHOLE), Step::Note(replica(4)));
        let fourth = none.with(replica(4));
        assert_eq!(fourth.step(Some(replica(4)), HEARD, WHOLE), Step::Run(replica(4)));
        for wanted in [None, Some(replica(7))] {
            assert_eq!(fourth.step(wanted, CONFIRMED, WHOLE), Step::Wipe, "{wanted:?}");
        }
        let wiped = fourth.wiped();
        assert_eq!(wiped.step(None, CONFIRMED, WHOLE), Step::Nothing);
        assert_eq!(wiped.step(Some(replica(7)), CONFIRMED, WHOLE), Step::Note(replica(7)));
    }

    #[test]
    fn what_is_not_confirmed_wipes_nothing() {
        let ninth = Noted::default().with(replica(9));
        for wanted in [None, Some(replica(3)), Some(replica(12))] {
            for damaged in [WHOLE, DAMAGED] {
                assert_eq!(ninth.step(wanted, HEARD, damaged), Step::Nothing, "{wanted:?}");
            }
        }
    }

    #[test]
    fn a_wipe_that_was_cut_short_is_ended_whatever_is_wanted() {
        let half = Noted::default().with(replica(9)).wiping();
        for wanted in [None, Some(replica(9)), Some(replica(12))] {
            assert_eq!(half.step(wanted, HEARD, WHOLE), Step::Wipe, "{wanted:?}");
        }
    }

    #[test]
    fn a_name_that_is_used_up_never_runs_again() {
        let wiped = Noted::default().with(replica(9)).wiped().with(replica(12)).wiped();
        for used_up in [replica(9), replica(12)] {
            assert_eq!(wiped.step(Some(used_up), HEARD, WHOLE), Step::Nothing);
            assert_eq!(wiped.step(Some(used_up), CONFIRMED, WHOLE), Step::Replace(used_up));
        }
        // Its successor moved away before the group had let it go, so that it is named again.
        let again = Noted::default().with(replica(9)).wiped().with(replica(12));
        assert_eq!(again.step(Some(replica(9)), CONFIRMED, WHOLE), Step::Wipe);
        assert_eq!(again.wiped().step(Some(replica(9)), CONFIRMED, WHOLE), Step::Replace(replica(9)));
    }

    #[test]
    fn only_one_replica_creates_a_group_and_only_once() {
        let first = Some(ReplicaId::FIRST);
        assert_eq!(Noted::default().step(first, HEARD, WHOLE), Step::Create);
        let created = Noted::default().with(ReplicaId::FIRST);
        assert_eq!(created.step(first, HEARD, WHOLE), Step::Run(ReplicaId::FIRST));
        assert_eq!(created.wiped().step(first, CONFIRMED, WHOLE), Step::Replace(ReplicaId::FIRST));
    }

    #[test]
    fn a_damaged_log_is_given_up_by_name_and_wiped_for_its_successor() {
        for wanted in [replica(4), ReplicaId::FIRST] {
            let none = Noted::default();
            assert_eq!(none.step(Some(wanted), CONFIRMED, DAMAGED), Step::Note(wanted), "nobody has it");
            let noted = none.with(wanted);
            assert_eq!(noted.step(Some(wanted), CONFIRMED, DAMAGED), Step::Replace(wanted));
            assert_eq!(noted.step(Some(replica(7)), CONFIRMED, DAMAGED), Step::Wipe);
            assert_eq!(noted.wiped().step(Some(replica(7)), CONFIRMED, WHOLE), Step::Note(replica(7)));
        }
    }

    #[test]
    fn rows_survive_their_bytes_and_short_ones_are_read() {
        let noted = Noted { has: Some(replica(9)), wiped: Some(replica(4)) };
        for noted in [noted, Noted::default(), noted.wiping(), noted.wiped()] {
            assert_eq!(Noted::decode(&noted.encode()), noted);
        }
        assert_eq!(Noted::decode(&replica(9).0.to_le_bytes()), Noted::default().with(replica(9)));
    }
}
