//! The bodies of calls that are neither Raft's nor about events.
//!
//! ```text
//!  version u8 = 1 | MessagePack, fields by name
//! ```

use anyport_protocol::{Code, Fault};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

const VERSION: u8 = 1;

pub(super) fn encode(message: &impl Serialize) -> Bytes {
    let mut out = vec![VERSION];
    rmp_serde::encode::write_named(&mut out, message).expect("it is plain data and a Vec takes every write");
    out.into()
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    match bytes.split_first() {
        Some((&VERSION, body)) => {
            rmp_serde::from_slice(body).map_err(|bad| Fault::new(Code::MalformedFrame, bad.to_string()))
        }
        Some((version, _)) => {
            let text = format!("a body of version {version}, and this broker knows {VERSION}");
            Err(Fault::new(Code::UnknownMessage, text))
        }
        None => Err(Fault::new(Code::MalformedFrame, "an empty body")),
    }
}
