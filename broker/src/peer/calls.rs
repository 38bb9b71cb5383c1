//! The short questions and answers of one connection: which wait, and what goes out next.
//!
//! Inputs: [`Calls::ask`], [`Calls::answer`] for what the other side has asked, [`Calls::answered`], [`Calls::end`]. Output:
//! [`Calls::take`], all that is queued, as one piece; what is queued while that is written goes out with the next. The struct awaits
//! nothing; [`Common`] is its shell.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use anyport_protocol::message::push_frame;
use anyport_protocol::{Code, Fault};
use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use super::Call;
use super::frames::FrameType;

/// Questions under way on one connection, in each direction.
pub(super) const CALLS_MAX: usize = 4096;

/// Questions that are queued here because the connection takes no more at the moment.
const QUEUED_BYTES_MAX: usize = 8 << 20;

/// When to ask again where too much is under way.
const BUSY_MS: u32 = 50;

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Failure {
    NotSent(Arc<str>),
    Lost(Arc<str>),
    Refused(Fault),
}

type Answer = Result<Bytes, Failure>;

#[derive(Debug, Default)]
struct Calls {
    /// Of the next question; the frame carries its low half.
    next: u64,
    /// Questions below this one have been handed to the connection.
    taken: u64,
    waiting: HashMap<u32, (u64, oneshot::Sender<Answer>)>,
    out: Vec<u8>,
    /// Of the answers in `out`, given back when they are written.
    permits: Vec<OwnedSemaphorePermit>,
    ended: Option<Arc<str>>,
}

impl Calls {
    fn ask(&mut self, call: Call, body: &[u8]) -> Result<(u64, oneshot::Receiver<Answer>), Failure> {
        if let Some(why) = &self.ended {
            return Err(Failure::NotSent(Arc::clone(why)));
        }
        if self.waiting.len() >= CALLS_MAX || self.out.len() + body.len() > QUEUED_BYTES_MAX {
            return Err(Failure::Refused(busy("too many questions to this broker are under way")));
        }
        // Four billion later a number may still be taken by a question that waits.
        while self.waiting.contains_key(&(self.next as u32)) {
            self.next += 1;
        }
        let number = self.next;
        self.next += 1;
        let (tell, answer) = oneshot::channel();
        self.waiting.insert(number as u32, (number, tell));
        let frame_type = FrameType::Question(call as u16).number();
        push_frame(&mut self.out, frame_type, number as u32, |out| out.extend_from_slice(body));
        Ok((number, answer))
    }

    /// False when more refusals wait to be sent than an honest asker brings about.
    fn answer(
        &mut self,
        frame_type: FrameType,
        request: u32,
        body: &[u8],
        permit: Option<OwnedSemaphorePermit>,
    ) -> bool {
        if self.ended.is_some() {
            return true;
        }
        push_frame(&mut self.out, frame_type.number(), request, |out| out.extend_from_slice(body));
        let is_bounded = permit.is_some();
        self.permits.extend(permit);
        is_bounded || self.out.len() <= 2 * QUEUED_BYTES_MAX
    }

    /// An answer to nothing is one to a question whose asker has gone.
    fn answered(&mut self, request: u32, answer: Result<Bytes, Fault>) {
        if let Some((_, waiting)) = self.waiting.remove(&request) {
            // Fails when the asker has just gone.
            let _ = waiting.send(answer.map_err(Failure::Refused));
        }
    }

    /// The asker of this question has gone.
    fn forget(&mut self, number: u64) {
        if self.waiting.get(&(number as u32)).is_some_and(|(waiting, _)| *waiting == number) {
            self.waiting.remove(&(number as u32));
        }
    }

    fn take(&mut self) -> Option<(Vec<u8>, Vec<OwnedSemaphorePermit>)> {
        self.taken = self.next;
        let (out, permits) = (std::mem::take(&mut self.out), std::mem::take(&mut self.permits));
        (!out.is_empty()).then_some((out, permits))
    }

    fn end(&mut self, why: &Arc<str>) {
        self.ended.get_or_insert_with(|| Arc::clone(why));
        for (_, (number, waiting)) in self.waiting.drain() {
            let failure = if number < self.taken { Failure::Lost } else { Failure::NotSent };
            let _ = waiting.send(Err(failure(Arc::clone(why))));
        }
        self.out = Vec::new();
        self.permits = Vec::new();
    }
}

pub(super) fn busy(text: &str) -> Fault {
    Fault::retry_after(Code::RetryAfter, BUSY_MS, text)
}

/// What the tasks of a connection and those who ask on it share.
#[derive(Debug)]
pub(super) struct Common {
    calls: Mutex<Calls>,
    queued: Notify,
    /// Questions of the other side that may be under way here.
    permits: Arc<Semaphore>,
}

impl Common {
    pub(super) fn new() -> Self {
        Self { calls: Mutex::default(), queued: Notify::new(), permits: Arc::new(Semaphore::new(CALLS_MAX)) }
    }

    /// Queues a question before it returns, so that those of one caller go out in their order.
    pub(super) fn ask(self: &Arc<Self>, call: Call, body: &[u8]) -> Result<Asked, Failure> {
        let (number, answer) = self.calls().ask(call, body)?;
        self.queued.notify_one();
        Ok(Asked { common: Arc::clone(self), number, answer })
    }

    /// None when the other side has too much under way.
    pub(super) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    /// False when the other side is beyond all bounds.
    pub(super) fn answer(
        &self,
        frame_type: FrameType,
        request: u32,
        body: &[u8],
        permit: Option<OwnedSemaphorePermit>,
    ) -> bool {
        let is_bounded = self.calls().answer(frame_type, request, body, permit);
        self.queued.notify_one();
        is_bounded
    }

    pub(super) fn answered(&self, request: u32, answer: Result<Bytes, Fault>) {
        self.calls().answered(request, answer);
    }

    /// All that is queued, once there is something. What comes second is dropped when the first is written.
    pub(super) async fn queued(&self) -> (Vec<u8>, Vec<OwnedSemaphorePermit>) {
        loop {
            let taken = self.calls().take();
            match taken {
                Some(taken) => return taken,
                None => self.queued.notified().await,
            }
        }
    }

    pub(super) fn end(&self, why: &Arc<str>) {
        self.calls().end(why);
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that waits. Dropped, it forgets what comes.
#[derive(Debug)]
pub(super) struct Asked {
    common: Arc<Common>,
    number: u64,
    answer: oneshot::Receiver<Answer>,
}

impl Future for Asked {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let answer = Pin::new(&mut self.answer).poll(context);
        answer.map(|answer| answer.expect("an answer or the connection's end comes before the sender goes"))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.common.calls().forget(self.number);
    }
}

#[cfg(test)]
mod tests {
    use anyport_protocol::message::FrameBuffer;

    use super::*;
    use crate::peer::frames::SHORT_BYTES_MAX;

    fn why() -> Arc<str> {
        "the end".into()
    }

    /// The requests' numbers of what goes out next.
    fn taken(calls: &mut Calls) -> Vec<u32> {
        let Some((out, _)) = calls.take() else { return Vec::new() };
        let mut frames = FrameBuffer::new(SHORT_BYTES_MAX);
        frames.extend(&out);
        std::iter::from_fn(|| frames.next_frame().expect("own frames")).map(|(header, _)| header.request).collect()
    }

    #[test]
    fn what_is_queued_goes_out_as_one_piece_in_its_order() {
        let mut calls = Calls::default();
        let mut answers: Vec<_> = (0..3).map(|_| calls.ask(Call::Raft, b"body").expect("room").1).collect();
        calls.answer(FrameType::Given, 77, b"an answer", None);
        assert_eq!(taken(&mut calls), [0, 1, 2, 77]);
        assert!(taken(&mut calls).is_empty());
        calls.answered(1, Ok(Bytes::from_static(b"1")));
        assert_eq!(answers[1].try_recv().expect("answered"), Ok(Bytes::from_static(b"1")));
        assert!(answers[0].try_recv().is_err());
    }

    #[test]
    fn at_the_end_only_what_was_handed_over_may_have_been_heard() {
        let mut calls = Calls::default();
        let (_, mut heard) = calls.ask(Call::Propose, b"").expect("room");
        taken(&mut calls);
        let (_, mut unheard) = calls.ask(Call::Propose, b"").expect("room");
        calls.end(&why());
        assert_eq!(heard.try_recv().expect("told"), Err(Failure::Lost(why())));
        assert_eq!(unheard.try_recv().expect("told"), Err(Failure::NotSent(why())));
        assert_eq!(calls.ask(Call::Propose, b"").expect_err("over"), Failure::NotSent(why()));
        assert!(taken(&mut calls).is_empty());
    }

    #[test]
    fn a_number_that_still_waits_is_not_given_again() {
        let mut calls = Calls::default();
        let (_, mut patient) = calls.ask(Call::Raft, b"").expect("room");
        calls.next = 1 << 32;
        let (second, _answer) = calls.ask(Call::Raft, b"").expect("room");
        assert_eq!(second, (1 << 32) + 1);
        // Nor does who gives up take another's place away.
        calls.forget(1);
        assert_eq!(calls.waiting.len(), 2);
        calls.answered(0, Ok(Bytes::new()));
        assert_eq!(patient.try_recv().expect("answered"), Ok(Bytes::new()));
    }

    #[test]
    fn what_a_slow_connection_holds_is_bounded() {
        let mut calls = Calls::default();
        let full = || calls.ask(Call::Raft, &[0; SHORT_BYTES_MAX]);
        let asked = std::iter::repeat_with(full).take_while(Result::is_ok).count();
        assert!((500..=512).contains(&asked), "{asked} of 16 KiB");
        let refusals = std::iter::repeat_with(|| calls.answer(FrameType::Refused, 0, &[0; 1024], None));
        assert!((8_000..9_000).contains(&refusals.take_while(|is_bounded| *is_bounded).count()));
    }
}
