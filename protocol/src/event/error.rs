//! Everything that can be wrong with an event, as facts.

use crate::Code;

/// Why something is not an event. Errors that concern one attribute (a member, in JSON) name it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    // Limits.
    #[error("the event has {size} bytes encoded, the limit is {limit}")]
    EventTooLarge { size: usize, limit: usize },
    #[error("the attributes have {size} bytes together, the limit is {limit}")]
    AttributesTooLarge { size: usize, limit: usize },
    #[error("the event has {count} attributes, the limit is {limit}")]
    TooManyAttributes { count: usize, limit: usize },
    #[error("the attribute name beginning `{start}` has {size} bytes, the limit is {limit}")]
    AttributeNameTooLong { start: String, size: usize, limit: usize },

    // What CloudEvents asks for.
    #[error("`{name}` is missing")]
    MissingAttribute { name: &'static str },
    #[error("`{name}` is empty")]
    EmptyAttribute { name: &'static str },
    #[error("`{name}` is no attribute name: only a-z and 0-9 are allowed")]
    BadAttributeName { name: String },
    #[error("`{name}` is not an extension's name: CloudEvents defines it")]
    ReservedAttributeName { name: String },
    #[error("`{name}` appears twice")]
    DuplicateAttribute { name: String },
    #[error("`{name}` must be {expected}, not {found}")]
    WrongType { name: String, expected: &'static str, found: &'static str },
    #[error("`{name}` is {found}, which is no whole number of 32 bits")]
    NotAnInt32 { name: String, found: String },
    #[error("`time` is `{found}`, which is no RFC 3339 time")]
    BadTime { found: String },
    #[error("`specversion` is {found}, only \"1.0\" is known")]
    UnknownSpecVersion { found: String },

    // JSON.
    #[error("not a JSON object: {reason}, at line {line} column {column}")]
    NotJson { line: usize, column: usize, reason: String },
    #[error("`{name}` is a JSON string that cannot be read as Unicode text")]
    NotText { name: String },
    #[error("`data` is not JSON: {reason}, at line {line} column {column} of it")]
    DataNotJson { line: usize, column: usize, reason: String },
    #[error("`data` and `data_base64` are both there")]
    BothDataAndBase64,
    #[error("`data_base64` is not base64 at its byte {at}")]
    BadBase64 { at: usize },
    #[error("`data` is text, but `datacontenttype` is absent or declares JSON")]
    TextDeclaredAsJson,

    // The encoding's envelope.
    #[error("{found} bytes where {needed} are needed")]
    Truncated { needed: usize, found: usize },
    #[error("an event in encoding version {version}, which is not known here")]
    UnknownEncoding { version: u8 },
    #[error("unknown kind of data {kind}")]
    UnknownDataKind { kind: u8 },
    #[error("{size} bytes of data in an event that says it has none")]
    UnexpectedData { size: usize },
    #[error("attribute block: not UTF-8 at byte {at}")]
    NotUtf8 { at: usize },
    #[error("attribute block: unknown attribute code {code}")]
    UnknownAttributeCode { code: u8 },
    #[error("attribute block: unknown kind of value {kind}")]
    UnknownValueKind { kind: u8 },
    #[error("attribute block: the number at byte {at} is cut off, too large, or not in its shortest form")]
    BadNumber { at: usize },
    #[error("attribute block: the value at byte {at} is not of its kind")]
    BadValue { at: usize },
    #[error("attribute block: the attribute at byte {at} is repeated or out of order")]
    OutOfOrder { at: usize },
}

impl EventError {
    /// How a client is told.
    pub fn code(&self) -> Code {
        match self {
            Self::EventTooLarge { .. } => Code::EventTooLarge,
            _ => Code::BadEvent,
        }
    }
}
