//! Reading a request's body, within its bounds.

use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::limits::HTTP_BODY_BYTES_MAX;
use anyport_protocol::{Code, Fault};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::answer::Problem;

/// The time of a few requests.
const RETRY_MS: u32 = 100;

/// Bytes that bodies may take together. Nobody waits for them: they are had at once or not at all.
#[derive(Clone, Debug)]
pub(super) struct BodyBudget(Arc<Semaphore>);

/// A body's bytes, held until its request is answered.
#[derive(Debug)]
pub(super) struct BodyPermit(Option<OwnedSemaphorePermit>);

impl BodyBudget {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes_max)))
    }

    fn grow(&self, permit: &mut BodyPermit, bytes: usize) -> bool {
        let Some(more) =
            u32::try_from(bytes).ok().and_then(|bytes| Arc::clone(&self.0).try_acquire_many_owned(bytes).ok())
        else {
            return false;
        };
        match &mut permit.0 {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
        true
    }

    /// Reads a body to its end. What it takes is counted as it comes: who announces much and sends little holds little.
    pub(super) async fn read<B>(&self, body: B, within: Duration) -> Result<(Bytes, BodyPermit), Problem>
    where
        B: Body<Data = Bytes>,
        B::Error: std::fmt::Display,
    {
        if body.size_hint().lower() > HTTP_BODY_BYTES_MAX as u64 {
            return Err(too_large(body.size_hint().lower()));
        }
        let deadline = Instant::now() + within;
        let (mut bytes, mut permit) = (BytesMut::new(), BodyPermit(None));
        let mut body = std::pin::pin!(body);
        loop {
            let frame = timeout_at(deadline, body.frame()).await.map_err(|_| too_slow(within))?;
            let Some(frame) = frame.transpose().map_err(|error| broken(&error))? else {
                return Ok((bytes.freeze(), permit));
            };
            // Trailers say nothing about events.
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > HTTP_BODY_BYTES_MAX {
                return Err(too_large((bytes.len() + data.len()) as u64));
            }
            if !self.grow(&mut permit, data.len()) {
                return Err(Fault::retry_after(Code::RetryAfter, RETRY_MS, "too much is being posted at once").into());
            }
            bytes.extend_from_slice(&data);
        }
    }
}

fn too_large(bytes: u64) -> Problem {
    let text = format!("the body has {bytes} bytes or more, the limit is {HTTP_BODY_BYTES_MAX}");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, Fault::new(Code::LimitPassed, text).with_value(bytes))
}

fn too_slow(within: Duration) -> Problem {
    let text = format!("the body did not come within {} s", within.as_secs());
    Problem::new(StatusCode::REQUEST_TIMEOUT, Fault::new(Code::LimitPassed, text).with_value(within.as_secs()))
}

fn broken(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, Fault::new(Code::MalformedFrame, format!("the body ends too early: {error}")))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(60);

    async fn read_full(budget: &BodyBudget, bytes: usize) -> Result<(Bytes, BodyPermit), StatusCode> {
        budget.read(Full::new(Bytes::from(vec![7; bytes])), WITHIN).await.map_err(|problem| problem.status())
    }

    #[tokio::test]
    async fn a_body_may_reach_the_limit_and_not_pass_it_however_it_comes() {
        let budget = BodyBudget::new(HTTP_BODY_BYTES_MAX * 2);
        let (bytes, _) = read_full(&budget, HTTP_BODY_BYTES_MAX).await.expect("at the limit");
        assert_eq!(bytes.len(), HTTP_BODY_BYTES_MAX);
        assert_eq!(read_full(&budget, HTTP_BODY_BYTES_MAX + 1).await.err(), Some(StatusCode::PAYLOAD_TOO_LARGE));
        let chunk = || Ok::<_, Infallible>(Frame::data(Bytes::from(vec![7; 1 << 20])));
        let unannounced = StreamBody::new(stream::iter((0..3).map(|_| chunk())));
        let refused = budget.read(unannounced, WITHIN).await.map_err(|problem| problem.status());
        assert_eq!(refused.err(), Some(StatusCode::PAYLOAD_TOO_LARGE));
    }

    #[tokio::test]
    async fn bodies_share_a_budget_and_give_it_back() {
        let budget = BodyBudget::new(100);
        let held = read_full(&budget, 60).await.expect("there is room");
        assert_eq!(read_full(&budget, 60).await.err(), Some(StatusCode::SERVICE_UNAVAILABLE));
        assert!(read_full(&budget, 40).await.is_ok());
        drop(held);
        assert!(read_full(&budget, 100).await.is_ok());
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for_without_end() {
        let never = StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let refused =
            BodyBudget::new(100).read(never, Duration::from_millis(1)).await.map_err(|problem| problem.status());
        assert_eq!(refused.err(), Some(StatusCode::REQUEST_TIMEOUT));
    }
}
