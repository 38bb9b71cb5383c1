//! A connection, and opening streams on it.

use std::net::SocketAddr;

use anyport_protocol::message::FrameHeader;
use bytes::Bytes;
use quinn::crypto::rustls::HandshakeData;
use quinn::{Side, VarInt};
use rustls::pki_types::CertificateDer;

use super::identity::{key_of, may};
use super::streams::{first_frame, write_frame};
use super::{Goodbye, HandshakeError, OpenError, Purpose, UnreadFrame, UnreadStream};
use crate::net::{FrameReader, FrameWriter, WriteError};

/// A connection with somebody who has a certificate of the cluster's CA, of the kind that its purpose needs.
#[derive(Clone, Debug)]
pub struct PeerConnection {
    connection: quinn::Connection,
    purpose: Purpose,
    key: [u8; 32],
}

impl PeerConnection {
    pub(super) fn new(connection: quinn::Connection) -> Result<Self, HandshakeError> {
        let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
        let spoken = data.and_then(|data| data.protocol);
        let purpose = Purpose::ALL.into_iter().find(|known| spoken.as_deref() == Some(known.alpn()));
        let purpose = purpose.ok_or(HandshakeError::UnknownProtocol)?;
        let chain = connection.peer_identity().and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
        let certificate = chain.as_ref().and_then(|chain| chain.first());
        // Who is dialled is a broker, whatever it is dialled for.
        let role = if connection.side() == Side::Client { Purpose::Peer } else { purpose };
        let key = certificate.filter(|shown| may(shown, role)).and_then(|shown| key_of(shown).ok());
        let Some(key) = key else {
            connection.close(VarInt::from_u32(Goodbye::WrongCertificate as u32), b"a certificate of another kind");
            return Err(HandshakeError::WrongCertificate(purpose));
        };
        Ok(Self { connection, purpose, key })
    }

    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// SHA-256 of the public key that the other side has proved to have.
    pub fn key(&self) -> [u8; 32] {
        self.key
    }

    pub fn remote(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// Tells this connection from every other of this process.
    pub fn id(&self) -> usize {
        self.connection.stable_id()
    }

    pub fn close(&self, why: Goodbye, text: &str) {
        self.connection.close(VarInt::from_u32(why as u32), text.as_bytes());
    }

    pub async fn closed(&self) -> quinn::ConnectionError {
        self.connection.closed().await
    }

    /// Why the connection is over, if it is.
    pub fn close_reason(&self) -> Option<quinn::ConnectionError> {
        self.connection.close_reason()
    }

    /// Whether the connection is over because nothing was heard for too long.
    pub fn is_silent(&self) -> bool {
        matches!(self.close_reason(), Some(quinn::ConnectionError::TimedOut))
    }

    /// Opens a stream with its first frame. What comes back on it has frames no longer than `limit`.
    pub async fn open(
        &self,
        message_type: u16,
        opening: Bytes,
        limit: usize,
    ) -> Result<(FrameReader, FrameWriter), OpenError> {
        let (send, receive) = self.connection.open_bi().await.map_err(OpenError::NotSent)?;
        let send = write_frame(send, message_type, 0, opening).await?;
        Ok((FrameReader::new(receive, limit), FrameWriter::new(send)))
    }

    /// The next stream that the other side opens.
    pub async fn accept(&self) -> Result<UnreadStream, quinn::ConnectionError> {
        let (send, receive) = self.connection.accept_bi().await?;
        Ok(UnreadStream::new(send, receive))
    }

    /// Asks on a stream of its own, and waits for the one frame that answers.
    pub async fn ask(&self, message_type: u16, body: Bytes, limit: usize) -> Result<(FrameHeader, Bytes), OpenError> {
        let (send, mut receive) = self.connection.open_bi().await.map_err(OpenError::NotSent)?;
        // Dropping what comes back finishes the stream: nothing follows.
        drop(write_frame(send, message_type, 0, body).await?);
        Ok(first_frame(&mut receive, |_| Some(limit)).await?)
    }

    /// Sends one frame on a stream of its own.
    pub async fn tell(&self, message_type: u16, request: u32, body: Bytes) -> Result<(), WriteError> {
        write_frame(self.connection.open_uni().await?, message_type, request, body).await.map(drop)
    }

    /// The next stream that the other side sends one frame on.
    pub async fn told(&self) -> Result<UnreadFrame, quinn::ConnectionError> {
        Ok(UnreadFrame::new(self.connection.accept_uni().await?))
    }
}
