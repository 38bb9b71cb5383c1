//! Books payments, each exactly once, however often the program crashes.
//!
//!     anyportd --dev
//!     anyport pub --type example.payment --source /shop --data '{"cents": 250}'
//!     cargo run -p anyport-client --example exactly_once ledger.json
//!
//! Acknowledging cannot do that alone. Whoever has an effect first and acknowledges then may crash in between: the event comes again,
//! and with it the effect. So the position is stored *together with the effect*, here by replacing one file, in a database by one
//! transaction. The resume token is that position. At the next start it says where to go on, and what was acknowledged is of no
//! importance any more: acks only tell the broker what it need not keep in mind.
//!
//! To see it, crash the program at either moment, then run it without a second argument:
//!
//!     exactly_once ledger.json crash-before-storing       neither effect nor position is stored: the payments come again
//!     exactly_once ledger.json crash-before-acking        both are stored: the payments do not come again
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyport_client::protocol::event::EncodedEvent;
use anyport_client::{Client, ClientOptions, Delivery, Start, SubscribeOptions, Subscription};
use serde::{Deserialize, Serialize};

const FILTER: &str = "type = 'example.payment' AND data.cents > 0";

/// The effects and the position they belong to.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Ledger {
    payments: u64,
    cents: u64,
    resume_token: Option<Vec<u8>>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(path) = arguments.next().map(PathBuf::from) else {
        eprintln!("usage: exactly_once LEDGER [crash-before-storing|crash-before-acking]");
        return ExitCode::from(2);
    };
    match run(&path, arguments.next().as_deref()).await {
        Ok(ledger) => {
            println!("{} payments, {} cents", ledger.payments, ledger.cents);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("exactly_once: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Books what is waiting. A service would go on for ever; the steps are the same.
async fn run(path: &Path, crash: Option<&str>) -> Result<Ledger, Box<dyn Error>> {
    let mut ledger = Ledger::load(path)?;
    let options = ClientOptions { name: "bookkeeper".to_owned(), ..ClientOptions::from_env() };
    let wanted = SubscribeOptions {
        // Where the first run begins. From then on the token says where.
        start: Start::Earliest,
        resume_token: ledger.resume_token.clone(),
        ..SubscribeOptions::new("payments", FILTER)
    };
    let (client, payments) = Client::connect_subscribed(options, wanted).await?;
    while !payments.caught_up() {
        let batch = payments.next_batch(100, Duration::from_millis(100)).await;
        let Some(batch) = batch else { return Err(ended(&payments)) };
        if batch.deliveries.is_empty() {
            continue;
        }
        batch.deliveries.iter().for_each(|delivery| ledger.book(delivery));
        ledger.resume_token = Some(payments.resume_token_after(&batch.deliveries));
        crash_here(crash, "crash-before-storing");
        ledger.store(path)?;
        crash_here(crash, "crash-before-acking");
        payments.ack_batch(&batch.deliveries);
    }
    payments.acked().await?;
    client.close().await?;
    Ok(ledger)
}

impl Ledger {
    fn load(path: &Path) -> Result<Self, Box<dyn Error>> {
        match fs::read(path) {
            Ok(json) => Ok(serde_json::from_slice(&json)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    fn book(&mut self, delivery: &Delivery) {
        #[derive(Deserialize)]
        struct Payment {
            cents: u64,
        }
        let event = EncodedEvent::check(&delivery.event).ok();
        match event.and_then(|event| serde_json::from_slice::<Payment>(event.data().bytes()).ok()) {
            Some(payment) => {
                self.payments += 1;
                self.cents += payment.cents;
            }
            // What cannot be booked now cannot be booked later: it must not hold up what comes after it.
            None => {
                let (offset, partition) = (delivery.offset, delivery.partition);
                eprintln!("exactly_once: what is at offset {offset} of partition {partition} is no payment");
            }
        }
    }

    /// Effects and position become durable in one step: a reader finds the old file or the new one, also after a power cut.
    fn store(&self, path: &Path) -> Result<(), Box<dyn Error>> {
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
        Ok(())
    }
}

fn ended(payments: &Subscription) -> Box<dyn Error> {
    payments.ended().map_or_else(|| "the client was closed".into(), Into::into)
}

/// Ends the process on the spot: nobody is told, nothing is tidied up.
fn crash_here(wanted: Option<&str>, here: &str) {
    if wanted == Some(here) {
        std::process::exit(99);
    }
}
