//! What is said to a request: a status, and JSON that says of each event what became of it.
//!
//! ```text
//!   200  {"events":[{"outcome":"stored","partition":3,"offset":17}]}
//!   else RFC 9457 (application/problem+json): title, status, detail, and
//!        "code", "name"       the error, as everywhere in Anyport
//!        "retry"              may the same request succeed later, unchanged?
//!        "outcome"            of the request: "not-stored", "partly-stored" or "maybe-stored"
//!        "value"              the number that the code's description names, such as the place of a bad event
//!        "retry_after_ms"
//!        "events"             as above, with "not-stored" or "maybe-stored" and a "code"; absent if none got so far
//! ```

use anyport_protocol::{Code, Fault, Outcome};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::delivery::{Fate, Stored};

/// What may be asked of `/events`.
const METHODS: HeaderValue = HeaderValue::from_static("POST, OPTIONS");

/// A status that asks to come back says when: as long as an ordinary hindrance lasts, if nothing better is known.
const RETRY_AFTER_MS_DEFAULT: u32 = 1000;

const NOT_STORED: &str = "not-stored";
const MAYBE_STORED: &str = "maybe-stored";

/// An answer on its way: not sent yet, so that it can be counted.
#[derive(Debug)]
pub(super) enum Answer {
    /// Every event is stored.
    Stored(Vec<Fate>),
    /// The sender of a webhook may go on; whether it is let in its token decides.
    Consent,
}

/// Why a request has not been done, or not wholly.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    fault: Fault,
    fates: Vec<Fate>,
}

impl Problem {
    /// A problem of HTTP rather than of the broker, which has a status of its own.
    pub(super) fn new(status: StatusCode, fault: Fault) -> Self {
        Self { status, fault, fates: Vec::new() }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.fault.text
    }

    /// Of all events together.
    fn outcome(&self) -> &'static str {
        let faults = || self.fates.iter().filter_map(|fate| fate.outcome.as_ref().err()).chain([&self.fault]);
        if faults().any(is_maybe) {
            MAYBE_STORED
        } else if self.fates.iter().any(|fate| fate.outcome.is_ok()) {
            "partly-stored"
        } else {
            NOT_STORED
        }
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self::new(status_of(&fault), fault)
    }
}

/// What became of the events, as an answer. The worst fate is the request's: not to know is worse than any refusal.
pub(super) fn answer(fates: Vec<Fate>) -> Result<Answer, Problem> {
    let faults = fates.iter().filter_map(|fate| fate.outcome.as_ref().err());
    match faults.max_by_key(|fault| (is_maybe(fault), status_of(fault))).cloned() {
        None => Ok(Answer::Stored(fates)),
        Some(fault) => Err(Problem { fates, ..Problem::from(fault) }),
    }
}

fn is_maybe(fault: &Fault) -> bool {
    fault.code().is_none_or(|code| code.outcome() == Outcome::Maybe)
}

fn status_of(fault: &Fault) -> StatusCode {
    match fault.code() {
        Some(Code::BadToken | Code::TokenExpired | Code::UnknownClient | Code::NotLoggedIn) => StatusCode::UNAUTHORIZED,
        Some(Code::Forbidden) => StatusCode::FORBIDDEN,
        Some(Code::EventTooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
        Some(Code::OutOfSequence | Code::ProducerUnknown) => StatusCode::CONFLICT,
        Some(Code::RetryAfter | Code::ShuttingDown | Code::NotReady) => StatusCode::SERVICE_UNAVAILABLE,
        Some(Code::StorageFull) => StatusCode::INSUFFICIENT_STORAGE,
        Some(Code::MaybeStored) => StatusCode::GATEWAY_TIMEOUT,
        Some(Code::StoreFailed) | None => StatusCode::INTERNAL_SERVER_ERROR,
        Some(_) => StatusCode::BAD_REQUEST,
    }
}

#[derive(Serialize)]
struct EventBody {
    outcome: &'static str,
    partition: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    already_stored: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
}

#[derive(Serialize)]
struct StoredBody {
    events: Vec<EventBody>,
}

#[derive(Serialize)]
struct ProblemBody<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: u16,
    name: &'a str,
    retry: bool,
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<EventBody>,
}

impl From<&Fate> for EventBody {
    fn from(fate: &Fate) -> Self {
        let (outcome, stored, code) = match &fate.outcome {
            Ok(stored) => ("stored", *stored, None),
            Err(fault) => {
                let outcome = if is_maybe(fault) { MAYBE_STORED } else { NOT_STORED };
                (outcome, Stored { offset: None, is_earlier: false }, Some(fault.code))
            }
        };
        let offset = stored.offset.map(|offset| offset.0);
        Self { outcome, partition: fate.partition.0, offset, already_stored: stored.is_earlier, code }
    }
}

impl Answer {
    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        match self {
            Self::Stored(fates) => {
                let body = StoredBody { events: fates.iter().map(EventBody::from).collect() };
                json(StatusCode::OK, "application/json", &body)
            }
            Self::Consent => {
                let any = HeaderValue::from_static("*");
                let mut response = Response::new(Full::default());
                response.headers_mut().insert(ALLOW, METHODS);
                response.headers_mut().insert(HeaderName::from_static("webhook-allowed-origin"), any.clone());
                response.headers_mut().insert(HeaderName::from_static("webhook-allowed-rate"), any);
                response
            }
        }
    }
}

impl Problem {
    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let Self { status, fault, fates } = &self;
        let body = ProblemBody {
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: &fault.text,
            code: fault.code,
            name: fault.code().map_or("Unknown", Code::name),
            retry: fault.retry(),
            outcome: self.outcome(),
            value: fault.value,
            retry_after_ms: fault.retry_after_ms,
            events: fates.iter().map(EventBody::from).collect(),
        };
        let mut response = json(*status, "application/problem+json", &body);
        if let Some((name, value)) = header_of(*status, fault) {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// What HTTP wants said beside some statuses.
fn header_of(status: StatusCode, fault: &Fault) -> Option<(HeaderName, HeaderValue)> {
    let bearer = |challenge| (WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    Some(match status {
        StatusCode::UNAUTHORIZED if fault.is(Code::NotLoggedIn) => bearer(r#"Bearer realm="anyport""#),
        StatusCode::UNAUTHORIZED => bearer(r#"Bearer realm="anyport", error="invalid_token""#),
        StatusCode::FORBIDDEN => bearer(r#"Bearer realm="anyport", error="insufficient_scope""#),
        StatusCode::METHOD_NOT_ALLOWED => (ALLOW, METHODS),
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE => {
            let after_ms = fault.retry_after_ms.unwrap_or(RETRY_AFTER_MS_DEFAULT);
            // Whole seconds, and none would be at once.
            (RETRY_AFTER, HeaderValue::from(after_ms.div_ceil(1000).max(1)))
        }
        _ => return None,
    })
}

fn json(status: StatusCode, media_type: &'static str, body: &impl Serialize) -> Response<Full<Bytes>> {
    let mut body = serde_json::to_vec(body).expect("strings and numbers are always JSON");
    body.push(b'\n');
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    // A token may have stood in the request's URL.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use anyport_protocol::{Offset, PartitionId};
    use http_body_util::BodyExt;
    use serde_json::{Value, json};

    use super::*;

    fn stored(partition: u16, offset: u64) -> Fate {
        let stored = Stored { offset: Some(Offset(offset)), is_earlier: false };
        Fate { partition: PartitionId(partition), outcome: Ok(stored) }
    }

    fn refused(partition: u16, fault: Fault) -> Fate {
        Fate { partition: PartitionId(partition), outcome: Err(fault) }
    }

    /// Status, headers that matter, and body.
    async fn shown(response: Response<Full<Bytes>>) -> (u16, Option<String>, Value) {
        let (head, body) = response.into_parts();
        let header = [WWW_AUTHENTICATE, RETRY_AFTER, ALLOW].into_iter().find_map(|name| head.headers.get(name));
        let header = header.map(|value| value.to_str().expect("ASCII").to_owned());
        let body = body.collect().await.expect("it is there").to_bytes();
        (head.status.as_u16(), header, serde_json::from_slice(&body).expect("JSON"))
    }

    async fn shown_fates(fates: Vec<Fate>) -> (u16, Option<String>, Value) {
        shown(answer(fates).map_or_else(Problem::into_response, Answer::into_response)).await
    }

    #[tokio::test]
    async fn stored_events_are_told_where_they_lie() {
        let earlier = Stored { offset: None, is_earlier: true };
        let earlier = Fate { partition: PartitionId(0), outcome: Ok(earlier) };
        let expected = json!({"events": [
            {"outcome": "stored", "partition": 3, "offset": 17},
            {"outcome": "stored", "partition": 0, "already_stored": true},
        ]});
        assert_eq!(shown_fates(vec![stored(3, 17), earlier]).await, (200, None, expected));
        assert_eq!(shown_fates(vec![]).await, (200, None, json!({"events": []})));
    }

    #[tokio::test]
    async fn a_full_disk_and_a_busy_broker_say_when_to_come_back() {
        let full = Fault::retry_after(Code::StorageFull, 1000, "the disk is filled");
        let (status, retry_after, body) = shown_fates(vec![refused(0, full)]).await;
        assert_eq!((status, retry_after.as_deref()), (507, Some("1")));
        let busy = Fault::retry_after(Code::RetryAfter, 2500, "busy");
        let (status, retry_after, _) = shown_fates(vec![refused(0, busy)]).await;
        assert_eq!((status, retry_after.as_deref()), (503, Some("3")));
        let (status, retry_after, _) = shown_fates(vec![refused(0, Fault::new(Code::ShuttingDown, "bye"))]).await;
        assert_eq!((status, retry_after.as_deref()), (503, Some("1")));
        let expected = json!({
            "title": "Insufficient Storage", "status": 507, "detail": "the disk is filled",
            "code": 601, "name": "StorageFull", "retry": true, "outcome": "not-stored", "retry_after_ms": 1000,
            "events": [{"outcome": "not-stored", "partition": 0, "code": 601}],
        });
        assert_eq!(body, expected);
    }

    #[tokio::test]
    async fn the_worst_fate_is_the_requests_and_each_event_keeps_its_own() {
        let busy = Fault::retry_after(Code::RetryAfter, 20, "busy");
        let unknown = Fault::new(Code::MaybeStored, "who knows");
        let (status, _, body) = shown_fates(vec![stored(0, 1), refused(1, busy.clone())]).await;
        assert_eq!((status, &body["outcome"]), (503, &json!("partly-stored")));
        let full = Fault::new(Code::StorageFull, "full");
        let (status, _, body) =
            shown_fates(vec![refused(1, full), refused(2, unknown), refused(1, busy), stored(0, 1)]).await;
        assert_eq!((status, &body["outcome"], &body["code"]), (504, &json!("maybe-stored"), &json!(505)));
        let outcomes: Vec<_> =
            body["events"].as_array().expect("a list").iter().map(|event| &event["outcome"]).collect();
        assert_eq!(outcomes, ["not-stored", "maybe-stored", "not-stored", "stored"]);
    }

    #[tokio::test]
    async fn a_refused_token_is_challenged_as_http_has_it() {
        let challenge = async |code| shown(Problem::from(Fault::new(code, "no")).into_response()).await;
        let (status, header, body) = challenge(Code::NotLoggedIn).await;
        assert_eq!((status, header.as_deref()), (401, Some(r#"Bearer realm="anyport""#)));
        assert!(body.get("events").is_none());
        for code in [Code::BadToken, Code::TokenExpired] {
            let (status, header, _) = challenge(code).await;
            assert_eq!((status, header.as_deref()), (401, Some(r#"Bearer realm="anyport", error="invalid_token""#)));
        }
        let (status, header, _) = challenge(Code::Forbidden).await;
        assert_eq!((status, header.as_deref()), (403, Some(r#"Bearer realm="anyport", error="insufficient_scope""#)));
    }

    /// What may be stored must not look like what surely is not: senders repeat the latter by themselves.
    #[test]
    fn only_statuses_that_invite_a_repetition_are_safe_to_repeat() {
        for code in Code::ALL {
            let status = status_of(&Fault::new(*code, ""));
            if [StatusCode::SERVICE_UNAVAILABLE, StatusCode::INSUFFICIENT_STORAGE].contains(&status) {
                assert_eq!((code.outcome(), code.retry()), (Outcome::SurelyNot, true), "{code}");
            }
            assert!(status.is_client_error() || status.is_server_error(), "{code}");
        }
    }
}
