//! The map as one broker has it, asked by somebody who need not be anybody: no registration, no login, no session. For people and scripts; a
//! [`crate::Client`] keeps a map of its own.

use std::path::PathBuf;
use std::time::Duration;

use anyport_protocol::WallMs;
use anyport_protocol::map::{Map, MapDelta, ServiceId};
use anyport_protocol::message::{GetMap, Hello, MapAnswer, ToBroker, ToClient};
use tokio::time::timeout;

use crate::Error;
use crate::home::Home;
use crate::net::{Connection, Dialer, FrameReader, FrameWriter, Patience, StreamError, Trust, check_server};

const AGENT: &str = concat!("anyport-map/", env!("CARGO_PKG_VERSION"));

#[derive(Clone, Debug)]
pub struct MapViewOptions {
    /// Addresses (`host:port`), tried in turn.
    pub servers: Vec<String>,
    pub home: PathBuf,
    /// For each of the servers.
    pub timeout: Duration,
    /// As a client there would say it: what it is told depends on it where operators said so.
    pub zone: Option<String>,
    pub service: Option<ServiceId>,
}

/// A map, followed over one connection.
#[derive(Debug)]
pub struct MapView {
    server: String,
    map: Map,
    server_time: WallMs,
    reader: FrameReader,
    // What keeps the connection open.
    _writer: FrameWriter,
    connection: Connection,
}

impl MapView {
    /// Of the first of the servers that answers.
    pub async fn open(options: &MapViewOptions) -> Result<Self, Error> {
        options.servers.iter().try_for_each(|server| check_server(server))?;
        let home = Home::new(options.home.clone(), "default")?;
        let trust = Trust::load(&home.authorities())?;
        let mut last = Error::NoServer;
        for server in &options.servers {
            let asked = timeout(options.timeout, ask(server, &trust, options)).await;
            match asked.unwrap_or_else(|_| Err("no answer".to_owned())) {
                Ok(view) => return Ok(view),
                Err(why) => {
                    let waited_secs = options.timeout.as_secs();
                    last = Error::Unreachable { servers: server.clone(), waited_secs, last: why };
                }
            }
        }
        Err(last)
    }

    /// The broker that tells it.
    pub fn server(&self) -> &str {
        &self.server
    }

    pub fn map(&self) -> &Map {
        &self.map
    }

    /// The broker's clock when it last told something.
    pub fn server_time(&self) -> WallMs {
        self.server_time
    }

    /// Waits for a change. An error when the broker is lost: another may be asked.
    pub async fn changed(&mut self) -> Result<(), Error> {
        loop {
            let (header, body) = match self.reader.next().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return Err(self.lost("the broker ended the stream")),
                Err(error) => return Err(self.lost(&error.to_string())),
            };
            // Other pushes, such as a broker's good-bye, are followed by its end.
            if let Ok(ToClient::MapAnswer(answer)) = ToClient::decode(header.message_type, &body) {
                return self.take(&answer).map_err(|why| self.lost(&why));
            }
        }
    }

    fn take(&mut self, answer: &MapAnswer) -> Result<(), String> {
        if answer.is_whole {
            self.map = Map::decode(&answer.map).map_err(|error| error.to_string())?;
        } else {
            let delta = MapDelta::decode(&answer.map).map_err(|error| error.to_string())?;
            self.map.apply(delta).map_err(|error| error.to_string())?;
        }
        self.server_time = answer.server_time;
        Ok(())
    }

    fn lost(&self, why: &str) -> Error {
        Error::Unreachable { servers: self.server.clone(), waited_secs: 0, last: why.to_owned() }
    }
}

impl Drop for MapView {
    fn drop(&mut self) {
        self.connection.close(0, "seen enough");
    }
}

async fn ask(server: &str, trust: &Trust, options: &MapViewOptions) -> Result<MapView, String> {
    let dialer = Dialer::new(false);
    let connecting = dialer.connect(server, trust, Patience::Long, &[], false, options.timeout);
    let (connection, mut writer, mut reader) = connecting.await.map_err(|error| error.to_string())?;
    let mut flight = Vec::new();
    ToBroker::from(Hello::of_this_version(AGENT)).encode(1, &mut flight);
    let zone = options.zone.clone().unwrap_or_default();
    let question = GetMap { have: 0, service: options.service.clone(), zone, follow: true };
    ToBroker::from(question).encode(2, &mut flight);
    let answer = async {
        writer.write(&flight).await?;
        loop {
            let (header, body) = reader.next().await?.ok_or(StreamError::Truncated)?;
            if header.request == 2 {
                return Ok::<_, StreamError>(ToClient::decode(header.message_type, &body)?);
            }
        }
    };
    let answer = match answer.await.map_err(|error| error.to_string())? {
        ToClient::MapAnswer(answer) => answer,
        ToClient::Refused(refused) => return Err(refused.fault.to_string()),
        other => return Err(format!("the broker answers {} where a map was asked for", other.name())),
    };
    let (server, map) = (server.to_owned(), Map::default());
    let mut view = MapView { server, map, server_time: answer.server_time, reader, _writer: writer, connection };
    view.take(&answer)?;
    Ok(view)
}
