//! Near misses: what somebody probably meant who wrote something that is not the language.

const KEYWORDS: [&str; 9] = ["AND", "OR", "XOR", "NOT", "LIKE", "EXISTS", "IN", "TRUE", "FALSE"];

/// What to write instead of a symbol of some other language.
pub(super) fn for_symbol(symbol: &str) -> Option<&'static str> {
    Some(match symbol {
        "==" => "equality is written =",
        "&&" => "write AND",
        "||" => "write OR; texts are joined by CONCAT(a, b)",
        "!" => "write NOT, or != for unequal",
        "=<" => "write <=",
        "=>" => "write >=",
        "^" => "write XOR",
        "~" => "write LIKE with a pattern of % and _",
        "‘" | "’" | "“" | "”" | "`" => "quote text with ' or \"",
        "." => "only the event's data has paths: data.name",
        "[" => "a path into the data has no blanks: data.list[0]",
        "_" => "the name of an attribute has only letters and digits",
        ";" => "leave it out",
        _ => return None,
    })
}

/// What to write instead of a word where an operator belongs; `before` is what stands before it.
pub(super) fn for_operator(word: &str, before: &str) -> Option<String> {
    let upper = word.to_ascii_uppercase();
    match &*upper {
        "IS" => return Some("write EXISTS name or NOT EXISTS name; equality is written =".to_owned()),
        "EQ" | "EQUALS" => return Some("equality is written =".to_owned()),
        "BETWEEN" => return Some("write name >= low AND name <= high".to_owned()),
        "CONTAINS" | "MATCHES" | "ILIKE" | "REGEXP" => return Some("write LIKE '%text%'".to_owned()),
        _ => {}
    }
    if let Some(keyword) = nearest(before, ["NOT", "EXISTS"].into_iter()) {
        return Some(format!("did you mean {keyword} before it?"));
    }
    nearest(word, ["AND", "OR", "XOR", "LIKE", "IN", "NOT"].into_iter())
        .map(|keyword| format!("did you mean {keyword}?"))
}

/// The function somebody probably meant.
pub(super) fn for_function(name: &str) -> Option<String> {
    if let Some(usage) = super::functions::Function::usage(name) {
        return Some(format!("it is called {usage}"));
    }
    let known = match &*name.to_ascii_uppercase() {
        "SUBSTR" | "MID" => "SUBSTRING",
        "LEN" | "CHAR_LENGTH" => "LENGTH",
        "LCASE" | "TOLOWER" => "LOWER",
        "UCASE" | "TOUPPER" => "UPPER",
        "CAST" | "CONVERT" => return Some("write INT(value), BOOL(value) or STRING(value)".to_owned()),
        "COALESCE" | "IFNULL" | "ISNULL" | "NVL" => return Some("write EXISTS name AND ...".to_owned()),
        "TRY" => "PASSES",
        _ => nearest(name, super::functions::Function::names())?,
    };
    Some(format!("did you mean {known}?"))
}

pub(super) fn is_keyword(word: &str) -> bool {
    KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(word))
}

/// The candidate with the fewest letters to change, in any case: two in a long word, one in a short one, none where it would be half
/// the word.
pub fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let word = word.to_ascii_uppercase();
    candidates
        .filter(|candidate| word.len().abs_diff(candidate.len()) <= 2)
        .map(|candidate| (distance(&word, &candidate.to_ascii_uppercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().saturating_sub(1) / 2).min(2))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, with a swap of neighbours as one change.
fn distance(left: &str, right: &str) -> usize {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut rows = vec![(0..=right.len()).collect::<Vec<_>>()];
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let changed = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut least = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_recognised_and_far_ones_are_not() {
        assert_eq!(nearest("LIEK", KEYWORDS.into_iter()), Some("LIKE"));
        assert_eq!(nearest("exist", KEYWORDS.into_iter()), Some("EXISTS"));
        assert_eq!(nearest("subject", KEYWORDS.into_iter()), None);
        assert_eq!(for_function("CONCATWS").as_deref(), Some("did you mean CONCAT_WS?"));
        assert_eq!(for_function("left").as_deref(), Some("it is called LEFT(text, count)"));
    }
}
