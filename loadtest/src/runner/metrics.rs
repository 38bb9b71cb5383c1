//! What a broker says of itself to Prometheus.

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::BrokerProcess;

impl BrokerProcess {
    pub async fn metrics(&self) -> Result<String> {
        let mut stream = TcpStream::connect(self.admin_address()).await.context("connect to the admin port")?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (_, metrics) = answer.split_once("\r\n\r\n").context("the end of the answer's head")?;
        Ok(metrics.to_owned())
    }

    /// A counter or gauge; 0 where it has never been touched.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let text = self.metrics().await?;
        let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.map_or(Ok(0.0), |line| line[name.len() + 1..].parse().with_context(|| format!("the value in {line:?}")))
    }
}
