//! One request, from its head to its answer.

use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::event::{Event, EventError};
use anyport_protocol::{Code, Fault};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};

use super::answer::{Answer, Problem, answer};
use super::binary::{self, NotBinary};
use super::body::BodyBudget;
use super::delivery::Delivery;
use super::json::{NotABatch, read_batch};
use super::mode::Mode;
use super::sorted::{Sorted, Sorter};
use super::{HttpLimits, numbered, token};
use crate::{Broker, clock};

const PATH: &str = "/events";

/// What all requests share.
#[derive(Debug)]
pub(super) struct Service {
    delivery: Delivery,
    bodies: BodyBudget,
    body_timeout: Duration,
}

impl Service {
    pub(super) fn new(broker: Arc<Broker>, limits: &HttpLimits) -> Self {
        let delivery = Delivery::new(broker, limits.fate_timeout);
        Self { delivery, bodies: BodyBudget::new(limits.bodies_bytes_max), body_timeout: limits.body_timeout }
    }

    pub(super) async fn respond<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let mode = Mode::of(request.headers());
        let name = mode.as_ref().map_or("none", |mode| mode.name());
        match self.handle(request, mode).await {
            Ok(answer) => {
                count(name, StatusCode::OK);
                answer.into_response()
            }
            Err(problem) => {
                tracing::debug!(?problem, "refused");
                count(name, problem.status());
                problem.into_response()
            }
        }
    }

    async fn handle<B>(&self, request: Request<B>, mode: Result<Mode, Problem>) -> Result<Answer, Problem>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        let (head, body) = request.into_parts();
        if is_asking_for_consent(&head.method, head.uri.path())? {
            return Ok(Answer::Consent);
        }
        // What does not depend on the body goes first: who is not let in has nothing read.
        self.authorize(&head.headers, &head.uri)?;
        let mode = mode?;
        let own_lane = numbered::own_lane(&head.headers)?;
        let (body, _held_until_answered) = self.bodies.read(body, self.body_timeout).await?;
        let events = read(mode, &head.headers, body, self.broker().partitions.count())?;
        if own_lane.is_some() {
            numbered::check_is_one_partition(&events)?;
        }
        answer(self.delivery.store(own_lane, events).await)
    }

    fn broker(&self) -> &Broker {
        &self.delivery.broker
    }

    /// Every client of the cluster may publish, as over QUIC.
    fn authorize(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Fault> {
        let verified = self.broker().tokens.verify(&token::of(headers, uri)?, clock::wall()).map_err(Fault::from);
        verified.map(drop).map_err(|fault| {
            let text = format!("{}; the command `anyport token` prints one that is good", fault.text);
            Fault { text, ..fault }
        })
    }
}

/// The sender of a webhook asks first whether it is welcome (CloudEvents' abuse protection). Any other request but a post is a mistake.
fn is_asking_for_consent(method: &Method, path: &str) -> Result<bool, Problem> {
    let unknown = |status, text| Err(Problem::new(status, Fault::new(Code::UnknownMessage, text)));
    match (path, method) {
        (PATH, &Method::POST) => Ok(false),
        (PATH, &Method::OPTIONS) => Ok(true),
        (PATH, method) => {
            unknown(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not known here: events are sent by POST"))
        }
        (path, _) => unknown(StatusCode::NOT_FOUND, format!("there is nothing at {path}: events are sent to {PATH}")),
    }
}

pub(super) fn read(mode: Mode, headers: &HeaderMap, body: Bytes, partitions: u16) -> Result<Sorted, Fault> {
    let mut sorter = Sorter::new(partitions);
    let mut sort = |event: Event| sorter.push(&event.encode());
    match mode {
        Mode::Binary => sort(binary::read(headers, body)?),
        Mode::Structured => sort(Event::from_json(&body).map_err(|error| bad_event(&error))?),
        Mode::Batch => read_batch(&body, sort)?,
    }
    Ok(sorter.finish())
}

fn bad_event(error: &EventError) -> Fault {
    Fault::new(error.code(), error.to_string())
}

impl From<NotBinary> for Fault {
    fn from(error: NotBinary) -> Self {
        match &error {
            NotBinary::Event(event) => bad_event(event),
            _ => Self::new(Code::BadEvent, error.to_string()),
        }
    }
}

impl From<NotABatch> for Fault {
    fn from(error: NotABatch) -> Self {
        let text = error.to_string();
        match error {
            NotABatch::NotAnArray(_) => Self::new(Code::BadEvent, text),
            NotABatch::TooMany { count } => Self::new(Code::LimitPassed, text).with_value(count as u64),
            NotABatch::BadEvent { place, source } => Self::new(source.code(), text).with_value(place as u64),
        }
    }
}

fn count(mode: &'static str, status: StatusCode) {
    let outcome = match status {
        StatusCode::OK => "done",
        StatusCode::GATEWAY_TIMEOUT | StatusCode::INTERNAL_SERVER_ERROR => "maybe",
        status if status.is_server_error() => "busy",
        _ => "refused",
    };
    metrics::counter!("anyport_http_requests_total", "mode" => mode, "outcome" => outcome).increment(1);
}
