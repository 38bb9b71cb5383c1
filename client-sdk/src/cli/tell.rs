//! What is said beside the results, on stderr: to a person in lines, with `--json` to a script in objects.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Client, Status};

/// Longer than this is worth a word.
pub(super) const SLOW: Duration = Duration::from_secs(2);

/// Of the process, as stderr is.
static JSON: AtomicBool = AtomicBool::new(false);

/// From now on in objects.
pub(super) fn speak_json() {
    JSON.store(true, Ordering::Relaxed);
}

pub(super) fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// One line. Nobody may be listening.
pub(super) fn say(text: &str) {
    note("note", text, json!({}));
}

/// A notice of a kind that scripts may look for, with what else there is to know of it.
pub(super) fn note(kind: &str, text: &str, mut facts: Value) {
    if is_json() {
        facts["notice"] = kind.into();
        facts["text"] = text.into();
        line(&facts);
    } else {
        let _ = writeln!(std::io::stderr().lock(), "anyport: {text}");
    }
}

pub(super) fn line(json: &Value) {
    let _ = writeln!(std::io::stderr().lock(), "{json}");
}

pub(super) fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// See <https://no-color.org>.
pub(super) fn may_color() -> bool {
    is_terminal() && !is_json() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Says when the connection is lost and when it is back, until dropped.
pub(super) async fn tell_status(client: &Client) {
    let mut watch = client.watch_status();
    let mut is_lost = false;
    while let Some(status) = watch.next().await {
        match status {
            Status::Connecting { trouble } if !is_lost => {
                is_lost = true;
                reconnecting(&trouble.unwrap_or_default());
            }
            Status::Connected { server } if is_lost => {
                is_lost = false;
                note("connected", &format!("connected again, to {server}"), json!({ "server": server }));
            }
            _ => {}
        }
    }
    std::future::pending::<()>().await;
}

pub(super) fn reconnecting(reason: &str) {
    let text = format!("connection lost ({reason}); looking for the broker");
    note("reconnecting", &text, json!({ "reason": reason }));
}

/// A count with its noun.
pub(super) fn events(count: u64) -> String {
    if count == 1 { "1 event".to_owned() } else { format!("{count} events") }
}
