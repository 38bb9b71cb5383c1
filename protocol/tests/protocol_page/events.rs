//! The event that the page shows, and what it is carried in.

use anyport_protocol::event::{Event, framed};
use anyport_protocol::message::feed::{DeliveryWriter, FeedId};
use anyport_protocol::message::publish::{PublishBatch, Published};
use anyport_protocol::message::{Credit, Hello, StreamKind, ToBroker};
use anyport_protocol::{Incarnation, Number, Offset, PartitionId, ProducerId};

/// Of the key `/me` among eight.
const PARTITION: PartitionId = PartitionId(6);
const INCARNATION: Incarnation = Incarnation(7);

fn event() -> Vec<u8> {
    let event = Event::builder("1", "/me", "quake").datacontenttype("application/json").extension("level", -2);
    event.json(r#"{"mag":5.1}"#).build().expect("valid").encode()
}

/// Every dump of the page, in its order, as the code writes it.
pub fn dumps() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("opening", opening()),
        ("delivery", delivery()),
        ("credit", credit()),
        ("batch", batch()),
        ("published", published()),
        ("event", event()),
    ]
}

fn opening() -> Vec<u8> {
    let mut out = vec![StreamKind::Control as u8];
    ToBroker::from(Hello::of_this_version("me/1")).encode(1, &mut out);
    out
}

fn credit() -> Vec<u8> {
    let mut out = Vec::new();
    ToBroker::from(Credit { incarnation: INCARNATION, bytes_total: 4 << 20 }).encode(0, &mut out);
    out
}

fn batch() -> Vec<u8> {
    let (mut run, mut out) = (Vec::new(), Vec::new());
    framed::push(&mut run, &event());
    let producer = ProducerId(std::array::from_fn(|place| place as u8));
    let batch = PublishBatch { producer, partition: PARTITION, count: 1, first_number: Number(0), framed: run.into() };
    batch.encode(1, &mut out);
    out
}

fn published() -> Vec<u8> {
    let mut out = Vec::new();
    Published::Stored { first: Offset(40) }.encode(1, &mut out);
    out
}

fn delivery() -> Vec<u8> {
    let mut out = Vec::new();
    let feed = FeedId { incarnation: INCARNATION, partition: PARTITION };
    let mut writer = DeliveryWriter::begin(&mut out, feed, Offset(38));
    writer.push(Offset(40), &event());
    writer.finish(Offset(41));
    out
}
