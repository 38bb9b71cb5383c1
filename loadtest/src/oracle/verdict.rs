//! The pass over the whole history that says what went wrong. The words are defined in the parent module's table.

use super::Position;
use super::events::{Answer, Event};
use super::history::History;
use super::ranges::Ranges;
use super::subscription::{Belonging, Fate, Subscription};

/// What must never happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Defect {
    Lost,
    Duplicated,
    Reordered,
    Unexpected,
    Unjustified,
    Altered,
    Diverged,
}

impl Defect {
    pub const ALL: [Self; 7] = [
        Self::Lost,
        Self::Duplicated,
        Self::Reordered,
        Self::Unexpected,
        Self::Unjustified,
        Self::Altered,
        Self::Diverged,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
            Self::Unexpected => "unexpected",
            Self::Unjustified => "unjustified",
            Self::Altered => "altered",
            Self::Diverged => "diverged",
        }
    }
}

/// One defect, so that whoever reads the verdict can find it in the run's logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    pub defect: Defect,
    /// Place of the event among all that were published, from 0; none if it never was.
    pub nth: Option<u32>,
    pub position: Option<Position>,
}

/// The first few tell a reader what is wrong; the rest is in the counts.
const EVIDENCE_MAX: usize = 8;

/// Counts per defect, with the first few as evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defects {
    counts: [u64; Defect::ALL.len()],
    evidence: Vec<Evidence>,
}

impl Defects {
    pub fn count(&self, defect: Defect) -> u64 {
        self.counts[defect as usize]
    }

    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|&count| count == 0)
    }

    pub fn evidence(&self) -> &[Evidence] {
        &self.evidence
    }

    pub(super) fn note(&mut self, defect: Defect, nth: Option<u32>, position: Option<Position>) {
        self.counts[defect as usize] += 1;
        if self.evidence.len() < EVIDENCE_MAX {
            self.evidence.push(Evidence { defect, nth, position });
        }
    }
}

/// How one subscription fared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionVerdict {
    pub name: String,
    pub matched: u64,
    pub live: u64,
    pub replayed: u64,
    pub gap: u64,
    pub omitted: u64,
    pub defects: Defects,
}

/// How the whole run fared. Displayed, it is the closing table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub published: u64,
    pub acked: u64,
    pub unknown: u64,
    pub surely_not: u64,
    /// Defects of the log itself, which no single subscription owns.
    pub log: Defects,
    pub subscriptions: Vec<SubscriptionVerdict>,
}

impl Verdict {
    /// Over the log and all subscriptions.
    pub fn count(&self, defect: Defect) -> u64 {
        self.log.count(defect) + self.subscriptions.iter().map(|one| one.defects.count(defect)).sum::<u64>()
    }

    pub fn is_clean(&self) -> bool {
        Defect::ALL.into_iter().all(|defect| self.count(defect) == 0)
    }

    /// # Panics
    /// With the closing table as its message, unless the run was clean.
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "the oracle found defects\n{self}");
    }

    pub fn subscription(&self, name: &str) -> Option<&SubscriptionVerdict> {
        self.subscriptions.iter().find(|one| one.name == name)
    }
}

impl History {
    pub(super) fn verdict(&self) -> Verdict {
        let mut log = self.log_defects.clone();
        self.judge_order_in_log(&mut log);
        self.judge_divergence(&mut log);
        let told = |answer: Answer| self.events.rows().iter().filter(|event| event.answer == answer).count() as u64;
        Verdict {
            published: self.events.rows().len() as u64,
            acked: told(Answer::Acked),
            unknown: told(Answer::Unknown) + told(Answer::Awaited),
            surely_not: told(Answer::SurelyNot),
            log,
            subscriptions: self.subscriptions.iter().map(|one| self.judge(one)).collect(),
        }
    }

    fn judge_order_in_log(&self, log: &mut Defects) {
        let mut elders: Vec<Option<Position>> = vec![None; self.events.lanes_count()];
        for (nth, event) in (0..).zip(self.events.rows()) {
            let Some(position) = event.position() else { continue };
            let elder = &mut elders[event.lane as usize];
            if elder.is_some_and(|elder| elder.partition != position.partition || elder.offset > position.offset) {
                log.note(Defect::Reordered, Some(nth), Some(position));
            }
            *elder = Some(position);
        }
    }

    fn judge_divergence(&self, log: &mut Defects) {
        let mut claims: Vec<(Position, u32)> =
            (0..).zip(self.events.rows()).filter_map(|(nth, event)| Some((event.position()?, nth))).collect();
        claims.sort_unstable();
        for pair in claims.windows(2) {
            let ((first, _), (second, nth)) = (pair[0], pair[1]);
            if first == second {
                log.note(Defect::Diverged, Some(nth), Some(second));
            }
        }
    }

    fn judge(&self, subscription: &Subscription) -> SubscriptionVerdict {
        let mut judge = Judge::new(subscription);
        for (slot, &nth) in self.matches[subscription.filter.0].iter().enumerate() {
            judge.event(nth, self.events.get(nth), subscription.fate(slot));
        }
        judge.gaps(&self.lost_by_log);
        judge.omissions();
        judge.verdict
    }
}

struct Judge<'a> {
    subscription: &'a Subscription,
    verdict: SubscriptionVerdict,
    /// Places of owed events that are missing, and of those that need not come, to count an `Omitted` against.
    missing: Vec<Position>,
    optional: Vec<Position>,
    /// Events that may lie anywhere or nowhere.
    unplaced: u64,
}

impl<'a> Judge<'a> {
    fn new(subscription: &'a Subscription) -> Self {
        let verdict = SubscriptionVerdict {
            name: subscription.name.clone(),
            matched: 0,
            live: subscription.live,
            replayed: subscription.replayed,
            gap: 0,
            omitted: 0,
            defects: subscription.defects.clone(),
        };
        Self { subscription, verdict, missing: Vec::new(), optional: Vec::new(), unplaced: 0 }
    }

    fn event(&mut self, nth: u32, event: &Event, fate: Fate) {
        let belonging = self.subscription.belonging(nth, event);
        if event.answer == Answer::SurelyNot || belonging == Belonging::Outside {
            if fate != Fate::Never {
                self.verdict.defects.note(Defect::Unexpected, Some(nth), event.position());
            }
            return;
        }
        if event.position().is_none() {
            self.unplaced += 1;
        }
        if event.is_stored() && belonging == Belonging::Owed {
            self.owed(nth, event, fate);
        }
    }

    fn owed(&mut self, nth: u32, event: &Event, fate: Fate) {
        self.verdict.matched += 1;
        let position = event.position();
        if !fate.is_missing() {
            if fate == Fate::MaybeAgain {
                self.optional.extend(position);
            }
            return;
        }
        self.missing.extend(position);
        if position.is_some_and(|at| self.subscription.gaps.contains(at)) {
            self.verdict.gap += 1;
        } else if position.is_some_and(|at| self.subscription.omitted.contains(at)) {
            self.verdict.omitted += 1;
        } else {
            self.verdict.defects.note(Defect::Lost, Some(nth), position);
        }
    }

    fn gaps(&mut self, lost_by_log: &Ranges) {
        for &(partition, range) in &self.subscription.gaps_told {
            if !lost_by_log.covers(partition, range) {
                let position = Position { partition, offset: range.start };
                self.verdict.defects.note(Defect::Unjustified, None, Some(position));
            }
        }
    }

    fn omissions(&mut self) {
        self.missing.sort_unstable();
        self.optional.sort_unstable();
        for omission in &self.subscription.omissions {
            let at = |offset| Position { partition: omission.partition, offset };
            let (start, end) = (at(omission.range.start), at(omission.range.end));
            let within = |places: &[Position]| {
                (places.partition_point(|&place| place < end) - places.partition_point(|&place| place < start)) as u64
            };
            let least = within(&self.missing);
            let most = least + within(&self.optional) + self.unplaced;
            if !self.subscription.may_omit || !(least..=most).contains(&omission.count) {
                self.verdict.defects.note(Defect::Unjustified, None, Some(start));
            }
        }
    }
}

impl Verdict {
    /// Evidence with the name of the subscription it belongs to, none for the log.
    pub fn evidence(&self) -> impl Iterator<Item = (Option<&str>, &Evidence)> {
        let log = self.log.evidence().iter().map(|one| (None, one));
        let subscriptions = self.subscriptions.iter();
        log.chain(subscriptions.flat_map(|sub| sub.defects.evidence().iter().map(|one| (Some(sub.name.as_str()), one))))
    }
}
