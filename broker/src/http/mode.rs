//! How a request carries its events.

use anyport_protocol::{Code, Fault};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use hyper::{HeaderMap, StatusCode};

use super::answer::Problem;

const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

/// Whatever begins so is an event or a batch of them, in some format.
const ANY_FORMAT: &str = "application/cloudevents";

/// The content modes of CloudEvents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// One event: its data is the body, its attributes are headers.
    Binary,
    /// One event, in JSON.
    Structured,
    /// A JSON array of events.
    Batch,
}

impl Mode {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        if let Some(encoding) = headers.get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
            return Err(unsupported(format!("the body is encoded as {encoding:?}: send it as it is")));
        }
        let media_type = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let media_type = media_type.unwrap_or_default().to_ascii_lowercase();
        match media_type.split(';').next().unwrap_or_default().trim_ascii() {
            STRUCTURED => Ok(Self::Structured),
            BATCH => Ok(Self::Batch),
            other if other.starts_with(ANY_FORMAT) => {
                Err(unsupported(format!("{other} is not known here: send {STRUCTURED} or {BATCH}")))
            }
            _ => Ok(Self::Binary),
        }
    }

    /// As a metric's label.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Structured => "structured",
            Self::Batch => "batch",
        }
    }
}

fn unsupported(text: String) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Fault::new(Code::UnknownMessage, text))
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    fn mode(header: HeaderName, value: &'static str) -> Result<Mode, StatusCode> {
        let headers = HeaderMap::from_iter([(header, HeaderValue::from_static(value))]);
        Mode::of(&headers).map_err(|problem| problem.status())
    }

    #[test]
    fn the_content_type_tells_the_modes_apart() {
        for (media_type, expected) in [
            ("application/cloudevents+json", Ok(Mode::Structured)),
            ("Application/CloudEvents+JSON; charset=utf-8", Ok(Mode::Structured)),
            ("application/cloudevents-batch+json;charset=utf-8", Ok(Mode::Batch)),
            ("application/json", Ok(Mode::Binary)),
            ("", Ok(Mode::Binary)),
            ("application/cloudevents", Err(StatusCode::UNSUPPORTED_MEDIA_TYPE)),
            ("application/cloudevents+avro", Err(StatusCode::UNSUPPORTED_MEDIA_TYPE)),
            ("application/cloudevents-batch+xml", Err(StatusCode::UNSUPPORTED_MEDIA_TYPE)),
        ] {
            assert_eq!(mode(CONTENT_TYPE, media_type), expected, "{media_type}");
        }
        assert_eq!(Mode::of(&HeaderMap::new()).map_err(|problem| problem.status()), Ok(Mode::Binary));
    }

    #[test]
    fn a_compressed_body_is_refused_and_not_taken_for_data() {
        assert_eq!(mode(CONTENT_ENCODING, "gzip"), Err(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        assert_eq!(mode(CONTENT_ENCODING, "identity"), Ok(Mode::Binary));
    }
}
