//! The attributes that have a code in the encoding, and what may be the name of any other.

use super::EventError;
use crate::limits::ATTRIBUTE_NAME_BYTES_MAX;

/// The code is the attribute's place in the canonical order. Codes are never reused; 0 means that the name is spelled out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Known {
    Id = 1,
    Source = 2,
    Type = 3,
    Subject = 4,
    Time = 5,
    DataContentType = 6,
    DataSchema = 7,
    PartitionKey = 8,
}

impl Known {
    pub(super) const COUNT: usize = 8;
    pub(super) const REQUIRED: [Self; 3] = [Self::Id, Self::Source, Self::Type];

    pub(super) fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Id,
            2 => Self::Source,
            3 => Self::Type,
            4 => Self::Subject,
            5 => Self::Time,
            6 => Self::DataContentType,
            7 => Self::DataSchema,
            8 => Self::PartitionKey,
            _ => return None,
        })
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "id" => Self::Id,
            "source" => Self::Source,
            "type" => Self::Type,
            "subject" => Self::Subject,
            "time" => Self::Time,
            "datacontenttype" => Self::DataContentType,
            "dataschema" => Self::DataSchema,
            "partitionkey" => Self::PartitionKey,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Source => "source",
            Self::Type => "type",
            Self::Subject => "subject",
            Self::Time => "time",
            Self::DataContentType => "datacontenttype",
            Self::DataSchema => "dataschema",
            Self::PartitionKey => "partitionkey",
        }
    }

    /// Where the attribute is kept in arrays of [`Known::COUNT`].
    pub(super) fn index(self) -> usize {
        self as usize - 1
    }
}

/// What CloudEvents names itself. `partitionkey` has a code and yet is an extension.
#[inline]
fn is_reserved(name: &str) -> bool {
    match name.len() {
        2 => name == "id",
        4 => matches!(name, "type" | "time" | "data"),
        6 => name == "source",
        7 => name == "subject",
        10 => name == "dataschema",
        11 => name == "specversion",
        15 => name == "datacontenttype",
        _ => false,
    }
}

/// Refuses what may not be the name of an extension attribute.
#[inline]
pub(super) fn check_extension_name(name: &str) -> Result<(), EventError> {
    // No early end: names are short, and without branches the bytes are looked at together.
    let allowed = name.bytes().fold(true, |all, byte| all & (byte.is_ascii_lowercase() | byte.is_ascii_digit()));
    if allowed && !name.is_empty() && name.len() <= ATTRIBUTE_NAME_BYTES_MAX && !is_reserved(name) {
        return Ok(());
    }
    Err(bad_name(name))
}

#[cold]
fn bad_name(name: &str) -> EventError {
    if name.len() > ATTRIBUTE_NAME_BYTES_MAX {
        let start = name.chars().take(ATTRIBUTE_NAME_BYTES_MAX / 4).collect();
        return EventError::AttributeNameTooLong { start, size: name.len(), limit: ATTRIBUTE_NAME_BYTES_MAX };
    }
    if is_reserved(name) {
        return EventError::ReservedAttributeName { name: name.to_owned() };
    }
    EventError::BadAttributeName { name: name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_lead_to_each_other() {
        for code in 1..=Known::COUNT as u8 {
            let known = Known::from_code(code).expect("codes are dense");
            assert_eq!(known as u8, code);
            assert_eq!(Known::from_name(known.name()), Some(known));
        }
        assert_eq!(Known::from_code(0), None);
        assert_eq!(Known::from_code(Known::COUNT as u8 + 1), None);
    }
}
