//! One `anyportd` on ports and a folder of its own: alone, with `--dev`, or one of a cluster.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::member::Membership;
use super::place::Place;
use super::program::{Program, tail};

/// A killed process is gone as soon as its threads have left the system.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);

/// How a broker is started.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    /// Told after those that every test broker gets.
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// Opening a store after a kill may take a while on a busy machine.
    pub ready_timeout: Duration,
    /// After SIGTERM.
    pub stop_timeout: Duration,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self {
            arguments: Vec::new(),
            environment: Vec::new(),
            ready_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(30),
        }
    }
}

/// A running broker, or the place of one that was killed and can be started again. Dropped, it is killed.
///
/// Its folder holds `data` (the store), `home` (what `ANYPORT_HOME` names) and `anyportd.log` (its stderr over all
/// starts).
#[derive(Debug)]
pub struct BrokerProcess {
    program: PathBuf,
    folder: PathBuf,
    place: Place,
    /// None for a broker alone.
    membership: Option<Membership>,
    listen: SocketAddr,
    admin: SocketAddr,
    http: SocketAddr,
    options: BrokerOptions,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    ready_line: String,
    /// Reads stdout to its end, so that the broker never blocks on a full pipe. Ends with the process.
    drain: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.drain.abort();
        // Gone before its folder is removed, or what it still writes would be left behind. A process that has been reaped
        // is not killed again.
        if self.child.start_kill().is_ok() {
            let deadline = Instant::now() + KILL_TIMEOUT;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

impl BrokerProcess {
    /// Starts a broker in this folder, on free ports, and waits until it says it is ready.
    pub async fn start(folder: &Path, options: BrokerOptions) -> Result<Self> {
        Self::start_program(Program::Broker.find()?, folder, options).await
    }

    async fn start_program(program: PathBuf, folder: &Path, options: BrokerOptions) -> Result<Self> {
        let mut broker = Self::prepare(program, folder, Place::default(), None, options)?;
        std::fs::create_dir_all(broker.home()).context("create the broker's home folder")?;
        broker.start_again().await?;
        Ok(broker)
    }

    /// One of a cluster, not started yet.
    pub(super) fn member(folder: &Path, place: Place, membership: Membership, options: BrokerOptions) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        Self::prepare(Program::Broker.find()?, folder, place, Some(membership), options)
    }

    fn prepare(
        program: PathBuf,
        folder: &Path,
        place: Place,
        membership: Option<Membership>,
        options: BrokerOptions,
    ) -> Result<Self> {
        let [listen, admin, http] = [place.free_address()?, place.free_address()?, place.free_address()?];
        let folder = folder.to_owned();
        Ok(Self { program, folder, place, membership, listen, admin, http, options, running: None })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Where `/metrics` and `/readyz` are.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Where events may be posted.
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The `ANYPORT_HOME` at which its clients find its certificate authority: of its own, or its cluster's.
    pub fn home(&self) -> PathBuf {
        self.membership.as_ref().map_or_else(|| self.folder.join("home"), |member| member.home.clone())
    }

    /// Where other brokers connect, if it is one of a cluster.
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.membership.as_ref().map(|member| member.peer)
    }

    pub(super) fn membership_mut(&mut self) -> Option<&mut Membership> {
        self.membership.as_mut()
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join("anyportd.log")
    }

    /// The number of the running process.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().and_then(|running| running.child.id())
    }

    pub fn ready_line(&self) -> Option<&str> {
        self.running.as_ref().map(|running| running.ready_line.as_str())
    }

    /// Starts a broker that was killed or has stopped, on the same ports and data.
    pub async fn start_again(&mut self) -> Result<()> {
        if self.running.is_some() {
            bail!("this broker runs already");
        }
        let mut child = self.command()?.spawn().with_context(|| format!("start {}", self.program.display()))?;
        let stdout = child.stdout.take().expect("stdout was asked to be a pipe");
        let mut lines = BufReader::new(stdout).lines();
        let ready_line = match timeout(self.options.ready_timeout, ready(&mut lines)).await {
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None)) => bail!("the broker ended before it was ready; its log ends:\n{}", tail(&self.log())),
            Ok(Err(error)) => return Err(error).context("read the broker's stdout"),
            Err(_) => bail!("no ready line in {:?}; the log ends:\n{}", self.options.ready_timeout, tail(&self.log())),
        };
        let drain = tokio::spawn(drain(lines));
        self.running = Some(Running { child, ready_line, drain });
        Ok(())
    }

    /// The same with other arguments than before.
    pub async fn start_again_with(&mut self, arguments: &[&str]) -> Result<()> {
        self.options.arguments = arguments.iter().map(ToString::to_string).collect();
        self.start_again().await
    }

    /// SIGKILL: the process gets no chance to tidy up. Returns when it is gone.
    pub async fn kill(&mut self) -> Result<()> {
        let mut running = self.take_running()?;
        running.child.kill().await.context("kill the broker")
    }

    /// SIGTERM: asks the broker to stop and waits until it has.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        let running = self.running.as_ref().context("this broker is not running")?;
        signal(&running.child, "TERM").await?;
        self.ended(self.options.stop_timeout).await.context("after SIGTERM")
    }

    /// Waits for a broker that is to end by itself. One that does not is killed.
    pub async fn ended(&mut self, within: Duration) -> Result<ExitStatus> {
        let mut running = self.take_running()?;
        match timeout(within, running.child.wait()).await {
            Ok(status) => status.context("wait for the broker to end"),
            Err(_) => bail!("still running after {within:?}; the log ends:\n{}", tail(&self.log())),
        }
    }

    /// SIGKILL, then a new start.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill().await?;
        self.start_again().await
    }

    /// SIGSTOP: the process does nothing more, and its connections say nothing. What it has is as it was when it is thawed.
    pub async fn freeze(&self) -> Result<()> {
        signal(&self.running.as_ref().context("this broker is not running")?.child, "STOP").await
    }

    /// SIGCONT.
    pub async fn thaw(&self) -> Result<()> {
        signal(&self.running.as_ref().context("this broker is not running")?.child, "CONT").await
    }

    /// Removes the store of a broker that does not run.
    pub fn wipe(&self) -> Result<()> {
        ensure!(self.running.is_none(), "a running broker is not wiped");
        std::fs::remove_dir_all(self.data()).with_context(|| format!("remove {}", self.data().display()))
    }

    fn has_store(&self) -> bool {
        std::fs::read_dir(self.data()).is_ok_and(|mut files| files.next().is_some())
    }

    fn take_running(&mut self) -> Result<Running> {
        self.running.take().context("this broker is not running")
    }

    fn command(&self) -> Result<Command> {
        let mut command = self.place.command(&self.program);
        match &self.membership {
            None => command.arg("--dev"),
            Some(member) => command.args(member.arguments(self.has_store())),
        };
        command
            .args(["--listen", &self.listen.to_string()])
            .args(["--admin", &self.admin.to_string()])
            .args(["--http", &self.http.to_string()])
            .arg("--data")
            .arg(self.data())
            .args(&self.options.arguments)
            .env("ANYPORT_HOME", self.home())
            .envs(self.options.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(appended(&self.log())?)
            .kill_on_drop(true);
        Ok(command)
    }
}

async fn ready(lines: &mut Lines<BufReader<ChildStdout>>) -> std::io::Result<Option<String>> {
    while let Some(line) = lines.next_line().await? {
        if line.starts_with("ready") {
            return Ok(Some(line));
        }
    }
    Ok(None)
}

async fn drain(mut lines: Lines<BufReader<impl AsyncRead + Unpin>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::debug!(%line, "broker");
    }
}

pub(super) fn appended(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(path).with_context(|| format!("open {}", path.display()))
}

/// Sends a signal to a child that has not been reaped, so that its number is still its own. Through the shell, whose
/// `kill` is built in, since the standard library can only kill outright.
pub(super) async fn signal(child: &Child, name: &str) -> Result<()> {
    let Some(pid) = child.id() else { return Ok(()) };
    let status = Command::new("sh")
        .args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &pid.to_string()])
        .status()
        .await
        .context("run sh to send a signal")?;
    if !status.success() {
        bail!("signal {name} to process {pid}: {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stand-in for a broker: what matters here is how a process is run, not what it serves.
    fn script(folder: &Path, body: &str) -> PathBuf {
        let path = folder.join("stand-in");
        // Written by another process: a file that this one had open for writing could not be run while a child forked
        // just then holds it too.
        let written = std::process::Command::new("sh")
            .args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$2\" > \"$1\" && chmod +x \"$1\"", "sh"])
            .arg(&path)
            .arg(body)
            .status();
        assert!(written.expect("run sh").success());
        path
    }

    async fn start(folder: &Path, body: &str) -> Result<BrokerProcess> {
        let options = BrokerOptions { ready_timeout: Duration::from_secs(10), ..BrokerOptions::default() };
        BrokerProcess::start_program(script(folder, body), folder, options).await
    }

    const SERVE: &str =
        "echo start >> starts; echo starting up; trap 'exit 7' TERM; echo ready at $3; while :; do sleep 0.01; done";

    #[tokio::test]
    async fn a_killed_broker_starts_again_on_the_same_port_and_a_terminated_one_says_how_it_ended() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut broker = start(folder.path(), SERVE).await.expect("starts");
        let first = broker.pid();
        assert_eq!(broker.ready_line(), Some(format!("ready at {}", broker.address()).as_str()));
        broker.restart().await.expect("restarts");
        assert_ne!(broker.pid(), first);
        assert_eq!(broker.ready_line(), Some(format!("ready at {}", broker.address()).as_str()));
        assert_eq!(broker.terminate().await.expect("stops").code(), Some(7));
        assert_eq!(broker.pid(), None);
        let starts = std::fs::read_to_string(folder.path().join("starts")).expect("written by the stand-in");
        assert_eq!(starts.lines().count(), 2);
    }

    #[tokio::test]
    async fn a_broker_that_ends_early_is_reported_with_its_last_words() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let error = start(folder.path(), "echo the store is damaged >&2; exit 1").await.expect_err("it ends at once");
        assert!(error.to_string().contains("the store is damaged"), "{error}");
    }
}
