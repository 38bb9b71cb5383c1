//! One connection of HTTP, on which any bytes may be sent.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

/// A connection that is kept between requests.
#[derive(Debug)]
pub struct RawHttp {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
}

/// What a request was answered with.
#[derive(Debug)]
pub struct HttpAnswer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl RawHttp {
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        Ok(Self { stream: BufReader::new(stream), address })
    }

    /// Posts events with this token; the headers say how they are carried.
    pub async fn post(&mut self, token: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<HttpAnswer> {
        let bearer = format!("Bearer {token}");
        self.ask("POST /events", &[&[("Authorization", bearer.as_str())], headers].concat(), body).await
    }

    /// Sends one request, `what` being its method and target, and waits for the answer.
    pub async fn ask(&mut self, what: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<HttpAnswer> {
        let mut request = format!("{what} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n", self.address, body.len());
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += "\r\n";
        self.send(&[request.as_bytes(), body].concat()).await?;
        self.receive().await
    }

    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await.context("send a request")
    }

    pub async fn receive(&mut self) -> Result<HttpAnswer> {
        timeout(PATIENCE, self.read_answer()).await.context("no answer")?
    }

    /// Waits until the broker has closed the connection, with nothing more to say.
    pub async fn is_closed(&mut self) -> Result<bool> {
        let read = timeout(PATIENCE, self.stream.read(&mut [0; 1])).await.context("the broker does not close")?;
        Ok(read.is_ok_and(|read| read == 0))
    }

    async fn read_answer(&mut self) -> Result<HttpAnswer> {
        let status_line = self.read_line().await?;
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("a status in {status_line:?}"))?;
        let mut headers = Vec::new();
        loop {
            let line = self.read_line().await?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = HttpAnswer { status, headers, body: Vec::new() };
        let length = answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        answer.body.resize(length, 0);
        self.stream.read_exact(&mut answer.body).await.context("read an answer's body")?;
        Ok(answer)
    }

    async fn read_line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).await.context("read an answer")?;
        anyhow::ensure!(read > 0, "the connection ended before the answer");
        Ok(line.trim_end().to_owned())
    }
}

impl HttpAnswer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(there, _)| there == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("{}: {}", self.status, String::from_utf8_lossy(&self.body)))
    }
}
