//! Publishes three readings of a thermometer, and tells of each whether it is safe on the broker's disk.
//!
//!     anyportd --dev
//!     cargo run -p anyport-client --example publish
//!
//! `subscribe.rs` is who listens. `ANYPORT_SERVER` and `ANYPORT_HOME` name another broker and another home folder.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use anyport_client::protocol::Outcome;
use anyport_client::protocol::event::Event;
use anyport_client::{Client, ClientOptions, PublishError, PublisherOptions};

const READINGS: [(&str, f64); 3] = [("kitchen", 21.5), ("cellar", 9.25), ("attic", 30.75)];

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("publish: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all of them were stored.
async fn run() -> Result<bool, Box<dyn Error>> {
    let options = ClientOptions { name: "thermometer".to_owned(), ..ClientOptions::from_env() };
    let client = Client::connect(options).await?;
    // A broker that is full is waited for; after so long its refusal is the result.
    let publisher = client.publisher(PublisherOptions { patience: Duration::from_secs(2), ..Default::default() });

    // Handing over waits only while the buffer is full, so many events are under way at once. Each has a receipt.
    let mut receipts = Vec::new();
    for (number, (room, celsius)) in READINGS.into_iter().enumerate() {
        receipts.push((room, publisher.publish(&reading(number, room, celsius)?).await?));
    }

    let mut all_stored = true;
    for (room, receipt) in receipts {
        match receipt.await {
            Ok(acked) => println!("{room}: stored in partition {}", acked.partition),
            Err(error) => {
                println!("{room}: {}", told(&error));
                all_stored = false;
            }
        }
    }
    client.close().await?;
    Ok(all_stored)
}

/// The subject decides the partition, and within a partition events keep their order: so each room's readings do.
fn reading(number: usize, room: &str, celsius: f64) -> Result<Event, Box<dyn Error>> {
    let event = Event::builder(number.to_string(), "/examples/thermometer", "example.reading").subject(room);
    Ok(event.datacontenttype("application/json").json(format!(r#"{{"celsius": {celsius}}}"#)).build()?)
}

/// The SDK has reconnected and sent again for as long as that could help, so an error is final. What is left to know is whether the
/// event may have been stored all the same: only then could publishing it once more store it twice.
fn told(error: &PublishError) -> String {
    let next = error.explanation().next;
    match error.outcome() {
        Outcome::SurelyNot => format!("not stored: {error}; next: {next}"),
        Outcome::Maybe => format!("may have been stored: {error}; next: {next}"),
    }
}
