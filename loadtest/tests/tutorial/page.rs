//! The page as steps. Blocks marked `console` hold commands (`phone$ anyport ...`), what is done beside them (`phone: Ctrl-C`), and
//! below each what is printed.

use anyhow::{Result, bail, ensure};

#[derive(Debug)]
pub struct Page {
    pub steps: Vec<Step>,
}

#[derive(Debug)]
pub struct Step {
    pub terminal: String,
    pub act: Act,
    /// What stands below.
    pub output: Vec<String>,
    /// Counted from 1, as editors do.
    pub line: usize,
    /// The first line of the output, whether or not there is any.
    output_line: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Act {
    /// `NAME$ COMMAND`, continued on the next line after a `\`.
    Type(String),
    /// `NAME: goes on`: the command that runs there prints more.
    GoOn,
    /// `NAME: Ctrl-C`.
    Interrupt,
    /// `NAME: ended`: the command that ran there has ended.
    End,
}

impl Page {
    pub fn parse(text: &str) -> Result<Self> {
        let mut steps: Vec<Step> = Vec::new();
        let mut lines = text.lines().enumerate();
        while let Some((_, line)) = lines.next() {
            match line.strip_prefix("```") {
                Some("console") => {}
                // What is in no block is prose; a block of another kind would be commands that nobody runs.
                Some(kind) => bail!("a block of kind {kind:?}"),
                None => continue,
            }
            let begin = steps.len();
            loop {
                let Some((index, line)) = lines.next() else { bail!("a block without an end") };
                if line == "```" {
                    break;
                }
                if let Some((terminal, act)) = begins(line) {
                    let (act, last) = whole(act, index, &mut lines)?;
                    let (output, line) = (Vec::new(), index + 1);
                    steps.push(Step { terminal, act, output, line, output_line: last + 2 });
                } else {
                    ensure!(steps.len() > begin, "line {}: a block begins with no command", index + 1);
                    steps.last_mut().expect("there is one").output.push(line.to_owned());
                }
            }
        }
        ensure!(!steps.is_empty(), "no commands");
        Ok(Self { steps })
    }

    /// Whether the command of this step runs on when the next step begins: then what its terminal does next is no new command.
    pub fn goes_on_after(&self, index: usize) -> bool {
        let terminal = &self.steps[index].terminal;
        let next = self.steps[index + 1..].iter().find(|step| step.terminal == *terminal);
        next.is_some_and(|step| !matches!(step.act, Act::Type(_)))
    }

    /// The page with the output of these steps replaced.
    pub fn rewritten(text: &str, written: Vec<(&Step, Vec<String>)>) -> String {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        // From the end, so that the numbers of earlier lines stay true.
        for (step, printed) in written.into_iter().rev() {
            let first = step.output_line - 1;
            lines.splice(first..first + step.output.len(), printed);
        }
        lines.join("\n") + "\n"
    }
}

/// The name of a terminal and what is done there, if a line says that.
fn begins(line: &str) -> Option<(String, Act)> {
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|character| character.is_ascii_lowercase());
    let act = |name: &str, act| is_name(name).then(|| (name.to_owned(), act));
    if let Some((name, command)) = line.split_once("$ ").filter(|(name, _)| is_name(name)) {
        return act(name, Act::Type(command.to_owned()));
    }
    match line.split_once(": ")? {
        (name, "goes on") => act(name, Act::GoOn),
        (name, "Ctrl-C") => act(name, Act::Interrupt),
        (name, "ended") => act(name, Act::End),
        _ => None,
    }
}

/// A command with the lines that continue it, and the index of the last of them.
fn whole<'a>(act: Act, first: usize, lines: &mut impl Iterator<Item = (usize, &'a str)>) -> Result<(Act, usize)> {
    let Act::Type(mut command) = act else { return Ok((act, first)) };
    let mut last = first;
    while command.ends_with('\\') {
        let Some((index, line)) = lines.next() else { bail!("a command without an end") };
        command.push('\n');
        command.push_str(line);
        last = index;
    }
    Ok((Act::Type(command), last))
}

#[test]
fn a_page_is_commands_with_what_they_print() {
    let text = "# Title\n\n```console\na$ one \\\n  more\nout\nb: goes on\n```\n\n```console\na$ two\na: Ctrl-C\n```\n";
    let page = Page::parse(text).expect("a page");
    let acts: Vec<_> = page.steps.iter().map(|step| (step.terminal.as_str(), &step.act, step.output.len())).collect();
    let typed = |command: &str| Act::Type(command.to_owned());
    let (one, two) = (typed("one \\\n  more"), typed("two"));
    assert_eq!(acts, [("a", &one, 1), ("b", &Act::GoOn, 0), ("a", &two, 0), ("a", &Act::Interrupt, 0)]);
    assert_eq!([0, 2].map(|index| page.goes_on_after(index)), [false, true]);

    let printed = vec!["new".to_owned(), "newer".to_owned()];
    let written = Page::rewritten(text, vec![(&page.steps[0], printed.clone()), (&page.steps[2], printed)]);
    assert_eq!(written, text.replace("out\n", "new\nnewer\n").replace("two\n", "two\nnew\nnewer\n"));
    assert!(Page::parse("```sh\nrm -r /\n```\n").is_err(), "a command that would not be run");
}
