//! The examples of the SDK do what they say, each against a real broker.

mod support;

use anyhow::{Context, Result, ensure};
use anyport_loadtest::runner::{BrokerOptions, BrokerProcess, Cli, CliOutput, RunningCli};
use serde_json::{Value, json};
use support::PATIENCE;

async fn broker(folder: &tempfile::TempDir, arguments: &[&str]) -> Result<BrokerProcess> {
    let arguments = arguments.iter().map(ToString::to_string).collect();
    BrokerProcess::start(folder.path(), BrokerOptions { arguments, ..BrokerOptions::default() }).await
}

fn done(output: CliOutput) -> Result<String> {
    ensure!(output.code == Some(0), "{output:?}");
    Ok(output.stdout)
}

/// Lines that come in any order, since rooms are in different partitions.
async fn lines(command: &mut RunningCli, count: usize) -> Result<Vec<String>> {
    let mut lines = Vec::with_capacity(count);
    for _ in 0..count {
        lines.push(command.next_line(PATIENCE).await?.context("a line")?);
    }
    lines.sort();
    Ok(lines)
}

#[tokio::test]
async fn readings_are_published_and_those_of_warm_rooms_arrive_live_and_after_an_absence() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut broker = broker(&folder, &[]).await?;
    let (publish, subscribe) = (Cli::of_example("publish", &broker)?, Cli::of_example("subscribe", &broker)?);

    let mut display = subscribe.spawn(&[])?;
    assert_eq!(lines(&mut display, 1).await?, ["subscribed; at most 0 waiting"]);
    let published = done(publish.run(&[], "", PATIENCE).await?)?;
    let rooms: Vec<_> = published.lines().filter_map(|line| line.split_once(": stored in partition ")).collect();
    assert_eq!(rooms.iter().map(|(room, _)| *room).collect::<Vec<_>>(), ["kitchen", "cellar", "attic"], "{published}");
    assert_eq!(lines(&mut display, 2).await?, [r#"attic: {"celsius": 30.75}"#, r#"kitchen: {"celsius": 21.5}"#]);
    display.interrupt().await?;
    ensure!(display.wait(PATIENCE).await?.success(), "{}", display.stderr());

    done(publish.run(&[], "", PATIENCE).await?)?;
    broker.restart().await?;
    let mut display = subscribe.spawn(&[])?;
    lines(&mut display, 1).await?;
    let missed = lines(&mut display, 2).await?;
    assert_eq!(missed, [r#"attic: {"celsius": 30.75} (missed)"#, r#"kitchen: {"celsius": 21.5} (missed)"#]);
    display.interrupt().await?;
    ensure!(display.wait(PATIENCE).await?.success(), "{}", display.stderr());
    Ok(())
}

#[tokio::test]
async fn a_reading_that_the_broker_refuses_is_told_with_what_became_of_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // No disk has so much room.
    let broker = broker(&folder, &["--free-space-min", &u64::MAX.to_string()]).await?;
    let output = Cli::of_example("publish", &broker)?.run(&[], "", PATIENCE).await?;
    assert_eq!(output.code, Some(1), "{output:?}");
    for room in ["kitchen", "cellar", "attic"] {
        let told = output.stdout.lines().find(|line| line.starts_with(room)).context("a line")?;
        assert!(told.contains(": not stored: ") && told.contains("; next: free space on the broker's disk"), "{told}");
    }
    Ok(())
}

#[tokio::test]
async fn each_payment_is_booked_once_whenever_the_program_crashes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let broker = broker(&folder, &[]).await?;
    let (shop, book) = (Cli::of(&broker)?, Cli::of_example("exactly_once", &broker)?);
    let path = folder.path().join("ledger.json");
    let ledger = path.to_str().context("a path in UTF-8")?;
    let crash = async |when| -> Result<()> {
        let output = book.run(&[ledger, when], "", PATIENCE).await?;
        ensure!(output.code == Some(99), "it did not crash: {output:?}");
        Ok(())
    };

    pay(&shop, 0..40).await?;
    crash("crash-before-storing").await?;
    ensure!(!path.exists(), "nothing was booked");
    crash("crash-before-acking").await?;
    let booked = stored(&path)?;
    ensure!(booked > 0, "something was booked, and not acknowledged");

    assert_eq!(done(book.run(&[ledger], "", PATIENCE).await?)?, "40 payments, 820 cents\n");
    assert_eq!(done(book.run(&[ledger], "", PATIENCE).await?)?, "40 payments, 820 cents\n", "nothing was waiting");

    pay(&shop, 40..50).await?;
    crash("crash-before-acking").await?;
    assert_eq!(done(book.run(&[ledger], "", PATIENCE).await?)?, "50 payments, 1275 cents\n");
    Ok(())
}

#[tokio::test]
async fn readings_taken_without_a_broker_are_stored_by_the_next_run_that_finds_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut broker = broker(&folder, &[]).await?;
    let sensor = Cli::of_example("offline", &broker)?;
    broker.kill().await?;
    let alone = done(sensor.run(&["2"], "", PATIENCE).await?)?;
    assert_eq!(alone, "0 left from earlier\n2 in the outbox\nno broker: 2 wait\n");
    broker.start_again().await?;
    let connected = done(sensor.run(&["1"], "", PATIENCE).await?)?;
    assert_eq!(connected, "2 left from earlier\n3 in the outbox\nall stored\n");
    let again = done(sensor.run(&["0"], "", PATIENCE).await?)?;
    assert_eq!(again, "0 left from earlier\n0 in the outbox\nall stored\n");
    Ok(())
}

/// Payment number n is of n + 1 cents, so that their sum tells which are missing or doubled. Over many partitions.
async fn pay(shop: &Cli, numbers: std::ops::Range<u64>) -> Result<()> {
    let payment = |n: u64| {
        let data = json!({ "cents": n + 1 });
        let (id, subject) = (n.to_string(), format!("customer {n}"));
        json!({"specversion": "1.0", "id": id, "source": "/shop", "type": "example.payment", "subject": subject, "data": data})
    };
    let lines: String = numbers.map(|n| format!("{}\n", payment(n))).collect();
    done(shop.run(&["--client", "shop", "pub", "--file", "-"], &lines, PATIENCE).await?)?;
    Ok(())
}

fn stored(ledger: &std::path::Path) -> Result<u64> {
    let ledger: Value = serde_json::from_slice(&std::fs::read(ledger)?)?;
    ledger["payments"].as_u64().context("a count")
}
