//! One connection to a broker, and the kinds of streams on it.

use std::time::Duration;

use anyport_protocol::limits::{CONTROL_FRAME_BYTES_MAX, FRAME_BYTES_MAX};
use anyport_protocol::message::StreamKind;
use quinn::{ConnectionError, VarInt, ZeroRttAccepted};

use super::endpoint::certificate_or_other;
use super::{ConnectError, FrameReader, FrameWriter, Patience, StreamError};

/// Cheap to clone; the connection ends when it is closed or the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    connection: quinn::Connection,
    patience: Patience,
}

/// What went over a connection so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Frames sent that the other side's QUIC answers, whatever its program does; repeated ones as well.
    pub(crate) asked: u64,
    /// Datagrams that have come.
    pub(crate) heard: u64,
}

/// A connection that may still turn out not to be one.
pub(super) struct Opening {
    connection: Connection,
    accepted: Option<ZeroRttAccepted>,
}

/// A stream of feeds that the broker opened.
#[derive(Debug)]
pub(crate) struct FeedStream {
    pub(crate) reader: FrameReader,
    pub(crate) replayed: bool,
}

impl Connection {
    pub(crate) async fn open_control(&self) -> Result<(FrameWriter, FrameReader), StreamError> {
        self.open(StreamKind::Control, CONTROL_FRAME_BYTES_MAX).await
    }

    pub(crate) async fn open_publish(&self) -> Result<(FrameWriter, FrameReader), StreamError> {
        self.open(StreamKind::Publish, CONTROL_FRAME_BYTES_MAX).await
    }

    async fn open(&self, kind: StreamKind, body_bytes_max: usize) -> Result<(FrameWriter, FrameReader), StreamError> {
        let (send, receive) = self.connection.open_bi().await?;
        let mut writer = FrameWriter::new(send);
        writer.write(&[kind as u8]).await?;
        Ok((writer, FrameReader::new(receive, body_bytes_max)))
    }

    /// The next stream that the broker opens; its first byte is read by `FeedStream::identify`.
    pub(crate) async fn accept_feed(&self) -> Result<FeedStream, ConnectionError> {
        let receive = self.connection.accept_uni().await?;
        Ok(FeedStream { reader: FrameReader::new(receive, FRAME_BYTES_MAX), replayed: false })
    }

    pub(crate) async fn closed(&self) -> ConnectionError {
        self.connection.closed().await
    }

    /// Whether there is another broker to go to.
    pub(crate) fn has_others(&self) -> bool {
        self.patience == Patience::Short
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.connection.close_reason().is_some()
    }

    /// As the transport estimates it now.
    pub(crate) fn round_trip(&self) -> Duration {
        self.connection.rtt()
    }

    pub(crate) fn counts(&self) -> Counts {
        let stats = self.connection.stats();
        // What probes for lost packets is the last one.
        let asked = stats.frame_tx.stream + stats.frame_tx.ping + stats.frame_tx.immediate_ack;
        Counts { asked, heard: stats.udp_rx.datagrams }
    }

    /// Why the connection has ended, if it has.
    pub(crate) fn close_reason(&self) -> Option<String> {
        self.connection.close_reason().map(|reason| reason.to_string())
    }

    pub(crate) fn close(&self, code: u16, reason: &str) {
        self.connection.close(VarInt::from_u32(code.into()), reason.as_bytes());
    }
}

impl FeedStream {
    /// Reads what the stream is for.
    pub(crate) async fn identify(mut self) -> Result<Self, StreamError> {
        self.replayed = match self.reader.kind().await? {
            StreamKind::Live => false,
            StreamKind::Replay => true,
            other => return Err(StreamError::UnknownKind(other as u8)),
        };
        Ok(self)
    }
}

impl Opening {
    pub(super) fn early(connection: quinn::Connection, patience: Patience, accepted: ZeroRttAccepted) -> Self {
        Self { connection: Connection { connection, patience }, accepted: Some(accepted) }
    }

    pub(super) fn confirmed(connection: quinn::Connection, patience: Patience) -> Self {
        Self { connection: Connection { connection, patience }, accepted: None }
    }

    /// Opens the control stream and writes the first flight: with the very first packet, where an earlier session can be resumed and
    /// the broker takes early data; again, where it does not. So the flight may only hold what is safe to repeat.
    pub(super) async fn first_flight(
        self,
        flight: &[u8],
    ) -> Result<(Connection, FrameWriter, FrameReader), ConnectError> {
        let Self { connection, accepted } = self;
        let early = match accepted {
            None => None,
            Some(accepted) => {
                let control = send_flight(&connection, flight).await;
                let taken = accepted.await;
                if let Some(error) = connection.connection.close_reason() {
                    return Err(certificate_or_other(error));
                }
                control.ok().filter(|_| taken)
            }
        };
        let (writer, reader) = match early {
            Some(control) => control,
            None => send_flight(&connection, flight).await.map_err(|error| connection.connect_error(error))?,
        };
        Ok((connection, writer, reader))
    }
}

impl Connection {
    fn connect_error(&self, error: StreamError) -> ConnectError {
        match self.connection.close_reason() {
            Some(reason) => certificate_or_other(reason),
            None => ConnectError::Stream(error),
        }
    }
}

async fn send_flight(connection: &Connection, flight: &[u8]) -> Result<(FrameWriter, FrameReader), StreamError> {
    let (mut writer, reader) = connection.open_control().await?;
    writer.write(flight).await?;
    Ok((writer, reader))
}
