//! What brokers refused for good, kept so that nothing disappears: one line of JSON each, for a person or the application to deal with.
//!
//! ```text
//!   {"code": 500, "error": "<in words>", "outcome": "surely-not" | "maybe", "event": {<the CloudEvent>}}
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
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
    if refused.is_empty() {
        return Ok(());
    }
    let path = folder.join(FILE);
    let write = || {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
        let mut lines = String::new();
        if !ends_with_a_line(&file)? {
            // Of a process that was killed while it wrote.
            lines.push('\n');
        }
        lines.extend(refused.iter().map(Refused::to_line));
        file.write_all(lines.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| home_error(&path, error))
}

fn ends_with_a_line(mut file: &File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

impl Refused {
    /// The event's own JSON as it is: not every number in it survives being read.
    fn to_line(&self) -> String {
        let outcome = match self.outcome {
            Outcome::SurelyNot => "surely-not",
            Outcome::Maybe => "maybe",
        };
        let mut event = Vec::new();
        match EncodedEvent::check(&self.event) {
            Ok(encoded) => encoded.to_json(&mut event),
            Err(_) => event.extend_from_slice(b"null"),
        }
        let (code, error) = (self.fault.code, json!(self.fault.text));
        let event = String::from_utf8_lossy(&event);
        format!("{{\"code\":{code},\"error\":{error},\"outcome\":\"{outcome}\",\"event\":{event}}}\n")
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
        let event = Event::builder("1", "/phone", "t").json("{\"n\": 1e999}").build().expect("valid").encode();
        let refused = Refused {
            event: event.into(),
            fault: Fault::new(Code::Forbidden, "not yours"),
            outcome: Outcome::SurelyNot,
        };
        append(folder.path(), std::slice::from_ref(&refused)).expect("append");
        let path = folder.path().join(FILE);
        let torn = std::fs::read(&path).expect("read")[..9].to_vec();
        std::fs::write(&path, torn).expect("write");
        append(folder.path(), &[refused]).expect("append");
        let text = std::fs::read_to_string(folder.path().join(FILE)).expect("read");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (2, "{\"code\":2"), "what was torn spoils no other line");
        assert!(lines[1].contains("\"data\":{\"n\": 1e999}"), "as it was published: {}", lines[1]);
        assert!(lines[1].starts_with("{\"code\":204,\"error\":\"not yours\",\"outcome\":\"surely-not\",\"event\":{"));
    }
}
