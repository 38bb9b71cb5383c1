//! What is said to a person, on stderr.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use crate::{Client, Status};

/// Longer than this is worth a word.
pub(super) const SLOW: Duration = Duration::from_secs(2);

/// One line. Nobody may be listening.
pub(super) fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "anyport: {text}");
}

pub(super) fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// See https://no-color.org.
pub(super) fn may_color() -> bool {
    is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Says when the connection is lost and when it is back, until dropped.
pub(super) async fn tell_status(client: &Client) {
    let mut watch = client.watch_status();
    let mut is_lost = false;
    while let Some(status) = watch.next().await {
        match status {
            Status::Connecting { trouble } if !is_lost => {
                is_lost = true;
                say(&format!("connection lost ({}); looking for the broker", trouble.unwrap_or_default()));
            }
            Status::Connected { server } if is_lost => {
                is_lost = false;
                say(&format!("connected again, to {server}"));
            }
            _ => {}
        }
    }
    std::future::pending::<()>().await;
}

/// A count with its noun.
pub(super) fn events(count: u64) -> String {
    if count == 1 { "1 event".to_owned() } else { format!("{count} events") }
}
