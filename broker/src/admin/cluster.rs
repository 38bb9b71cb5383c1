//! Operators: what answers them, and the stream on which they ask.
//!
//! They come over the port where brokers meet, with a certificate of their own, which the connection has checked. One stream is one
//! question and its answer.

use std::fmt;
use std::time::Duration;

use anyport_protocol::message::admin::{
    AdminAnswer, AdminQuestion, ClusterStatus, DrainQuestion, RecoverPlan, RecoverQuestion, RemoveQuestion,
    SelectQuestion, ShapeQuestion,
};
use anyport_protocol::message::admin::{Done, Refused};
use anyport_protocol::message::{DecodeError, FrameHeader};
use anyport_protocol::{Code, Fault};
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use crate::net::{FrameReader, FrameWriter};

/// An operator that opens a stream has a question ready.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);

/// What an operator may ask a broker, about the whole cluster. A change is answered once the cluster has it for good.
pub trait AdminAnswers: fmt::Debug + Send + Sync + 'static {
    fn status(&self) -> BoxFuture<'_, Result<ClusterStatus, Fault>>;

    fn drain(&self, question: DrainQuestion) -> BoxFuture<'_, Result<(), Fault>>;

    fn remove(&self, question: RemoveQuestion) -> BoxFuture<'_, Result<(), Fault>>;

    fn recover_plan(&self) -> BoxFuture<'_, Result<RecoverPlan, Fault>>;

    fn recover(&self, question: RecoverQuestion) -> BoxFuture<'_, Result<(), Fault>>;

    fn shape(&self, question: ShapeQuestion) -> BoxFuture<'_, Result<(), Fault>>;

    fn select(&self, question: SelectQuestion) -> BoxFuture<'_, Result<(), Fault>>;
}

/// Serves one stream of an operator: a question, its answer.
pub async fn serve(answers: &dyn AdminAnswers, mut reader: FrameReader, mut writer: FrameWriter) {
    let Ok(Ok(Some((header, body)))) = timeout(QUESTION_TIMEOUT, reader.next()).await else {
        tracing::debug!("an operator opened a stream and asked nothing");
        return;
    };
    let frame = answer(answers, header, &body).await;
    if let Err(error) = writer.write(&frame).await {
        tracing::debug!(%error, "answer an operator");
    }
}

/// The frame that answers one.
async fn answer(answers: &dyn AdminAnswers, header: FrameHeader, body: &[u8]) -> Vec<u8> {
    let answered = match AdminQuestion::decode(header.message_type, body) {
        Ok(question) => {
            let asked = question.name();
            // Asked every second by whoever watches.
            let looks =
                matches!(question, AdminQuestion::ClusterStatusQuestion(_) | AdminQuestion::RecoverPlanQuestion(_));
            let answered = ask(answers, question).await;
            let refused = answered.as_ref().err().map(ToString::to_string);
            if looks {
                tracing::debug!(asked, refused, "an operator asked");
            } else {
                tracing::info!(asked, refused, "an operator asked");
            }
            answered
        }
        Err(DecodeError::UnknownType(number)) => Err(unknown(&format!("question {number}"))),
        Err(error) => Err(Fault::new(Code::MalformedFrame, error.to_string())),
    };
    let mut frame = Vec::new();
    answered.unwrap_or_else(|fault| Refused { fault }.into()).encode(header.request, &mut frame);
    frame
}

async fn ask(answers: &dyn AdminAnswers, question: AdminQuestion) -> Result<AdminAnswer, Fault> {
    let done = |()| AdminAnswer::from(Done {});
    match question {
        AdminQuestion::ClusterStatusQuestion(_) => answers.status().await.map(AdminAnswer::from),
        AdminQuestion::DrainQuestion(question) => answers.drain(question).await.map(done),
        AdminQuestion::RemoveQuestion(question) => answers.remove(question).await.map(done),
        AdminQuestion::RecoverPlanQuestion(_) => answers.recover_plan().await.map(AdminAnswer::from),
        AdminQuestion::RecoverQuestion(question) => answers.recover(question).await.map(done),
        AdminQuestion::ShapeQuestion(question) => answers.shape(question).await.map(done),
        AdminQuestion::SelectQuestion(question) => answers.select(question).await.map(done),
    }
}

fn unknown(what: &str) -> Fault {
    let version = env!("CARGO_PKG_VERSION");
    Fault::new(Code::UnknownMessage, format!("{what} is not known to anyportd/{version}"))
}

#[cfg(test)]
mod tests {
    use anyport_protocol::BrokerId;
    use anyport_protocol::message::HEADER_BYTES;
    use anyport_protocol::message::admin::RecoverPlanQuestion;

    use super::*;

    /// Drains broker 1, and nothing else.
    #[derive(Debug)]
    struct Stub;

    impl AdminAnswers for Stub {
        fn status(&self) -> BoxFuture<'_, Result<ClusterStatus, Fault>> {
            Box::pin(async { Err(Fault::new(Code::NotReady, "not yet")) })
        }

        fn drain(&self, question: DrainQuestion) -> BoxFuture<'_, Result<(), Fault>> {
            Box::pin(async move {
                let DrainQuestion { broker, .. } = question;
                let refused = || Fault::new(Code::UnknownBroker, format!("there is no broker {broker}"));
                if broker == BrokerId(1) { Ok(()) } else { Err(refused()) }
            })
        }

        fn remove(&self, _question: RemoveQuestion) -> BoxFuture<'_, Result<(), Fault>> {
            Box::pin(async { Ok(()) })
        }

        fn recover_plan(&self) -> BoxFuture<'_, Result<RecoverPlan, Fault>> {
            Box::pin(async { Err(Fault::new(Code::NotReady, "not yet")) })
        }

        fn recover(&self, _question: RecoverQuestion) -> BoxFuture<'_, Result<(), Fault>> {
            Box::pin(async { Err(Fault::new(Code::StalePlan, "there was none")) })
        }

        fn shape(&self, _question: ShapeQuestion) -> BoxFuture<'_, Result<(), Fault>> {
            Box::pin(async { Err(Fault::new(Code::BadMap, "no such service")) })
        }

        fn select(&self, _question: SelectQuestion) -> BoxFuture<'_, Result<(), Fault>> {
            Box::pin(async { Ok(()) })
        }
    }

    async fn asked(message_type: u16, body: &[u8]) -> AdminAnswer {
        let header = FrameHeader { body_bytes: 0, message_type, request: 9 };
        let frame = answer(&Stub, header, body).await;
        let header =
            FrameHeader::decode(frame[..HEADER_BYTES].try_into().expect("a header"), usize::MAX).expect("fits");
        assert_eq!(header.request, 9, "an answer says what it answers");
        AdminAnswer::decode(header.message_type, &frame[HEADER_BYTES..]).expect("an answer")
    }

    async fn ask(question: impl Into<AdminQuestion>) -> AdminAnswer {
        let mut frame = Vec::new();
        question.into().encode(9, &mut frame);
        asked(u16::from_le_bytes([frame[4], frame[5]]), &frame[HEADER_BYTES..]).await
    }

    fn code(answer: &AdminAnswer) -> Option<Code> {
        match answer {
            AdminAnswer::Refused(refused) => refused.fault.code(),
            _ => None,
        }
    }

    #[tokio::test]
    async fn each_question_gets_its_answer_or_a_reason() {
        let drain = |broker| DrainQuestion { broker: BrokerId(broker), draining: true };
        assert_eq!(ask(drain(1)).await, Done {}.into());
        assert_eq!(code(&ask(drain(2)).await), Some(Code::UnknownBroker));
        assert_eq!(ask(RemoveQuestion { broker: BrokerId(5) }).await, Done {}.into());
        assert_eq!(code(&ask(RecoverPlanQuestion {}).await), Some(Code::NotReady));
        assert_eq!(code(&ask(RecoverQuestion { token: String::new() }).await), Some(Code::StalePlan));
    }

    #[tokio::test]
    async fn what_this_version_does_not_know_is_refused_by_name_and_version() {
        let refused = asked(999, &[]).await;
        assert_eq!(code(&refused), Some(Code::UnknownMessage));
        assert!(format!("{refused:?}").contains("question 999 is not known to anyportd/"), "{refused:?}");
        assert_eq!(code(&asked(201, b"no map").await), Some(Code::MalformedFrame));
    }
}
