//! The stdin flow against an agent that takes, breaks and lies.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use postern_proto::{Code, Error, Purpose, StreamEnd, StreamKind, StreamOpen, StreamReply};

use super::error::{Fault, GuestError};
use super::fake::{FakeAgent, Peer, stdin};
use super::stdin::{MAX_UNTAKEN, StdinProgress, StdinStream};

/// What the process got.
type Applied = Arc<Mutex<Vec<u8>>>;

/// Accepts the opening; None on a control connection, once that is over.
async fn opened(mut peer: Peer, offset: u64) -> Option<Peer> {
    if peer.purpose == Purpose::Control {
        peer.until_hangup().await;
        return None;
    }
    let Some(StreamOpen::Stdin(open)) = peer.opening().await else { panic!("another opening") };
    assert!(open.keep_open, "an end of the stream must not be the end of file");
    peer.accept(StreamReply::Stdin(stdin(offset))).await;
    Some(peer)
}

/// Takes bytes until `limit` of them came on this connection, then breaks off,
/// having told of a part of them at the most.
async fn take(peer: Peer, applied: Applied, limit: usize) {
    let offset = applied.lock().unwrap().len() as u64;
    let Some(mut peer) = opened(peer, offset).await else { return };
    let mut here = 0;
    while let Some((header, payload)) = peer.frame().await {
        let end = {
            let mut applied = applied.lock().unwrap();
            let end = applied.len() as u64;
            if header.kind != StreamKind::End {
                assert!(header.offset <= end, "a hole: {} at {end}", header.offset);
                let skip = usize::try_from(end - header.offset).unwrap().min(payload.len());
                applied.extend_from_slice(&payload[skip..]);
            }
            applied.len() as u64
        };
        if header.kind == StreamKind::End {
            return peer.end(StreamEnd::Stdin(stdin(end))).await;
        }
        here += payload.len();
        if here >= limit {
            return;
        }
        if end % 3 == 0 {
            peer.took(end).await;
        }
    }
}

#[tokio::test]
async fn stdin_arrives_exactly_once_over_a_link_that_breaks() {
    let data: Bytes = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    let applied = Applied::default();
    let process = applied.clone();
    let agent = FakeAgent::start(move |peer: Peer| Box::pin(take(peer, process.clone(), 700_000)));
    let mut stream = StdinStream::open(agent.client().await, "c").await.unwrap();
    let mut rest = data.clone();
    let mut size = 1;
    while !rest.is_empty() {
        let mut piece = rest.split_to(size.min(rest.len()));
        size = size * 3 % 300_007;
        while !piece.is_empty() {
            stream.push(&mut piece);
            if !piece.is_empty() {
                assert_eq!(stream.progress().await.unwrap(), StdinProgress::Taken);
            }
        }
    }
    stream.flush();
    while stream.progress().await.unwrap() != StdinProgress::Flushed {}
    assert_eq!((stream.taken(), stream.end()), (data.len() as u64, data.len() as u64));
    assert!(*applied.lock().unwrap() == data, "{} bytes", applied.lock().unwrap().len());
}

#[tokio::test]
async fn a_process_that_reads_nothing_costs_a_bounded_buffer() {
    let agent = FakeAgent::start(|peer: Peer| {
        Box::pin(async move {
            let _peer = opened(peer, 7).await;
            std::future::pending::<()>().await;
        })
    });
    let mut stream = StdinStream::open(agent.client().await, "c").await.unwrap();
    let mut data = Bytes::from(vec![0; 2 * MAX_UNTAKEN]);
    stream.push(&mut data);
    assert_eq!((data.len(), stream.room()), (MAX_UNTAKEN, 0));
    assert_eq!((stream.taken(), stream.end()), (7, 7 + MAX_UNTAKEN as u64));
    stream.push(&mut data);
    assert_eq!(data.len(), MAX_UNTAKEN);
}

#[tokio::test]
async fn bytes_that_come_while_a_flush_is_under_way_are_not_lost() {
    let applied = Applied::default();
    let process = applied.clone();
    let agent =
        FakeAgent::start(move |peer: Peer| Box::pin(take(peer, process.clone(), usize::MAX)));
    let mut stream = StdinStream::open(agent.client().await, "c").await.unwrap();
    for round in 0..50u8 {
        stream.push(&mut Bytes::from(vec![round; 10]));
        stream.flush();
        // The end may be said or not when more comes.
        tokio::select! {
            biased;
            news = stream.progress() => drop(news.unwrap()),
            () = tokio::task::yield_now() => {}
        }
        stream.push(&mut Bytes::from(vec![round; 10]));
    }
    while stream.taken() < stream.end() {
        stream.flush();
        stream.progress().await.unwrap();
    }
    let expected: Vec<u8> = (0..50u8).flat_map(|round| [round; 20]).collect();
    assert_eq!(*applied.lock().unwrap(), expected);
}

#[tokio::test]
async fn an_early_end_says_that_the_process_takes_no_more() {
    let agent = FakeAgent::start(|peer: Peer| {
        Box::pin(async move {
            let Some(mut peer) = opened(peer, 0).await else { return };
            peer.frame().await;
            peer.end(StreamEnd::Stdin(stdin(2))).await;
            peer.until_hangup().await;
        })
    });
    let mut stream = StdinStream::open(agent.client().await, "c").await.unwrap();
    stream.push(&mut Bytes::from_static(b"abcd"));
    stream.flush();
    assert_eq!(stream.progress().await.unwrap(), StdinProgress::Closed);
    assert_eq!((stream.taken(), stream.end()), (2, 4));
}

/// What comes of an agent that says `offset` after 4 bytes of stdin at 10.
async fn lie(offset: u64) -> GuestError {
    let agent = FakeAgent::start(move |peer: Peer| {
        Box::pin(async move {
            let Some(mut peer) = opened(peer, 10).await else { return };
            peer.frame().await;
            peer.took(offset).await;
            peer.until_hangup().await;
        })
    });
    let guest = agent.client().await;
    let mut stream = StdinStream::open(guest.clone(), "c").await.unwrap();
    stream.push(&mut Bytes::from_static(b"abcd"));
    let error = stream.progress().await.unwrap_err();
    assert_eq!(guest.faults(), 1);
    error
}

#[tokio::test]
async fn an_offset_that_cannot_be_is_a_fault() {
    for offset in [9, 15] {
        let error = lie(offset).await;
        assert!(
            matches!(error, GuestError::Fault { source: Fault::OffsetJump { .. }, .. }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn stdin_of_a_serving_process_that_is_gone_is_lost() {
    let agent = FakeAgent::start(|mut peer: Peer| {
        Box::pin(async move {
            if peer.purpose == Purpose::Stream && peer.number > 0 {
                peer.opening().await;
                let gone = Error::new(Code::NotFound, "no such command");
                return peer.accept(StreamReply::Error(gone)).await;
            }
            // The connection breaks with the first bytes.
            if let Some(mut peer) = opened(peer, 0).await {
                peer.frame().await;
            }
        })
    });
    let mut stream = StdinStream::open(agent.client().await, "c").await.unwrap();
    stream.push(&mut Bytes::from_static(b"abcd"));
    let error = stream.progress().await.unwrap_err();
    assert!(matches!(error, GuestError::Restarted), "{error:?}");
}
