//! Events posted over HTTP: stored as any other, let in by the same tokens, and each mistake told as what it is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use anyport_client::Start;
use anyport_loadtest::drive::{Log, Stage, until};
use anyport_loadtest::oracle::{Oracle, Position};
use anyport_loadtest::raw::{HttpAnswer, RawHttp};
use anyport_loadtest::runner::{BrokerOptions, BrokerProcess, Cli};
use anyport_loadtest::workload::{Seed, Synthetic};
use anyport_protocol::limits::{
    ATTRIBUTES_MAX, BATCH_EVENTS_MAX, EVENT_BYTES_MAX, HTTP_BODY_BYTES_MAX, HTTP_HEAD_BYTES_MAX,
};
use anyport_protocol::{Code, Offset, PartitionId};
use rand::Rng;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

const STRUCTURED: (&str, &str) = ("Content-Type", "application/cloudevents+json");
const BATCH: (&str, &str) = ("Content-Type", "application/cloudevents-batch+json");
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// What every event in binary mode has.
const BINARY: [(&str, &str); 4] = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/http"), ("ce-type", "t")];

/// The token of a client, as a user gets it.
/// Headers and body of a request, and the event that it makes.
type Posted<'a> = (&'a [(&'a str, &'a str)], &'a [u8], Value);

/// What is posted where, with which headers and body, and the status, code and value that answer it.
type Mistake<'a> = (&'a str, Vec<(&'a str, &'a str)>, Vec<u8>, (u16, Code, Option<u64>));

async fn token(broker: &BrokerProcess, client: &str) -> Result<String> {
    let printed = Cli::of(broker)?.run(&["token", "--client", client], "", PATIENCE).await?;
    ensure!(printed.code == Some(0), "{}", printed.stderr);
    Ok(printed.stdout.trim_end().to_owned())
}

/// A broker, a token that is good there, and a connection.
async fn poster() -> Result<(Stage, String, RawHttp)> {
    let stage = Stage::set(BrokerOptions::default()).await?;
    let token = token(&stage.broker, "poster").await?;
    let http = RawHttp::connect(stage.broker.http_address()).await?;
    Ok((stage, token, http))
}

/// Where each event is, in the order of the request.
fn positions(answer: &HttpAnswer) -> Result<Vec<Position>> {
    let body = answer.json()?;
    ensure!(answer.status == 200, "{}: {body}", answer.status);
    let events = body["events"].as_array().context("a list of events")?;
    let position = |event: &Value| {
        let partition = PartitionId(u16::try_from(event["partition"].as_u64().context("a partition")?)?);
        Ok(Position { partition, offset: Offset(event["offset"].as_u64().context("an offset")?) })
    };
    events.iter().map(position).collect()
}

fn at(log: &Log, position: Position) -> Option<&Value> {
    let events = log.events.get(&position.partition)?;
    events.iter().find(|(offset, _)| *offset == position.offset).map(|(_, event)| event)
}

/// Status, code and, where there is one, value of a problem.
fn problem(answer: &HttpAnswer) -> Result<(u16, Code, Option<u64>)> {
    let body = answer.json()?;
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{body}");
    assert_eq!(body["status"], answer.status, "{body}");
    let code = body["code"].as_u64().and_then(|code| Code::from_number(u16::try_from(code).ok()?));
    let code = code.with_context(|| format!("a code in {body}"))?;
    assert_eq!(body["name"], code.name(), "{body}");
    Ok((answer.status, code, body["value"].as_u64()))
}

#[tokio::test]
async fn an_event_posted_in_any_mode_reaches_subscribers_as_it_was_meant() -> Result<()> {
    let (stage, token, mut http) = poster().await?;
    let event = |id: &str, more: Value| {
        let mut event = json!({"specversion": "1.0", "id": id, "source": "/http", "type": "t"});
        event.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        event
    };

    let binary: [Posted<'_>; 5] = [
        (
            &[("ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80"), ("ce-count", "5"), JSON],
            br#"{"mag": 4.50, "place": "here"}"#,
            json!({"subject": "Euro € 😀", "count": "5", "datacontenttype": "application/json", "data": {"mag": 4.50, "place": "here"}}),
        ),
        (
            &[("ce-subject", r#""a \"quoted\" one""#), ("Content-Type", "text/plain; charset=utf-8")],
            "größer".as_bytes(),
            json!({"subject": "a \"quoted\" one", "datacontenttype": "text/plain; charset=utf-8", "data": "größer"}),
        ),
        (
            &[("CE-Time", "2026-01-31T12:00:00.5Z"), ("Content-Type", "application/octet-stream")],
            b"\x00\xff",
            json!({"time": "2026-01-31T12:00:00.5Z", "datacontenttype": "application/octet-stream", "data_base64": "AP8="}),
        ),
        (&[], b"[1]", json!({"data": [1]})),
        (&[], b"", json!({})),
    ];
    let mut expected = Vec::new();
    for (headers, body, more) in binary {
        let answer = http.post(&token, &[&BINARY[..], headers].concat(), body).await?;
        expected.push((positions(&answer)?, vec![event("1", more)]));
    }

    let whole = event("2", json!({"subject": "s", "flag": true, "count": 5, "data": [1, 2.50, null]}));
    let answer = http.post(&token, &[STRUCTURED], whole.to_string().as_bytes()).await?;
    expected.push((positions(&answer)?, vec![whole]));

    let many: Vec<_> = (0..100).map(|n| event(&format!("batch-{n}"), json!({"subject": format!("k{n}")}))).collect();
    let answer = http.post(&token, &[BATCH], json!(many).to_string().as_bytes()).await?;
    let partitions = positions(&answer)?.into_iter().map(|position| position.partition);
    assert!(partitions.collect::<std::collections::BTreeSet<_>>().len() > 1, "the batch spans partitions");
    expected.push((positions(&answer)?, many));
    assert!(positions(&http.post(&token, &[BATCH], b"[]").await?)?.is_empty());

    let log = stage.log().await?;
    let events: Vec<_> = expected.into_iter().flat_map(|(at, events)| at.into_iter().zip(events)).collect();
    assert_eq!(log.len(), events.len());
    for (position, event) in events {
        assert_eq!(at(&log, position), Some(&event));
    }
    Ok(())
}

/// Posts until told to stop, each event once, and tells the oracle what it is told. Reconnects when the broker is gone.
async fn post_all(
    address: SocketAddr,
    token: String,
    producer: u32,
    events: impl Iterator<Item = Value> + Send,
    oracle: Arc<Oracle>,
    acked: Arc<AtomicU64>,
) -> Result<()> {
    let mut connection = None;
    for event in events {
        let mut http = match connection.take() {
            Some(http) => http,
            None => loop {
                match RawHttp::connect(address).await {
                    Ok(http) => break http,
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            },
        };
        let told = oracle.published(producer, &event);
        match http.post(&token, &[STRUCTURED], event.to_string().as_bytes()).await {
            Ok(answer) if answer.status == 200 => {
                oracle.acked(told, positions(&answer)?.pop());
                acked.fetch_add(1, Ordering::Relaxed);
                connection = Some(http);
            }
            Ok(answer) if answer.json()?["outcome"] == "not-stored" => oracle.surely_not(told),
            // Answered with "maybe", or not at all.
            Ok(_) | Err(_) => oracle.unknown(told),
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_outlives_a_broker_that_is_killed_over_and_over() -> Result<()> {
    let seed = Seed::announced();
    let mut random = seed.rng();
    let mut stage = Stage::set(BrokerOptions::default()).await?;
    let token = token(&stage.broker, "poster").await?;
    let listener = stage.listener("listener", Start::Latest).await?;
    let (acked, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let posters: Vec<_> = (0..4)
        .map(|producer| {
            let stop = Arc::clone(&stop);
            let events = Synthetic::new(seed.part(producer.into()), 256, 10);
            let events = events.take_while(move |_| !stop.load(Ordering::Relaxed));
            let (oracle, acked) = (Arc::clone(&stage.oracle), Arc::clone(&acked));
            tokio::spawn(post_all(stage.broker.http_address(), token.clone(), producer, events, oracle, acked))
        })
        .collect();
    for _ in 0..10 {
        let wanted = acked.load(Ordering::Relaxed) + random.random_range(1..200);
        until("more events are acked", PATIENCE, || acked.load(Ordering::Relaxed) >= wanted).await?;
        stage.broker.restart().await?;
    }
    stop.store(true, Ordering::Relaxed);
    for poster in posters {
        poster.await??;
    }
    listener.has_everything(PATIENCE).await?;
    listener.leave().await?;

    stage.verdict().assert_clean();
    let log = stage.log().await?;
    log.assert_dense_and_unique();
    assert!(log.len() as u64 >= acked.load(Ordering::Relaxed));
    Ok(())
}

#[tokio::test]
async fn an_event_that_is_numbered_is_stored_once_however_often_it_is_posted() -> Result<()> {
    let (mut stage, token, mut http) = poster().await?;
    let numbered = |number| [("Anyport-Producer", "01890a5d-ac96-774b-bcce-b302099a8057"), ("Anyport-Number", number)];
    let post = async |http: &mut RawHttp, number, ids: &[u32]| {
        let event = |id| json!({"specversion": "1.0", "id": format!("{id}"), "source": "/numbered", "type": "t"});
        let events: Vec<_> = ids.iter().map(event).collect();
        http.post(&token, &[&numbered(number)[..], &[BATCH]].concat(), json!(events).to_string().as_bytes()).await
    };

    let first = positions(&post(&mut http, "0", &[0, 1]).await?)?;
    let again = post(&mut http, "0", &[0, 1]).await?;
    assert_eq!(positions(&again)?, first);
    assert_eq!(again.json()?["events"][0]["already_stored"], true);
    let hole = post(&mut http, "3", &[3]).await?;
    assert_eq!(problem(&hole)?, (409, Code::OutOfSequence, Some(2)));
    assert_eq!(hole.json()?["outcome"], "not-stored");

    stage.broker.restart().await?;
    let mut http = RawHttp::connect(stage.broker.http_address()).await?;
    assert_eq!(positions(&post(&mut http, "0", &[0, 1]).await?)?, first);
    assert_eq!(positions(&post(&mut http, "2", &[2]).await?)?.len(), 1);

    let scattered = json!(
        (0..10)
            .map(|n| json!({
                "specversion": "1.0", "id": "x", "source": "/numbered", "type": "t", "subject": format!("k{n}")
            }))
            .collect::<Vec<_>>()
    );
    let headers = [&numbered("3")[..], &[BATCH]].concat();
    let refused = http.post(&token, &headers, scattered.to_string().as_bytes()).await?;
    assert_eq!(problem(&refused)?, (400, Code::MalformedFrame, None));

    let log = stage.log().await?;
    log.assert_dense_and_unique();
    assert_eq!(log.len(), 3);
    Ok(())
}

#[tokio::test]
async fn every_mistake_is_told_as_what_it_is_and_nothing_of_it_is_stored() -> Result<()> {
    let (stage, token, _) = poster().await?;
    let event = |id: &str| json!({"specversion": "1.0", "id": id, "source": "/http", "type": "t"});
    let large =
        json!({"specversion": "1.0", "id": "1", "source": "/", "type": "t", "data": "x".repeat(EVENT_BYTES_MAX)});
    let many = format!("[{}]", vec!["1"; BATCH_EVENTS_MAX + 1].join(","));
    let body = |value: Value| value.to_string().into_bytes();
    let mistakes: Vec<Mistake<'_>> = vec![
        ("POST /", vec![STRUCTURED], body(event("1")), (404, Code::UnknownMessage, None)),
        ("GET /events", vec![], vec![], (405, Code::UnknownMessage, None)),
        ("PUT /events", vec![STRUCTURED], body(event("1")), (405, Code::UnknownMessage, None)),
        (
            "POST /events",
            vec![("Content-Type", "application/cloudevents+avro")],
            vec![0],
            (415, Code::UnknownMessage, None),
        ),
        ("POST /events", vec![STRUCTURED, ("Content-Encoding", "gzip")], vec![0], (415, Code::UnknownMessage, None)),
        ("POST /events", vec![STRUCTURED], b"{".to_vec(), (400, Code::BadEvent, None)),
        ("POST /events", vec![STRUCTURED], b"".to_vec(), (400, Code::BadEvent, None)),
        ("POST /events", vec![STRUCTURED], body(json!({"specversion": "1.0"})), (400, Code::BadEvent, None)),
        ("POST /events", vec![STRUCTURED], body(large.clone()), (413, Code::EventTooLarge, None)),
        ("POST /events", vec![JSON], b"{}".to_vec(), (400, Code::BadEvent, None)),
        ("POST /events", [&BINARY[..], &[JSON]].concat(), b"{".to_vec(), (400, Code::BadEvent, None)),
        ("POST /events", [&BINARY[..], &[("ce-subject", "%FF")]].concat(), vec![], (400, Code::BadEvent, None)),
        ("POST /events", vec![BATCH], body(event("1")), (400, Code::BadEvent, None)),
        ("POST /events", vec![BATCH], body(json!([event("1"), event("2"), {}])), (400, Code::BadEvent, Some(2))),
        ("POST /events", vec![BATCH], body(json!([event("1"), large])), (413, Code::EventTooLarge, Some(1))),
        ("POST /events", vec![BATCH], many.into(), (400, Code::LimitPassed, Some(BATCH_EVENTS_MAX as u64 + 1))),
        (
            "POST /events",
            vec![STRUCTURED, ("Anyport-Number", "0")],
            body(event("1")),
            (400, Code::MalformedFrame, None),
        ),
    ];
    let bearer = format!("Bearer {token}");
    for (what, headers, body, expected) in mistakes {
        // A connection is not kept where a body was not read.
        let mut http = RawHttp::connect(stage.broker.http_address()).await?;
        let headers = [&headers[..], &[("Authorization", bearer.as_str())]].concat();
        let answer = http.ask(what, &headers, &body).await?;
        assert_eq!(problem(&answer)?, expected, "{what} {headers:?}: {}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.json()?["outcome"], "not-stored");
    }
    assert!(stage.log().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn every_bound_of_a_request_is_kept() -> Result<()> {
    let (stage, token, mut http) = poster().await?;
    let bearer = format!("Authorization: Bearer {token}");
    let bounded = async |head: String| {
        let mut http = RawHttp::connect(stage.broker.http_address()).await?;
        http.send(format!("POST /events HTTP/1.1\r\nHost: h\r\n{bearer}\r\n{head}\r\n\r\n").as_bytes()).await?;
        http.receive().await
    };
    // Refused by what is announced, before any of it is sent.
    let announced = bounded(format!("Content-Length: {}", HTTP_BODY_BYTES_MAX + 1)).await?;
    assert_eq!(problem(&announced)?, (413, Code::LimitPassed, Some(HTTP_BODY_BYTES_MAX as u64 + 1)));
    let long = bounded(format!("ce-x: {}", "x".repeat(HTTP_HEAD_BYTES_MAX))).await?;
    assert_eq!(long.status, 431);
    let many: String = (0..ATTRIBUTES_MAX + 100).map(|n| format!("x-{n}: 1\r\n")).collect();
    assert_eq!(bounded(format!("{many}a: b")).await?.status, 431);

    // As many attributes as an event may have go in headers, and the largest event goes in either mode.
    let extensions: Vec<_> = (0..ATTRIBUTES_MAX - 3).map(|n| format!("ce-x{n}")).collect();
    let extensions: Vec<_> = extensions.iter().map(|name| (name.as_str(), "1")).collect();
    positions(&http.post(&token, &[&BINARY[..], &extensions].concat(), b"").await?)?;
    let largest = vec![0; EVENT_BYTES_MAX - 64];
    positions(&http.post(&token, &BINARY, &largest).await?)?;
    let base64 = "A".repeat(largest.len() / 3 * 4);
    let structured = json!({"specversion": "1.0", "id": "1", "source": "/http", "type": "t", "data_base64": base64});
    positions(&http.post(&token, &[STRUCTURED], structured.to_string().as_bytes()).await?)?;
    assert_eq!(stage.log().await?.len(), 3);
    Ok(())
}

#[tokio::test]
async fn only_a_token_of_this_cluster_lets_anybody_post() -> Result<()> {
    let (stage, token, mut http) = poster().await?;
    let elsewhere = Stage::set(BrokerOptions::default()).await?;
    let foreign = self::token(&elsewhere.broker, "poster").await?;
    assert_eq!(self::token(&stage.broker, "poster").await?, token, "an identity is registered once");

    let event = json!({"specversion": "1.0", "id": "1", "source": "/http", "type": "t"}).to_string();
    let mut forged = token.clone().into_bytes();
    let last = forged.len() - 5;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged)?;
    for bad in [forged.as_str(), foreign.as_str(), "", "v4.public.", "not a token"] {
        let answer = http.post(bad, &[STRUCTURED], event.as_bytes()).await?;
        assert_eq!(problem(&answer)?, (401, Code::BadToken, None), "{bad}");
        assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="anyport", error="invalid_token""#));
        assert!(answer.json()?["detail"].as_str().is_some_and(|text| text.contains("anyport token")));
    }
    let nobody = http.ask("POST /events", &[STRUCTURED], event.as_bytes()).await?;
    assert_eq!(problem(&nobody)?, (401, Code::NotLoggedIn, None));
    assert_eq!(nobody.header("www-authenticate"), Some(r#"Bearer realm="anyport""#));
    assert!(stage.log().await?.is_empty());

    let in_url = http.ask(&format!("POST /events?access_token={token}"), &[STRUCTURED], event.as_bytes()).await?;
    positions(&in_url)?;
    assert_eq!(in_url.header("cache-control"), Some("no-store"));
    Ok(())
}

#[tokio::test]
async fn the_sender_of_a_webhook_that_asks_first_is_welcome() -> Result<()> {
    let (_stage, _, mut http) = poster().await?;
    let asked = [("WebHook-Request-Origin", "eventemitter.example.com"), ("WebHook-Request-Rate", "120")];
    let answer = http.ask("OPTIONS /events", &asked, b"").await?;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("webhook-allowed-origin"), Some("*"));
    assert_eq!(answer.header("webhook-allowed-rate"), Some("*"));
    assert_eq!(answer.header("allow"), Some("POST, OPTIONS"));
    Ok(())
}

#[tokio::test]
async fn without_room_on_the_disk_a_post_is_refused_and_told_to_come_back() -> Result<()> {
    // No disk has so much free.
    let arguments = vec!["--free-space-min".to_owned(), u64::MAX.to_string()];
    let stage = Stage::set(BrokerOptions { arguments, ..BrokerOptions::default() }).await?;
    let token = token(&stage.broker, "poster").await?;
    let mut http = RawHttp::connect(stage.broker.http_address()).await?;
    let answer = http.post(&token, &BINARY, b"").await?;
    assert_eq!(problem(&answer)?, (507, Code::StorageFull, None));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.json()?["retry"], true);
    Ok(())
}
