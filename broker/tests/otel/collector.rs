//! The least that takes traces by OTLP over HTTP, and the part of their protobuf that a test looks at.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use bytes::Bytes;
use tokio::net::TcpListener;

type Requests = Arc<Mutex<Vec<Bytes>>>;

/// Keeps what is posted. Ends with the runtime.
pub struct Collector {
    address: SocketAddr,
    requests: Requests,
}

#[derive(Debug)]
pub struct Span {
    pub trace: Vec<u8>,
    pub id: Vec<u8>,
    pub parent: Vec<u8>,
    pub name: String,
    pub start: u64,
    pub end: u64,
    /// Texts, numbers and truths, as texts.
    pub attributes: BTreeMap<String, String>,
}

impl Collector {
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, requests) = (listener.local_addr()?, Requests::default());
        let take = |State(requests): State<Requests>, body: Bytes| async move {
            requests.lock().expect("nobody panics with it").push(body);
        };
        let routes = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&requests));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(Self { address, requests })
    }

    pub fn url(&self) -> String {
        format!("http://{}/v1/traces", self.address)
    }

    /// All that has come.
    pub fn spans(&self) -> Vec<Span> {
        let requests = self.requests.lock().expect("nobody panics with it");
        // ExportTraceServiceRequest.resource_spans, ResourceSpans.scope_spans, ScopeSpans.spans
        let scopes = requests.iter().flat_map(|request| messages(request, 1)).flat_map(|of| messages(of, 2));
        scopes.flat_map(|scope| messages(scope, 2)).map(span).collect()
    }
}

fn span(bytes: &[u8]) -> Span {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let of = |number| messages(bytes, number).next().unwrap_or_default().to_vec();
    let time = |number| fixed(bytes, number);
    let attributes = messages(bytes, 9).map(|pair| {
        let key = messages(pair, 1).next().map(text).unwrap_or_default();
        let value = messages(pair, 2).next().map(any_value).unwrap_or_default();
        (key, value)
    });
    Span {
        trace: of(1),
        id: of(2),
        parent: of(4),
        name: text(&of(5)),
        start: time(7),
        end: time(8),
        attributes: attributes.collect(),
    }
}

fn any_value(bytes: &[u8]) -> String {
    fields(bytes).next().map_or_else(String::new, |(_, value)| match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Number(number) => number.to_string(),
    })
}

fn messages(bytes: &[u8], wanted: u64) -> impl Iterator<Item = &[u8]> {
    fields(bytes).filter_map(move |(number, value)| match value {
        Value::Bytes(bytes) if number == wanted => Some(bytes),
        _ => None,
    })
}

fn fixed(bytes: &[u8], wanted: u64) -> u64 {
    let found = fields(bytes).find_map(|(number, value)| match value {
        Value::Number(value) if number == wanted => Some(value),
        _ => None,
    });
    found.unwrap_or_default()
}

enum Value<'a> {
    Bytes(&'a [u8]),
    Number(u64),
}

/// The fields of a protobuf message, by their numbers.
fn fields(mut bytes: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    std::iter::from_fn(move || {
        let tag = varint(&mut bytes)?;
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut bytes)?),
            1 => Value::Number(u64::from_le_bytes(take(&mut bytes, 8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                Value::Bytes(take(&mut bytes, length)?)
            }
            5 => Value::Number(u32::from_le_bytes(take(&mut bytes, 4)?.try_into().ok()?).into()),
            kind => panic!("no wire type of protobuf: {kind}"),
        };
        Some((tag >> 3, value))
    })
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
