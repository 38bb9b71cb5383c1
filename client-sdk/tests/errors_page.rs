//! docs/errors.md is written from the tables in the code: a code that is new, or said otherwise, is not forgotten there.

use std::path::Path;

use anyport_client::ClientCode;
use anyport_client::protocol::{Code, Explanation, Outcome};

const INTRODUCTION: &str = "\
# Errors

Every error has a stable code, which is never used for anything else. `anyport` tells code, name, what has happened and what to do next:

    anyport: NotRegistered (1020): no client named \"phone\" is registered in /home/you/.anyport
    anyport: next: anyport register --client phone

With `--json` the same is one object on stderr, and a failed publish says whether its events may have been stored all the same:
`{\"error\": {\"code\": ..., \"name\": ..., \"text\": ..., \"retry\": ..., \"next\": ..., \"stored\": \"no\" or \"maybe\"}}`. The text is for people and may
change; code and name do not. How a command ends for scripts, [cli.md](cli.md) says.

*Retry*: the same request may succeed later, unchanged. *Stored*: whether a write that ended so was done. This page is written from the tables in
`protocol/src/error.rs` and `client-sdk/src/codes.rs`; a test compares them. To write it anew: `ANYPORT_WRITE_DOCS=1 cargo test -p anyport-client --test errors_page`.
";

const BROKER_GROUPS: [(u16, &str); 8] = [
    (1, "The wire"),
    (2, "Identity"),
    (3, "Sessions"),
    (4, "Subscriptions"),
    (5, "Publishing"),
    (6, "The broker's own state"),
    (7, "The cluster"),
    (8, "The map"),
];

const CLIENT_GROUPS: [(u16, &str); 3] =
    [(10, "The client and its home folder"), (11, "The command line"), (12, "The operator of a cluster")];

const START: &str = "
## A broker that does not start

`anyportd` says why in one line of its log, what to do in the next (`next: ...`), and ends with 1. These have no codes: no client sees them.
";

fn page() -> String {
    let broker = Code::ALL.iter().map(|code| code.explanation());
    let client = ClientCode::ALL.iter().map(|code| code.explanation());
    let mut page = format!("{INTRODUCTION}\n## What a broker answers\n");
    let titles = ["code", "name", "what has happened", "retry", "stored", "what to do next"];
    push_groups(&mut page, &BROKER_GROUPS, titles, &broker, |row| {
        let stored = if row.outcome == Outcome::Maybe { "maybe" } else { "no" };
        [&row.number.to_string(), row.name, row.meaning, retry(row), stored, row.next].map(str::to_owned)
    });
    page.push_str("\n## What a client finds itself\n\n");
    page.push_str("Whether something was stored does not follow from these: a failed publish says it beside them.\n");
    let titles = ["code", "name", "what has happened", "retry", "what to do next"];
    push_groups(&mut page, &CLIENT_GROUPS, titles, &client, |row| {
        [&row.number.to_string(), row.name, row.meaning, retry(row), row.next].map(str::to_owned)
    });
    page + START
}

/// A table for each hundred of codes.
fn push_groups<const COLUMNS: usize>(
    page: &mut String,
    groups: &[(u16, &str)],
    titles: [&str; COLUMNS],
    rows: &(impl Iterator<Item = Explanation> + Clone),
    cells: impl Fn(&Explanation) -> [String; COLUMNS],
) {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    for (hundred, title) in groups {
        page.push_str(&format!("\n### {title}\n\n"));
        page.push_str(&line(&titles.map(str::to_owned)));
        page.push_str(&line(&titles.map(|_| "---".to_owned())));
        rows.clone().filter(|row| row.number / 100 == *hundred).for_each(|row| page.push_str(&line(&cells(&row))));
    }
}

fn retry(row: &Explanation) -> &'static str {
    if row.retry { "yes" } else { "no" }
}

#[test]
fn the_page_says_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    if std::env::var_os("ANYPORT_WRITE_DOCS").is_some() {
        std::fs::write(&path, page()).expect("write the page");
    }
    let written = std::fs::read_to_string(&path).expect("read the page");
    let differs =
        written.lines().zip(page().lines()).find(|(written, code)| written != code).map(|pair| format!("{pair:?}"));
    assert!(written == page(), "docs/errors.md is not what the code says: {differs:?}; see there how to write it anew");
}

#[test]
fn every_code_stands_on_the_page_once() {
    let page = page();
    let numbers = Code::ALL.iter().map(|code| code.explanation().number);
    let numbers: Vec<_> = numbers.chain(ClientCode::ALL.iter().map(|code| code.explanation().number)).collect();
    for number in numbers {
        assert_eq!(page.matches(&format!("\n| {number} |")).count(), 1, "{number}");
    }
}

#[test]
fn every_code_says_what_has_happened_and_what_to_do_next() {
    for code in ClientCode::ALL {
        let Explanation { number, name, meaning, next, .. } = code.explanation();
        assert_eq!(ClientCode::from_number(number), Some(*code));
        assert!(meaning.ends_with('.') && !next.is_empty() && !next.ends_with('.'), "{name}: {meaning} {next}");
    }
}
