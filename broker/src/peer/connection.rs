//! One connection with another broker, once both have greeted: the tasks that read and write it.

use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::limits::FRAME_BYTES_MAX;
use anyport_protocol::{BrokerId, Code, Fault};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use super::calls::{Common, Failure, busy};
use super::frames::{CALL_BYTES_MAX, FrameType, SHORT_BYTES_MAX, decode_answer, encode_answer};
use super::{Answers, Call, PeerKey, PeerStream, PeerStreamKind};
use crate::net::{
    FrameReader, FrameWriter, Goodbye, OpenError, PeerConnection, Purpose, ReadError, UnreadFrame, UnreadStream,
};

/// A stream says what it is for at once.
const OPENING_TIMEOUT: Duration = Duration::from_secs(10);

/// Above all other streams of the connection.
const COMMON_PRIORITY: i32 = 1;

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Other {
    Broker(BrokerId),
    Newcomer(PeerKey),
}

/// A connection that both sides use; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Connected {
    pub(super) wire: PeerConnection,
    pub(super) common: Arc<Common>,
}

/// Why a task of a connection has ended.
#[derive(Debug)]
enum Ended {
    /// The connection is gone; QUIC knows why.
    Gone,
    /// We hang up.
    HangUp(Goodbye, String),
}

impl From<ReadError> for Ended {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::TooLarge(_) => Self::HangUp(Goodbye::FrameTooLarge, error.to_string()),
            ReadError::Truncated | ReadError::UnknownKind(_) | ReadError::Body(_) => {
                Self::HangUp(Goodbye::Malformed, error.to_string())
            }
            ReadError::Gone(_) => Self::Gone,
        }
    }
}

impl Connected {
    pub(super) fn new(wire: PeerConnection) -> Self {
        Self { wire, common: Arc::new(Common::new()) }
    }

    /// Asks one question. A short one is queued before this returns.
    pub(super) fn ask(&self, call: Call, body: Bytes) -> impl Future<Output = Result<Bytes, Failure>> + Send + use<> {
        let asked = (body.len() <= SHORT_BYTES_MAX).then(|| self.common.ask(call, &body));
        let wire = self.wire.clone();
        async move {
            match asked {
                Some(asked) => asked?.await,
                None => ask_alone(&wire, call, body).await,
            }
        }
    }

    /// Opens a stream with its first frame.
    pub(super) async fn open(&self, kind: PeerStreamKind, opening: Bytes) -> Result<PeerStream, Failure> {
        let frame_type = FrameType::Opening(kind as u16).number();
        let (reader, writer) = self.wire.open(frame_type, opening.clone(), FRAME_BYTES_MAX).await.map_err(failure)?;
        Ok(PeerStream { reader, writer, opening })
    }

    /// Serves the connection until it ends, and says why it did. `reader` and `writer` are its common stream, after the greetings.
    pub(super) async fn run(
        &self,
        other: Other,
        answers: Arc<dyn Answers>,
        reader: FrameReader,
        writer: FrameWriter,
    ) -> Arc<str> {
        writer.set_priority(COMMON_PRIORITY);
        let ends = EndsCalls(&self.common);
        let side = Side { connected: self.clone(), other, answers };
        let mut tasks = JoinSet::new();
        tasks.spawn(write_common(Arc::clone(&self.common), writer));
        tasks.spawn(side.clone().read_common(reader));
        tasks.spawn(side.clone().accept_streams());
        tasks.spawn(side.accept_answers());
        let ended = match tasks.join_next().await {
            Some(Ok(ended)) => ended,
            _ => Ended::HangUp(Goodbye::Stopping, "a task of the connection failed".to_owned()),
        };
        let why: Arc<str> = match ended {
            Ended::Gone => self.gone().into(),
            Ended::HangUp(goodbye, text) => {
                tracing::warn!(?other, ?goodbye, "hang up on a peer: {text}");
                self.wire.close(goodbye, &text);
                text.into()
            }
        };
        ends.0.end(&why);
        why
    }

    /// Why it is gone. If only its common stream is, the rest goes with it.
    fn gone(&self) -> String {
        match self.wire.close_reason() {
            Some(reason) => reason.to_string(),
            None => {
                let text = "the other side has given up the common stream";
                self.wire.close(Goodbye::Malformed, text);
                text.to_owned()
            }
        }
    }
}

/// Nobody waits for an answer from a connection that is served no more, also where serving it was broken off.
struct EndsCalls<'c>(&'c Common);

impl Drop for EndsCalls<'_> {
    fn drop(&mut self) {
        self.0.end(&"this broker has given up the connection".into());
    }
}

fn failure(error: OpenError) -> Failure {
    match error {
        OpenError::NotSent(why) => Failure::NotSent(why.to_string().into()),
        OpenError::Write(why) => Failure::Lost(why.to_string().into()),
        OpenError::Read(why) => Failure::Lost(why.to_string().into()),
    }
}

/// Asks on a stream of its own.
pub(super) async fn ask_alone(wire: &PeerConnection, call: Call, body: Bytes) -> Result<Bytes, Failure> {
    if body.len() > CALL_BYTES_MAX {
        // The other side would hang up.
        let text = format!("a question of {} bytes, where {CALL_BYTES_MAX} are allowed", body.len());
        return Err(Failure::Refused(Fault::new(Code::LimitPassed, text)));
    }
    let frame_type = FrameType::Question(call as u16).number();
    let (header, body) = wire.ask(frame_type, body, CALL_BYTES_MAX).await.map_err(failure)?;
    let lost = |why: String| Failure::Lost(why.into());
    match decode_answer(header.message_type, body) {
        Ok(Some(answer)) => answer.map_err(Failure::Refused),
        Ok(None) => Err(lost(format!("a frame of type {} is no answer", header.message_type))),
        Err(error) => Err(lost(error.to_string())),
    }
}

/// What goes out in one write is all that was queued since the last.
async fn write_common(common: Arc<Common>, mut writer: FrameWriter) -> Ended {
    loop {
        let (frames, permits) = common.queued().await;
        if writer.write(&frames).await.is_err() {
            return Ended::Gone;
        }
        drop(permits);
    }
}

/// What the reading tasks of a connection need.
#[derive(Clone, Debug)]
struct Side {
    connected: Connected,
    other: Other,
    answers: Arc<dyn Answers>,
}

impl Side {
    async fn read_common(self, mut reader: FrameReader) -> Ended {
        let mut answering = JoinSet::new();
        loop {
            let (header, body) = match reader.next().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ended::HangUp(Goodbye::Malformed, "the common stream was finished".to_owned()),
                Err(error) => return error.into(),
            };
            while answering.try_join_next().is_some() {}
            if let Some(FrameType::Question(call)) = FrameType::from_number(header.message_type) {
                match self.connected.common.permit() {
                    Some(permit) => {
                        drop(answering.spawn(self.clone().answer_short(call, header.request, body, permit)));
                    }
                    None => {
                        if !self.refuse_short(header.request, busy("too many questions are under way")) {
                            return Ended::HangUp(
                                Goodbye::Overfull,
                                "questions come, and no answer is read".to_owned(),
                            );
                        }
                    }
                }
                continue;
            }
            match decode_answer(header.message_type, body) {
                Ok(Some(answer)) => self.connected.common.answered(header.request, answer),
                Ok(None) => return out_of_place(header.message_type),
                Err(error) => return ReadError::from(error).into(),
            }
        }
    }

    async fn answer_short(self, call: u16, request: u32, body: Bytes, permit: OwnedSemaphorePermit) {
        let answer = self.answer(call, body).await;
        let (frame_type, body) = encode_answer(answer);
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

    async fn accept_streams(self) -> Ended {
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
                Ok(stream) => drop(streams.spawn(self.clone().serve(stream))),
                Err(_) => return Ended::Gone,
            }
        }
    }

    /// Some when the connection must end.
    async fn serve(self, mut stream: UnreadStream) -> Option<Ended> {
        let opening = tokio::time::timeout(OPENING_TIMEOUT, stream.first_frame(first_frame_limit)).await;
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

    async fn answer_alone(self, call: u16, body: Bytes, stream: UnreadStream) {
        let permit = self.connected.common.permit();
        let answer = match &permit {
            Some(_) => self.answer(call, body).await,
            None => Err(busy("too many questions are under way")),
        };
        let (frame_type, body) = encode_answer(answer);
        if let Err(error) = stream.answer(frame_type.number(), body).await {
            tracing::debug!(%error, "answer a peer");
        }
    }

    /// A kind that is not known, or not here, is answered by the stream's end.
    async fn serve_stream(self, kind: u16, opening: Bytes, stream: UnreadStream) {
        let (reader, mut writer) = stream.into_frames(FRAME_BYTES_MAX);
        match (PeerStreamKind::from_number(kind), self.other) {
            (Some(kind), Other::Broker(from)) if self.connected.wire.purpose() == Purpose::Peer => {
                self.answers.stream(from, kind, PeerStream { reader, writer, opening }).await;
            }
            _ => writer.reset(),
        }
    }

    async fn accept_answers(self) -> Ended {
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
    let (header, body) = match told.read(CALL_BYTES_MAX).await {
        Ok(frame) => frame,
        Err(ReadError::Gone(_)) => return None,
        Err(error) => return Some(error.into()),
    };
    match decode_answer(header.message_type, body) {
        Ok(Some(answer)) => common.answered(header.request, answer),
        Ok(None) => return Some(out_of_place(header.message_type)),
        Err(error) => return Some(ReadError::from(error).into()),
    }
    None
}

fn first_frame_limit(message_type: u16) -> Option<usize> {
    match FrameType::from_number(message_type)? {
        FrameType::Question(_) => Some(CALL_BYTES_MAX),
        FrameType::Opening(_) => Some(FRAME_BYTES_MAX),
        _ => None,
    }
}

fn out_of_place(message_type: u16) -> Ended {
    Ended::HangUp(Goodbye::Malformed, format!("a frame of type {message_type} has no place here"))
}
