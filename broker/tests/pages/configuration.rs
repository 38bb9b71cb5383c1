//! docs/configuration.md: of each key a heading, a paragraph written from the code, and why one would change it, written by people and kept.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyport_broker::config::Config;
use clap::{Arg, CommandFactory};

/// Before a key's heading, and after the last of them.
const FIRST: &str = "<!-- code: keys -->\n";
const LAST: &str = "<!-- end -->\n";

/// What nobody has said the reason of.
const UNSAID: &str = "?";

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md")
}

fn key(argument: &Arg) -> String {
    let long = argument.get_long().expect("every key has a long name");
    let value = argument.get_action().takes_values().then(|| argument.get_value_names()).flatten();
    let value = value.map_or(String::new(), |names| names.iter().fold(String::new(), |all, name| all + " " + name));
    format!("`--{long}{value}`")
}

/// Default, environment variable and help, as one paragraph.
fn facts(argument: &Arg) -> String {
    let home = std::env::home_dir().unwrap_or_default();
    let defaults = argument.get_default_values().iter().map(|value| value.to_string_lossy());
    let defaults = defaults.map(|value| format!("`{}`", value.replace(&*home.to_string_lossy(), "~")));
    let takes_value = argument.get_action().takes_values();
    let default = defaults.reduce(|all, value| all + ", " + &value).filter(|_| takes_value);
    let default = default.map(|value| format!("Default {value}"));
    let variable = argument.get_env().map(|name| format!("Environment `{}`", name.to_string_lossy()));
    let help = argument.get_help().expect("every key is explained").to_string();
    let facts = default.into_iter().chain(variable).chain([help]);
    wrapped(&facts.map(|fact| fact + ".").collect::<Vec<_>>().join(" "))
}

/// In lines as long as those that people write here.
fn wrapped(paragraph: &str) -> String {
    const LINE_CHARS: usize = 150;
    let mut lines = vec![String::new()];
    for word in paragraph.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= LINE_CHARS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// Why one would change each key, as the page says now.
fn reasons(keys: &str) -> BTreeMap<&str, &str> {
    let sections = keys.split("### ").skip(1).filter_map(|section| section.split_once("\n\n"));
    sections.filter_map(|(key, rest)| Some((key, rest.split_once("\n\n")?.1.trim_end()))).collect()
}

fn keys(written: &str) -> String {
    let known = reasons(written);
    let section = |argument: &Arg| {
        let key = key(argument);
        let reason = known.get(key.as_str()).copied().unwrap_or(UNSAID);
        format!("### {key}\n\n{}\n\n{reason}\n\n", facts(argument))
    };
    Config::command().get_arguments().map(section).collect()
}

#[test]
fn the_page_has_every_key_as_the_code_has_it_and_says_why_one_would_change_it() {
    let written = std::fs::read_to_string(path()).expect("read the page");
    let (before, rest) = written.split_once(FIRST).expect("where the keys begin");
    let (present, after) = rest.split_once(LAST).expect("where they end");
    let page = format!("{before}{FIRST}\n{}{LAST}{after}", keys(present));
    if std::env::var_os("ANYPORT_WRITE_DOCS").is_some() {
        std::fs::write(path(), &page).expect("write the page");
    } else {
        let differs = written.lines().zip(page.lines()).find(|(written, code)| written != code);
        assert!(
            written == page,
            "docs/configuration.md is not what the code says: {differs:?}; see there how to write it anew"
        );
    }
    let unsaid = page.lines().position(|line| line == UNSAID);
    assert_eq!(unsaid, None, "somebody has to say why one would change the key above this line");
}
