//! What other brokers ask of this one.

use std::sync::Arc;

use anyport_protocol::{BrokerId, Code, Fault};
use bytes::Bytes;

use super::notices::on_notice;
use super::reading::{self, Reads};
use super::words::{Notices, TailRequest};
use super::{CommandAnswer, CommandRequest, RecordAnswer, RecordRequest, tail_server};
use crate::Broker;
use crate::peer::body::{decode, encode};
use crate::peer::{Call, PeerStream, PeerStreamKind};
use crate::session::answer_batches;

/// Answers from the replicas that are placed here, and from nowhere else: nothing is asked of a third.
#[derive(Clone, Debug)]
pub struct Serving {
    broker: Arc<Broker>,
    reads: Arc<Reads>,
}

impl Serving {
    pub fn new(broker: Arc<Broker>) -> Self {
        let reads = Arc::new(Reads::new(broker.partitions.grants().clone()));
        Self { broker, reads }
    }

    /// Calls of other matters are refused.
    pub async fn call(&self, from: BrokerId, call: Call, body: Bytes) -> Result<Bytes, Fault> {
        let broker = &self.broker;
        match call {
            Call::Read => self.reads.read(&broker.partitions, &body).await,
            Call::Find => self.reads.find(&broker.partitions, &body).await,
            Call::Bounds => reading::bounds_here(&broker.partitions, &body),
            Call::RegistryCommand => {
                let (CommandRequest { command }, _) = decode(&body)?;
                let (reply, index) = broker.registry.apply_here(command).await?;
                Ok(encode(&CommandAnswer { reply, index }))
            }
            Call::RegistryRecord => {
                let (RecordRequest { client, seen }, _) = decode(&body)?;
                let (record, index) = broker.registry.record_here(client, seen).await?;
                Ok(encode(&RecordAnswer { record, index }))
            }
            Call::SessionOpened => {
                let (Notices { notices }, _) = decode(&body)?;
                notices.into_iter().for_each(|notice| on_notice(broker, notice));
                Ok(Bytes::new())
            }
            other => Err(Fault::new(Code::UnknownMessage, format!("{other:?} of broker {from} is nothing to serve"))),
        }
    }

    /// Serves a stream until it ends.
    pub async fn stream(&self, from: BrokerId, kind: PeerStreamKind, stream: PeerStream) {
        match kind {
            PeerStreamKind::Publish => {
                let PeerStream { reader, writer, .. } = stream;
                let partitions = self.broker.partitions.clone();
                if let Err(error) = answer_batches(reader, writer, |batch| partitions.publish_here(batch)).await {
                    tracing::debug!(%from, %error, "the stream of a broker's batches ends");
                }
            }
            PeerStreamKind::Tail => match decode::<TailRequest>(&stream.opening) {
                Ok((TailRequest { partition }, _)) => {
                    // Who is not told what is stored here looks elsewhere.
                    let Some(placed) = self.broker.partitions.placed(partition) else { return };
                    tail_server::serve(&placed, stream).await;
                }
                Err(fault) => tracing::warn!(%from, %fault, "a broker asks for a tail"),
            },
        }
    }
}
