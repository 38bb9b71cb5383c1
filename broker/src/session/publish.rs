//! One publish stream: batches in, outcomes out. It is always read: what cannot be taken is answered, never left to wait, so no
//! partition holds up another.

use std::sync::Arc;

use anyport_protocol::ClientId;
use anyport_protocol::message::DecodeError;
use anyport_protocol::message::publish::{BATCH, PublishBatch, Published};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;

use crate::Broker;
use crate::net::{Connection, FrameReader, FrameWriter, ReadError};

/// Answers gathered before they are written in one go.
const ANSWER_BYTES: usize = 16 << 10;

pub async fn run(
    broker: Arc<Broker>,
    connection: &Connection,
    reader: FrameReader,
    writer: FrameWriter,
    mut logged_in: watch::Receiver<Option<ClientId>>,
) -> Result<(), ReadError> {
    // A replayed batch would be stored once all the same, but a publish is a write: early data is no place for it.
    if connection.confirmed().await.is_none() || logged_in.wait_for(Option::is_some).await.is_err() {
        return Ok(());
    }
    answer_batches(reader, writer, |batch| broker.publish(batch)).await
}

/// Hands over what comes in, as `publish` does it, and writes what becomes of it, until the stream ends.
pub(crate) async fn answer_batches<F: Future<Output = Published> + Send + 'static>(
    mut reader: FrameReader,
    mut writer: FrameWriter,
    publish: impl Fn(PublishBatch) -> F,
) -> Result<(), ReadError> {
    let mut waiting: FuturesUnordered<BoxFuture<'static, (u32, Published)>> = FuturesUnordered::new();
    let mut answers = Vec::new();
    loop {
        tokio::select! {
            biased;
            Some((request, outcome)) = waiting.next(), if !waiting.is_empty() => {
                outcome.encode(request, &mut answers);
                while answers.len() < ANSWER_BYTES {
                    let Some(Some((request, outcome))) = futures_util::FutureExt::now_or_never(waiting.next()) else { break };
                    outcome.encode(request, &mut answers);
                }
                if writer.write(&answers).await.is_err() {
                    return Ok(());
                }
                answers.clear();
            }
            frame = reader.next() => match frame? {
                Some((header, body)) if header.message_type == BATCH => {
                    // Handed over before the next is read, so that batches of one stream keep their order.
                    let outcome = publish(PublishBatch::decode(body)?);
                    waiting.push(Box::pin(async move { (header.request, outcome.await) }));
                }
                Some((header, _)) => return Err(DecodeError::UnknownType(header.message_type).into()),
                None => break,
            }
        }
    }
    // The sender has sent its last batch; it still wants the answers.
    while let Some((request, outcome)) = waiting.next().await {
        outcome.encode(request, &mut answers);
    }
    let _ = writer.write(&answers).await;
    writer.finish();
    Ok(())
}
