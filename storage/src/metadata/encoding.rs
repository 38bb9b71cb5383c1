//! How commands and facts are written.
//!
//! ```text
//!  version u8 = 1 | MessagePack, fields by name
//! ```
//! By name, because both outlive a rolling upgrade and will gain fields.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

const VERSION: u8 = 1;

/// Why bytes are not a command, or not facts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("no bytes")]
    Empty,
    #[error("version {version}, and this program reads version {VERSION}")]
    UnknownVersion { version: u8 },
    #[error("malformed: {cause}")]
    Malformed { cause: Arc<str> },
    #[error("{count} bytes after the end")]
    TrailingBytes { count: usize },
}

pub(super) fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut out = vec![VERSION];
    rmp_serde::encode::write_named(&mut out, value).expect("it is plain data and a Vec takes every write");
    out
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FormatError> {
    let (&version, mut rest) = bytes.split_first().ok_or(FormatError::Empty)?;
    if version != VERSION {
        return Err(FormatError::UnknownVersion { version });
    }
    let malformed = |error: rmp_serde::decode::Error| FormatError::Malformed { cause: error.to_string().into() };
    let value = rmp_serde::from_read(&mut rest).map_err(malformed)?;
    if rest.is_empty() { Ok(value) } else { Err(FormatError::TrailingBytes { count: rest.len() }) }
}
