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
fn is_reserved(name: &str) -> bool {
    matches!(
        name,
        "specversion" | "data" | "id" | "source" | "type" | "subject" | "time" | "datacontenttype" | "dataschema"
    )
}

/// Refuses what may not be the name of an extension attribute.
pub(super) fn check_extension_name(name: &str) -> Result<(), EventError> {
    if name.len() > ATTRIBUTE_NAME_BYTES_MAX {
        let start = name.chars().take(ATTRIBUTE_NAME_BYTES_MAX / 4).collect();
        return Err(EventError::AttributeNameTooLong { start, size: name.len(), limit: ATTRIBUTE_NAME_BYTES_MAX });
    }
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
        return Err(EventError::BadAttributeName { name: name.to_owned() });
    }
    if is_reserved(name) {
        return Err(EventError::ReservedAttributeName { name: name.to_owned() });
    }
    Ok(())
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
