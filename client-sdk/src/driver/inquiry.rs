//! What is asked with a login and no session, until it is answered: on this connection or, if it breaks, on a later one. So every
//! question must be one that can be asked twice.

use std::time::Instant;

use anyport_protocol::message::{ToBroker, ToClient, Unsubscribed};
use anyport_protocol::{Code, Fault, Outcome};
use tokio::sync::oneshot;

use super::answers::Next;
use super::session::{Request, Session};
use super::wanted::wait_of;
use crate::Error;

/// A broker that says "later" so often is reported, not waited for.
const REFUSALS_MAX: u32 = 5;

#[derive(Debug)]
pub(super) struct Inquiry {
    id: u64,
    question: ToBroker,
    reply: oneshot::Sender<Result<ToClient, Error>>,
    is_asked: bool,
    /// An earlier attempt may have done what is asked for.
    may_be_done: bool,
    refusals: u32,
    pub(super) not_before: Option<Instant>,
}

impl Inquiry {
    /// Whoever asked may have stopped waiting.
    pub(super) fn answer(self, answer: Result<ToClient, Error>) {
        let _ = self.reply.send(answer);
    }
}

impl Session {
    pub(super) fn inquire(&mut self, id: u64, question: ToBroker, reply: oneshot::Sender<Result<ToClient, Error>>) {
        let inquiry =
            Inquiry { id, question, reply, is_asked: false, may_be_done: false, refusals: 0, not_before: None };
        match self.over() {
            Some(over) => {
                let over = over.clone();
                inquiry.answer(Err(over));
            }
            None => self.inquiries.push(inquiry),
        }
    }

    /// Asks what is due. A login must have gone out before, on the same stream.
    pub(super) fn push_inquiries(&mut self, now: Instant, out: &mut Vec<u8>) {
        self.inquiries.retain(|inquiry| !inquiry.reply.is_closed());
        for index in 0..self.inquiries.len() {
            let inquiry = &mut self.inquiries[index];
            if inquiry.is_asked || inquiry.not_before.is_some_and(|time| now < time) {
                continue;
            }
            (inquiry.is_asked, inquiry.not_before) = (true, None);
            let (id, mut question) = (inquiry.id, inquiry.question.clone());
            if let ToBroker::ListSubscriptions(list) = &mut question {
                list.registry_seen = self.saved.registry_seen;
            }
            self.request(Request::Inquiry { id }, question, now, out);
        }
    }

    pub(super) fn on_inquiry_answered(&mut self, id: u64, answer: ToClient) -> Next {
        if let ToClient::Unsubscribed(ended) = &answer {
            self.saw(ended.registry_index);
        }
        if let Some(at) = self.inquiries.iter().position(|inquiry| inquiry.id == id) {
            self.inquiries.remove(at).answer(Ok(answer));
        }
        Next::GoOn
    }

    pub(super) fn on_inquiry_refused(&mut self, id: u64, fault: Fault, now: Instant) -> Next {
        let Some(at) = self.inquiries.iter().position(|inquiry| inquiry.id == id) else { return Next::GoOn };
        let inquiry = &mut self.inquiries[at];
        inquiry.refusals += 1;
        let ends = matches!(inquiry.question, ToBroker::EndSubscription(_));
        if ends && inquiry.may_be_done && fault.is(Code::UnknownSubscription) {
            // The first attempt did it; only its answer was lost.
            return self.on_inquiry_answered(id, Unsubscribed { registry_index: 0 }.into());
        }
        if fault.retry() && inquiry.refusals < REFUSALS_MAX {
            inquiry.is_asked = false;
            inquiry.may_be_done |= fault.explanation().outcome == Outcome::Maybe;
            inquiry.not_before = Some(now + wait_of(&fault));
        } else {
            self.inquiries.remove(at).answer(Err(Error::Refused(fault)));
        }
        Next::GoOn
    }

    /// What was asked on the connection that broke may have been done.
    pub(super) fn handle_inquiries_unanswered(&mut self) {
        for inquiry in &mut self.inquiries {
            inquiry.may_be_done |= inquiry.is_asked;
            inquiry.is_asked = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use anyport_protocol::message::{EndSubscription, FrameBuffer, ListSubscriptions, Pong, Refused};
    use anyport_protocol::{Incarnation, Nonce, WallMs};
    use tokio::sync::Notify;

    use super::*;

    type Answer = oneshot::Receiver<Result<ToClient, Error>>;

    fn asked(question: impl Into<ToBroker>) -> (Session, Answer) {
        let mut session = Session::new(Nonce([1; 16]), Arc::new(Notify::new()));
        let (reply, answer) = oneshot::channel();
        session.inquire(1, question.into(), reply);
        (session, answer)
    }

    fn end() -> EndSubscription {
        EndSubscription { name: "quakes".parse().expect("a name"), incarnation: Incarnation(4) }
    }

    /// The request number of what goes out now, if anything does.
    fn push(session: &mut Session, now: Instant) -> Option<u32> {
        let mut out = Vec::new();
        session.push_inquiries(now, &mut out);
        let mut frames = FrameBuffer::new(1 << 10);
        frames.extend(&out);
        frames.next_frame().expect("own frame").map(|(header, _)| header.request)
    }

    fn refuse(session: &mut Session, request: u32, code: Code, now: Instant) {
        let fault = Fault::new(code, "no");
        assert!(matches!(session.handle_message(request, Refused { fault }.into(), now), Next::GoOn));
    }

    #[test]
    fn a_question_needs_no_session_and_is_asked_again_on_the_next_connection() {
        let (mut session, mut answer) = asked(ListSubscriptions::default());
        let now = Instant::now();
        assert!(!session.must_open(), "no session is opened for it");
        push(&mut session, now).expect("asked");
        assert_eq!(push(&mut session, now), None, "asked once");
        session.handle_disconnected("gone");
        assert!(answer.try_recv().is_err());
        let request = push(&mut session, now).expect("asked again");
        session.handle_message(request, Pong { server_time: WallMs(1) }.into(), now);
        assert!(matches!(answer.try_recv(), Ok(Ok(ToClient::Pong(_)))));
    }

    #[test]
    fn a_busy_broker_is_asked_again_later_and_reported_in_the_end() {
        let (mut session, mut answer) = asked(ListSubscriptions::default());
        let mut now = Instant::now();
        for _ in 0..REFUSALS_MAX {
            assert!(answer.try_recv().is_err(), "still waiting");
            let request = push(&mut session, now).expect("asked");
            refuse(&mut session, request, Code::RetryAfter, now);
            assert_eq!(push(&mut session, now), None, "not at once");
            now = session.next_wake().unwrap_or(now);
        }
        let Ok(Err(Error::Refused(fault))) = answer.try_recv() else { panic!("not told") };
        assert!(fault.is(Code::RetryAfter));
    }

    #[test]
    fn an_end_whose_answer_was_lost_is_done_when_there_is_nothing_left_to_end() {
        let now = Instant::now();
        let (mut session, mut answer) = asked(end());
        let request = push(&mut session, now).expect("asked");
        refuse(&mut session, request, Code::UnknownSubscription, now);
        assert!(matches!(answer.try_recv(), Ok(Err(Error::Refused(_)))), "it was not there in the first place");

        let (mut session, mut answer) = asked(end());
        push(&mut session, now).expect("asked");
        session.handle_disconnected("gone");
        let request = push(&mut session, now).expect("asked again");
        refuse(&mut session, request, Code::UnknownSubscription, now);
        assert!(matches!(answer.try_recv(), Ok(Ok(ToClient::Unsubscribed(_)))));
    }

    #[test]
    fn nobody_waits_for_a_client_that_is_over_and_what_nobody_waits_for_is_not_asked() {
        let (mut session, mut answer) = asked(end());
        session.handle_over(&Error::Closed);
        assert!(matches!(answer.try_recv(), Ok(Err(Error::Closed))));
        let (mut session, answer) = asked(end());
        drop(answer);
        assert_eq!(push(&mut session, Instant::now()), None);
    }
}
