//! What a person sees: one line for each turn of the story, pictures of the brokers, bars on a terminal, and the closing table.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use anyport_client::Publisher;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::picture::Picture;
use crate::drive::Attending;
use crate::oracle::Verdict;

#[derive(Debug)]
pub struct Screen {
    bars: MultiProgress,
    colour: bool,
    name_width: usize,
    /// Signs of a picture that were explained.
    signs_known: Vec<char>,
}

const REDRAW: Duration = Duration::from_millis(100);

impl Screen {
    pub fn new() -> Self {
        let colour =
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let bars = MultiProgress::new();
        if !std::io::stdout().is_terminal() {
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
        Self { bars, colour, name_width: 9, signs_known: Vec::new() }
    }

    /// One line of the story, above the bars.
    pub fn say(&self, who: &str, what: &str) {
        let width = self.name_width;
        let line =
            if self.colour { format!("\x1b[1m{who:width$}\x1b[0m {what}") } else { format!("{who:width$} {what}") };
        self.line(&line);
    }

    #[expect(clippy::print_stdout, reason = "the story is this program's output")]
    fn line(&self, line: &str) {
        self.bars.suspend(|| println!("{line}"));
    }

    /// The brokers, below what was said last.
    pub fn draw(&mut self, picture: &Picture) {
        let indent = self.name_width + 1;
        let legend = picture.legend(&mut self.signs_known);
        self.line(&format!("{:indent$}{}", "", picture.titles()));
        self.line(format!("{:indent$}{}{legend}", "", picture.signs(self.colour)).trim_end());
    }

    /// Shows how far producer and clients are, until the screen is ended.
    pub fn watch<'a>(&self, total: u64, publisher: &Arc<Publisher>, clients: impl Iterator<Item = &'a Attending>) {
        if self.bars.is_hidden() {
            return;
        }
        let style = |template: &str| ProgressStyle::with_template(template).expect("a template of this file");
        let bar = self.bars.add(ProgressBar::new(total));
        bar.set_style(style("{prefix:9} {bar:40} {pos}/{len} acked"));
        bar.set_prefix("producer");
        let publisher = Arc::clone(publisher);
        follow(bar, move |bar| bar.set_position(publisher.counts().acked));
        for client in clients {
            let progress = Arc::clone(&client.listener.progress);
            let bar = self.bars.add(ProgressBar::new_spinner());
            bar.set_style(style("{prefix:9} {msg}"));
            bar.set_prefix(client.name.clone());
            follow(bar, move |bar| {
                bar.set_message(format!("{} live, {} replayed", progress.live(), progress.replayed()));
            });
        }
    }

    /// Takes the bars away.
    pub fn end(&self) {
        // Their tasks end with the program; what they draw from now on is not shown.
        let _ = self.bars.clear();
        self.bars.set_draw_target(ProgressDrawTarget::hidden());
    }

    pub fn close(&self, verdict: &Verdict, clean: bool) {
        self.line("");
        self.line(verdict.to_string().trim_end());
        self.line("");
        self.line(if clean {
            "Nothing lost, nothing twice, everything in order."
        } else {
            "Not as it should be: the oracle found defects, or not every event is acked and in the log."
        });
    }
}

fn follow(bar: ProgressBar, mut show: impl FnMut(&ProgressBar) + Send + 'static) {
    tokio::spawn(async move {
        loop {
            show(&bar);
            tokio::time::sleep(REDRAW).await;
        }
    });
}
