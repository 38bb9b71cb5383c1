//! The `anyport` command line, run as a user would run it.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, sleep, timeout};

use super::broker::{BrokerProcess, appended, signal};
use super::program::{Program, tail};

/// Where commands find their identity and their broker.
#[derive(Clone, Debug)]
pub struct Cli {
    program: PathBuf,
    home: PathBuf,
    server: String,
}

/// What a command that has ended left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliOutput {
    pub stdout: String,
    pub stderr: String,
    /// None if a signal ended it.
    pub code: Option<i32>,
}

impl Cli {
    /// Commands with `ANYPORT_HOME` and `ANYPORT_SERVER` set to these.
    pub fn new(home: &Path, server: &str) -> Result<Self> {
        Ok(Self { program: Program::Cli.find()?, home: home.to_owned(), server: server.to_owned() })
    }

    /// Commands of the user for whom this broker was started.
    pub fn of(broker: &BrokerProcess) -> Result<Self> {
        Self::new(&broker.home(), &broker.address().to_string())
    }

    /// An example of the SDK in place of `anyport`: it finds identity and broker in the same variables.
    pub fn of_example(name: &'static str, broker: &BrokerProcess) -> Result<Self> {
        Ok(Self { program: Program::Example(name).find()?, ..Self::of(broker)? })
    }

    /// Runs a command to its end with this text as its stdin; a command that takes longer is killed and is an error.
    pub async fn run(&self, arguments: &[&str], stdin: &str, within: Duration) -> Result<CliOutput> {
        let mut command = self.command(arguments);
        let mut child = command.stderr(Stdio::piped()).spawn().with_context(|| format!("start {arguments:?}"))?;
        let mut pipe = child.stdin.take().expect("stdin was asked to be a pipe");
        let feed = async move {
            // A command that ends without reading all of its stdin is within its rights.
            pipe.write_all(stdin.as_bytes()).await.ok();
        };
        let ((), output) = timeout(within, async { tokio::join!(feed, child.wait_with_output()) })
            .await
            .with_context(|| format!("{arguments:?} is still running after {within:?}"))?;
        let output = output.context("read what the command wrote")?;
        Ok(CliOutput {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code(),
        })
    }

    /// Starts a command that runs on, such as `sub`.
    pub fn spawn(&self, arguments: &[&str]) -> Result<RunningCli> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let log = self.home.join(format!("anyport.{}.log", COUNT.fetch_add(1, Ordering::Relaxed)));
        let mut child =
            self.command(arguments).stderr(appended(&log)?).spawn().with_context(|| format!("start {arguments:?}"))?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("stdout was asked to be a pipe")).lines();
        Ok(RunningCli { child, stdin, stdout, log })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("ANYPORT_HOME", &self.home)
            .env("ANYPORT_SERVER", &self.server)
            .env("NO_COLOR", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

/// A command under way. Dropped, it is killed. Lines that are not taken stay in the pipe and make the command wait, as
/// any slow reader does.
#[derive(Debug)]
pub struct RunningCli {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl RunningCli {
    /// The next line of stdout; none at its end.
    pub async fn next_line(&mut self, within: Duration) -> Result<Option<String>> {
        match timeout(within, self.stdout.next_line()).await {
            Ok(line) => line.context("read the command's stdout"),
            Err(_) => bail!("no line on stdout within {within:?}; stderr ends:\n{}", tail(&self.log)),
        }
    }

    /// Lines of stdout up to and including the first that satisfies `wanted`.
    pub async fn lines_until(&mut self, within: Duration, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
        let deadline = Instant::now() + within;
        let mut lines = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(line) = self.next_line(left).await? else {
                bail!(
                    "stdout ended after {} lines without the one awaited; stderr ends:\n{}",
                    lines.len(),
                    tail(&self.log)
                );
            };
            let found = wanted(&line);
            lines.push(line);
            if found {
                return Ok(lines);
            }
        }
    }

    /// Waits until this text stands on stderr, where notices go.
    pub async fn notice(&self, text: &str, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        while !self.stderr().contains(text) {
            if Instant::now() >= deadline {
                bail!("no notice {text:?} within {within:?}; stderr ends:\n{}", tail(&self.log));
            }
            // stderr is a file, so that a test which ignores it cannot block the command; a file can only be looked at
            // again.
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// All that stands on stderr by now.
    pub fn stderr(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    pub async fn write(&mut self, text: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("stdin is closed already")?;
        stdin.write_all(text.as_bytes()).await.context("write to the command's stdin")?;
        stdin.flush().await.context("write to the command's stdin")
    }

    /// Ends the command's input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// SIGKILL. Lines written before can still be read.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.context("kill the command")
    }

    /// SIGINT, as Ctrl-C does.
    pub async fn interrupt(&self) -> Result<()> {
        signal(&self.child, "INT").await
    }

    /// Waits for the command to end by itself. A command with much left to write must have its lines taken first.
    pub async fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        match timeout(within, self.child.wait()).await {
            Ok(status) => status.context("wait for the command"),
            Err(_) => bail!("still running after {within:?}; stderr ends:\n{}", tail(&self.log)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);

    /// The shell stands in for the command line: what matters here is how a command is run.
    fn shell(home: &Path) -> Cli {
        Cli { program: "/bin/sh".into(), home: home.to_owned(), server: "127.0.0.1:1".to_owned() }
    }

    #[tokio::test]
    async fn a_command_returns_what_it_wrote_and_how_it_ended() {
        let home = tempfile::tempdir().expect("temporary folder");
        let text = "x".repeat(1 << 20);
        let output = shell(home.path())
            .run(&["-c", "cat; echo $ANYPORT_SERVER $ANYPORT_HOME >&2; exit 3"], &text, WITHIN)
            .await
            .expect("runs");
        let stderr = format!("127.0.0.1:1 {}\n", home.path().display());
        assert_eq!(output, CliOutput { stdout: text, stderr, code: Some(3) });
    }

    #[tokio::test]
    async fn lines_of_a_running_command_are_awaited() {
        let home = tempfile::tempdir().expect("temporary folder");
        let mut command =
            shell(home.path()).spawn(&["-c", "echo a; read line; echo $line; echo told >&2; cat"]).expect("starts");
        assert_eq!(command.next_line(WITHIN).await.expect("a line").as_deref(), Some("a"));
        command.write("b\n").await.expect("it reads");
        assert_eq!(command.lines_until(WITHIN, |line| line == "b").await.expect("it comes"), ["b"]);
        command.notice("told", WITHIN).await.expect("it is told");
        command.close_stdin();
        assert!(command.wait(WITHIN).await.expect("ends").success());
        assert_eq!(command.next_line(WITHIN).await.expect("the end"), None);
    }

    #[tokio::test]
    async fn a_command_that_takes_too_long_is_an_error() {
        let home = tempfile::tempdir().expect("temporary folder");
        let error = shell(home.path())
            .run(&["-c", "exec sleep 60"], "", Duration::from_millis(50))
            .await
            .expect_err("too long");
        assert!(error.to_string().contains("still running"), "{error}");
    }
}
