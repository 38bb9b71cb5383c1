//! One client's connection, from its first packet on.

use std::net::SocketAddr;
use std::time::Duration;

use anyport_protocol::Code;
use anyport_protocol::limits::{CONTROL_FRAME_BYTES_MAX, FRAME_BYTES_MAX};
use anyport_protocol::message::StreamKind;
use quinn::{Endpoint, Incoming, VarInt};
use tokio::sync::watch;

use super::{FrameReader, FrameWriter, ReadError, WriteError};

/// A stream that says nothing of its kind for so long will not.
const KIND_TIMEOUT: Duration = Duration::from_secs(10);

/// Hands out connection attempts, as they come.
#[derive(Clone, Debug)]
pub struct Listener {
    endpoint: Endpoint,
}

impl Listener {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// None once the listener is closed.
    pub async fn accept(&self) -> Option<Attempt> {
        self.endpoint.accept().await.map(Attempt)
    }

    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    pub fn connections(&self) -> usize {
        self.endpoint.open_connections()
    }

    /// Ends every connection and waits until its owner has been told, or a moment has passed.
    pub async fn close(&self, code: Code, grace: Duration) {
        self.endpoint.close(VarInt::from_u32(u32::from(code as u16)), code.name().as_bytes());
        let _ = tokio::time::timeout(grace, self.endpoint.wait_idle()).await;
    }
}

/// A connection attempt that nothing has been spent on yet.
#[derive(Debug)]
pub struct Attempt(Incoming);

impl Attempt {
    /// Whether the sender has shown that it receives at the address it names.
    pub fn address_is_validated(&self) -> bool {
        self.0.remote_address_validated()
    }

    pub fn remote(&self) -> SocketAddr {
        self.0.remote_address()
    }

    /// Asks the sender to show its address first, at the cost of a round trip and of no memory here.
    pub fn validate_address(self) {
        // Fails only for an address that is validated already, which the caller has asked.
        let _ = self.0.retry();
    }

    pub fn refuse(self) {
        self.0.refuse();
    }

    /// Takes the connection on, before its handshake is complete: early data arrives with the first packet.
    pub fn accept(self) -> Result<Connection, quinn::ConnectionError> {
        let connecting = self.0.accept()?;
        // For an incoming connection this always succeeds; `confirmed` resolves when the handshake is done.
        let Ok((connection, confirmed)) = connecting.into_0rtt() else {
            return Err(quinn::ConnectionError::Reset);
        };
        let (tell, handshake) = watch::channel(false);
        tokio::spawn({
            let connection = connection.clone();
            async move {
                confirmed.await;
                // A handshake that failed resolves it too.
                tell.send_replace(connection.close_reason().is_none());
            }
        });
        Ok(Connection { connection, handshake })
    }
}

#[derive(Clone, Debug)]
pub struct Connection {
    connection: quinn::Connection,
    handshake: watch::Receiver<bool>,
}

impl Connection {
    /// Waits until what is read can no longer be a replay of early data. None when the connection is gone before that.
    pub async fn confirmed(&self) -> Option<()> {
        let mut handshake = self.handshake.clone();
        tokio::select! {
            biased;
            _ = self.connection.closed() => None,
            confirmed = handshake.wait_for(|confirmed| *confirmed) => confirmed.ok().map(|_| ()),
        }
    }

    /// The next stream the client opens, with what it is for.
    pub async fn accept_stream(&self) -> Result<UnknownStream, quinn::ConnectionError> {
        let (send, receive) = self.connection.accept_bi().await?;
        Ok(UnknownStream { send, receive })
    }

    /// Opens a stream towards the client, whose first byte is still to be written. Cancel-safe.
    pub async fn open_feed_stream(&self, priority: i32) -> Result<FrameWriter, WriteError> {
        let writer = FrameWriter::new(self.connection.open_uni().await?);
        writer.set_priority(priority);
        Ok(writer)
    }

    pub fn close(&self, code: Code, text: &str) {
        self.connection.close(VarInt::from_u32(u32::from(code as u16)), text.as_bytes());
    }

    pub async fn closed(&self) -> quinn::ConnectionError {
        self.connection.closed().await
    }

    /// Tells this connection from every other of this process.
    pub fn id(&self) -> usize {
        self.connection.stable_id()
    }
}

/// A stream whose first byte has not been read.
#[derive(Debug)]
pub struct UnknownStream {
    send: quinn::SendStream,
    receive: quinn::RecvStream,
}

impl UnknownStream {
    pub async fn identify(mut self) -> Result<(StreamKind, FrameReader, FrameWriter), ReadError> {
        let kind = tokio::time::timeout(KIND_TIMEOUT, FrameReader::kind(&mut self.receive))
            .await
            .map_err(|_| ReadError::Truncated)??;
        let limit = if kind == StreamKind::Control { CONTROL_FRAME_BYTES_MAX } else { FRAME_BYTES_MAX };
        Ok((kind, FrameReader::new(self.receive, limit), FrameWriter::new(self.send)))
    }
}
