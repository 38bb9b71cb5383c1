//! The driver while it is connected: answers, commands, feeds, and what is due.

use std::time::{Duration, Instant};

use anyport_protocol::message::{FrameHeader, ToClient};
use anyport_protocol::{Code, Fault};
use tokio::task::JoinSet;

use super::answers::Next;
use super::connect::Spare;
use super::second::Second;
use super::{Asked, Command, Driver, Link, Status};
use crate::Error;
use crate::net::{ConnectError, Connection, FrameReader, FrameWriter, StreamError, check_server};

/// Acks are saved locally at most so often; the broker has them long before, unless it cannot be reached.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// How long nothing may be heard on another network before the connection is given up. What is sent there for a start is repeated
/// several times in it, unless round trips are very long: these are counted, too.
const SILENCE_MAX: Duration = Duration::from_secs(2);
const SILENCE_ROUND_TRIPS_MAX: u32 = 4;

/// How long the broker may take to close a session in good order.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a connection has ended, or was not there.
#[derive(Debug)]
pub(super) enum Ended {
    Lost {
        reason: String,
        wait: Option<Duration>,
    },
    /// The application wants another server, at which to begin.
    Moved,
    Suspended,
    Closed,
    Over(Error),
}

impl Ended {
    pub(super) fn lost(reason: impl Into<String>) -> Self {
        Self::Lost { reason: reason.into(), wait: None }
    }
}

/// Of one connection.
struct Serving {
    writer: FrameWriter,
    out: Vec<u8>,
    feeds: JoinSet<Result<(), StreamError>>,
    /// The application wants to leave, as soon as the broker has heard of it.
    leaving: Option<Leave>,
    /// When the broker asked to come back.
    back_after: Option<Duration>,
    /// On another network nothing has been heard yet.
    silence: Option<Silence>,
    /// Only where there is another server to go to.
    second: Option<Second>,
    /// When the broker wants us to be gone, and where to.
    sent_on: Option<(Instant, Option<String>)>,
}

struct Silence {
    heard_before: u64,
    deadline: Instant,
}

struct Leave {
    ended: Ended,
    deadline: Instant,
}

impl Driver {
    /// Serves until the connection ends.
    pub(super) async fn serve(&mut self, connection: &Connection, writer: FrameWriter, reader: FrameReader) -> Ended {
        let mut serving = Serving {
            writer,
            out: Vec::new(),
            feeds: JoinSet::new(),
            leaving: None,
            back_after: None,
            silence: None,
            sent_on: None,
            second: self.director.has_others(Instant::now()).then(|| Second::new(Instant::now())),
        };
        let mut ended = self.serve_until_ended(&mut serving, connection, reader).await;
        if let (Ended::Lost { .. }, Some(leave)) = (&ended, serving.leaving.take()) {
            // Left is left, even if the broker was lost before it could say goodbye.
            ended = leave.ended;
        }
        // No frame of this connection may be counted towards the next.
        serving.feeds.shutdown().await;
        self.told.link.send_replace(Link::Waiting);
        if let (Ended::Lost { wait, .. }, Some(back_after)) = (&mut ended, serving.back_after) {
            *wait = Some(wait.unwrap_or_default().max(back_after));
        }
        let reason = match &ended {
            Ended::Lost { reason, .. } => reason.clone(),
            Ended::Moved => format!("moving to {}", self.director.server()),
            Ended::Suspended => "suspended".to_owned(),
            Ended::Closed | Ended::Over(_) => String::new(),
        };
        connection.close(0, "the client leaves");
        self.session.handle_disconnected(&reason);
        self.routes.replace(self.session.inboxes());
        ended
    }

    async fn serve_until_ended(
        &mut self,
        serving: &mut Serving,
        connection: &Connection,
        mut reader: FrameReader,
    ) -> Ended {
        loop {
            if let Err(ended) = self.write_due(serving).await {
                return ended;
            }
            let wake = self.next_wake(serving, connection);
            let done = tokio::select! {
                biased;
                frame = reader.next() => self.on_frame(serving, connection, frame).await,
                command = self.commands.recv(), if serving.leaving.is_none() => {
                    self.on_command_online(serving, connection, command).await
                }
                stream = connection.accept_feed() => match stream {
                    Ok(stream) => drop_result(serving.feeds.spawn(self.routes.clone().read(stream))),
                    Err(error) => Err(Ended::lost(error.to_string())),
                },
                Some(ended) = serving.feeds.join_next() => on_feed_ended(connection, ended),
                tried = tried(&mut serving.second) => {
                    if let Some(second) = &mut serving.second {
                        self.on_tried(second, connection, tried, &mut serving.out);
                    }
                    Ok(())
                }
                () = self.due.notified() => Ok(()),
                () = sleep_until(wake), if wake.is_some() => self.on_wake(serving, connection).await,
            };
            if let Err(ended) = done {
                return ended;
            }
        }
    }

    /// Writes what is due, with the session opened if there must be one.
    async fn write_due(&mut self, serving: &mut Serving) -> Result<(), Ended> {
        let now = Instant::now();
        if serving.leaving.is_none() {
            if self.session.must_open() && self.identity.is_some() {
                self.save_epoch().await.map_err(Ended::Over)?;
                self.session.push_open(now, &mut serving.out);
            }
            if self.identity.is_some() {
                self.session.push_inquiries(now, &mut serving.out);
            }
            self.session.pump(now, &mut serving.out);
        }
        if std::mem::take(&mut self.session.are_routes_stale) {
            self.routes.replace(self.session.inboxes());
        }
        if !serving.out.is_empty() {
            serving.writer.write(&serving.out).await.map_err(|error| Ended::lost(error.to_string()))?;
            serving.out.clear();
        }
        Ok(())
    }

    fn next_wake(&self, serving: &Serving, connection: &Connection) -> Option<Instant> {
        if let Some(leave) = &serving.leaving {
            return Some(leave.deadline);
        }
        let save = self.session.is_dirty.then(|| self.saved_at + SAVE_EVERY);
        let silence = serving.silence.as_ref().map(|silence| silence.deadline);
        let second = serving.second.as_ref().and_then(|second| second.next_wake(connection));
        let sent_on = serving.sent_on.as_ref().map(|(at, _)| *at);
        self.session
            .next_wake()
            .into_iter()
            .chain(sent_on)
            .chain(save)
            .chain(silence)
            .chain(second)
            .chain(self.map_due())
            .min()
    }

    async fn on_wake(&mut self, serving: &mut Serving, connection: &Connection) -> Result<(), Ended> {
        let now = Instant::now();
        if let Some(leave) = serving.leaving.take_if(|leave| now >= leave.deadline) {
            return Err(leave.ended);
        }
        if let Some(silence) = serving.silence.take_if(|silence| now >= silence.deadline)
            && connection.counts().heard == silence.heard_before
        {
            return Err(Ended::lost("the broker is not heard since the network has changed"));
        }
        if let Some((_, to)) = serving.sent_on.take_if(|(at, _)| now >= *at) {
            self.on_go_away(serving, Duration::ZERO, to)?;
        }
        if let Some(second) = &mut serving.second {
            self.watch(second, connection, now)?;
        }
        if let Some(faster) = self.director.poll_leave(now) {
            tracing::info!(server = self.director.server(), faster, "the broker's answers have become slow");
            self.director.prefer(&faster);
            return Err(Ended::Moved);
        }
        self.keep_map(now).await;
        self.obey(now, &mut serving.out)?;
        if self.session.is_unanswered(now) {
            return Err(Ended::lost("the broker answers nothing"));
        }
        if self.session.impatience.poll_leave(now) && self.director.has_others(now) {
            return Err(Ended::lost("the broker cannot keep what is acked"));
        }
        if self.session.is_dirty && now >= self.saved_at + SAVE_EVERY {
            // Not vital: the broker has what was acked.
            if let Err(error) = self.save_state().await {
                tracing::warn!(%error, "save the client's state");
            }
        }
        Ok(())
    }

    async fn on_frame(
        &mut self,
        serving: &mut Serving,
        connection: &Connection,
        frame: Result<Option<(FrameHeader, bytes::Bytes)>, StreamError>,
    ) -> Result<(), Ended> {
        let (header, body) = match frame {
            Ok(Some(frame)) => frame,
            Ok(None) => return Err(Ended::lost("the broker ended the control stream")),
            Err(error) => return Err(violation(connection, &error)),
        };
        let message = match ToClient::decode(header.message_type, &body) {
            Ok(message) => message,
            // A push of a later version: nothing depends on it.
            Err(_) if header.request == 0 => return Ok(()),
            Err(error) => return Err(violation(connection, &error.into())),
        };
        match self.session.handle_message(header.request, message, Instant::now()) {
            Next::GoOn => {}
            Next::Handshake(message) => {
                if self.on_handshake(message).await.map_err(|error| self.over_or_lost(error))? {
                    self.on_identified(connection);
                }
            }
            Next::Map(answer) => {
                self.on_map(&answer, &mut serving.out);
                let now = Instant::now();
                if serving.second.is_none() && self.director.has_others(now) {
                    serving.second = Some(Second::new(now));
                }
            }
            Next::GoAway { after, to, spread } if spread.is_zero() => self.on_go_away(serving, after, to)?,
            Next::GoAway { to, spread, .. } => {
                serving.sent_on = Some((Instant::now() + spread.mul_f64(rand::random()), to));
            }
            Next::SessionClosed => {
                return Err(serving.leaving.take().map_or(Ended::lost("the session was closed"), |leave| leave.ended));
            }
            Next::Leave { reason, wait } => return Err(Ended::Lost { reason, wait }),
            Next::Over(error) => return Err(Ended::Over(error)),
        }
        if let Some(took) = self.session.answered_in.take() {
            self.director.handle_answer(took, Instant::now());
        }
        if self.session.is_served() {
            // A server that greets us and opens no session has not worked.
            self.director.handle_success(Instant::now());
            self.backoff.handle_success();
        }
        Ok(())
    }

    /// What was given by the application is reported; what a map said is one server of several.
    fn over_or_lost(&self, error: Error) -> Ended {
        match error {
            Error::OtherCluster { .. } | Error::UnknownPartitioner { .. } if !self.director.is_seed() => {
                Ended::lost(error.to_string())
            }
            error => Ended::Over(error),
        }
    }

    /// Another server is as good, and there now; the one server is waited for until it ends the connection, and then some time. Or it
    /// wants us back at once.
    fn on_go_away(&mut self, serving: &mut Serving, after: Duration, to: Option<String>) -> Result<(), Ended> {
        if let Some(to) = to.filter(|to| check_server(to).is_ok() && serving.leaving.is_none()) {
            self.director.prefer(&to);
            return Err(Ended::Moved);
        }
        serving.back_after = Some(after);
        if (self.director.has_others(Instant::now()) || after.is_zero()) && serving.leaving.is_none() {
            return Err(Ended::lost("the broker sends us away"));
        }
        Ok(())
    }

    fn on_identified(&mut self, connection: &Connection) {
        self.was_connected = true;
        let server = self.director.server().to_owned();
        tracing::info!(server, "connected");
        self.told.status.send_replace(Status::Connected { server });
        self.told.link.send_replace(Link::Up(connection.clone()));
    }

    async fn on_command_online(
        &mut self,
        serving: &mut Serving,
        connection: &Connection,
        command: Option<Command>,
    ) -> Result<(), Ended> {
        let ended = match self.on_command(command).await {
            Asked::Nothing => return Ok(()),
            Asked::IsItHeard => {
                let patience = SILENCE_MAX.max(connection.round_trip() * SILENCE_ROUND_TRIPS_MAX);
                let (heard_before, deadline) = (connection.counts().heard, Instant::now() + patience);
                serving.silence = Some(Silence { heard_before, deadline });
                return Ok(());
            }
            // Nothing is lost by leaving like this: the next session says all that this one has not.
            Asked::Move => return Err(Ended::Moved),
            Asked::Suspend => Ended::Suspended,
            Asked::Close => Ended::Closed,
        };
        if !self.session.is_open() {
            return Err(ended);
        }
        let now = Instant::now();
        self.session.push_close(now, &mut serving.out);
        serving.leaving = Some(Leave { ended, deadline: now + CLOSE_TIMEOUT });
        Ok(())
    }
}

fn drop_result<T>(_: T) -> Result<(), Ended> {
    Ok(())
}

/// A stream that the broker resets or finishes is nothing; one that breaks the protocol ends the connection.
fn on_feed_ended(
    connection: &Connection,
    ended: Result<Result<(), StreamError>, tokio::task::JoinError>,
) -> Result<(), Ended> {
    match ended {
        Ok(Err(error)) if error.is_violation() => Err(violation(connection, &error)),
        Ok(_) => Ok(()),
        Err(error) => Err(Ended::lost(format!("read a feed: {error}"))),
    }
}

fn violation(connection: &Connection, error: &StreamError) -> Ended {
    if let Some(reason) = connection.close_reason() {
        return Ended::lost(reason);
    }
    if error.is_violation() {
        tracing::warn!(%error, "the broker breaks the protocol");
        let fault = Fault::new(Code::MalformedFrame, error.to_string());
        connection.close(fault.code, &fault.text);
    }
    Ended::lost(error.to_string())
}

async fn tried(second: &mut Option<Second>) -> Result<Spare, ConnectError> {
    match second {
        Some(second) => second.tried().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
