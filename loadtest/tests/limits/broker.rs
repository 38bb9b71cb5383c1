//! Things of any size, asked of a broker over the wire.

use std::time::Duration;

use anyhow::{Result, bail};
use anyport_loadtest::raw::{RawClient, RawHttp, RawStream};
use anyport_loadtest::runner::{BrokerOptions, BrokerProcess};
use anyport_protocol::event::{Event, framed};
use anyport_protocol::message::publish::{BATCH_HEADER_BYTES, PublishBatch, Published};
use anyport_protocol::message::{
    HEADER_BYTES, Hello, Register, Registered, Start, StreamKind, Subscribe, SubscriptionState, ToBroker, ToClient,
};
use anyport_protocol::{Number, PartitionId, ProducerId};

use crate::values::Outcome;

/// What is asked for, in a size.
#[derive(Clone, Copy, Debug)]
pub enum Ask {
    Event,
    Filter,
    Subscriptions,
    Frame,
    ControlFrame,
    Batch,
    HttpBody,
    HttpHead,
    Partitions,
    Expiry,
}

/// A broker, and a token that is good there.
pub struct Stage {
    broker: BrokerProcess,
    token: String,
    _folder: tempfile::TempDir,
}

impl Stage {
    pub async fn set() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let broker = BrokerProcess::start(folder.path(), BrokerOptions::default()).await?;
        let token = registered(&mut RawClient::connect(&broker).await?.control().await?).await?.token;
        Ok(Self { broker, token, _folder: folder })
    }

    pub async fn ask(&self, ask: Ask, size: u64) -> Result<Outcome> {
        let bytes = usize::try_from(size)?;
        match ask {
            Ask::Event => self.publish(&[event_of(bytes)]).await,
            Ask::Frame => self.publish_frame(bytes).await,
            Ask::Batch => self.publish(&vec![event_of(bytes_of_least()); bytes]).await,
            Ask::Filter => self.subscribe(&[subscription("one", &filter_of(bytes), 0)]).await,
            Ask::Expiry => Ok(self.subscribed_with_expiry(size).await?.map(drop)),
            Ask::Subscriptions => {
                let all: Vec<_> = (0..size).map(|n| subscription(&n.to_string(), "", 0)).collect();
                self.subscribe(&all).await
            }
            Ask::ControlFrame => self.hello_of(bytes).await,
            Ask::HttpBody => self.post(&batch_of(bytes)).await,
            Ask::HttpHead => self.post_with_head_of(bytes).await,
            Ask::Partitions => start_with_partitions(size).await,
        }
    }

    pub async fn subscribed_with_expiry(&self, secs: u64) -> Result<Result<SubscriptionState, String>> {
        let client = RawClient::connect(&self.broker).await?;
        let mut control = client.control().await?;
        control.open_session(1).await?;
        answered(control.ask(subscription("one", "", secs).into()).await?)
    }

    /// One client's subscriptions; how the last one is answered.
    async fn subscribe(&self, subscriptions: &[Subscribe]) -> Result<Outcome> {
        let client = RawClient::connect(&self.broker).await?;
        let mut control = client.control().await?;
        control.open_session(1).await?;
        let mut last = Ok(());
        for subscribe in subscriptions {
            last = answered(control.ask(subscribe.clone().into()).await?)?.map(drop);
        }
        Ok(last)
    }

    /// Of a producer that is new.
    async fn publish(&self, events: &[Vec<u8>]) -> Result<Outcome> {
        let client = RawClient::connect(&self.broker).await?;
        let _control = logged_in(&client).await?;
        let mut stream = client.open(StreamKind::Publish).await?;
        if stream.send(&batch_frame(events)).await.is_err() {
            return Ok(Err(client.closed_by_broker().await?.1));
        }
        match stream.receive().await {
            Ok((_, body)) => Ok(match Published::decode(&body)? {
                Published::Refused(fault) => Err(fault.to_string()),
                Published::Stored { .. } | Published::AlreadyStored { .. } => Ok(()),
            }),
            Err(_) => Ok(Err(client.closed_by_broker().await?.1)),
        }
    }

    /// A frame with a body of so many bytes: two events.
    async fn publish_frame(&self, body_bytes: usize) -> Result<Outcome> {
        let half = (body_bytes - BATCH_HEADER_BYTES) / 2 - framed::OVERHEAD_BYTES;
        let rest = body_bytes - BATCH_HEADER_BYTES - half - 2 * framed::OVERHEAD_BYTES;
        let events = [event_of(half), event_of(rest)];
        assert_eq!(batch_frame(&events).len(), HEADER_BYTES + body_bytes);
        self.publish(&events).await
    }

    /// A hello with a body of so many bytes.
    async fn hello_of(&self, body_bytes: usize) -> Result<Outcome> {
        let client = RawClient::connect(&self.broker).await?;
        let mut control = client.open(StreamKind::Control).await?;
        let hello = |agent: usize| ToBroker::from(Hello::of_this_version(&"x".repeat(agent)));
        let mut near = Vec::new();
        hello(body_bytes).encode(1, &mut near);
        let agent = 2 * body_bytes - (near.len() - HEADER_BYTES);
        match control.ask(hello(agent)).await {
            Ok(ToClient::Welcome(_)) => Ok(Ok(())),
            Ok(other) => bail!("no welcome but {other:?}"),
            Err(_) => Ok(Err(client.closed_by_broker().await?.1)),
        }
    }

    /// The body follows once the broker wants it: one that is refused for its size is not read, and the connection ends under it.
    async fn post(&self, body: &[u8]) -> Result<Outcome> {
        let mut http = RawHttp::connect(self.broker.http_address()).await?;
        http.send(format!("{}Expect: 100-continue\r\n\r\n", self.head(body.len())).as_bytes()).await?;
        let mut answer = http.receive().await?;
        if answer.status == 100 {
            http.send(body).await?;
            answer = http.receive().await?;
        }
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        Ok(if answer.status == 200 { Ok(()) } else { Err(text) })
    }

    fn head(&self, body_bytes: usize) -> String {
        format!(
            "POST /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Type: application/cloudevents-batch+json\r\n\
             Content-Length: {body_bytes}\r\n",
            self.token,
        )
    }

    /// A request whose line and headers have so many bytes, up to the end of the empty line.
    async fn post_with_head_of(&self, bytes: usize) -> Result<Outcome> {
        let mut http = RawHttp::connect(self.broker.http_address()).await?;
        let request = |padding: usize| format!("{}X-Padding: {}\r\n\r\n[]", self.head(2), "x".repeat(padding));
        http.send(request(bytes + 2 - request(0).len()).as_bytes()).await?;
        let answer = http.receive().await?;
        Ok(if answer.status == 200 { Ok(()) } else { Err(answer.status.to_string()) })
    }
}

async fn registered(control: &mut RawStream) -> Result<Registered> {
    match control.ask(Register {}.into()).await? {
        ToClient::Registered(registered) => Ok(registered),
        other => bail!("not registered but {other:?}"),
    }
}

/// Who registers is logged in.
async fn logged_in(client: &RawClient) -> Result<RawStream> {
    let mut control = client.control().await?;
    registered(&mut control).await?;
    Ok(control)
}

fn answered(answer: ToClient) -> Result<Result<SubscriptionState, String>> {
    match answer {
        ToClient::Subscribed(subscribed) => Ok(Ok(subscribed.state)),
        ToClient::Refused(refused) => Ok(Err(refused.fault.to_string())),
        other => bail!("neither subscribed nor refused but {other:?}"),
    }
}

async fn start_with_partitions(partitions: u64) -> Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let arguments = vec!["--partitions".to_owned(), partitions.to_string()];
    let ready_timeout = Duration::from_secs(120);
    let options = BrokerOptions { arguments, ready_timeout, ..BrokerOptions::default() };
    let started = BrokerProcess::start(folder.path(), options).await;
    Ok(started.map(drop).map_err(|error| format!("{error:#}")))
}

fn subscription(name: &str, filter: &str, inactive_expiry_secs: u64) -> Subscribe {
    let name = name.parse().expect("a good name");
    Subscribe { inactive_expiry_secs, ..Subscribe::new(name, filter, Start::Latest) }
}

fn filter_of(bytes: usize) -> String {
    let text = |padding: usize| format!("type = '{}'", "x".repeat(padding));
    text(bytes - text(0).len())
}

fn bytes_of_least() -> usize {
    Event::builder("1", "/s", "t").build().expect("valid").encoded_len()
}

/// An event of so many bytes, beyond the limit too: then it is the largest one with bytes of data behind.
fn event_of(bytes: usize) -> Vec<u8> {
    let mut event = Event::builder("1", "/s", "t").binary(&b""[..]).build().expect("valid").encode();
    event.resize(bytes, 1);
    event
}

/// A batch in JSON of so many bytes, most of them blanks.
fn batch_of(bytes: usize) -> Vec<u8> {
    let event = r#"[{"specversion":"1.0","id":"1","source":"/s","type":"t"}]"#;
    (event.to_owned() + &" ".repeat(bytes - event.len())).into_bytes()
}

fn batch_frame(events: &[Vec<u8>]) -> Vec<u8> {
    let mut run = Vec::new();
    events.iter().for_each(|event| framed::push(&mut run, event));
    let batch = PublishBatch {
        producer: ProducerId(rand::random()),
        partition: PartitionId(0),
        count: u32::try_from(events.len()).expect("few events"),
        first_number: Number(0),
        framed: run.into(),
    };
    let mut frame = Vec::new();
    batch.encode(1, &mut frame);
    frame
}
