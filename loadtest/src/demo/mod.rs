//! The main job in under a minute, with real processes and real events: publish, go offline, lose the broker, come back, get
//! exactly what was missed. The oracle watches, and its verdict is the exit code.

mod screen;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anyport_client::{Client, ClientOptions, PublisherOptions, Start, SubscribeOptions};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use self::screen::Screen;
use crate::drive::{Listener, ListenerOptions, Pace, PublishReport, publish};
use crate::oracle::{self, FilterId, Oracle, SubscriptionId};
use crate::runner::{BrokerOptions, BrokerProcess};
use crate::workload::Recorded;

/// Events a second: 1,707 earthquakes take about fifteen seconds to watch.
const RATE: f64 = 120.0;

/// How long the broker stays away, so that publishers notice.
const BROKER_AWAY: Duration = Duration::from_secs(1);

/// More than enough for what is missed; a demo that waits longer has failed.
const CATCH_UP: Duration = Duration::from_secs(20);

/// A client of the story.
struct Actor {
    name: &'static str,
    filter: &'static str,
    /// The same filter in Rust, for the oracle: written apart, so that the two check each other.
    matches: fn(&Value) -> bool,
}

const PHONE: usize = 0;

const ACTORS: [Actor; 3] = [
    Actor {
        name: "phone",
        filter: "type = 'gov.usgs.quake' AND data.mag >= 4.5",
        matches: |event| {
            event["type"] == "gov.usgs.quake" && event["data"]["mag"].as_f64().is_some_and(|mag| mag >= 4.5)
        },
    },
    Actor {
        name: "alaska",
        filter: "subject = 'Alaska' AND data.depth_km > 50",
        matches: |event| event["subject"] == "Alaska" && event["data"]["depth_km"].as_f64().is_some_and(|km| km > 50.0),
    },
    Actor { name: "archive", filter: "EXISTS id", matches: |_| true },
];

/// Plays the story; whether the oracle found it clean.
pub async fn run() -> Result<bool> {
    let screen = Screen::new();
    let folder = tempfile::tempdir().context("make a folder for the demo's data")?;
    let mut broker = BrokerProcess::start(folder.path(), BrokerOptions::default()).await?;
    screen.say("broker", &format!("runs on {}, every ack after an fsync", broker.address()));

    let oracle = Arc::new(Oracle::new());
    let filters = ACTORS.each_ref().map(|actor| oracle.filter(actor.matches));
    let mut cast = Vec::new();
    for (actor, filter) in ACTORS.iter().zip(filters) {
        cast.push(Player::enter(actor, filter, &broker, &oracle).await?);
        screen.say(actor.name, &format!("subscribes to  {}", actor.filter));
    }
    let producer = Producer::start(&broker, &oracle).await?;
    let story = story(&screen, &mut broker, &mut cast, producer).await?;
    finish(&screen, &oracle, cast, &story).await
}

async fn story(
    screen: &Screen,
    broker: &mut BrokerProcess,
    cast: &mut [Player],
    mut producer: Producer,
) -> Result<PublishReport> {
    let total = Recorded::earthquakes().events().count() as u64;
    screen.say("producer", &format!("publishes {total} earthquakes of early 2018, {RATE} a second"));
    screen.watch(total, producer.progress(), cast.iter().map(|player| (player.name, player.progress())));

    producer.reach(total / 4).await?;
    cast[PHONE].client.suspend().await?;
    screen.say("phone", &format!("goes offline, having had {} events", cast[PHONE].progress().total()));

    producer.reach(total / 2).await?;
    let killed = Instant::now();
    broker.kill().await?;
    screen.say("broker", "is killed (SIGKILL) while publishing goes on");
    sleep(BROKER_AWAY).await;
    broker.start_again().await?;
    let away = killed.elapsed().as_secs_f64();
    screen.say("broker", &format!("is back after {away:.1} s; clients and producer ride it out"));

    producer.reach(total * 4 / 5).await?;
    let before = cast[PHONE].progress().total();
    cast[PHONE].come_back().await?;
    let missed = cast[PHONE].progress().total() - before;
    screen.say("phone", &format!("is back and has caught up: {missed} events it had missed"));

    let report = producer.finish().await?;
    screen.say("producer", &format!("is done: {} acked", report.acked));
    Ok(report)
}

async fn finish(screen: &Screen, oracle: &Oracle, cast: Vec<Player>, report: &PublishReport) -> Result<bool> {
    for player in cast {
        player.leave(oracle).await?;
    }
    screen.end();
    let verdict = oracle.verdict();
    let clean = verdict.is_clean() && report.unknown + report.refused == 0;
    screen.close(&verdict, clean);
    Ok(clean)
}

fn client_options(broker: &BrokerProcess, name: &str) -> ClientOptions {
    ClientOptions {
        servers: vec![broker.address().to_string()],
        home: broker.home(),
        name: name.to_owned(),
        ..ClientOptions::default()
    }
}

/// One client of the story with its listener.
struct Player {
    name: &'static str,
    client: Client,
    listener: Listener,
    subscription: SubscriptionId,
}

impl Player {
    async fn enter(actor: &Actor, filter: FilterId, broker: &BrokerProcess, oracle: &Arc<Oracle>) -> Result<Self> {
        let client = Client::connect(client_options(broker, actor.name)).await?;
        let options = SubscribeOptions { start: Start::Latest, ..SubscribeOptions::new("quakes", actor.filter) };
        let subscription = client.subscribe(options).await?;
        let starts = subscription.starts().into_iter().map(|(partition, start)| (partition, start.offset)).collect();
        let declared = oracle.subscribe(actor.name, filter, oracle::Start::At(starts));
        let reader = oracle.reader(declared);
        let listener = Listener::start(subscription, Arc::clone(oracle), reader, ListenerOptions::default());
        Ok(Self { name: actor.name, client, listener, subscription: declared })
    }

    fn progress(&self) -> Arc<crate::drive::Progress> {
        Arc::clone(&self.listener.progress)
    }

    /// Resumes, and waits until what came while it was away has been delivered.
    async fn come_back(&self) -> Result<()> {
        let sessions = self.listener.progress.resumed();
        self.client.resume().await?;
        let deadline = Instant::now() + CATCH_UP;
        while self.listener.progress.resumed() == sessions || !self.listener.is_caught_up() {
            ensure!(Instant::now() < deadline, "{} has not caught up in {CATCH_UP:?}", self.name);
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn leave(self, oracle: &Oracle) -> Result<()> {
        // What is outstanding after this is what the verdict calls lost.
        let deadline = Instant::now() + CATCH_UP;
        while oracle.outstanding(self.subscription) > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
        let listened = self.listener.stop().await?;
        drop(listened.subscription);
        self.client.close().await.with_context(|| format!("close {}", self.name))
    }
}

/// The producer's task, and how far it is.
struct Producer {
    handed_over: Arc<std::sync::atomic::AtomicU64>,
    reached: mpsc::UnboundedReceiver<u64>,
    task: tokio::task::JoinHandle<Result<PublishReport>>,
}

impl Producer {
    async fn start(broker: &BrokerProcess, oracle: &Arc<Oracle>) -> Result<Self> {
        let client = Client::connect(client_options(broker, "producer")).await?;
        let (tell, reached) = mpsc::unbounded_channel();
        let handed_over = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let (count, oracle) = (Arc::clone(&handed_over), Arc::clone(oracle));
        let task = tokio::spawn(async move {
            let publisher = client.publisher(PublisherOptions::default());
            let events = Recorded::earthquakes().events();
            let report = publish(&publisher, &oracle, 0, events, Pace::PerSecond(RATE), |nth| {
                count.store(nth, std::sync::atomic::Ordering::Relaxed);
                // Once the story is told nobody listens.
                let _ = tell.send(nth);
            });
            let report = report.await?;
            client.close().await?;
            Ok(report)
        });
        Ok(Self { handed_over, reached, task })
    }

    fn progress(&self) -> Arc<std::sync::atomic::AtomicU64> {
        Arc::clone(&self.handed_over)
    }

    async fn reach(&mut self, wanted: u64) -> Result<()> {
        while let Some(nth) = timeout(CATCH_UP, self.reached.recv()).await.context("the producer is stuck")? {
            if nth >= wanted {
                return Ok(());
            }
        }
        anyhow::bail!("the producer ended before event {wanted}")
    }

    async fn finish(self) -> Result<PublishReport> {
        timeout(CATCH_UP + Duration::from_secs(30), self.task).await.context("the producer does not end")??
    }
}
