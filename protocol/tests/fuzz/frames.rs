//! Bytes of a stream: cut into frames, and each body read as what its type says.

use anyport_protocol::event::{EncodedEvent, framed};
use anyport_protocol::limits::CONTROL_FRAME_BYTES_MAX;
use anyport_protocol::message::admin::{AdminAnswer, AdminQuestion};
use anyport_protocol::message::feed::{self, DeliveryWriter, FeedContent, FeedFrame};
use anyport_protocol::message::publish::{self, PublishBatch, Published};
use anyport_protocol::message::{
    FrameBuffer, FrameHeader, FrameTooLarge, HEADER_BYTES, ToBroker, ToClient, push_frame,
};
use bytes::Bytes;

use crate::driver::Outcome;
use crate::{messages, operators};

pub fn target(bytes: &[u8]) -> Outcome {
    let (frames, end) = cut(bytes, bytes.len().max(1));
    // How the bytes arrive makes no difference.
    assert_eq!(cut(bytes, 7), (frames.clone(), end.clone()));
    let start = Outcome::of_result(&end);
    frames.into_iter().fold(start, |outcome, (header, body)| {
        let mut again = Vec::new();
        push_frame(&mut again, header.message_type, header.request, |out| out.extend_from_slice(&body));
        assert_eq!(again[..HEADER_BYTES], header.encode());
        outcome.and(message(header.message_type, body))
    })
}

type Frames = Vec<(FrameHeader, Bytes)>;

/// The frames of bytes that arrive in pieces, and how the stream ends.
fn cut(bytes: &[u8], piece: usize) -> (Frames, Result<bool, FrameTooLarge>) {
    let mut buffer = FrameBuffer::new(CONTROL_FRAME_BYTES_MAX);
    let mut frames = Vec::new();
    for piece in bytes.chunks(piece) {
        buffer.extend(piece);
        loop {
            match buffer.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    (frames, Ok(buffer.is_empty()))
}

/// One body. What it is read as is written so that it is read as the same again.
fn message(message_type: u16, body: Bytes) -> Outcome {
    match message_type {
        publish::BATCH => batch(body),
        publish::PUBLISHED => {
            let published = Published::decode(&body);
            if let Ok(published) = &published {
                assert_eq!(
                    Published::decode(&body_of(|out| published.encode(1, out))).expect("its own bytes"),
                    *published
                );
            }
            Outcome::of_result(&published)
        }
        feed::DELIVERY..=feed::OMITTED => {
            let frame = FeedFrame::decode(message_type, body);
            if let Ok(frame) = &frame {
                assert_eq!(
                    FeedFrame::decode(message_type, body_of(|out| write_feed(frame, out))).expect("its own bytes"),
                    *frame
                );
            }
            Outcome::of_result(&frame)
        }
        _ => control(message_type, &body).and(operator(message_type, &body)),
    }
}

fn control(message_type: u16, body: &[u8]) -> Outcome {
    let (to_broker, to_client) = (ToBroker::decode(message_type, body), ToClient::decode(message_type, body));
    assert!(to_broker.is_err() || to_client.is_err(), "a number means one message");
    if let Ok(message) = &to_broker {
        let again = body_of(|out| message.encode(1, out));
        assert_eq!(ToBroker::decode(message_type, &again).expect("its own bytes"), *message);
    }
    if let Ok(message) = &to_client {
        messages::look_at(message);
        let again = body_of(|out| message.encode(1, out));
        assert_eq!(ToClient::decode(message_type, &again).expect("its own bytes"), *message);
    }
    Outcome::of_result(&to_broker).and(Outcome::of_result(&to_client))
}

fn operator(message_type: u16, body: &[u8]) -> Outcome {
    let (question, answer) = (AdminQuestion::decode(message_type, body), AdminAnswer::decode(message_type, body));
    if let Ok(question) = &question {
        let again = body_of(|out| question.encode(1, out));
        assert_eq!(AdminQuestion::decode(message_type, &again).expect("its own bytes"), *question);
    }
    if let Ok(answer) = &answer {
        operators::look_at(answer);
        let again = body_of(|out| answer.encode(1, out));
        assert_eq!(AdminAnswer::decode(message_type, &again).expect("its own bytes"), *answer);
    }
    Outcome::of_result(&question).and(Outcome::of_result(&answer))
}

fn batch(body: Bytes) -> Outcome {
    let batch = PublishBatch::decode(body);
    let Ok(read) = &batch else { return Outcome::of_result(&batch) };
    assert_eq!(PublishBatch::decode(body_of(|out| read.encode(1, out))).expect("its own bytes"), *read);
    let events = framed::iter(&read.framed).map(|event| event.map(|event| EncodedEvent::check(event).map(|_| ())));
    Outcome::of(&events.collect::<Vec<_>>())
}

fn write_feed(frame: &FeedFrame, out: &mut Vec<u8>) {
    match &frame.content {
        FeedContent::Events(events) => {
            let mut writer = DeliveryWriter::begin(out, frame.feed, frame.covers.start);
            events.iter().for_each(|(offset, event)| writer.push(*offset, event));
            writer.finish(frame.covers.end);
        }
        FeedContent::Gap => feed::push_gap(out, frame.feed, frame.covers),
        FeedContent::Omitted { count } => feed::push_omitted(out, frame.feed, frame.covers, *count),
    }
}

fn body_of(write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut frame = Vec::new();
    write(&mut frame);
    Bytes::from(frame).slice(HEADER_BYTES..)
}
