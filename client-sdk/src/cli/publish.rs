//! `anyport pub`.

use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

use super::args::{Common, Publish};
use super::exit::{Exit, Failure};
use super::input::{self, Chunk, InputError};
use super::interrupt::Interrupt;
use super::output;
use super::resume::{Resumed, producer_of};
use super::tell::{self, events, say};
use crate::protocol::event::Event;
use crate::{Client, ClientCode, PublishError, Publisher, PublisherOptions};

/// How long acks are waited for after Ctrl-C.
const PATIENCE_AFTER_INTERRUPT: Duration = Duration::from_secs(5);

pub(super) async fn run(common: &Common, options: Publish, interrupt: &mut Interrupt) -> Result<Exit, Failure> {
    let single = options.event_type.is_some().then(|| single_event(&options)).transpose()?;
    let client = match super::connect_to_work(common, interrupt).await? {
        Ok(client) => client,
        Err(exit) => return Ok(exit),
    };
    let mut run = Run::start(&client, &options)?;
    let source = async {
        match (&single, &options.file) {
            (Some(event), _) => run.publish(event).await.map_err(Failure::from),
            (None, Some(path)) => run.publish_file(path).await,
            (None, None) => unreachable!("the command line demands one of both"),
        }
    };
    let ended = tokio::select! {
        ended = source => ended.map(|()| Exit::Done),
        exit = interrupt.wait() => Ok(exit),
        () = tell::tell_status(&client) => unreachable!("it never ends"),
    };
    let ended = run.finish(&client, interrupt, ended).await;
    let closed = timeout(PATIENCE_AFTER_INTERRUPT, client.close()).await;
    tracing::debug!(?closed, "close");
    ended
}

/// One command's publishing.
struct Run {
    publisher: Publisher,
    resumed: Option<Resumed>,
    /// Time between two events, if a rate was asked for.
    interval: Option<Duration>,
    next_at: Instant,
    bar: ProgressBar,
}

impl Run {
    fn start(client: &Client, options: &Publish) -> Result<Self, Failure> {
        let file = options.file.as_deref();
        let producer = match file.filter(|_| options.resume) {
            Some(path) => Some(producer_of(client.id(), path)?),
            None => None,
        };
        Ok(Self {
            publisher: client.publisher(PublisherOptions { producer, ..PublisherOptions::default() }),
            resumed: producer.map(|_| Resumed::default()),
            interval: options.rate.map(|rate| Duration::from_secs_f64(1.0 / rate.get() as f64)),
            next_at: Instant::now(),
            bar: progress_bar(file),
        })
    }

    async fn publish_file(&mut self, path: &Path) -> Result<(), Failure> {
        let mut chunks = input::read(path)?;
        while let Some(chunk) = chunks.recv().await {
            let Chunk { events, bytes } = chunk.map_err(|error| bad_input(path, &error))?;
            for event in events {
                self.publish(&event).await?;
            }
            self.bar.set_position(bytes);
        }
        Ok(())
    }

    async fn publish(&mut self, event: &[u8]) -> Result<(), PublishError> {
        if let Some(resumed) = &mut self.resumed
            && resumed.is_stored(&self.publisher, event).await?
        {
            return Ok(());
        }
        if let Some(interval) = self.interval {
            sleep_until(self.next_at).await;
            self.next_at += interval;
        }
        // Its fate is counted, and told by `flush`.
        let _receipt = self.publisher.publish_encoded(event).await?;
        Ok(())
    }

    /// Waits for the acks of what was handed over, whatever ended the handing over, and says what became of it.
    async fn finish(
        self,
        client: &Client,
        interrupt: &mut Interrupt,
        ended: Result<Exit, Failure>,
    ) -> Result<Exit, Failure> {
        let flushed = if matches!(ended, Ok(Exit::Interrupted | Exit::Terminated)) {
            timeout(PATIENCE_AFTER_INTERRUPT, self.publisher.flush()).await.unwrap_or(Ok(()))
        } else {
            tokio::select! {
                flushed = self.publisher.flush() => flushed,
                exit = interrupt.wait() => return self.summarize(Ok(exit)).await,
                () = tell::tell_status(client) => unreachable!("it never ends"),
            }
        };
        match (ended, flushed) {
            (Ok(Exit::Done), Err(failed)) => self.summarize(Err(failed.into())).await,
            (ended, _) => self.summarize(ended).await,
        }
    }

    async fn summarize(self, ended: Result<Exit, Failure>) -> Result<Exit, Failure> {
        self.bar.finish_and_clear();
        let counts = self.publisher.counts();
        let already_there = self.resumed.map_or(0, |resumed| resumed.already_there);
        let unanswered = counts.accepted - counts.acked - counts.refused - counts.unknown;
        let others = [
            (already_there, "already there"),
            (counts.refused, "not stored"),
            (counts.unknown + unanswered, "maybe stored"),
        ];
        if tell::is_json() {
            let [there, not_stored, maybe_stored] = others.map(|(count, _)| count);
            let summary = json!({
                "acked": counts.acked, "already_there": there, "not_stored": not_stored, "maybe_stored": maybe_stored,
            });
            let printed = output::print_json(&summary).await;
            // What ended it is the greater news.
            return ended.and_then(|exit| printed.map(|()| exit));
        }
        let others = others.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        let parts: Vec<_> = std::iter::once(format!("{} acked", events(counts.acked))).chain(others).collect();
        say(&parts.join(", "));
        ended
    }
}

pub(super) fn single_event(options: &Publish) -> Result<Vec<u8>, Failure> {
    let attribute = |value: &Option<String>| value.clone().unwrap_or_default();
    let id = Uuid::now_v7().to_string();
    let mut event = Event::builder(id, attribute(&options.source), attribute(&options.event_type));
    if let Ok(now) = OffsetDateTime::now_utc().format(&Rfc3339) {
        event = event.time(now);
    }
    if let Some(subject) = &options.subject {
        event = event.subject(subject);
    }
    if let Some(json) = &options.data {
        event = event.datacontenttype("application/json").json(json);
    }
    let bad = |error| {
        Failure::new(Exit::Usage, format!("not an event: {error}"), "correct --type, --source, --subject or --data")
    };
    Ok(event.build().map_err(bad)?.encode())
}

pub(super) fn bad_input(path: &Path, error: &InputError) -> Failure {
    let code = match error {
        InputError::BadLine { .. } | InputError::LongLine { .. } => ClientCode::BadLine,
        InputError::Read { .. } => ClientCode::Unreadable,
    };
    Failure::of(code, format!("{}: {error}", path.display()))
}

/// On a terminal only, and only where the end is known.
fn progress_bar(file: Option<&Path>) -> ProgressBar {
    let length = file.and_then(|path| path.metadata().ok()).filter(std::fs::Metadata::is_file).map(|file| file.len());
    let Some(length) = length.filter(|_| tell::is_terminal() && !tell::is_json()) else { return ProgressBar::hidden() };
    let template = if tell::may_color() { "{bar:40.cyan} {percent}% {eta}" } else { "{bar:40} {percent}% {eta}" };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}
