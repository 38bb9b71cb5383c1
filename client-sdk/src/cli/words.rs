//! Times, ages and tables, as people read them.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::protocol::WallMs;

/// The nearest number of one unit: ages are told to be compared at a glance.
pub(super) fn age(age: Duration) -> String {
    let secs = age.as_secs();
    let (unit_secs, unit) = match secs {
        0..60 => (1, "s"),
        60..3_600 => (60, "min"),
        3_600..172_800 => (3_600, "h"),
        _ => (86_400, "d"),
    };
    format!("{} {unit}", (secs + unit_secs / 2) / unit_secs)
}

/// How long from one time to a later one; nothing if it is not later.
pub(super) fn between(earlier: WallMs, later: WallMs) -> Duration {
    Duration::from_millis(later.0.saturating_sub(earlier.0))
}

pub(super) fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

/// RFC 3339, in UTC; None for a time beyond its years.
pub(super) fn timestamp(at: WallMs) -> Option<String> {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000).ok()?;
    at.format(&Rfc3339).ok()
}

/// The day of it, for what is far away.
pub(super) fn day(at: WallMs) -> String {
    timestamp(at).and_then(|text| text.get(..10).map(str::to_owned)).unwrap_or_else(|| "never".to_owned())
}

/// In one word, for scripts.
pub(super) fn durability(is_relaxed: bool) -> &'static str {
    if is_relaxed { "relaxed" } else { "fsync" }
}

pub(super) fn durability_told(is_relaxed: bool) -> &'static str {
    if is_relaxed { "RELAXED: a crash of the broker's machine may lose what it has acked" } else { "acked after fsync" }
}

/// Columns side by side, each as wide as its widest cell; the last one as it is.
pub(super) fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            text.push_str(&one_line(cell));
            if column + 1 < COLUMNS {
                text.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
            }
        }
        text.push('\n');
    }
    text
}

/// Nothing that ends a line or commands a terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// What somebody probably meant who wrote `word`: the nearest of these, if it is near.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |known: &&str| strsim::damerau_levenshtein(&word.to_lowercase(), &known.to_lowercase());
    let near = known.map(|known| (distance(&known), known));
    let near = near.filter(|(distance, known)| *distance <= (known.chars().count() / 3).max(1));
    near.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_one_number_that_still_says_something() {
        for (secs, told) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3_500, "58 min"), (90_000, "25 h"), (2_591_999, "30 d")]
        {
            assert_eq!(age(Duration::from_secs(secs)), told);
        }
        assert_eq!(between(WallMs(5), WallMs(4)), Duration::ZERO, "clocks differ");
        assert_eq!(millis(Duration::from_micros(1_449)), "1.4 ms");
    }

    #[test]
    fn times_are_told_in_utc_and_impossible_ones_not_at_all() {
        assert_eq!(timestamp(WallMs(1_500)).as_deref(), Some("1970-01-01T00:00:01.5Z"));
        assert_eq!(timestamp(WallMs(u64::MAX)), None);
        assert_eq!((day(WallMs(86_400_000)).as_str(), day(WallMs(u64::MAX)).as_str()), ("1970-01-02", "never"));
    }

    #[test]
    fn columns_stand_below_each_other_and_a_cell_is_one_line() {
        let rows = [["NAME", "FILTER"], ["ü", "a\nb"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "NAME  FILTER\nü     a b\n");
    }

    #[test]
    fn a_near_miss_is_recognised_and_a_far_one_is_not() {
        let known = ["strong", "storms", "all"];
        assert_eq!(nearest("stong", known.into_iter()), Some("strong"));
        assert_eq!(nearest("STRONG", known.into_iter()), Some("strong"));
        assert_eq!(nearest("quakes", known.into_iter()), None);
    }
}
