//! What is printed and what the page says, compared but for what differs from run to run: ids, times, ages, and how wide columns are.

/// On the page: lines that are left out, and at the end of a line its rest.
const LEFT_OUT: &str = "...";

pub fn is_as_said(said: &[String], printed: &[String]) -> bool {
    let Some((first, said)) = said.split_first() else { return printed.is_empty() };
    if first == LEFT_OUT {
        return (0..=printed.len()).any(|count| is_as_said(said, &printed[count..]));
    }
    printed.split_first().is_some_and(|(line, printed)| is_line_as_said(first, line) && is_as_said(said, printed))
}

fn is_line_as_said(said: &str, printed: &str) -> bool {
    match said.strip_suffix(LEFT_OUT) {
        Some(begin) => printed.starts_with(begin) || same_in_every_run(printed).starts_with(&same_in_every_run(begin)),
        None => same_in_every_run(said) == same_in_every_run(printed),
    }
}

pub fn difference(said: &[String], printed: &[String]) -> String {
    let text = |lines: &[String]| lines.iter().map(|line| format!("    {line}\n")).collect::<String>();
    format!(
        "the page says\n{}and what was printed is\n{}ANYPORT_WRITE_DOCS=1 writes that to the page\n",
        text(said),
        text(printed)
    )
}

/// The line with ids, times and ages blotted out, and with single spaces.
fn same_in_every_run(line: &str) -> String {
    let mut same = String::with_capacity(line.len());
    let line = without_ids(line.trim_end());
    let mut rest = line.as_str();
    while let Some(character) = rest.chars().next() {
        let word_length = rest.find(|character: char| !is_of_word(character)).unwrap_or(rest.len());
        let word = rest[..word_length].trim_end_matches(['.', ':', '-']);
        if word.is_empty() {
            if character != ' ' || !same.ends_with(' ') {
                same.push(character);
            }
            rest = &rest[character.len_utf8()..];
            continue;
        }
        rest = &rest[word.len()..];
        match unit(word, rest) {
            Some(unit) => {
                same.push_str("<age>");
                rest = &rest[unit..];
            }
            None if is_time(word) => same.push_str("<time>"),
            None => same.push_str(word),
        }
    }
    same
}

fn is_of_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || ".:-".contains(character)
}

/// How long the unit is that makes an age or a duration of a number.
fn unit(word: &str, rest: &str) -> Option<usize> {
    word.parse::<f64>().ok()?;
    let unit = [" ms", " s", " min", " h", " d"].into_iter().find(|unit| {
        rest.strip_prefix(unit).is_some_and(|after| !after.starts_with(|next: char| next.is_ascii_alphanumeric()))
    });
    unit.map(str::len)
}

/// A client, a cluster, or the id of an event that was made on the way, wherever they stand.
fn without_ids(line: &str) -> String {
    const PATTERN: &str = "00000000-0000-0000-0000-000000000000";
    let is_like = |(byte, wanted): (u8, u8)| if wanted == b'0' { byte.is_ascii_hexdigit() } else { byte == wanted };
    let is_id = |text: &str| text.len() >= PATTERN.len() && text.bytes().zip(PATTERN.bytes()).all(is_like);
    let Some((at, _)) = line.char_indices().find(|(at, _)| is_id(&line[*at..])) else { return line.to_owned() };
    format!("{}<id>{}", &line[..at], without_ids(&line[at + PATTERN.len()..]))
}

/// A day, with or without the time of day.
fn is_time(word: &str) -> bool {
    let pattern = "0000-00-00".chars();
    word.len() >= 10
        && word.chars().zip(pattern).all(|(character, wanted)| match wanted {
            '0' => character.is_ascii_digit(),
            wanted => character == wanted,
        })
}

#[test]
fn only_what_differs_from_run_to_run_is_overlooked() {
    let same = |a: &str, b: &str| is_line_as_said(a, b);
    assert!(same("id 019ad3f0-0000-7000-8000-000000000000,", "id 019bffff-0000-7000-8000-0000000000aa,"));
    assert!(same(
        "ca/imported-019ad3f0-0000-7000-8000-000000000000.pem",
        "ca/imported-019bffff-0000-7000-8000-0000000000aa.pem"
    ));
    assert!(same("good until 2028-11-27", "good until 2029-01-01"));
    assert!(same(r#""time":"2026-11-28T12:00:00.1Z""#, r#""time":"2026-11-28T13:01:00Z""#));
    assert!(same("strong  2  3 s   -", "strong  2  10 min  -"));
    assert!(!same("strong  2", "strong  3"));
    assert!(!same(r#"{"mag": 5.1}"#, r#"{"mag": 5.2}"#));
    assert!(!same("127.0.0.1:7400: 8 partitions", "127.0.0.1:7400: 9 partitions"));
    assert!(same("valid: ...", "valid: CESQL 1.0") && !same("invalid: ...", "valid: CESQL 1.0"));
}

#[test]
fn lines_that_are_left_out_may_be_any() {
    let lines = |text: &str| text.split(' ').filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let said = |said: &str, printed: &str| is_as_said(&lines(said), &lines(printed));
    assert!(said("... b ...", "a a b c") && said("... b ...", "b") && said("", "") && said("...", ""));
    assert!(!said("... b", "a b c") && !said("", "a") && !said("a", ""));
}
