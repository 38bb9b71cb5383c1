//! Subscriptions that nobody uses end, and their clients are told. The broker's clocks are put forward, so that nobody waits.

mod support;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use anyport_loadtest::raw::{RawClient, RawStream};
use anyport_loadtest::runner::{BrokerOptions, Cli, preload};
use anyport_protocol::limits::{INACTIVE_EXPIRY_SECS_DEFAULT, INACTIVE_EXPIRY_SECS_MIN};
use anyport_protocol::message::{Hello, Start, Subscribe, SubscribeOutcome, Subscribed, ToClient};
use support::{PATIENCE, Scene};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// Makes a process's clocks run ahead by as many seconds as a file says.
const CLOCKS_AHEAD: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const int64_t none;

static const volatile int64_t *ahead(void) {
    static const volatile int64_t *seconds;
    if (!seconds) {
        const char *path = getenv("CLOCKS_ARE_AHEAD_BY_WHAT_THIS_SAYS");
        int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        void *shared = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
        if (fd >= 0) close(fd);
        seconds = shared == MAP_FAILED ? &none : shared;
    }
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int failed = (int)syscall(SYS_clock_gettime, clock, time);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC)) time->tv_sec += *ahead();
    return failed;
}
"#;

/// For so long after a start nothing expires, since while a broker is away nobody can use anything.
const GRACE: Duration = Duration::from_secs(601);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A broker's clocks.
struct Clocks {
    ahead: File,
    ahead_secs: i64,
    environment: Vec<(String, String)>,
    _folder: TempDir,
}

impl Clocks {
    /// None where there is no C compiler.
    fn new() -> Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("ahead");
        let ahead = File::create(&path)?;
        ahead.write_all_at(&0i64.to_ne_bytes(), 0)?;
        let loaded = preload(folder.path(), CLOCKS_AHEAD, "CLOCKS_ARE_AHEAD_BY_WHAT_THIS_SAYS", &path)?;
        Ok(loaded.map(|environment| Self { ahead, ahead_secs: 0, environment, _folder: folder }))
    }

    fn put_forward(&mut self, by: Duration) -> Result<()> {
        self.ahead_secs += i64::try_from(by.as_secs())?;
        Ok(self.ahead.write_all_at(&self.ahead_secs.to_ne_bytes(), 0)?)
    }

    async fn scene(&self) -> Result<Scene> {
        Scene::set_with(BrokerOptions { environment: self.environment.clone(), ..BrokerOptions::default() }).await
    }
}

async fn expired(scene: &Scene) -> Result<f64> {
    scene.metric("anyport_expired_subscriptions_total").await
}

/// Waits until so many subscriptions have expired since the broker started.
async fn until_expired(scene: &Scene, count: f64) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while expired(scene).await? < count {
        ensure!(Instant::now() < deadline, "{} of {count} expired", expired(scene).await?);
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// The commands of one client: each takes what is there and ends.
struct Person<'a> {
    cli: &'a Cli,
    client: &'a str,
}

impl Person<'_> {
    async fn subscribes(&self) -> Result<()> {
        let (code, said) = self.tries().await?;
        ensure!(code == Some(0), "{code:?}: {said}");
        Ok(())
    }

    async fn is_told_of_the_expiry(&self) -> Result<()> {
        let (code, said) = self.tries().await?;
        ensure!(code == Some(3), "{code:?}: {said}");
        ensure!(said.contains("has expired") && said.contains("run the command again"), "{said}");
        Ok(())
    }

    async fn tries(&self) -> Result<(Option<i32>, String)> {
        let command = ["sub", "--client", self.client, "--name", "quakes", "--until-caught-up"];
        let output = self.cli.run(&command, "", PATIENCE).await?;
        Ok((output.code, output.stderr))
    }
}

#[tokio::test]
async fn an_expired_subscription_is_told_to_who_remembers_it_and_to_who_does_not_and_then_begun_anew() -> Result<()> {
    let Some(mut clocks) = Clocks::new()? else { return Ok(()) };
    let scene = clocks.scene().await?;
    let cli = Cli::of(&scene.broker)?;
    let [remembers, forgets] = ["phone", "tablet"].map(|client| Person { cli: &cli, client });
    let forget = || std::fs::remove_file(scene.broker.home().join("clients").join(forgets.client).join("state"));
    remembers.subscribes().await?;
    forgets.subscribes().await?;
    clocks.put_forward(Duration::from_secs(INACTIVE_EXPIRY_SECS_DEFAULT) + DAY)?;
    until_expired(&scene, 2.0).await?;

    remembers.is_told_of_the_expiry().await?;
    remembers.subscribes().await?;
    forget()?;
    forgets.is_told_of_the_expiry().await?;
    forget()?;
    forgets.is_told_of_the_expiry().await?;
    forgets.subscribes().await?;
    // What was begun anew is a subscription like any other.
    forget()?;
    forgets.subscribes().await
}

/// A client of the bare wire, which does nothing of its own accord.
struct Quiet {
    client: RawClient,
    control: RawStream,
}

impl Quiet {
    /// Subscribes for the shortest absence there is.
    async fn subscribed(scene: &Scene) -> Result<Self> {
        let client = RawClient::connect(&scene.broker).await?;
        let mut control = client.control().await?;
        control.open_session(1).await?;
        let mut quiet = Self { client, control };
        assert_eq!(quiet.subscribe().await?, SubscribeOutcome::Created);
        Ok(quiet)
    }

    async fn subscribe(&mut self) -> Result<SubscribeOutcome> {
        let inactive_expiry_secs = INACTIVE_EXPIRY_SECS_MIN;
        let subscribe = Subscribe { inactive_expiry_secs, ..Subscribe::new("quakes".parse()?, "", Start::Latest) };
        match self.control.ask(subscribe.into()).await? {
            ToClient::Subscribed(Subscribed { outcome, .. }) => Ok(outcome),
            other => bail!("not subscribed but {other:?}"),
        }
    }

    /// A sign of life that says nothing of any subscription.
    async fn breathe(&mut self) -> Result<()> {
        self.control.ask(Hello::of_this_version("quiet").into()).await?;
        Ok(())
    }
}

#[tokio::test]
async fn a_session_that_is_open_and_quiet_keeps_its_subscriptions_while_those_of_the_absent_expire() -> Result<()> {
    let Some(mut clocks) = Clocks::new()? else { return Ok(()) };
    let scene = clocks.scene().await?;
    clocks.put_forward(GRACE)?;
    let (mut quiet, absent) = (Quiet::subscribed(&scene).await?, Quiet::subscribed(&scene).await?);
    absent.client.connection.close(0u32.into(), b"");
    absent.client.endpoint.wait_idle().await;

    // In steps that a connection survives, to three times the absence that is allowed.
    let step = Duration::from_secs(INACTIVE_EXPIRY_SECS_MIN / 6);
    for _ in 0..18 {
        clocks.put_forward(step)?;
        quiet.breathe().await?;
        sleep(Duration::from_millis(50)).await;
    }
    until_expired(&scene, 1.0).await?;
    assert_eq!(quiet.subscribe().await?, SubscribeOutcome::Attached);
    assert_eq!(expired(&scene).await?, 1.0);
    Ok(())
}
