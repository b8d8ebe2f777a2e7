//! The client against an agent that behaves, breaks and lies.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use postern_proto::{
    Code, CommandInfo, Error, Exec, ExecResult, Follow, OutputStream, Purpose, ReadFile, Reply,
    Request, StreamEnd, StreamHeader, StreamKind, StreamOpen, StreamReply, WriteFile,
};

use super::client::{Policy, Retry};
use super::error::{Fault, GuestError};
use super::fake::{FakeAgent, Peer, command};
use super::follow::{Checked, FollowItem, FollowStream, OutputCheck};
use super::transfer::{ReadStream, WriteStream};

const QUICK: Policy =
    Policy { doing: "testing", retry: Retry::SameInstance, within: Some(Duration::from_secs(10)) };

fn exec(id: &str) -> Exec {
    Exec { command_id: id.to_owned(), argv: vec![Bytes::from_static(b"x")], ..Exec::default() }
}

fn started(id: &str) -> Reply {
    Reply::Exec(Box::new(ExecResult { command: command(id), output: Vec::new(), existing: false }))
}

#[tokio::test]
async fn replies_in_any_order_find_their_callers() {
    let agent = FakeAgent::start(|mut peer: Peer| {
        Box::pin(async move {
            let mut asked = Vec::new();
            for _ in 0..100 {
                let (id, Request::GetCommand { command_id }) = peer.request().await.unwrap() else {
                    panic!("another request");
                };
                asked.push((id, command_id));
            }
            for (id, command_id) in asked.into_iter().rev() {
                peer.reply(id, Reply::Command(Box::new(command(&command_id)))).await;
            }
            peer.until_hangup().await;
        })
    });
    let guest = agent.client().await;
    let calls = (0..100).map(|n| {
        let guest = guest.clone();
        tokio::spawn(async move { guest.command(&format!("c{n}")).await.unwrap().command_id })
    });
    let ids = futures_util::future::join_all(calls.collect::<Vec<_>>()).await;
    for (n, id) in ids.into_iter().enumerate() {
        assert_eq!(id.unwrap(), format!("c{n}"));
    }
    assert_eq!(guest.faults(), 0);
}

#[tokio::test]
async fn an_exec_whose_reply_was_lost_is_sent_again_with_its_id() {
    let agent = FakeAgent::start(|mut peer: Peer| {
        Box::pin(async move {
            let (id, request) = peer.request().await.unwrap();
            let Request::Exec(exec) = request else { panic!("another request") };
            if peer.number > 0 {
                peer.reply(id, started(&exec.command_id)).await;
                peer.until_hangup().await;
            }
        })
    });
    let result = agent.client().await.exec(exec("c1")).await.unwrap();
    assert_eq!(result.command.command_id, "c1");
}

#[tokio::test]
async fn a_command_of_a_serving_process_that_is_gone_is_lost_and_not_run_again() {
    let agent = FakeAgent::start(|mut peer: Peer| {
        Box::pin(async move {
            let asked = peer.request().await;
            assert!(peer.number == 0 || asked.is_none(), "it was sent to another process");
        })
    });
    let guest = agent.client().await;
    agent.instance.store(1, Ordering::SeqCst);
    let error = guest.exec(exec("c1")).await.unwrap_err();
    assert!(matches!(error, GuestError::Restarted), "{error:?}");
    assert_eq!(guest.restarts(), 1);
}

#[tokio::test]
async fn a_signal_is_not_sent_twice() {
    let agent = FakeAgent::start(|mut peer: Peer| {
        Box::pin(async move {
            let asked = peer.request().await;
            assert!(peer.number == 0 || asked.is_none(), "it was sent again");
        })
    });
    let guest = agent.client().await;
    let error = guest.signal("c", 15, postern_proto::SignalScope::Tree).await.unwrap_err();
    assert!(matches!(error, GuestError::Lost { .. }), "{error:?}");
}

/// What a lying control connection costs: an error, a counted fault, a new link.
async fn lies_once(lie: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static) -> GuestError {
    let lie = Arc::new(lie);
    let agent = FakeAgent::start(move |mut peer: Peer| {
        let lie = lie.clone();
        Box::pin(async move {
            while let Some((id, _)) = peer.request().await {
                if peer.number == 0 {
                    peer.raw(&lie(id)).await;
                } else {
                    peer.reply(id, Reply::Done).await;
                }
            }
        })
    });
    let guest = agent.client().await;
    let policy = Policy { retry: Retry::Never, ..QUICK };
    let error = guest.call(&Request::Ping, policy).await.unwrap_err();
    guest.call(&Request::Ping, QUICK).await.unwrap();
    assert_eq!(guest.faults(), 1, "{error:?}");
    error
}

#[tokio::test]
async fn an_unknown_reply_garbage_and_a_frame_over_the_cap_end_the_link_and_are_counted() {
    fn reply(id: u64) -> Vec<u8> {
        let mut out = bytes::BytesMut::new();
        postern_proto::FromAgent::Reply { id, reply: Reply::Done }.encode(&mut out).unwrap();
        out.to_vec()
    }
    lies_once(|id| reply(id + 1)).await;
    lies_once(|_| vec![0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff]).await;
    lies_once(|_| vec![0xff; 4]).await;
}

#[tokio::test]
async fn silence_ends_with_the_deadline_and_a_late_reply_is_no_fault() {
    let agent = FakeAgent::start(|mut peer: Peer| {
        Box::pin(async move {
            let (first, _) = peer.request().await.unwrap();
            let (second, _) = peer.request().await.unwrap();
            peer.reply(first, Reply::Done).await;
            peer.reply(second, Reply::Done).await;
            peer.until_hangup().await;
        })
    });
    let guest = agent.client().await;
    let impatient = Policy { within: Some(Duration::from_millis(20)), ..QUICK };
    let error = guest.call(&Request::Ping, impatient).await.unwrap_err();
    assert!(matches!(error, GuestError::Deadline { .. }), "{error:?}");
    guest.call(&Request::Ping, QUICK).await.unwrap();
    assert_eq!(guest.faults(), 0);
}

#[tokio::test]
async fn a_reply_about_another_command_is_a_fault() {
    let agent = FakeAgent::start(|mut peer: Peer| {
        Box::pin(async move {
            while let Some((id, _)) = peer.request().await {
                peer.reply(id, Reply::Command(Box::new(command("other")))).await;
            }
        })
    });
    let guest = agent.client().await;
    let error = guest.command("mine").await.unwrap_err();
    assert!(matches!(error, GuestError::Fault { source: Fault::WrongCommand, .. }), "{error:?}");
    assert_eq!(guest.faults(), 1);
}

#[tokio::test]
async fn a_client_that_was_fenced_does_not_fight_back() {
    let agent = FakeAgent::start(|mut peer: Peer| {
        Box::pin(async move {
            peer.request().await;
        })
    });
    let guest = agent.client().await;
    *agent.refusal.lock().unwrap() = Some(Error::new(Code::FailedPrecondition, "a higher epoch"));
    let error = guest.call(&Request::Ping, QUICK).await.unwrap_err();
    assert!(matches!(error, GuestError::Fenced(_)), "{error:?}");
}

#[tokio::test]
async fn the_end_of_the_sandbox_wakes_whoever_waits() {
    let agent = FakeAgent::start(|peer: Peer| Box::pin(peer.until_hangup()));
    let guest = agent.client().await;
    let waiting = tokio::spawn({
        let guest = guest.clone();
        async move { guest.exec(Exec { wait: true, ..exec("c") }).await }
    });
    tokio::task::yield_now().await;
    guest.end("the machine is gone");
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, GuestError::Ended(_)), "{error:?}");
}

/// An agent that carries `data` and breaks the stream after each `cut` bytes,
/// in the midst of a frame.
fn breaking_agent(data: Bytes, cut: usize) -> FakeAgent {
    FakeAgent::start(move |mut peer: Peer| {
        let data = data.clone();
        Box::pin(async move {
            if peer.purpose == Purpose::Control {
                return peer.until_hangup().await;
            }
            let Some(StreamOpen::Follow(follow)) = peer.opening().await else { return };
            peer.accept(StreamReply::Follow(Box::new(command("c")))).await;
            let from = usize::try_from(follow.from).unwrap();
            let to = (from + cut).min(data.len());
            peer.output(follow.from, &data[from..to]).await;
            if to == data.len() {
                let end = data.len() as u64;
                let whole = CommandInfo { output_end: end, stdout_end: end, ..command("c") };
                peer.exited(whole.clone()).await;
                peer.end(StreamEnd::Output(Box::new(whole))).await;
                return peer.until_hangup().await;
            }
            let kind = StreamKind::Data(Some(OutputStream::Stdout));
            let header = StreamHeader { kind, len: 10, offset: to as u64, aux: to as u64 };
            peer.raw(&header.encode()).await;
            peer.raw(b"half").await;
        })
    })
}

#[tokio::test]
async fn a_follower_resumes_by_offset_and_loses_no_byte() {
    let data: Bytes = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    let agent = breaking_agent(data.clone(), 40_000);
    let request = Follow { command_id: "c".to_owned(), ..Follow::default() };
    let mut follower = FollowStream::open(agent.client().await, request).await.unwrap();
    let mut got = Vec::new();
    let mut exits = 0;
    while let Some(item) = follower.next().await.unwrap() {
        match item {
            FollowItem::Data(chunk) => {
                assert_eq!(chunk.offset, got.len() as u64);
                got.extend_from_slice(&chunk.data);
            }
            FollowItem::Exited(_) => exits += 1,
            FollowItem::Closed(_) => {}
            FollowItem::Gap { .. } => panic!("a gap"),
        }
    }
    assert!(got == data, "{} of {} bytes", got.len(), data.len());
    assert_eq!(exits, 1);
}

#[tokio::test]
async fn a_stream_that_lies_is_an_error_and_never_an_exit() {
    let agent = FakeAgent::start(|mut peer: Peer| {
        Box::pin(async move {
            if peer.purpose == Purpose::Stream {
                peer.opening().await;
                peer.accept(StreamReply::Follow(Box::new(command("c")))).await;
                peer.output(0, b"ab").await;
                peer.output(3, b"d").await;
            }
            peer.until_hangup().await;
        })
    });
    let guest = agent.client().await;
    let request = Follow { command_id: "c".to_owned(), ..Follow::default() };
    let mut follower = FollowStream::open(guest.clone(), request).await.unwrap();
    assert!(matches!(follower.next().await.unwrap(), Some(FollowItem::Data(_))));
    let error = follower.next().await.unwrap_err();
    let jump = Fault::OffsetJump { expected: 2, got: 3 };
    assert!(matches!(error, GuestError::Fault { source, .. } if source == jump));
    assert_eq!(guest.faults(), 1);
    assert!(follower.next().await.unwrap().is_none(), "an error is final");
}

fn data(offset: u64, len: usize) -> (StreamHeader, Bytes) {
    let kind = StreamKind::Data(Some(OutputStream::Stdout));
    let header = StreamHeader { kind, len: len.try_into().unwrap(), offset, aux: offset };
    (header, Bytes::from(vec![0; len]))
}

fn frame(out: &mut bytes::BytesMut) -> (StreamHeader, Bytes) {
    StreamHeader::take(out).unwrap().unwrap()
}

#[test]
fn the_rules_of_a_follow_stream() {
    let exited = || {
        let mut out = bytes::BytesMut::new();
        postern_proto::StreamEvent::Exited(Box::new(command("c"))).encode(&mut out).unwrap();
        frame(&mut out)
    };
    let ended = || {
        let mut out = bytes::BytesMut::new();
        StreamEnd::Output(Box::new(command("c"))).encode(&mut out).unwrap();
        frame(&mut out)
    };
    let gap = |from, to| {
        (StreamHeader { kind: StreamKind::Gap, len: 0, offset: from, aux: to }, Bytes::new())
    };
    let mut check = OutputCheck::new(0, None);
    let mut feed = |(header, payload)| check.accept(header, payload);
    feed(data(0, 3)).unwrap();
    assert_eq!(feed(data(2, 1)).unwrap_err(), Fault::OffsetJump { expected: 3, got: 2 });
    assert_eq!(feed(gap(4, 9)).unwrap_err(), Fault::BadGap { at: 3, from: 4, to: 9 });
    assert_eq!(feed(gap(3, 3)).unwrap_err(), Fault::BadGap { at: 3, from: 3, to: 3 });
    assert!(matches!(
        feed(gap(3, 9)).unwrap(),
        Some(Checked::Item(FollowItem::Gap { from: 3, to: 9 }))
    ));
    feed(exited()).unwrap().unwrap();
    feed(data(9, 1)).unwrap().unwrap();
    assert_eq!(feed(exited()).unwrap_err(), Fault::SecondExit);
    feed(ended()).unwrap().unwrap();
    assert_eq!(feed(data(10, 1)).unwrap_err(), Fault::WrongFrame("after the end"));

    let mut filtered = OutputCheck::new(0, Some(OutputStream::Stderr));
    let (header, payload) = data(0, 1);
    assert_eq!(filtered.accept(header, payload).unwrap_err(), Fault::WrongTag);

    // Each connection tells the exit; the reader hears it once.
    let mut resumed = OutputCheck::new(0, None);
    let feed = |check: &mut OutputCheck, (header, payload)| check.accept(header, payload);
    assert!(feed(&mut resumed, exited()).unwrap().is_some());
    resumed.reconnected();
    assert!(feed(&mut resumed, exited()).unwrap().is_none());
}

#[tokio::test]
async fn an_agent_that_ends_a_write_early_is_heard_while_bytes_still_flow() {
    let agent = FakeAgent::start(|mut peer: Peer| {
        Box::pin(async move {
            if peer.purpose == Purpose::Stream {
                peer.opening().await;
                peer.accept(StreamReply::Done).await;
                let full = Error::new(Code::ResourceExhausted, "no space left").with_errno(28);
                peer.end(StreamEnd::Error(full)).await;
                // It reads no more: the writer must not wait for it.
                std::future::pending::<()>().await;
            }
            peer.until_hangup().await;
        })
    });
    let request = WriteFile { path: Bytes::from_static(b"/x"), ..WriteFile::default() };
    let mut writer = WriteStream::open_file(agent.client().await, request).await.unwrap();
    let piece = Bytes::from(vec![0; 1 << 20]);
    let mut written = 0;
    let error = loop {
        match writer.write(piece.clone()).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100, "it went on writing");
    };
    assert!(matches!(error, GuestError::Agent(e) if e.errno == Some(28)));
}

/// Reads a file of which the agent promises 4 bytes and sends `sent`.
async fn read_from_an_agent_that_sends(sent: &'static [u8]) -> Result<usize, GuestError> {
    let agent = FakeAgent::start(move |mut peer: Peer| {
        Box::pin(async move {
            if peer.purpose == Purpose::Stream {
                peer.opening().await;
                let info = postern_proto::FileInfo { size: 4, length: 4, ..Default::default() };
                peer.accept(StreamReply::File(info)).await;
                let kind = StreamKind::Data(None);
                let len = sent.len().try_into().unwrap();
                let header = StreamHeader { kind, len, offset: 0, aux: 0 };
                peer.raw(&[&header.encode()[..], sent].concat()).await;
                peer.end(StreamEnd::Done).await;
            }
            peer.until_hangup().await;
        })
    });
    let request = ReadFile { path: Bytes::from_static(b"/x"), ..ReadFile::default() };
    let mut reader = ReadStream::open(agent.client().await, request).await?;
    let mut got = 0;
    while let Some(piece) = reader.next().await? {
        got += piece.len();
    }
    Ok(got)
}

#[tokio::test]
async fn a_file_is_as_long_as_was_promised_or_an_error() {
    assert_eq!(read_from_an_agent_that_sends(b"abcd").await.unwrap(), 4);
    let error = read_from_an_agent_that_sends(b"abc").await.unwrap_err();
    assert!(
        matches!(error, GuestError::Fault { source: Fault::TooLittle { .. }, .. }),
        "{error:?}"
    );
    let error = read_from_an_agent_that_sends(b"abcde").await.unwrap_err();
    assert!(matches!(error, GuestError::Fault { source: Fault::TooMuch { .. }, .. }), "{error:?}");
}
