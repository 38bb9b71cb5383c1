//! What brokers refused for good, kept so that nothing disappears: one line of JSON each, for a person or the application to deal with.
//!
//! ```text
//!   {"code": 500, "error": "<in words>", "outcome": "surely-not" | "maybe", "event": {<the CloudEvent>}}
//! ```

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyport_protocol::event::EncodedEvent;
use anyport_protocol::{Fault, Outcome};
use bytes::Bytes;
use serde_json::json;

use crate::Error;
use crate::home::home_error;

pub(super) const FILE: &str = "refused.ndjson";

/// An event, and why it will not be sent again.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) event: Bytes,
    pub(crate) fault: Fault,
    pub(crate) outcome: Outcome,
}

/// Once it returns, they are on the disk.
pub(super) fn append(folder: &Path, refused: &[Refused]) -> Result<(), Error> {
    let lines: String = refused.iter().map(|refused| format!("{}\n", refused.to_json())).collect();
    let path = folder.join(FILE);
    let write = || {
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        file.write_all(lines.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| home_error(&path, error))
}

impl Refused {
    fn to_json(&self) -> serde_json::Value {
        let mut event = Vec::new();
        let event = EncodedEvent::check(&self.event).ok().and_then(|encoded| {
            encoded.to_json(&mut event);
            serde_json::from_slice(&event).ok()
        });
        json!({
            "code": self.fault.code,
            "error": self.fault.text,
            "outcome": match self.outcome { Outcome::SurelyNot => "surely-not", Outcome::Maybe => "maybe" },
            "event": event.unwrap_or(serde_json::Value::Null),
        })
    }
}

#[cfg(test)]
mod tests {
    use anyport_protocol::Code;
    use anyport_protocol::event::Event;

    use super::*;

    #[test]
    fn a_refused_event_is_kept_whole_with_the_reason() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let event = Event::builder("1", "/phone", "t").json("{\"n\": 1}").build().expect("valid").encode();
        let refused = Refused {
            event: event.into(),
            fault: Fault::new(Code::Forbidden, "not yours"),
            outcome: Outcome::SurelyNot,
        };
        append(folder.path(), std::slice::from_ref(&refused)).expect("append");
        append(folder.path(), &[refused]).expect("append");
        let text = std::fs::read_to_string(folder.path().join(FILE)).expect("read");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[0]["code"], &lines[0]["outcome"]), (&json!(204), &json!("surely-not")));
        assert_eq!((&lines[0]["event"]["id"], &lines[0]["event"]["data"]["n"]), (&json!("1"), &json!(1)));
    }
}
