//! What another broker says, of any bytes: a common stream as it arrives.

use anyport_protocol::message::{FrameBuffer, push_frame};
use anyport_protocol::{BrokerId, ClusterId, Code, Fault};

use super::frames::{FrameType, Greeting, SHORT_BYTES_MAX, decode_answer, encode_answer};
use super::greeting::admit;
use super::{Call, Directory, PeerAddress, PeerStreamKind};
use crate::fuzz::Outcome;
use crate::net::Purpose;

const CLUSTER: ClusterId = ClusterId([1; 16]);
const KEY: [u8; 32] = [7; 32];

pub(crate) fn frames(bytes: &[u8]) -> Outcome {
    let mut buffer = FrameBuffer::new(SHORT_BYTES_MAX);
    buffer.extend(bytes);
    // Of the last frame: each sequence of them would be new.
    let mut last = Outcome::exactly("nothing");
    loop {
        let (header, body) = match buffer.next_frame() {
            Ok(Some(frame)) => frame,
            end => return last.and(Outcome::of_result(&end.map(|_| ()))),
        };
        let frame_type = FrameType::from_number(header.message_type);
        assert!(frame_type.is_none_or(|known| known.number() == header.message_type));
        last = match frame_type {
            Some(FrameType::Hello | FrameType::Welcome) => greeting(&body),
            Some(FrameType::Question(call)) => Outcome::of(&Call::from_number(call)),
            Some(FrameType::Opening(kind)) => Outcome::of(&PeerStreamKind::from_number(kind)),
            Some(FrameType::Given | FrameType::Refused) => {
                Outcome::of_result(&decode_answer(header.message_type, body))
            }
            None => Outcome::exactly("of no class"),
        };
    }
}

fn greeting(body: &[u8]) -> Outcome {
    let greeting = match Greeting::decode(body) {
        Ok(greeting) => greeting,
        refused => return Outcome::of_result(&refused),
    };
    let known = PeerAddress { address: "b:1".to_owned(), key: KEY };
    let directory = Directory::from([(BrokerId(1), known)]);
    let admitted = admit(&greeting, Purpose::Peer, KEY, (BrokerId(0), CLUSTER), &directory);
    if matches!(greeting.broker, Some(broker) if broker != BrokerId(1)) {
        assert!(admitted.is_err(), "{greeting:?}");
    }
    Outcome::of(&greeting).and(Outcome::exactly(admitted.map(drop).map_err(|error| error.goodbye() as u32)))
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let hello = |broker, cluster| (FrameType::Hello, Greeting::of(broker, cluster).encode());
    let (refused, fault) = encode_answer(Err(Fault::retry_after(Code::RetryAfter, 50, "busy")));
    [
        hello(Some(BrokerId(1)), Some(CLUSTER)),
        hello(Some(BrokerId(2)), Some(CLUSTER)),
        hello(None, None),
        (FrameType::Question(Call::Raft as u16), b"append".to_vec()),
        (FrameType::Opening(PeerStreamKind::Tail as u16), b"from".to_vec()),
        (FrameType::Given, b"answer".to_vec()),
        (refused, fault.to_vec()),
    ]
    .map(|(frame_type, body)| {
        let mut frame = Vec::new();
        push_frame(&mut frame, frame_type.number(), 1, |out| out.extend(body));
        frame
    })
    .to_vec()
}
