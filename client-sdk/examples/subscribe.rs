//! A durable subscription: prints readings of warm rooms and acknowledges them, until Ctrl-C. Started again it goes on with the first
//! reading that was not acknowledged, whatever was published and whoever was killed in between.
//!
//!     anyportd --dev
//!     cargo run -p anyport-client --example subscribe
//!     cargo run -p anyport-client --example publish       in another terminal
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use anyport_client::protocol::event::EncodedEvent;
use anyport_client::{Client, ClientOptions, Delivery, Notice, SubscribeOptions, Subscription};

const FILTER: &str = "type = 'example.reading' AND data.celsius >= 20";

/// Nothing to wait for but events: a batch that is empty after this long is no news.
const A_WHILE: Duration = Duration::from_secs(600);

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("subscribe: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let options = ClientOptions { name: "display".to_owned(), ..ClientOptions::from_env() };
    // The client has one session, the subscription a name: a later run of this program finds both again.
    let (client, warm) = Client::connect_subscribed(options, SubscribeOptions::new("warm", FILTER)).await?;
    tokio::select! {
        ended = print(&warm) => return ended,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    // Acks travel by themselves. Waiting for them here is what keeps the last ones from being delivered again.
    warm.acked().await?;
    client.close().await?;
    Ok(())
}

/// Ends only when the subscription does. Dropped at any time: what it has not acknowledged comes again.
async fn print(warm: &Subscription) -> Result<(), Box<dyn Error>> {
    while let Some(batch) = warm.next_batch(100, A_WHILE).await {
        batch.notices.iter().for_each(tell);
        for delivery in &batch.deliveries {
            println!("{}", line(delivery)?);
        }
        // After the effect, not before it: a crash in between delivers these again (`exactly_once.rs` does without that).
        warm.ack_batch(&batch.deliveries);
    }
    Err(warm.ended().map_or_else(|| "the client was closed".into(), Into::into))
}

fn line(delivery: &Delivery) -> Result<String, Box<dyn Error>> {
    let event = EncodedEvent::check(&delivery.event)?;
    let (room, data) = (event.subject().unwrap_or("?"), String::from_utf8_lossy(event.data().bytes()));
    Ok(format!("{room}: {data}{}", if delivery.replayed { " (missed)" } else { "" }))
}

/// Nothing is lost in silence: whoever keeps the readings wants to know of a gap.
fn tell(notice: &Notice) {
    match notice {
        Notice::Resumed { waiting_max } => println!("subscribed; at most {waiting_max} waiting"),
        Notice::Reconnecting { reason } => println!("connection lost ({reason})"),
        Notice::Gap { partition, range, .. } => println!("gap: offsets {range} of partition {partition} are gone"),
        // How the subscription ends is told when it has.
        _ => {}
    }
}
