//! Is this text an RFC 3339 time? The text itself is what is kept: its precision and its offset belong to the producer.

/// `YYYY-MM-DDTHH:MM:SS[.fraction](Z|+HH:MM|-HH:MM)`, `T` and `Z` in either case, with a real day and time. Second 60 is a leap
/// second and allowed in any minute: which minutes had one is not ours to know.
pub(super) fn is_time(text: &str) -> bool {
    let Some((fixed, rest)) = text.as_bytes().split_first_chunk::<19>() else { return false };
    let pair = |at: usize| two_digits(fixed[at], fixed[at + 1]);
    let marks = fixed[4] == b'-'
        && fixed[7] == b'-'
        && fixed[10].eq_ignore_ascii_case(&b't')
        && fixed[13] == b':'
        && fixed[16] == b':';
    let (Some(century), Some(year), Some(month), Some(day)) = (pair(0), pair(2), pair(5), pair(8)) else {
        return false;
    };
    let (Some(hour), Some(minute), Some(second)) = (pair(11), pair(14), pair(17)) else { return false };
    let year = u32::from(century) * 100 + u32::from(year);
    let date = (1..=12).contains(&month) && (1..=days_in(month, year)).contains(&day);
    marks && date && hour < 24 && minute < 60 && second <= 60 && is_offset(after_fraction(rest))
}

fn two_digits(tens: u8, ones: u8) -> Option<u8> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| (tens - b'0') * 10 + (ones - b'0'))
}

fn days_in(month: u8, year: u32) -> u8 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// What follows the fraction, if there is one; a point without digits is left where it is and so is no offset.
fn after_fraction(rest: &[u8]) -> &[u8] {
    match rest {
        [b'.', digits @ ..] => match digits.iter().take_while(|byte| byte.is_ascii_digit()).count() {
            0 => rest,
            count => &digits[count..],
        },
        _ => rest,
    }
}

fn is_offset(text: &[u8]) -> bool {
    match text {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => {
            two_digits(*h1, *h2).is_some_and(|hours| hours < 24)
                && two_digits(*m1, *m2).is_some_and(|minutes| minutes < 60)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    #[test]
    fn times_and_other_texts_are_told_apart() {
        for good in [
            "2018-01-31T01:49:59.650Z",
            "2020-02-29t00:00:00z",
            "1999-12-31T23:59:60+00:00",
            "0000-01-01T00:00:00-23:59",
        ] {
            assert!(is_time(good), "{good}");
        }
        for bad in [
            "",
            "2018-01-31",
            "2018-01-31T01:49:59",
            "2018-01-31 01:49:59Z",
            "2018-01-31T01:49:59.Z",
            "2018-02-29T00:00:00Z",
            "2018-13-01T00:00:00Z",
            "2018-01-01T24:00:00Z",
            "2018-01-31T01:49:59+0100",
            "2018-01-31T01:49:59Z ",
        ] {
            assert!(!is_time(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn the_time_crate_agrees(text in "(19|20)[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{0,9})?(Z|[+-][0-2][0-9]:[0-6][0-9]|)") {
            prop_assert_eq!(is_time(&text), OffsetDateTime::parse(&text, &Rfc3339).is_ok());
        }
    }
}
