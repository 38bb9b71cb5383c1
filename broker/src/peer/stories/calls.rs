//! Questions, answers and streams between two brokers.

use futures_util::future::join_all;

use super::super::{Link, PeerError};
use super::*;

#[tokio::test]
async fn answers_come_back_in_any_order_each_to_its_own_question() {
    let (_, nodes) = cluster(2).await;
    let (from, to) = (&nodes[1], BrokerId(0));
    let never = tokio::spawn(from.peers.call(to, Link::Raft, Call::Bounds, Bytes::new()));
    let bodies: Vec<Bytes> =
        (0..1000_u32).map(|number| number.to_le_bytes().repeat(1 + number as usize % 50).into()).collect();
    let answers = join_all(bodies.iter().map(|body| from.peers.call(to, Link::Raft, Call::Raft, body.clone()))).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("an answer")).collect();
    assert_eq!(answers, bodies);
    assert!(!never.is_finished());
}

#[tokio::test]
async fn long_questions_and_long_answers_arrive_whole() {
    let (_, nodes) = cluster(2).await;
    for (from, to) in [(0, 1), (1, 0)] {
        for link in [Link::Raft, Link::Bulk] {
            for bytes in [0, 16 << 10, (16 << 10) + 1, 512 << 10, 3 << 20] {
                let body: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
                assert_eq!(ask(&nodes[from], to, link, &body).await.expect("an answer"), body);
            }
            let short: Bytes = vec![0; 2048].into();
            let answer = nodes[from].peers.call(BrokerId(to), link, Call::Read, short).await.expect("an answer");
            assert_eq!(answer.len(), 2 << 20);
        }
    }
}

#[tokio::test]
async fn what_is_longer_than_a_call_may_be_is_refused_before_it_is_sent() {
    let (_, nodes) = cluster(2).await;
    let error = ask(&nodes[0], 1, Link::Bulk, &vec![0; (32 << 20) + 1]).await.expect_err("too long");
    assert!(matches!(&error, PeerError::Refused { fault, .. } if fault.is(Code::LimitPassed)), "{error}");
    let question = vec![0; (32 << 10) + 1].into();
    let answer = nodes[0].peers.call(BrokerId(1), Link::Bulk, Call::Read, question).await;
    let error = answer.expect_err("too long an answer");
    assert!(matches!(&error, PeerError::Refused { fault, .. } if fault.is(Code::LimitPassed)), "{error}");
    ask(&nodes[0], 1, Link::Bulk, b"still here").await.expect("the connection goes on");
}

#[tokio::test]
async fn a_refusal_reaches_whoever_asked() {
    let (_, nodes) = cluster(2).await;
    let answer = nodes[1].peers.call(BrokerId(0), Link::Bulk, Call::Find, Bytes::new()).await;
    let error = answer.expect_err("refused");
    assert!(matches!(&error, PeerError::Refused { fault, .. } if fault.is(Code::NotReady)), "{error}");
}

#[tokio::test]
async fn a_question_that_was_heard_is_lost_with_its_connection_and_a_later_one_was_never_sent() {
    let (_, mut nodes) = cluster(2).await;
    let asker = nodes.pop().expect("two");
    let answerer = nodes.pop().expect("two");
    let short = asker.peers.call(BrokerId(0), Link::Raft, Call::Bounds, Bytes::new());
    let long = tokio::spawn(asker.peers.call(BrokerId(0), Link::Raft, Call::Bounds, vec![0; 20 << 10].into()));
    // Behind both of them on the same connection, so that they have been heard.
    ask(&asker, 0, Link::Raft, &vec![0; 20 << 10]).await.expect("an answer");
    ask(&asker, 0, Link::Raft, b"").await.expect("an answer");
    answerer.tasks.stop().await;
    for error in [short.await.expect_err("lost"), long.await.expect("ends").expect_err("lost")] {
        assert!(matches!(error, PeerError::Lost { to: BrokerId(0), .. }), "{error}");
    }
    asker.reaches(&[]).await;
    let error = ask(&asker, 0, Link::Raft, b"").await.expect_err("nobody is there");
    assert!(matches!(error, PeerError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn more_questions_than_are_ever_answered_are_refused_by_both_sides() {
    let (_, nodes) = cluster(2).await;
    let wait_for_ever = || nodes[1].peers.call(BrokerId(0), Link::Bulk, Call::Bounds, Bytes::new());
    let under_way: Vec<_> = (0..4096).map(|_| wait_for_ever()).collect();
    let busy = |error: &PeerError| matches!(error, PeerError::Refused { fault, .. } if fault.is(Code::RetryAfter));
    let error = wait_for_ever().await.expect_err("refused here");
    assert!(busy(&error), "{error}");
    // Who waits no longer has room to ask, but over there its questions are still under way.
    drop(under_way);
    let error = wait_for_ever().await.expect_err("refused there");
    assert!(busy(&error), "{error}");
    ask(&nodes[1], 0, Link::Raft, b"").await.expect("the other connection is not full");
}

#[tokio::test]
async fn frames_of_a_stream_come_back_after_the_one_that_opens_it() {
    let (_, nodes) = cluster(2).await;
    let mut stream = nodes[0]
        .peers
        .open(BrokerId(1), PeerStreamKind::Publish, Bytes::from_static(b"opening"))
        .await
        .expect("a stream");
    stream.writer.write(&frame(5, b"first")).await.expect("written");
    let (header, body) = stream.reader.next().await.expect("read").expect("a frame");
    assert_eq!((header.message_type, &body[..], &stream.opening[..]), (5, &b"first"[..], &b"opening"[..]));
}

#[tokio::test]
async fn streams_that_nobody_reads_delay_no_question_on_either_connection() {
    let (_, nodes) = cluster(2).await;
    let stuck = join_all((0..32).map(|_| nodes[0].peers.open(BrokerId(1), PeerStreamKind::Tail, Bytes::new()))).await;
    let stuck: Vec<_> = stuck
        .into_iter()
        .map(|stream| {
            let mut stream = stream.expect("a stream");
            // More than any window takes.
            tokio::spawn(async move { stream.writer.write(&vec![0; 2 << 20]).await.map(|()| stream) })
        })
        .collect();
    for link in [Link::Raft, Link::Bulk] {
        for number in 0..200_u32 {
            ask(&nodes[0], 1, link, &number.to_le_bytes()).await.expect("an answer");
            ask(&nodes[1], 0, link, &vec![1; 20 << 10]).await.expect("an answer on a stream of its own");
        }
    }
    assert!(stuck.iter().all(|stream| !stream.is_finished()));
}
