//! One terminal: a bash that is given a command at a time, and what it and its commands print.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::compare::{difference, is_as_said};

/// Far more than anything here takes on a busy machine; what takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// After so long without a line there will be none. Only who writes the page relies on it.
const QUIET: Duration = Duration::from_secs(3);

/// No command prints this. Bash does when one has ended, with its exit code.
const END: char = '\u{1e}';

/// What every terminal of a desk has.
#[derive(Clone, Debug)]
pub struct Terms {
    pub folder: PathBuf,
    pub environment: Vec<(String, String)>,
    /// What stands on the page, and what is here.
    pub replaced: Vec<(String, String)>,
    pub patient: bool,
}

#[derive(Debug)]
pub struct Terminal {
    bash: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    terms: Terms,
}

impl Terminal {
    pub fn open(terms: &Terms) -> Result<Self> {
        let mut command = Command::new("bash");
        for (variable, _) in std::env::vars().filter(|(name, _)| name.starts_with("ANYPORT")) {
            command.env_remove(variable);
        }
        // A group of its own, so that Ctrl-C reaches bash and what runs in it, and nobody else.
        command.args(["--noprofile", "--norc"]).process_group(0).current_dir(&terms.folder);
        command.envs(terms.environment.iter().cloned()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut bash = command.stderr(Stdio::null()).spawn().context("start bash")?;
        let mut stdin = bash.stdin.take().expect("stdin was asked to be a pipe");
        let stdout = BufReader::new(bash.stdout.take().expect("stdout was asked to be a pipe"));
        // Bash outlives Ctrl-C, as it does at a real terminal; a trap, unlike an ignored signal, is not inherited.
        writeln!(stdin, "exec 2>&1; trap : INT").context("write to bash")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
        Ok(Self { bash, stdin, lines, terms: terms.clone() })
    }

    /// Types a command, and waits until it has ended. Returns what it printed and its exit code.
    pub fn run(&mut self, command: &str) -> Result<(Vec<String>, i32)> {
        self.enter(command)?;
        self.until_it_ends()
    }

    /// Types a command that runs on, and waits until it has printed what is expected.
    pub fn start(&mut self, command: &str, expected: &[String]) -> Result<Vec<String>> {
        self.enter(command)?;
        self.go_on(expected)
    }

    /// Waits until the command that runs has printed what is expected of it.
    pub fn go_on(&mut self, expected: &[String]) -> Result<Vec<String>> {
        let (mut printed, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        loop {
            if !self.terms.patient && is_as_said(expected, &printed) {
                return Ok(printed);
            }
            let is_quiet = self.terms.patient && !printed.is_empty();
            let wait = if is_quiet { QUIET } else { deadline.saturating_duration_since(Instant::now()) };
            match self.lines.recv_timeout(wait) {
                Ok(line) if line.contains(END) => bail!("it has ended; it printed {printed:#?}"),
                Ok(line) => printed.push(self.as_on_the_page(&line)),
                Err(RecvTimeoutError::Timeout) if is_quiet => return Ok(printed),
                Err(_) => bail!("{}", difference(expected, &printed)),
            }
        }
    }

    /// Ends the command that runs, and returns what else it has printed.
    pub fn interrupt(&mut self) -> Result<Vec<String>> {
        self.signal("INT")?;
        self.ended()
    }

    /// Waits until the command that runs has ended, and returns what else it has printed.
    pub fn ended(&mut self) -> Result<Vec<String>> {
        self.until_it_ends().map(|(printed, _)| printed)
    }

    fn enter(&mut self, command: &str) -> Result<()> {
        let command =
            self.terms.replaced.iter().fold(command.to_owned(), |text, (page, here)| text.replace(page, here));
        // Without a stdin of its own it would read the next command. The code stays what `$?` says.
        let ending = r"c=$?; printf '\036%d\n' $c; (exit $c)";
        writeln!(self.stdin, "{{ {command}\n}} </dev/null; {ending}").context("write to bash")
    }

    fn until_it_ends(&mut self) -> Result<(Vec<String>, i32)> {
        let (mut printed, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        loop {
            let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) else {
                bail!("it has not ended after {PATIENCE:?}; it printed {printed:#?}");
            };
            match line.split_once(END) {
                None => printed.push(self.as_on_the_page(&line)),
                Some((last, code)) => {
                    // A last line without an end.
                    printed.extend((!last.is_empty()).then(|| self.as_on_the_page(last)));
                    return Ok((printed, code.parse().context("an exit code")?));
                }
            }
        }
    }

    fn as_on_the_page(&self, line: &str) -> String {
        // A bash with a terminal says only this when a command was killed.
        if line.starts_with("bash: line ") && line.contains(" Killed ") {
            return "Killed".to_owned();
        }
        self.terms.replaced.iter().fold(line.to_owned(), |text, (page, here)| text.replace(here, page))
    }

    fn signal(&self, name: &str) -> Result<()> {
        // Bash has not been reaped, so the number is still its own.
        let group = format!("-{}", self.bash.id());
        let sent = Command::new("bash").args(["-c", "kill -s \"$1\" -- \"$2\"", "bash", name, &group]).status();
        ensure!(sent.context("run bash to send a signal")?.success(), "signal {name} to group {group}");
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.signal("KILL");
        let _ = self.bash.wait();
    }
}
