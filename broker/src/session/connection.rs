//! Accepting connections, and the task of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyport_protocol::message::StreamKind;
use anyport_protocol::{ClientId, Code};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Instrument;

use super::control::Control;
use super::publish;
use crate::Broker;
use crate::net::{Attempt, Connection, FrameReader, FrameWriter, Listener, ReadError, UnknownStream};

/// What connections may take of this broker.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// At about 40 KiB each. More are refused, so that those that are here stay served.
    pub connections_max: usize,
    /// Handshakes under way above which a sender must first show its address: from then on a flood of forged packets costs no
    /// memory.
    pub handshakes_unvalidated_max: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { connections_max: 50_000, handshakes_unvalidated_max: 256 }
    }
}

/// A client that connects says something; one that does not for so long is not one of ours.
const FIRST_STREAM_TIMEOUT: Duration = Duration::from_secs(10);

/// Accepts connections until the listener is closed, then waits for their tasks.
pub async fn serve(broker: Arc<Broker>, listener: Listener, limits: ConnectionLimits) {
    let handshakes = Arc::new(AtomicUsize::new(0));
    let mut connections = JoinSet::new();
    while let Some(attempt) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        metrics::gauge!("anyport_connections").set(listener.connections() as f64);
        if listener.connections() > limits.connections_max {
            metrics::counter!("anyport_connections_refused_total").increment(1);
            attempt.refuse();
        } else if handshakes.load(Ordering::Relaxed) >= limits.handshakes_unvalidated_max
            && !attempt.address_is_validated()
        {
            metrics::counter!("anyport_addresses_validated_total").increment(1);
            attempt.validate_address();
        } else {
            let span = tracing::debug_span!("connection", remote = %attempt.remote());
            let connection = handshake(Arc::clone(&broker), attempt, Arc::clone(&handshakes));
            connections.spawn(connection.instrument(span));
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn handshake(broker: Arc<Broker>, attempt: Attempt, handshakes: Arc<AtomicUsize>) {
    let connection = match attempt.accept() {
        Ok(connection) => connection,
        Err(error) => return tracing::debug!(%error, "handshake"),
    };
    handshakes.fetch_add(1, Ordering::Relaxed);
    let counted = connection.clone();
    let count = async move {
        counted.confirmed().await;
        handshakes.fetch_sub(1, Ordering::Relaxed);
    };
    tokio::join!(count, run(broker, connection));
}

/// Serves one connection until it ends. Its streams' tasks end with it.
async fn run(broker: Arc<Broker>, connection: Connection) {
    let (login, logged_in) = watch::channel(None);
    let mut streams = JoinSet::new();
    let mut login = Some(login);
    loop {
        let stream = tokio::select! {
            stream = next_stream(&connection, login.is_some()) => stream,
            Some(ended) = streams.join_next(), if !streams.is_empty() => {
                // The control stream's end is the connection's.
                if matches!(ended, Ok(Ended::Control)) { return connection.close(Code::NoSession, "the control stream ended") }
                continue;
            }
        };
        let Some(stream) = stream else { return };
        match stream.identify().await {
            Ok((StreamKind::Control, reader, writer)) => {
                match login.take() {
                    Some(login) => drop(streams.spawn(
                        control(Arc::clone(&broker), connection.clone(), reader, writer, login).in_current_span(),
                    )),
                    None => return connection.close(Code::OutOfTurn, "a second control stream"),
                }
            }
            Ok((StreamKind::Publish, reader, writer)) => {
                let stream = publishing(Arc::clone(&broker), connection.clone(), reader, writer, logged_in.clone());
                streams.spawn(stream.in_current_span());
            }
            Ok((kind, ..)) => return connection.close(Code::OutOfTurn, &format!("clients open no {kind:?} streams")),
            Err(error) => return hang_up(&connection, &error),
        }
    }
}

/// Which of a connection's streams has ended.
enum Ended {
    Control,
    Publish,
}

async fn control(
    broker: Arc<Broker>,
    connection: Connection,
    reader: FrameReader,
    writer: FrameWriter,
    login: watch::Sender<Option<ClientId>>,
) -> Ended {
    if let Err(error) = Control::new(broker, connection.clone(), writer, login).run(reader).await {
        hang_up(&connection, &error);
    }
    Ended::Control
}

async fn publishing(
    broker: Arc<Broker>,
    connection: Connection,
    reader: FrameReader,
    writer: FrameWriter,
    logged_in: watch::Receiver<Option<ClientId>>,
) -> Ended {
    if let Err(error) = publish::run(broker, &connection, reader, writer, logged_in).await {
        hang_up(&connection, &error);
    }
    Ended::Publish
}

async fn next_stream(connection: &Connection, is_first: bool) -> Option<UnknownStream> {
    let stream = connection.accept_stream();
    if !is_first {
        return stream.await.ok();
    }
    match tokio::time::timeout(FIRST_STREAM_TIMEOUT, stream).await {
        Ok(stream) => stream.ok(),
        Err(_) => {
            connection.close(Code::OutOfTurn, "nothing was said");
            None
        }
    }
}

/// Bad bytes close the connection with a code; a client that went away is no error.
fn hang_up(connection: &Connection, error: &ReadError) {
    let code = match error {
        ReadError::TooLarge(_) => Code::FrameTooLarge,
        ReadError::Truncated | ReadError::UnknownKind(_) | ReadError::Body(_) => Code::MalformedFrame,
        ReadError::Gone(_) => return tracing::debug!(%error, "the client is gone"),
    };
    metrics::counter!("anyport_malformed_total", "code" => code.name()).increment(1);
    tracing::info!(%error, %code, "hang up");
    connection.close(code, &error.to_string());
}
