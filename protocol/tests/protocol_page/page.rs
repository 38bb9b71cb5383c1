//! The blocks of the page that are written from the code: what stands between `<!-- code: NAME -->` and `<!-- end -->`.
//!
//! The last column of most tables is for people and written by people: it is kept, and a row that is new has a `?` there until
//! somebody has said what it means.

use anyport_protocol::message::feed::{DELIVERY, GAP, OMITTED};
use anyport_protocol::message::publish::{BATCH, PUBLISHED};
use anyport_protocol::message::{StreamKind, ToBroker, ToClient};
use anyport_protocol::partitioner::partition_of;
use anyport_protocol::{Code, Outcome, limits};

use super::samples::{forms, messages, parts};
use super::shape::Sample;

/// What nobody has said the meaning of.
pub const UNSAID: &str = "?";

/// The page as it should be, from the one that is there.
pub fn render(written: &str) -> String {
    let mut page = String::new();
    let mut lines = written.lines();
    while let Some(line) = lines.next() {
        page.push_str(line);
        page.push('\n');
        if let Some(words) = line.strip_prefix("<!-- code: ").and_then(|rest| rest.strip_suffix(" -->")) {
            let before: Vec<_> = lines.by_ref().take_while(|line| *line != "<!-- end -->").collect();
            page.push_str(&block(words, &before));
            page.push_str("<!-- end -->\n");
        }
    }
    page
}

/// The words behind each `<!-- code: NAME` of the page.
pub fn names_after<'a>(page: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let words = page.lines().filter_map(|line| line.strip_prefix("<!-- code: ")?.strip_suffix(" -->"));
    words.filter_map(move |words| words.strip_prefix(name)?.strip_prefix(' ')).flat_map(|names| names.split(' '))
}

fn block(words: &str, before: &[&str]) -> String {
    let (name, about) = words.split_once(' ').unwrap_or((words, ""));
    match name {
        "streams" => streams(before),
        "messages" => message_types(before),
        "fields" => fields(about, before),
        "forms" => forms_of(about, before),
        "codes" => codes(),
        "limits" => limit_values(before),
        "partitions" => partitions(),
        "drawing" => drawing(about),
        other => panic!("no block of the page is called {other}"),
    }
}

/// A table whose last column is kept from the one before. Rows are told apart by their first `keys` cells; an empty first cell means
/// the same as above.
fn table(titles: &[&str], keys: usize, rows: Vec<Vec<String>>, before: &[&str]) -> String {
    let known: Vec<_> =
        before.iter().skip(2).scan(String::new(), |above, line| Some(keyed(line, keys, above))).collect();
    let mut above = String::new();
    let full = rows.into_iter().map(|mut row| {
        let line = row_of(&row);
        let (key, _) = keyed(&line, keys, &mut above);
        let said = known.iter().find(|(other, _)| *other == key).map_or(UNSAID, |(_, said)| said);
        row.push(said.to_owned());
        row
    });
    plain_table(titles, full.collect())
}

fn plain_table(titles: &[&str], rows: Vec<Vec<String>>) -> String {
    let own = |cells: &[&str]| cells.iter().map(ToString::to_string).collect::<Vec<_>>();
    let head = [own(titles), own(&vec!["---"; titles.len()])];
    head.into_iter().chain(rows).map(|row| row_of(&row) + "\n").collect()
}

fn row_of(cells: &[String]) -> String {
    cells.iter().fold("|".to_owned(), |row, cell| if cell.is_empty() { row + " |" } else { row + " " + cell + " |" })
}

/// What tells a row from others, and its last cell.
fn keyed(line: &str, keys: usize, above: &mut String) -> (String, String) {
    let mut cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
    if cells[0].is_empty() {
        cells[0] = above;
    }
    let (key, last, first) = (cells[..keys].join("|"), cells[cells.len() - 1].to_owned(), cells[0].to_owned());
    *above = first;
    (key, last)
}

fn cells<const COUNT: usize>(cells: [&dyn ToString; COUNT]) -> Vec<String> {
    cells.iter().map(|cell| cell.to_string()).collect()
}

fn streams(before: &[&str]) -> String {
    let kinds = (0..=u8::MAX).filter_map(StreamKind::from_byte);
    let rows = kinds.map(|kind| cells([&(kind as u8), &format!("{kind:?}").to_lowercase()]));
    table(&["first byte", "stream", "opened by, carries"], 2, rows.collect(), before)
}

fn message_types(before: &[&str]) -> String {
    const IN_BYTES: [(u16, &str, &str); 5] = [
        (BATCH, "Batch", "client"),
        (PUBLISHED, "Published", "broker"),
        (DELIVERY, "Delivery", "broker"),
        (GAP, "Gap", "broker"),
        (OMITTED, "Omitted", "broker"),
    ];
    let requests = ToBroker::TYPES.iter().map(|(number, name)| (*number, *name, "client"));
    let answers = ToClient::TYPES.iter().map(|(number, name)| (*number, *name, "broker"));
    let rows = requests.chain(answers).chain(IN_BYTES).map(|(number, name, by)| cells([&number, &name, &by]));
    table(&["type", "message", "sent by", ""], 2, rows.collect(), before)
}

fn fields(names: &str, before: &[&str]) -> String {
    let (known, parts) = (messages(), parts());
    let mut rows = Vec::new();
    for name in names.split(' ') {
        let sample = known.iter().chain(&parts).find(|sample| sample.name == name);
        rows.extend(rows_of(sample.unwrap_or_else(|| panic!("no message or part {name}")), &parts));
    }
    table(&["message", "field", "type", "if absent", "meaning"], 2, rows, before)
}

fn rows_of(sample: &Sample, parts: &[Sample]) -> Vec<Vec<String>> {
    let fields = sample.fields(parts);
    if fields.is_empty() {
        return vec![cells([&sample.name, &"(no fields)", &"", &""])];
    }
    let name = |place: usize| if place == 0 { sample.name } else { "" };
    let row = |(place, field): (usize, &super::shape::Field)| {
        cells([&name(place), &format!("`{}`", field.name), &field.kind, &field.absent])
    };
    fields.iter().enumerate().map(row).collect()
}

fn forms_of(name: &str, before: &[&str]) -> String {
    let parts = parts();
    let of_name = forms().into_iter().filter(|sample| sample.name == name);
    let rows = of_name.map(|sample| cells([&sample.form(&parts)]));
    table(&[name, "meaning"], 1, rows.collect(), before)
}

/// What a client makes of a code that it does not know by heart.
fn codes() -> String {
    let row = |retry: bool, outcome: Outcome, what: &str| {
        let of_row = Code::ALL.iter().filter(|code| code.retry() == retry && code.outcome() == outcome);
        let names: Vec<_> = of_row.map(|code| format!("{} {code}", *code as u16)).collect();
        cells([&what, &names.join(", ")])
    };
    let rows = vec![
        row(true, Outcome::SurelyNot, "not done; the same request may succeed later"),
        row(true, Outcome::Maybe, "maybe done; asking again is safe"),
        row(false, Outcome::SurelyNot, "not done, and will not be"),
        row(false, Outcome::Maybe, "maybe done; tell the application"),
    ];
    plain_table(&["what has happened", "codes"], rows)
}

macro_rules! values {
    ($($limit:ident),*) => { [$((stringify!($limit), limits::$limit as u64)),*] };
}

/// The limits that a client can meet.
pub fn limits_of_the_wire() -> Vec<(&'static str, u64)> {
    values![
        FRAME_BYTES_MAX,
        CONTROL_FRAME_BYTES_MAX,
        BATCH_EVENTS_MAX,
        EVENT_BYTES_MAX,
        ATTRIBUTES_BYTES_MAX,
        ATTRIBUTES_MAX,
        ATTRIBUTE_NAME_BYTES_MAX,
        NAME_BYTES_MAX,
        FILTER_BYTES_MAX,
        SUBSCRIPTIONS_PER_CLIENT_MAX,
        PARTITIONS_MAX,
        MAP_NAME_BYTES_MAX,
        MAP_POINTS_MAX,
        INACTIVE_EXPIRY_SECS_MIN,
        INACTIVE_EXPIRY_SECS_MAX,
        INACTIVE_EXPIRY_SECS_DEFAULT
    ]
    .to_vec()
}

fn limit_values(before: &[&str]) -> String {
    let rows = limits_of_the_wire().into_iter().map(|(name, value)| cells([&format!("`{name}`"), &grouped(value)]));
    table(&["limit", "value", "of what"], 1, rows.collect(), before)
}

/// With a comma before every third digit from the end.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let comma = |at: usize| if at > 0 && (digits.len() - at).is_multiple_of(3) { "," } else { "" };
    digits.char_indices().map(|(at, digit)| format!("{}{digit}", comma(at))).collect()
}

fn partitions() -> String {
    let row = |key: &str| {
        let hash = xxhash_rust::xxh3::xxh3_64(key.as_bytes());
        let [of_8, of_100] = [8, 100].map(|count| partition_of(key, count));
        cells([&format!("`{key}`"), &format!("`{hash:#018x}`"), &of_8, &of_100])
    };
    plain_table(&["key", "hash", "of 8 partitions", "of 100"], ["a", "abc", "/me", "Indonésie"].map(row).to_vec())
}

/// What is drawn in the comment of a source file: its first block of text.
fn drawing(path: &str) -> String {
    let file = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    let source = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let comment = source.lines().map_while(|line| line.strip_prefix("//!"));
    let drawn = comment.skip_while(|line| line.trim() != "```text").skip(1).take_while(|line| line.trim() != "```");
    let drawn: String = drawn.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect();
    assert!(!drawn.is_empty(), "{path} draws nothing");
    format!("```text\n{drawn}```\n")
}
