//! Finding a broker that answers.

use std::fmt;
use std::time::{Duration, Instant};

use futures_core::future::BoxFuture;

use super::connected::Ended;
use super::{Command, Driver, Status, blocking};
use crate::Error;
use crate::net::{ConnectError, Connection, FrameReader, FrameWriter, Patience, Trust};

/// A connection on which nothing was said yet.
pub(super) struct Spare {
    pub(super) server: String,
    pub(super) connection: Connection,
    writer: FrameWriter,
    reader: FrameReader,
}

impl fmt::Debug for Spare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spare").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Spare {
    pub(super) fn discard(self) {
        self.connection.close(0, "not needed");
    }
}

impl Driver {
    /// Tries servers until one answers, with a first flight that identifies the client and resumes its session.
    pub(super) async fn connect(&mut self) -> Result<(Connection, FrameWriter, FrameReader), Ended> {
        loop {
            let error = match self.attempt().await? {
                Ok(connected) => return Ok(connected),
                Err(error) => error,
            };
            tracing::debug!(server = self.director.server(), %error, "connect");
            if let ConnectError::Certificate(reason) = &error {
                // The authorities may have been replaced since they were read.
                self.trust = None;
                if !self.was_connected && self.director.is_seed() {
                    let server = self.director.server().to_owned();
                    return Err(Ended::Over(Error::Certificate { server, reason: reason.clone() }));
                }
            }
            self.session.handle_attempt_failed();
            let trouble = format!("{}: {error}", self.director.server());
            self.told.status.send_replace(Status::Connecting { trouble: Some(trouble) });
            if let Some(wait) = self.director.handle_failure(None, Instant::now()) {
                let jittered = self.backoff.handle_failure(rand::random());
                self.pause(wait + jittered).await?;
            }
        }
    }

    async fn attempt(&mut self) -> Result<Result<(Connection, FrameWriter, FrameReader), ConnectError>, Ended> {
        let trust = self.load_trust().await?;
        let spare = self.spare.take().filter(|spare| !spare.connection.is_closed());
        if let Some(spare) = &spare {
            self.director.prefer(&spare.server);
        }
        let (flight, is_idempotent) = self.first_flight().await.map_err(Ended::Over)?;
        if let Some(Spare { connection, mut writer, reader, .. }) = spare {
            let written = writer.write(&flight).await;
            return Ok(written.map(|()| (connection, writer, reader)).map_err(ConnectError::from));
        }
        let (dialer, server) = (self.dialer.clone(), self.director.server().to_owned());
        let limit = self.director.attempt_timeout(Instant::now());
        let patience = if self.director.has_others(Instant::now()) { Patience::Short } else { Patience::Long };
        let attempt = dialer.connect(&server, &trust, patience, &flight, is_idempotent, limit);
        tokio::pin!(attempt);
        loop {
            tokio::select! {
                connected = &mut attempt => return Ok(connected),
                command = self.commands.recv() => if let Err(ended) = self.on_command_offline(command).await {
                    // The flight is given up with the attempt: nobody will answer what it asks.
                    self.session.handle_attempt_failed();
                    return Err(ended);
                }
            }
        }
    }

    /// Tries the `nth` of the other servers, and says nothing there.
    pub(super) fn try_another(&mut self, nth: usize) -> Option<BoxFuture<'static, Result<Spare, ConnectError>>> {
        let (dialer, trust) = (self.dialer.clone(), self.trust.clone()?);
        let (server, limit) = self.director.other(nth, Instant::now())?;
        let server = server.to_owned();
        Some(Box::pin(async move {
            let connecting = dialer.connect(&server, &trust, Patience::Short, &[], false, limit);
            let (connection, writer, reader) = connecting.await?;
            Ok(Spare { server, connection, writer, reader })
        }))
    }

    async fn load_trust(&mut self) -> Result<Trust, Ended> {
        if let Some(trust) = &self.trust {
            return Ok(trust.clone());
        }
        let folder = self.home.authorities();
        let trust = blocking(move || Trust::load(&folder)).await.map_err(Ended::Over)?;
        self.trust = Some(trust.clone());
        Ok(trust)
    }

    /// Waits, but for commands that end the wait. On another network a broker may be in reach that was not.
    pub(super) async fn pause(&mut self, wait: Duration) -> Result<(), Ended> {
        let end = tokio::time::Instant::now() + wait;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(end) => return Ok(()),
                command = self.commands.recv() => {
                    let may_reach = matches!(command, Some(Command::NetworkChanged { .. }));
                    self.on_command_offline(command).await?;
                    if may_reach {
                        self.backoff.handle_success();
                        return Ok(());
                    }
                }
            }
        }
    }
}
