//! The closing table: what a person reads after a demo or a load.

use std::fmt;

use super::verdict::{Defect, Evidence, SubscriptionVerdict, Verdict};

const HEADINGS: [&str; 6] = ["matched", "live", "replayed", "lost", "duplicated", "reordered"];

/// A fleet of ten thousand subscriptions is shown by its totals and the first that are not clean.
const ROWS_MAX: usize = 20;

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "published {}   acked {}", grouped(self.published), grouped(self.acked))?;
        writeln!(f, "   unknown {}", grouped(self.unknown))?;
        let name_width =
            self.shown().map(|one| one.name.chars().count()).chain(["subscription".len()]).max().unwrap_or(0);
        write!(f, "{:name_width$}", "subscription")?;
        for heading in HEADINGS {
            write!(f, "  {heading:>10}")?;
        }
        writeln!(f)?;
        for one in self.shown() {
            row(f, &one.name, name_width, cells(one))?;
        }
        if self.subscriptions.len() > 1 {
            row(f, "all", name_width, self.totals())?;
        }
        self.rarer(f)?;
        for (subscription, evidence) in self.evidence().take(ROWS_MAX) {
            write!(f, "  {}: ", subscription.unwrap_or("the log"))?;
            writeln!(f, "{evidence}")?;
        }
        Ok(())
    }
}

impl Verdict {
    fn shown(&self) -> impl Iterator<Item = &SubscriptionVerdict> {
        let few = self.subscriptions.len() <= ROWS_MAX;
        self.subscriptions.iter().filter(move |one| few || !one.defects.is_empty()).take(ROWS_MAX)
    }

    fn totals(&self) -> [u64; HEADINGS.len()] {
        let mut totals = [0; HEADINGS.len()];
        for one in &self.subscriptions {
            for (total, cell) in totals.iter_mut().zip(cells(one)) {
                *total += cell;
            }
        }
        totals
    }

    /// What most runs have none of is shown only where there is some, and what belongs to the log is in no row above.
    fn rarer(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |count: fn(&SubscriptionVerdict) -> u64| self.subscriptions.iter().map(count).sum::<u64>();
        let mut facts = vec![
            ("surely not stored", self.surely_not),
            ("in a declared gap", sum(|one| one.gap)),
            ("omitted by choice", sum(|one| one.omitted)),
            ("stored twice in the log", self.log.count(Defect::Duplicated)),
            ("out of order in the log", self.log.count(Defect::Reordered)),
        ];
        for defect in [Defect::Unexpected, Defect::Unjustified, Defect::Altered, Defect::Diverged] {
            facts.push((defect.word(), self.count(defect)));
        }
        for (fact, count) in facts.into_iter().filter(|&(_, count)| count > 0) {
            writeln!(f, "{fact} {}", grouped(count))?;
        }
        Ok(())
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.defect.word())?;
        if let Some(nth) = self.nth {
            write!(f, ", event {nth} of those published")?;
        }
        if let Some(at) = self.position {
            write!(f, ", partition {} offset {}", at.partition, at.offset)?;
        }
        Ok(())
    }
}

fn cells(one: &SubscriptionVerdict) -> [u64; HEADINGS.len()] {
    let defect = |defect| one.defects.count(defect);
    let [lost, duplicated, reordered] = [Defect::Lost, Defect::Duplicated, Defect::Reordered].map(defect);
    [one.matched, one.live, one.replayed, lost, duplicated, reordered]
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, name_width: usize, cells: [u64; HEADINGS.len()]) -> fmt::Result {
    write!(f, "{name:name_width$}")?;
    for cell in cells {
        write!(f, "  {:>10}", grouped(cell))?;
    }
    writeln!(f)
}

/// 1234567 as "1,234,567".
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
