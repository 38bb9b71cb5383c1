//! Another broker is tried while this one is silent. If it answers, this one is asked once more, and left if it is silent still.

use std::time::{Duration, Instant};

use anyport_protocol::message::Ping;
use futures_core::future::BoxFuture;

use super::Driver;
use super::connect::Spare;
use super::connected::Ended;
use super::doubt::Doubt;
use super::session::Request;
use crate::net::{ConnectError, Connection};

/// For the answer to the last question, which nothing delays but the line.
const LAST_WORD: Duration = Duration::from_millis(200);
const LAST_WORD_ROUND_TRIPS: u32 = 3;

/// Of one connection, where there is another server to go to.
pub(super) struct Second {
    doubt: Doubt,
    /// Others that were tried so far.
    tried: usize,
    stage: Stage,
}

enum Stage {
    Watching,
    Trying { attempt: BoxFuture<'static, Result<Spare, ConnectError>>, heard_before: u64 },
    LastWord { spare: Spare, heard_before: u64, until: Instant },
}

impl Second {
    pub(super) fn new(now: Instant) -> Self {
        Self { doubt: Doubt::new(now), tried: 0, stage: Stage::Watching }
    }

    pub(super) fn next_wake(&self, connection: &Connection) -> Option<Instant> {
        match &self.stage {
            Stage::Watching => {
                let look = self.doubt.look_at();
                Some(self.doubt.ends_at(connection.round_trip()).map_or(look, |ends| ends.min(look)))
            }
            Stage::Trying { .. } => None,
            Stage::LastWord { until, .. } => Some(*until),
        }
    }

    /// The outcome of the attempt that is under way.
    pub(super) async fn tried(&mut self) -> Result<Spare, ConnectError> {
        match &mut self.stage {
            Stage::Trying { attempt, .. } => attempt.await,
            Stage::Watching | Stage::LastWord { .. } => std::future::pending().await,
        }
    }
}

impl Driver {
    /// To be called when `next_wake` says, and more often if you like.
    pub(super) fn watch(&mut self, second: &mut Second, connection: &Connection, now: Instant) -> Result<(), Ended> {
        let counts = connection.counts();
        match std::mem::replace(&mut second.stage, Stage::Watching) {
            Stage::Watching => {
                second.doubt.handle_counts(counts, now);
                if second.doubt.ends_at(connection.round_trip()).is_some_and(|end| now >= end) {
                    second.doubt.begin_anew(now);
                    if let Some(attempt) = self.try_another(second.tried) {
                        second.tried += 1;
                        second.stage = Stage::Trying { attempt, heard_before: counts.heard };
                    }
                }
            }
            Stage::LastWord { spare, heard_before, until } if counts.heard == heard_before => {
                if now >= until {
                    let reason = format!("the broker is silent, while {} answers", spare.server);
                    self.spare = Some(spare);
                    return Err(Ended::lost(reason));
                }
                second.stage = Stage::LastWord { spare, heard_before, until };
            }
            Stage::LastWord { spare, .. } => spare.discard(),
            trying @ Stage::Trying { .. } => second.stage = trying,
        }
        Ok(())
    }

    /// Asks this broker once more if the other one answers: perhaps the line was down, and is back for both.
    pub(super) fn on_tried(
        &mut self,
        second: &mut Second,
        connection: &Connection,
        tried: Result<Spare, ConnectError>,
        out: &mut Vec<u8>,
    ) {
        let Stage::Trying { heard_before, .. } = std::mem::replace(&mut second.stage, Stage::Watching) else { return };
        match tried {
            Ok(spare) if connection.counts().heard == heard_before => {
                let now = Instant::now();
                self.session.request(Request::Ping, Ping {}, now, out);
                let until = now + LAST_WORD.max(connection.round_trip() * LAST_WORD_ROUND_TRIPS);
                second.stage = Stage::LastWord { spare, heard_before, until };
            }
            Ok(spare) => spare.discard(),
            Err(error) => tracing::debug!(%error, "the broker is silent, and so is another"),
        }
    }
}
