//! One connection with another broker, once both have greeted: the tasks that read and write it.

use std::sync::Arc;

use anyport_protocol::limits::FRAME_BYTES_MAX;
use anyport_protocol::{BrokerId, Code, Fault};
use bytes::Bytes;
use tokio::task::JoinSet;

use super::answering::Answering;
use super::calls::{Common, Failure};
use super::frames::{CALL_BYTES_MAX, FrameType, SHORT_BYTES_MAX, decode_answer};
use super::{Answers, Call, PeerKey, PeerStream, PeerStreamKind};
use crate::net::{FrameReader, FrameWriter, Goodbye, OpenError, PeerConnection, ReadError};

/// Above all other streams of the connection.
const COMMON_PRIORITY: i32 = 1;

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Other {
    Broker(BrokerId),
    Newcomer(PeerKey),
}

/// A connection that both sides use.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) wire: PeerConnection,
    pub(super) common: Arc<Common>,
}

/// Why a task of a connection has ended.
#[derive(Debug)]
pub(super) enum Ended {
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
    pub(super) fn new(wire: PeerConnection) -> Arc<Self> {
        Arc::new(Self { wire, common: Arc::new(Common::new()) })
    }

    /// Asks one question. A short one is queued before this returns.
    pub(super) fn ask(
        self: &Arc<Self>,
        call: Call,
        body: Bytes,
    ) -> impl Future<Output = Result<Bytes, Failure>> + Send + use<> {
        let asked = (body.len() <= SHORT_BYTES_MAX).then(|| self.common.ask(call, &body));
        let this = Arc::clone(self);
        async move {
            match asked {
                Some(asked) => asked?.await,
                None => ask_alone(&this.wire, call, body).await,
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
        self: &Arc<Self>,
        other: Other,
        answers: Arc<dyn Answers>,
        reader: FrameReader,
        writer: FrameWriter,
    ) -> Arc<str> {
        writer.set_priority(COMMON_PRIORITY);
        let ends = EndsCalls(&self.common);
        let answering = Arc::new(Answering { connected: Arc::clone(self), other, answers });
        let mut tasks = JoinSet::new();
        tasks.spawn(write_common(Arc::clone(&self.common), writer));
        tasks.spawn(Arc::clone(&answering).read_common(reader));
        tasks.spawn(Arc::clone(&answering).accept_streams());
        tasks.spawn(answering.accept_answers());
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
