//! The main job in under a minute, with real processes and real events: publish to three brokers, go offline, lose one of them for
//! good, come back at another to exactly what was missed, and see the lost one replaced. The oracle watches, and its verdict is the
//! exit code.

mod brokers;
mod cast;
mod picture;
mod screen;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use anyport_client::PublisherOptions;
use tokio::time::Instant;

use self::brokers::{A, B, Brokers, C, D};
use self::cast::{ACTORS, Cast};
use self::screen::Screen;
use crate::drive::{Access, Ongoing, Pace, PublishReport, until};
use crate::oracle::{Oracle, grouped};
use crate::workload::Recorded;

/// Events a second: 1,707 earthquakes take about twenty seconds to watch.
const RATE: f64 = 80.0;

/// More than enough for what is missed; a demo that waits longer has failed.
const CATCH_UP: Duration = Duration::from_secs(20);

/// Plays the story; whether the oracle found it clean. Unless it did, what the brokers leave behind is kept.
pub async fn run() -> Result<bool> {
    let mut folder = tempfile::tempdir().context("make a folder for the demo's data")?;
    let clean = play(folder.path()).await;
    if !matches!(clean, Ok(true)) {
        folder.disable_cleanup(true);
        tracing::error!("the brokers' data and logs are kept in {}", folder.path().display());
    }
    clean
}

async fn play(folder: &Path) -> Result<bool> {
    let screen = Screen::new();
    screen.say("cluster", "starts with three brokers: A, B and C");
    let brokers = Brokers::start(folder).await?;
    screen.say("cluster", "is up: each of the three keeps every event, and an ack means that two have it on disk");
    let oracle = Arc::new(Oracle::new());
    let everything = oracle.filter(|_| true);
    let access = Access { servers: brokers.servers(&[B, C, A]), home: brokers.home(), oracle, everything };
    let mut story = Story { screen, brokers, access };
    story.show_brokers().await?;
    let cast = story.enter().await?;
    let report = story.tell(&cast).await?;
    story.end(cast, report).await
}

struct Story {
    screen: Screen,
    brokers: Brokers,
    /// Of the producer, and all others but for where they begin.
    access: Access,
}

impl Story {
    async fn enter(&self) -> Result<Cast> {
        let cast = Cast::enter(&self.access, &self.brokers).await?;
        for (actor, attending) in ACTORS.iter().zip(cast.all()) {
            let at = self.brokers.serving(&attending.client);
            self.screen.say(actor.name, &format!("at {at}, subscribes to  {}", actor.filter));
        }
        Ok(cast)
    }

    async fn tell(&mut self, cast: &Cast) -> Result<PublishReport> {
        let events = Recorded::earthquakes().events();
        let total = events.clone().count() as u64;
        let what = format!("at B, publishes {} earthquakes of early 2018, {RATE} a second", grouped(total));
        self.screen.say("producer", &what);
        let options = PublisherOptions::default();
        let publishing = Ongoing::begin_at(&self.access, events, Pace::PerSecond(RATE), options).await?;
        self.screen.watch(total, &publishing.publisher, cast.all());

        publishing.acked_more(total / 8).await?;
        cast.phone().client.suspend().await?;
        self.screen
            .say("phone", &format!("goes offline, having had {} events", cast.phone().listener.progress.total()));
        publishing.acked_more(total / 8).await?;
        let lost = self.lose_a().await?;
        publishing.acked_more(total / 16).await?;
        self.phone_returns(cast).await?;
        self.replace_a(lost).await?;

        let report = publishing.finish().await?;
        self.screen.say("producer", &format!("is done: {} events acked", grouped(report.acked)));
        Ok(report)
    }

    async fn lose_a(&mut self) -> Result<Instant> {
        let lost = Instant::now();
        self.brokers.kill_for_good(A).await?;
        self.screen.say("broker A", "is killed (SIGKILL) and never comes back; publishing goes on");
        self.brokers.led_without(A).await?;
        let seconds = lost.elapsed().as_secs_f64();
        self.screen.say(
            "cluster",
            &format!("goes on without A: B and C have every event, and after {seconds:.1} s lead its partitions"),
        );
        self.show_brokers().await?;
        Ok(lost)
    }

    async fn phone_returns(&self, cast: &Cast) -> Result<()> {
        let phone = cast.phone();
        let (had, sessions) = (phone.listener.progress.total(), phone.listener.progress.resumed());
        phone.client.resume().await?;
        until("the phone has a session", CATCH_UP, || phone.listener.progress.resumed() > sessions).await?;
        phone.has_everything(CATCH_UP).await?;
        let (at, missed) = (self.brokers.serving(&phone.client), phone.listener.progress.total() - had);
        let what = format!("is back, finds no A, goes on at {at}, and gets exactly the {missed} events it missed");
        self.screen.say("phone", &what);
        Ok(())
    }

    async fn replace_a(&mut self, lost: Instant) -> Result<()> {
        self.brokers.join().await?;
        self.screen.say("broker D", "is new: it joins, and takes its share of the copies");
        self.show_brokers().await?;
        self.brokers.given_up(A).await?;
        let seconds = lost.elapsed().as_secs();
        let what = format!("gives A up after {seconds} s (by default 10 minutes) and makes its copies anew");
        self.screen.say("cluster", &what);
        self.brokers.whole().await?;
        self.screen.say("cluster", "is whole: every partition has three copies again");
        self.show_brokers().await
    }

    async fn show_brokers(&mut self) -> Result<()> {
        self.screen.draw(&self.brokers.picture().await?);
        Ok(())
    }

    /// Everybody gets everything, and the log holds what was acked. It is read at D, which was not there when most of it was written.
    async fn end(self, cast: Cast, report: PublishReport) -> Result<bool> {
        cast.leave(CATCH_UP).await?;
        let at_d = Access { servers: self.brokers.servers(&[D]), ..self.access.clone() };
        let log = at_d.log().await?;
        let is_log_whole = log.is_dense_and_unique() && log.len() as u64 == report.acked;
        let found = if is_log_whole { "each once and in its place" } else { "which is not what was acked" };
        self.screen
            .say("broker D", &format!("is asked for the whole log: {} events, {found}", grouped(log.len() as u64)));
        self.screen.end();
        let verdict = self.access.oracle.verdict();
        let clean = verdict.is_clean() && is_log_whole && report.unknown + report.refused == 0;
        self.screen.close(&verdict, clean);
        Ok(clean)
    }
}
