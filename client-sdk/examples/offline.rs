//! A sensor that measures whether there is a network or not: a reading is safe on its own disk at once, and at a broker when one is in reach.
//!
//!     anyportd --dev
//!     cargo run -p anyport-client --example offline -- 3
//!
//! The argument is how many readings to take. Run it without a broker, and again with one.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyport_client::protocol::event::Event;
use anyport_client::{Client, ClientOptions, Outbox, OutboxOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let count: u64 = std::env::args().nth(1).map_or(Ok(1), |argument| argument.parse())?;
    let options = ClientOptions { name: "sensor".to_owned(), ..ClientOptions::from_env() };
    let (home, name) = (options.home.clone(), options.name.clone());
    let outbox = Outbox::open(OutboxOptions { home, name, ..OutboxOptions::default() }).await?;
    println!("{} left from earlier", outbox.status().events);

    for number in 0..count {
        // Once this returns the process may be killed: the next one sends what this one has not.
        let receipt = outbox.publish(&reading(number)?).await?;
        // The receipt tells when a broker has it. Here nobody waits for that.
        drop(receipt);
    }
    println!("{} in the outbox", outbox.status().events);

    let options = ClientOptions { connect_timeout: Duration::from_secs(2), ..options };
    match Client::connect(options).await {
        Ok(client) => {
            client.send_outbox(&outbox).await?;
            outbox.flush().await?;
            println!("all stored");
            client.close().await?;
        }
        Err(error) if error.retry() => println!("no broker: {} wait", outbox.status().events),
        Err(error) => return Err(error.into()),
    }
    outbox.close().await;
    Ok(())
}

/// An id of its own for every reading, whichever process takes it.
fn reading(number: u64) -> Result<Event, Box<dyn Error>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
    let event = Event::builder(format!("{now}-{number}"), "/examples/sensor", "example.reading").subject("pump");
    Ok(event.datacontenttype("application/json").json(format!(r#"{{"bar": {}}}"#, 2 + number % 3)).build()?)
}
