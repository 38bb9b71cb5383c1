//! An outbox in processes that are killed at every step of it, and without a broker.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anyport_client::{Client, ClientOptions, Outbox, OutboxOptions};
use anyport_loadtest::drive::Stage;
use anyport_loadtest::runner::{BrokerOptions, Cli, preload};
use anyport_protocol::event::Event;
use tokio::process::Command;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

/// Few partitions, so that each has several events of a process.
const KEYS: [&str; 3] = ["a", "b", "c"];

/// Counts what a process does to the files of its outbox, and kills it before the call of a number, or half way through if that writes.
const KILLER: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int is_deadly(const char *path) {
    static long seen;
    const char *folder = getenv("ANYPORT_TEST_OUTBOX"), *at = getenv("ANYPORT_TEST_DIES_AT");
    if (!folder || !at || strncmp(path, folder, strlen(folder))) return 0;
    return __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST) == atol(at);
}

static int is_deadly_fd(int fd) {
    char link[64], path[PATH_MAX] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    return readlink(link, path, sizeof path - 1) > 0 && is_deadly(path);
}

static void die(void) { for (;;) kill(getpid(), SIGKILL); }

ssize_t write(int fd, const void *bytes, size_t count) {
    if (is_deadly_fd(fd)) {
        if (getenv("ANYPORT_TEST_HALF")) REAL(write)(fd, bytes, count / 2);
        die();
    }
    return REAL(write)(fd, bytes, count);
}
int fsync(int fd) { if (is_deadly_fd(fd)) die(); return REAL(fsync)(fd); }
int fdatasync(int fd) { if (is_deadly_fd(fd)) die(); return REAL(fdatasync)(fd); }
int rename(const char *from, const char *to) { if (is_deadly(from)) die(); return REAL(rename)(from, to); }
int unlink(const char *path) { if (is_deadly(path)) die(); return REAL(unlink)(path); }
int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if ((flags & O_CREAT) && is_deadly(path)) die();
    return REAL(open64)(path, flags, mode);
}
"#;

/// Says of each event that it is safe as soon as that is promised, and at the end that all are stored.
#[test]
#[ignore = "a process of its own, which the other tests start"]
fn a_process_that_publishes() -> Result<()> {
    let variable = |name: &str| std::env::var(name).with_context(|| format!("{name} is set by whoever starts it"));
    let (home, server, name) =
        (variable("ANYPORT_TEST_HOME")?, variable("ANYPORT_TEST_SERVER")?, variable("ANYPORT_TEST_NAME")?);
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let outbox = Outbox::open(OutboxOptions { home: home.clone().into(), ..OutboxOptions::default() }).await?;
        let publish = async |number: usize| {
            let event = Event::builder(format!("{name}-{number}"), "/outbox", "t").subject(KEYS[number % KEYS.len()]);
            let _receipt = outbox.publish(&event.build()?).await?;
            println!("safe {name}-{number}");
            std::io::stdout().flush().context("say so")
        };
        for number in 0..4 {
            publish(number).await?;
        }
        let servers = vec![server];
        let client = Client::connect(ClientOptions { home: home.into(), servers, ..ClientOptions::default() }).await?;
        client.send_outbox(&outbox).await?;
        outbox.flush().await?;
        for number in 4..7 {
            publish(number).await?;
        }
        outbox.flush().await?;
        println!("all stored");
        anyhow::Ok(())
    })
}

struct Processes {
    stage: Stage,
    preload: Vec<(String, String)>,
}

impl Processes {
    fn outbox(&self) -> PathBuf {
        self.stage.broker.home().join("clients/default/outbox")
    }

    async fn run(&self, name: &str, dies_at: Option<usize>, half: bool) -> Result<Output> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--exact", "a_process_that_publishes", "--ignored", "--nocapture"]);
        command.env("ANYPORT_TEST_HOME", self.stage.broker.home());
        command.env("ANYPORT_TEST_SERVER", self.stage.broker.address().to_string());
        command.env("ANYPORT_TEST_NAME", name);
        if let Some(dies_at) = dies_at {
            command.envs(self.preload.iter().cloned()).env("ANYPORT_TEST_DIES_AT", dies_at.to_string());
        }
        if half {
            command.env("ANYPORT_TEST_HALF", "yes");
        }
        let ended = timeout(PATIENCE, command.kill_on_drop(true).output()).await;
        ended.with_context(|| format!("process {name} does not end"))?.context("start a process")
    }
}

fn safe_in(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // The harness writes the name of the test before the first.
    text.lines().filter_map(|line| Some(line.split_once("safe ")?.1.to_owned())).collect()
}

#[tokio::test]
async fn killed_at_every_step_it_loses_nothing_and_stores_nothing_twice() -> Result<()> {
    let stage = Stage::set(BrokerOptions::default()).await?;
    let folder = tempfile::tempdir()?;
    let outbox = stage.broker.home().join("clients/default/outbox");
    fs::create_dir_all(&outbox)?;
    let Some(preload) = preload(folder.path(), KILLER, "ANYPORT_TEST_OUTBOX", &outbox)? else { return Ok(()) };
    let processes = Processes { stage, preload };
    let (mut safe, mut killed) = (Vec::new(), 0);
    // Each process finds what the one before has left.
    for half in [false, true] {
        for step in 1.. {
            let name = format!("{}-{step}", if half { "half" } else { "before" });
            let output = processes.run(&name, Some(step), half).await?;
            safe.extend(safe_in(&output));
            if output.status.success() {
                ensure!(step > 10, "it does more than {step} things: {output:?}");
                break;
            }
            let text = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.code().is_none(), "it was not killed but failed: {text}");
            killed += 1;
        }
    }
    let last = processes.run("last", None, false).await?;
    ensure!(last.status.success(), "{}", String::from_utf8_lossy(&last.stderr));
    safe.extend(safe_in(&last));
    check(&processes.stage, &safe).await?;
    ensure!(files_in(&processes.outbox())? <= 1, "what is stored takes no room");
    let mut stderr = std::io::stderr();
    let _ = writeln!(stderr, "{killed} processes killed, {} events safe", safe.len());
    Ok(())
}

#[tokio::test]
async fn what_is_published_on_the_command_line_without_a_broker_goes_with_the_next_command() -> Result<()> {
    let mut stage = Stage::set(BrokerOptions::default()).await?;
    let cli = Cli::of(&stage.broker)?;
    let registered = cli.run(&["register"], "", PATIENCE).await?;
    ensure!(registered.code == Some(0), "{registered:?}");
    stage.broker.kill().await?;
    let one = ["pub", "--outbox", "--type", "t", "--source", "/s"];
    let output = cli.run(&one, "", PATIENCE).await?;
    ensure!(output.code == Some(0) && output.stderr.contains("1 event waits for a broker"), "{output:?}");
    let nobody = cli.run(&["pub", "--outbox", "--json"], "", PATIENCE).await?;
    ensure!(nobody.code == Some(1) && nobody.stderr.contains("\"Unreachable\""), "{nobody:?}");
    ensure!(nobody.stdout.trim() == r#"{"put":0,"waiting":1}"#, "{nobody:?}");

    stage.broker.start_again().await?;
    let lines = "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/f\",\"type\":\"t\"}\n";
    let output = cli.run(&["pub", "--outbox", "--file", "-"], lines, PATIENCE).await?;
    ensure!(output.stderr.contains("1 event in the outbox; everything is stored"), "{output:?}");
    ensure!(stage.log().await?.len() == 2, "both are stored");
    Ok(())
}

/// Everything that was promised is stored once, and in its partition in the order of publishing.
async fn check(stage: &Stage, safe: &[String]) -> Result<()> {
    let log = stage.log().await?;
    log.assert_dense_and_unique();
    let mut by_key: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let id_of = |event: &serde_json::Value| event["id"].as_str().unwrap_or_default().to_owned();
    let stored: Vec<String> = log.all().map(id_of).collect();
    let known: HashSet<&String> = stored.iter().collect();
    let missing: Vec<_> = safe.iter().filter(|id| !known.contains(id)).collect();
    ensure!(missing.is_empty(), "lost: {missing:?}");
    for id in &stored {
        let number: usize = id.rsplit_once('-').context("a number")?.1.parse()?;
        by_key.entry(KEYS[number % KEYS.len()]).or_default().push(id.clone());
    }
    let promised: HashSet<&String> = safe.iter().collect();
    for (key, stored) in by_key {
        let own = |id: &&String| number_of(id).is_some_and(|number| KEYS[number % KEYS.len()] == key);
        let expected: Vec<_> = safe.iter().filter(own).collect();
        let stored: Vec<_> = stored.iter().filter(|id| promised.contains(id)).collect();
        ensure!(stored == expected, "not in order: {stored:?}");
    }
    Ok(())
}

fn number_of(id: &str) -> Option<usize> {
    id.rsplit_once('-')?.1.parse().ok()
}

fn files_in(outbox: &Path) -> Result<usize> {
    let names = fs::read_dir(outbox)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names: Vec<String> = names.collect::<Result<_>>()?;
    Ok(names.iter().filter(|name| name.ends_with(".events")).count())
}
