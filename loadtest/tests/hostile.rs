//! Bad bytes and bad credentials: each gets a clear answer, and nobody else notices.

use std::time::Duration;

use anyhow::Result;
use anyport_loadtest::raw::{RawClient, RawStream};
use anyport_loadtest::runner::{BrokerOptions, BrokerProcess};
use anyport_loadtest::workload::Seed;
use anyport_protocol::event::{Event, framed};
use anyport_protocol::limits::{CONTROL_FRAME_BYTES_MAX, EVENT_BYTES_MAX};
use anyport_protocol::message::publish::{PublishBatch, Published};
use anyport_protocol::message::{FrameHeader, Hello, Login, OpenSession, Register, StreamKind, ToClient, push_frame};
use anyport_protocol::{Code, Nonce, Number, PartitionId, ProducerId, SessionEpoch};
use quinn::ConnectionError;
use rand::RngCore;
use tokio::time::timeout;

async fn broker() -> Result<(tempfile::TempDir, BrokerProcess)> {
    let folder = tempfile::tempdir()?;
    let broker = BrokerProcess::start(folder.path(), BrokerOptions::default()).await?;
    Ok((folder, broker))
}

/// Whoever was here before still gets answers.
async fn still_serves(broker: &BrokerProcess) -> Result<()> {
    RawClient::connect(broker).await?.control().await?;
    Ok(())
}

async fn registered(client: &RawClient) -> Result<RawStream> {
    let mut control = client.control().await?;
    let ToClient::Registered(_) = control.ask(Register {}.into()).await? else { anyhow::bail!("not registered") };
    Ok(control)
}

#[tokio::test]
async fn garbage_closes_the_connection_with_a_code_and_nobody_else_notices() -> Result<()> {
    let (_folder, broker) = broker().await?;
    let bystander = RawClient::connect(&broker).await?;
    let mut bystanding = bystander.control().await?;
    let mut random = Seed::announced().rng();
    for kind in [StreamKind::Control, StreamKind::Publish] {
        for _ in 0..20 {
            let client = RawClient::connect(&broker).await?;
            let _control = if kind == StreamKind::Publish { Some(registered(&client).await?) } else { None };
            let mut garbage = vec![0; 4096];
            random.fill_bytes(&mut garbage);
            let mut stream = client.open(kind).await?;
            let _ = stream.send(&garbage).await;
            let _ = stream.send.finish();
            let (code, text) = client.closed_by_broker().await?;
            let expected = [Code::MalformedFrame, Code::FrameTooLarge, Code::NoSession].map(|code| code as u16);
            assert!(expected.contains(&code), "{code}: {text}");
        }
    }
    assert!(matches!(bystanding.ask(Hello::of_this_version("again").into()).await?, ToClient::Welcome(_)));
    Ok(())
}

#[tokio::test]
async fn a_truncated_frame_and_a_forged_length_are_told_apart() -> Result<()> {
    let (_folder, broker) = broker().await?;
    let client = RawClient::connect(&broker).await?;
    let mut control = client.control().await?;
    control.send(&FrameHeader { body_bytes: 100, message_type: 1, request: 9 }.encode()).await?;
    control.send.finish()?;
    assert_eq!(client.closed_by_broker().await?.0, Code::MalformedFrame as u16);

    let client = RawClient::connect(&broker).await?;
    let mut control = client.control().await?;
    let body_bytes = u32::try_from(CONTROL_FRAME_BYTES_MAX)? + 1;
    control.send(&FrameHeader { body_bytes, message_type: 1, request: 9 }.encode()).await?;
    let (code, text) = client.closed_by_broker().await?;
    assert_eq!(code, Code::FrameTooLarge as u16);
    assert!(text.contains(&CONTROL_FRAME_BYTES_MAX.to_string()), "names the limit: {text}");
    still_serves(&broker).await
}

#[tokio::test]
async fn an_unknown_message_is_refused_by_name_and_the_connection_goes_on() -> Result<()> {
    let (_folder, broker) = broker().await?;
    let client = RawClient::connect(&broker).await?;
    let mut control = client.control().await?;
    let mut frame = Vec::new();
    push_frame(&mut frame, 4242, 77, |_| {});
    control.send(&frame).await?;
    let (header, body) = control.receive().await?;
    let ToClient::Refused(refused) = ToClient::decode(header.message_type, &body)? else { panic!("not refused") };
    assert_eq!(header.request, 77);
    assert!(refused.fault.is(Code::UnknownMessage) && refused.fault.text.contains("4242"), "{}", refused.fault);
    assert!(matches!(control.ask(Register {}.into()).await?, ToClient::Registered(_)));
    Ok(())
}

#[tokio::test]
async fn requests_out_of_turn_are_refused_with_their_reason() -> Result<()> {
    let (_folder, broker) = broker().await?;
    let client = RawClient::connect(&broker).await?;
    let mut control = client.open(StreamKind::Control).await?;
    assert!(control.refused(Register {}.into()).await?.is(Code::OutOfTurn));
    let other = Hello { version_min: 900, version_max: 901, agent: String::new() };
    assert!(control.refused(other.into()).await?.is(Code::VersionMismatch));
    control.ask(Hello::of_this_version("raw").into()).await?;
    let open = OpenSession { epoch: SessionEpoch(1), nonce: Nonce([1; 16]), resume: vec![], registry_seen: 0 };
    assert!(control.refused(open.into()).await?.is(Code::NotLoggedIn));
    Ok(())
}

/// A silent connection is hung up on after ten seconds; one that is polite and remains nobody, after twenty.
#[tokio::test]
async fn who_says_hello_and_never_logs_in_is_hung_up_on() -> Result<()> {
    let (_folder, broker) = broker().await?;
    let client = RawClient::connect(&broker).await?;
    let _control = client.control().await?;
    let closed = timeout(Duration::from_secs(60), client.connection.closed()).await?;
    let ConnectionError::ApplicationClosed(close) = &closed else { anyhow::bail!("closed otherwise: {closed}") };
    assert_eq!(close.error_code.into_inner(), Code::NotLoggedIn as u64, "{closed}");
    still_serves(&broker).await
}

#[tokio::test]
async fn a_forged_token_is_refused_and_a_foreign_broker_is_not_trusted() -> Result<()> {
    let (_folder, broker) = broker().await?;
    let client = RawClient::connect(&broker).await?;
    let mut control = client.control().await?;
    let ToClient::Registered(own) = control.ask(Register {}.into()).await? else { panic!("not registered") };
    let mut forged = own.token.clone().into_bytes();
    let middle = forged.len() / 2;
    forged[middle] = if forged[middle] == b'A' { b'B' } else { b'A' };
    for token in [String::from_utf8(forged)?, "nonsense".to_owned(), String::new()] {
        assert!(control.refused(Login { token }.into()).await?.is(Code::BadToken));
    }

    let (_elsewhere, foreign) = self::broker().await?;
    let authority = broker.home().join("ca").join(format!("dev-{}.pem", broker.address().port()));
    let refused = RawClient::connect_to(foreign.address(), &authority).await.expect_err("another authority signed it");
    assert!(format!("{refused:#}").contains("certificate"), "{refused:#}");
    // Its tokens are no good here either.
    let abroad = RawClient::connect(&foreign).await?;
    let ToClient::Registered(theirs) = abroad.control().await?.ask(Register {}.into()).await? else {
        panic!("not registered")
    };
    assert!(control.refused(Login { token: theirs.token }.into()).await?.is(Code::BadToken));
    Ok(())
}

async fn publish_one(stream: &mut RawStream, number: u64, event: &[u8]) -> Result<Published> {
    let mut framed = Vec::new();
    framed::push(&mut framed, event);
    let producer = ProducerId([7; 16]);
    let batch = PublishBatch {
        producer,
        partition: PartitionId(0),
        count: 1,
        first_number: Number(number),
        framed: framed.into(),
    };
    let mut frame = Vec::new();
    batch.encode(1, &mut frame);
    stream.send(&frame).await?;
    Ok(Published::decode(&stream.receive().await?.1)?)
}

/// An event of exactly this many encoded bytes.
fn event_of(bytes: usize) -> Vec<u8> {
    let build = |data: usize| Event::builder("1", "/s", "t").binary(vec![1; data]);
    let overhead = build(1).build().expect("small").encoded_len() - 1;
    build(bytes - overhead).build().expect("within the limit").encode().to_vec()
}

#[tokio::test]
async fn an_event_at_the_limit_is_stored_and_one_over_it_is_refused_with_limit_and_size() -> Result<()> {
    let (_folder, broker) = broker().await?;
    let client = RawClient::connect(&broker).await?;
    let _control = registered(&client).await?;
    let mut stream = client.open(StreamKind::Publish).await?;
    let largest = event_of(EVENT_BYTES_MAX);
    assert_eq!(largest.len(), EVENT_BYTES_MAX);
    let mut larger = largest.clone();
    larger.push(0);

    let Published::Refused(fault) = publish_one(&mut stream, 0, &larger).await? else { panic!("stored") };
    assert!(fault.is(Code::EventTooLarge), "{fault}");
    assert!(fault.text.contains(&EVENT_BYTES_MAX.to_string()), "{fault}");
    assert!(matches!(publish_one(&mut stream, 0, &largest).await?, Published::Stored { .. }));

    let Published::Refused(fault) = publish_one(&mut stream, 1, b"\x01no event").await? else { panic!("stored") };
    assert!(fault.is(Code::BadEvent), "{fault}");
    Ok(())
}
