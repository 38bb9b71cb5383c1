//! Several who publish, batches sent twice, batches refused in the middle, producers killed: what the rules of numbers are for.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use anyport_client::{PublisherOptions, Start};
use anyport_loadtest::drive::{Pace, Stage, publish, until};
use anyport_loadtest::raw::{RawClient, RawStream};
use anyport_loadtest::runner::{BrokerOptions, Cli};
use anyport_loadtest::workload::{Seed, Synthetic, line, partition_key};
use anyport_protocol::event::{Event, framed};
use anyport_protocol::message::publish::{PublishBatch, Published};
use anyport_protocol::message::{Register, StreamKind, ToClient};
use anyport_protocol::{Code, Number, Offset, PartitionId, ProducerId};
use rand::Rng;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

/// One batch of partition 0, as its sender frames it.
#[derive(Clone)]
struct Batch {
    producer: ProducerId,
    first: u64,
    events: Vec<Vec<u8>>,
}

impl Batch {
    fn good(producer: u8, first: u64, count: u64) -> Self {
        let name = |number: u64| format!("{producer}-{number}");
        let event = |number| Event::builder(name(number), "/producers", "t").build().expect("valid").encode().to_vec();
        Self { producer: ProducerId([producer; 16]), first, events: (first..first + count).map(event).collect() }
    }

    /// The same with an event in it that is none.
    fn spoilt(mut self) -> Self {
        self.events.last_mut().expect("a batch has events").clone_from(&b"\x01no event".to_vec());
        self
    }

    fn frame(&self, request: u32) -> Result<Vec<u8>> {
        let mut framed = Vec::new();
        self.events.iter().for_each(|event| framed::push(&mut framed, event));
        let batch = PublishBatch {
            producer: self.producer,
            partition: PartitionId(0),
            count: u32::try_from(self.events.len())?,
            first_number: Number(self.first),
            framed: framed.into(),
        };
        let mut frame = Vec::new();
        batch.encode(request, &mut frame);
        Ok(frame)
    }
}

/// A client that may publish, and its publish stream.
async fn publish_stream(stage: &Stage) -> Result<(RawClient, RawStream, RawStream)> {
    let client = RawClient::connect(&stage.broker).await?;
    let mut control = client.control().await?;
    let ToClient::Registered(_) = control.ask(Register {}.into()).await? else { bail!("not registered") };
    let stream = client.open(StreamKind::Publish).await?;
    Ok((client, control, stream))
}

/// Sends all batches in one go, none waiting for the answer to another. Returns the answers in the order of the batches.
async fn pipelined(stream: &mut RawStream, batches: &[Batch]) -> Result<Vec<Published>> {
    let mut frames = Vec::new();
    for (request, batch) in (1..).zip(batches) {
        frames.extend(batch.frame(request)?);
    }
    stream.send(&frames).await?;
    let mut answers = Vec::new();
    for _ in batches {
        let (header, body) = stream.receive().await?;
        answers.push((header.request, Published::decode(&body)?));
    }
    answers.sort_by_key(|(request, _)| *request);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

fn expect_refused(answer: &Published, code: Code, value: u64) {
    let Published::Refused(fault) = answer else { panic!("not refused but {answer:?}") };
    assert!(fault.is(code) && fault.value == Some(value), "expected {code} {value}, got {fault}, {:?}", fault.value);
}

fn stored_at(answer: &Published) -> Offset {
    match answer {
        Published::Stored { first } | Published::AlreadyStored { first: Some(first) } => *first,
        other => panic!("not stored, or nobody knows where: {other:?}"),
    }
}

#[tokio::test]
async fn no_batch_is_stored_past_a_refused_one_and_both_are_taken_when_sent_again() -> Result<()> {
    let stage = Stage::set(BrokerOptions::default()).await?;
    let (_client, _control, mut stream) = publish_stream(&stage).await?;
    // At first the broker knows nothing of the producer, the second time it does.
    for first in [0, 4] {
        let [earlier, later] = [Batch::good(1, first, 2), Batch::good(1, first + 2, 2)];
        let answers = pipelined(&mut stream, &[earlier.clone().spoilt(), later.clone()]).await?;
        expect_refused(&answers[0], Code::BadEvent, 1);
        expect_refused(&answers[1], Code::OutOfSequence, first);

        let answers = pipelined(&mut stream, &[earlier, later]).await?;
        let offsets: Vec<_> = answers.iter().map(stored_at).collect();
        assert_eq!(offsets, [Offset(first), Offset(first + 2)]);
    }
    let log = stage.log().await?;
    log.assert_dense_and_unique();
    assert_eq!(log.len(), 8);
    Ok(())
}

#[tokio::test]
async fn a_batch_sent_twice_at_once_is_stored_once_and_both_senders_are_told_where() -> Result<()> {
    let stage = Stage::set(BrokerOptions::default()).await?;
    let (_client, _control, mut one) = publish_stream(&stage).await?;
    let (_other_client, _other_control, mut other) = publish_stream(&stage).await?;
    for round in 0..50 {
        let batch = [Batch::good(2, round * 10, 10)];
        let (here, there) = tokio::try_join!(pipelined(&mut one, &batch), pipelined(&mut other, &batch))?;
        assert_eq!(stored_at(&here[0]), Offset(round * 10));
        assert_eq!(stored_at(&there[0]), Offset(round * 10));
    }
    let log = stage.log().await?;
    log.assert_dense_and_unique();
    assert_eq!(log.len(), 500);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_publishers_at_once_are_both_stored_whole_each_in_its_own_order() -> Result<()> {
    const EVENTS: usize = 20_000;
    let seed = Seed::announced();
    let stage = Stage::set(BrokerOptions::default()).await?;
    let listener = stage.listener("listener", Start::Latest).await?;
    let one = publish_all(&stage, 0, Synthetic::new(seed.part(0), 256, 5).take(EVENTS));
    let other = publish_all(&stage, 1, Synthetic::new(seed.part(1), 256, 5).take(EVENTS));
    tokio::try_join!(one, other)?;
    listener.has_everything(PATIENCE).await?;
    listener.leave().await?;

    // The oracle knows the order in which each handed its events over, key by key.
    stage.verdict().assert_clean();
    let log = stage.log().await?;
    log.assert_dense_and_unique();
    assert_eq!(log.len(), 2 * EVENTS);
    Ok(())
}

async fn publish_all(stage: &Stage, producer: u32, events: impl Iterator<Item = Value>) -> Result<()> {
    let client = stage.client(&format!("producer-{producer}")).await?;
    let publisher = client.publisher(PublisherOptions::default());
    let report = publish(&publisher, &stage.oracle, producer, events, Pace::AsFastAsAcked, |_| {}).await?;
    assert_eq!((report.unknown, report.refused), (0, 0));
    client.close().await?;
    Ok(())
}

/// The file numbers its own events, so whoever publishes the rest of it need not know who was killed in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_publisher_is_killed_again_and_again_is_stored_line_by_line_exactly_once() -> Result<()> {
    const LINES: usize = 12_000;
    let seed = Seed::announced();
    let mut random = seed.rng();
    let stage = Stage::set(BrokerOptions::default()).await?;
    let listener = stage.listener("listener", Start::Earliest).await?;
    let events: Vec<Value> = Synthetic::new(seed.part(1), 256, 40).take(LINES).collect();
    for event in &events {
        stage.oracle.published(0, event);
    }
    let file = stage.broker.home().join("events.ndjson");
    std::fs::write(&file, events.iter().map(line).collect::<String>())?;
    let file = file.to_str().context("a path that is text")?;

    let cli = Cli::of(&stage.broker)?;
    let seen = || listener.listener.progress.total();
    for _ in 0..6 {
        let mut killed = cli.spawn(&["pub", "--file", file, "--resume", "--rate", "6000"])?;
        let wanted = seen() + random.random_range(1..1500);
        let waited = until("lines of the file arrive", PATIENCE, || seen() >= wanted).await;
        waited.with_context(|| killed.stderr())?;
        killed.kill().await?;
    }
    assert!(seen() < LINES as u64, "every one of them was killed in the middle");
    let finished = cli.run(&["pub", "--file", file, "--resume"], "", PATIENCE).await?;
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    until("every line has arrived", PATIENCE, || seen() >= LINES as u64).await?;
    listener.leave().await?;

    stage.verdict().assert_clean();
    let log = stage.log().await?;
    log.assert_dense_and_unique();
    assert_eq!(by_key(log.all()), by_key(events.iter()));

    let again = cli.run(&["pub", "--file", file, "--resume"], "", PATIENCE).await?;
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(again.stderr.contains(&format!("{LINES} already there")), "{}", again.stderr);
    assert_eq!(stage.log().await?.len(), LINES);
    Ok(())
}

fn by_key<'a>(events: impl Iterator<Item = &'a Value>) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut by_key: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for event in events {
        by_key.entry(partition_key(event)).or_default().push(event["id"].as_str().unwrap_or_default());
    }
    by_key
}
