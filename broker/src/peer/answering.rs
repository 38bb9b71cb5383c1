//! What is read from a connection: questions, answers, and streams that the other side opens.

use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::limits::FRAME_BYTES_MAX;
use anyport_protocol::message::FrameHeader;
use anyport_protocol::{Code, Fault};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use super::calls::{Common, busy};
use super::connection::{Connected, Ended, Other};
use super::frames::{CALL_BYTES_MAX, FrameType, SHORT_BYTES_MAX, decode_answer, encode_answer};
use super::{Answers, Call, PeerStream, PeerStreamKind};
use crate::net::{FrameReader, Goodbye, Purpose, ReadError, UnreadFrame, UnreadStream};

const TOO_MANY: &str = "too many questions are under way";

/// A stream says what it is for at once.
const OPENING_TIMEOUT: Duration = Duration::from_secs(10);

/// What the reading tasks of a connection need.
#[derive(Debug)]
pub(super) struct Answering {
    pub(super) connected: Arc<Connected>,
    pub(super) other: Other,
    pub(super) answers: Arc<dyn Answers>,
}

impl Answering {
    /// Reads the common stream. What it answers ends with it.
    pub(super) async fn read_common(self: Arc<Self>, mut reader: FrameReader) -> Ended {
        let mut answering = JoinSet::new();
        loop {
            let (header, body) = match reader.next().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ended::HangUp(Goodbye::Malformed, "the common stream was finished".to_owned()),
                Err(error) => return error.into(),
            };
            while answering.try_join_next().is_some() {}
            if let Some(FrameType::Question(call)) = FrameType::from_number(header.message_type) {
                if let Some(permit) = self.connected.common.permit() {
                    answering.spawn(Arc::clone(&self).answer_short(call, header.request, body, permit));
                } else if !self.refuse_short(header.request, busy(TOO_MANY)) {
                    return Ended::HangUp(Goodbye::Overfull, "questions come, and no answer is read".to_owned());
                }
            } else if let Some(ended) = self.connected.common.on_answer(header, body) {
                return ended;
            }
        }
    }

    async fn answer_short(self: Arc<Self>, call: u16, request: u32, body: Bytes, permit: OwnedSemaphorePermit) {
        let (frame_type, body) = encode_answer(self.answer(call, body).await);
        if body.len() <= SHORT_BYTES_MAX {
            self.connected.common.answer(frame_type, request, &body, Some(permit));
        } else if let Err(error) = self.connected.wire.tell(frame_type.number(), request, body).await {
            tracing::debug!(%error, "answer a peer");
        }
    }

    fn refuse_short(&self, request: u32, fault: Fault) -> bool {
        let (frame_type, body) = encode_answer(Err(fault));
        self.connected.common.answer(frame_type, request, &body, None)
    }

    /// Accepts streams that begin with a question or an opening.
    pub(super) async fn accept_streams(self: Arc<Self>) -> Ended {
        let mut streams = JoinSet::new();
        loop {
            let stream = tokio::select! {
                stream = self.connected.wire.accept() => stream,
                Some(served) = streams.join_next(), if !streams.is_empty() => match served {
                    Ok(Some(ended)) => return ended,
                    _ => continue,
                },
            };
            match stream {
                Ok(stream) => drop(streams.spawn(Arc::clone(&self).serve(stream))),
                Err(_) => return Ended::Gone,
            }
        }
    }

    /// Some when the connection must end.
    async fn serve(self: Arc<Self>, mut stream: UnreadStream) -> Option<Ended> {
        let opening = tokio::time::timeout(
            OPENING_TIMEOUT,
            stream.first_frame(|message_type| self.first_frame_limit(message_type)),
        )
        .await;
        let (header, body) = match opening {
            Ok(Ok(opening)) => opening,
            // Whoever opened it has thought better of it.
            Ok(Err(ReadError::Gone(_))) => return None,
            Ok(Err(error)) => return Some(error.into()),
            Err(_) => return Some(Ended::HangUp(Goodbye::Silent, "a stream says nothing".to_owned())),
        };
        match FrameType::from_number(header.message_type) {
            Some(FrameType::Question(call)) => self.answer_alone(call, body, stream).await,
            Some(FrameType::Opening(kind)) => self.serve_stream(kind, body, stream).await,
            _ => return Some(out_of_place(header.message_type)),
        }
        None
    }

    async fn answer_alone(&self, call: u16, body: Bytes, stream: UnreadStream) {
        let permit = self.connected.common.permit();
        let answer = match &permit {
            Some(_) => self.answer(call, body).await,
            None => Err(busy(TOO_MANY)),
        };
        let (frame_type, body) = encode_answer(answer);
        if let Err(error) = stream.answer(frame_type.number(), body).await {
            tracing::debug!(%error, "answer a peer");
        }
    }

    /// A kind that is not known, or not here, is answered by the stream's end.
    async fn serve_stream(&self, kind: u16, opening: Bytes, stream: UnreadStream) {
        let (reader, mut writer) = stream.into_frames(FRAME_BYTES_MAX);
        match (PeerStreamKind::from_number(kind), self.other) {
            (Some(kind), Other::Broker(from)) if self.connected.wire.purpose() == Purpose::Peer => {
                self.answers.stream(from, kind, PeerStream { reader, writer, opening }).await;
            }
            _ => writer.reset(),
        }
    }

    /// Accepts streams that bring an answer.
    pub(super) async fn accept_answers(self: Arc<Self>) -> Ended {
        let mut answers = JoinSet::new();
        loop {
            let told = tokio::select! {
                told = self.connected.wire.told() => told,
                Some(read) = answers.join_next(), if !answers.is_empty() => match read {
                    Ok(Some(ended)) => return ended,
                    _ => continue,
                },
            };
            let Ok(told) = told else { return Ended::Gone };
            answers.spawn(read_answer(told, Arc::clone(&self.connected.common)));
        }
    }

    /// Whoever has no number yet has nothing to ask that is long.
    fn first_frame_limit(&self, message_type: u16) -> Option<usize> {
        match (FrameType::from_number(message_type)?, self.other) {
            (FrameType::Question(_), Other::Broker(_)) => Some(CALL_BYTES_MAX),
            (FrameType::Question(_), Other::Newcomer(_)) => Some(SHORT_BYTES_MAX),
            (FrameType::Opening(_), _) => Some(FRAME_BYTES_MAX),
            _ => None,
        }
    }

    async fn answer(&self, call: u16, body: Bytes) -> Result<Bytes, Fault> {
        let Some(known) = Call::from_number(call) else {
            return Err(Fault::new(Code::UnknownMessage, format!("call {call} is not known to this version")));
        };
        let answer = match self.other {
            Other::Broker(from) => self.answers.call(from, known, body).await?,
            Other::Newcomer(key) => self.answers.newcomer(key, known, body).await?,
        };
        if answer.len() > CALL_BYTES_MAX {
            let text = format!("an answer of {} bytes to {known:?}, where {CALL_BYTES_MAX} are allowed", answer.len());
            tracing::error!("{text}");
            return Err(Fault::new(Code::LimitPassed, text));
        }
        Ok(answer)
    }
}

/// Some when the connection must end.
async fn read_answer(told: UnreadFrame, common: Arc<Common>) -> Option<Ended> {
    match told.read(CALL_BYTES_MAX).await {
        Ok((header, body)) => common.on_answer(header, body),
        // Whoever was about to answer has thought better of it.
        Err(ReadError::Gone(_)) => None,
        Err(error) => Some(error.into()),
    }
}

impl Common {
    /// Some when it is no answer, so that the connection must end.
    fn on_answer(&self, header: FrameHeader, body: Bytes) -> Option<Ended> {
        match decode_answer(header.message_type, body) {
            Ok(Some(answer)) => self.answered(header.request, answer),
            Ok(None) => return Some(out_of_place(header.message_type)),
            Err(error) => return Some(ReadError::from(error).into()),
        }
        None
    }
}

fn out_of_place(message_type: u16) -> Ended {
    Ended::HangUp(Goodbye::Malformed, format!("a frame of type {message_type} has no place here"))
}
