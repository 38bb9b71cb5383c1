//! The desk at which the tutorial is typed: terminals, side by side, of a user with nothing in the home folder.
//!
//! Ports and folders are the desk's own, so that it disturbs nobody. The commands do not know: addresses and the home folder are put
//! in place of the page's before a command is typed, and the other way round in what it prints.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use anyport_loadtest::runner::{Program, free_loopback_port};

use super::terminal::{Terminal, Terms};

/// Whose home the page shows.
const HOME_ON_THE_PAGE: &str = "/home/you";

/// Where a broker listens by default, as the page shows it, and the variables that name another place.
const ADDRESSES: [(&str, &[&str]); 3] = [
    ("127.0.0.1:7400", &["ANYPORT_LISTEN", "ANYPORT_SERVER"]),
    ("127.0.0.1:7480", &["ANYPORT_ADMIN"]),
    ("127.0.0.1:7481", &["ANYPORT_HTTP"]),
];

pub struct Desk {
    // Before the folder, so that the processes are gone when their files are removed.
    terminals: BTreeMap<String, Terminal>,
    terms: Terms,
    in_each: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Desk {
    /// `patient`: what a command prints that runs on is not known yet, so it is waited for until nothing more comes.
    pub fn set(patient: bool) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let home = folder.path().canonicalize()?;
        let clone = home.join("anyport");
        std::fs::create_dir_all(clone.join("target"))?;
        let link = |of: &Path, name: &str| std::os::unix::fs::symlink(of, clone.join(name)).context("make a link");
        let programs = Program::Broker.find()?.canonicalize()?;
        Program::Cli.find()?;
        link(programs.parent().context("a folder of programs")?, "target/debug")?;
        link(&Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize()?, "loadtest")?;

        let home = home.to_str().context("a folder whose name is text")?.to_owned();
        let mut environment = vec![("HOME".to_owned(), home.clone()), ("NO_COLOR".to_owned(), "1".to_owned())];
        let mut replaced = vec![(HOME_ON_THE_PAGE.to_owned(), home)];
        for (on_the_page, variables) in ADDRESSES {
            let address = format!("127.0.0.1:{}", free_loopback_port()?);
            environment.extend(variables.iter().map(|variable| ((*variable).to_owned(), address.clone())));
            replaced.push((on_the_page.to_owned(), address));
        }
        let terms = Terms { folder: clone, environment, replaced, patient };
        Ok(Self { terminals: BTreeMap::new(), terms, in_each: Vec::new(), _folder: folder })
    }

    pub fn type_in_each(&mut self, command: &str) {
        self.in_each.push(command.to_owned());
    }

    /// Opened when it is first used.
    pub fn terminal(&mut self, name: &str) -> Result<&mut Terminal> {
        if !self.terminals.contains_key(name) {
            let mut terminal = Terminal::open(&self.terms)?;
            for command in &self.in_each {
                terminal.run(command)?;
            }
            self.terminals.insert(name.to_owned(), terminal);
        }
        Ok(self.terminals.get_mut(name).expect("it has just been opened"))
    }
}
