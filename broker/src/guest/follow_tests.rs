//! How long a follower holds out, and what the agent is told when it does not.

use std::time::Duration;

use postern_proto::{Follow, Purpose, Reply, Request, StreamOpen, StreamReply};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::error::GuestError;
use super::fake::{FakeAgent, Peer, command};
use super::follow::{FollowItem, FollowStream, RESUME_DEADLINE};

/// Streams that break after a second without a byte, until `after` of them were.
fn silent_agent(after: usize, opens: bool) -> FakeAgent {
    FakeAgent::start(move |mut peer: Peer| {
        Box::pin(async move {
            if peer.purpose == Purpose::Control {
                return peer.until_hangup().await;
            }
            let Some(StreamOpen::Follow(_)) = peer.opening().await else { return };
            if peer.number > 0 && !opens {
                return;
            }
            peer.accept(StreamReply::Follow(Box::new(command("c")))).await;
            if peer.number < after {
                return sleep(Duration::from_secs(1)).await;
            }
            peer.output(0, b"at last").await;
            peer.until_hangup().await;
        })
    })
}

async fn first_item(agent: &FakeAgent) -> (Result<Option<FollowItem>, GuestError>, Duration) {
    let request = Follow { command_id: "c".to_owned(), ..Follow::default() };
    let mut follower = FollowStream::open(agent.client().await, request).await.unwrap();
    let begun = Instant::now();
    (follower.next().await, begun.elapsed())
}

/// The fault rig had it in the VM: the process waited for stdin over a link that broke
/// all the time, and its readers were told that the agent could not be reached.
#[tokio::test(start_paused = true)]
async fn a_process_that_is_silent_is_followed_over_a_link_that_breaks() {
    let (item, took) = first_item(&silent_agent(100, true)).await;
    let Ok(Some(FollowItem::Data(chunk))) = item else { panic!("{item:?}") };
    assert_eq!(chunk.data, "at last");
    assert!(took > 2 * RESUME_DEADLINE, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_cannot_be_opened_again_is_given_up() {
    let (item, took) = first_item(&silent_agent(usize::MAX, false)).await;
    assert!(matches!(&item, Err(error) if error.is_link_trouble()), "{item:?}");
    assert!(took >= RESUME_DEADLINE && took < 2 * RESUME_DEADLINE, "{took:?}");
}

/// What an agent hears of its readers.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// A stream was opened by this one.
    Opened(u64),
    Left(u64, bool),
}

/// It answers only the first `opens` openings.
fn listening_agent(opens: usize) -> (FakeAgent, mpsc::UnboundedReceiver<Heard>) {
    let (tell, heard) = mpsc::unbounded_channel();
    let agent = FakeAgent::start(move |mut peer: Peer| {
        let tell = tell.clone();
        Box::pin(async move {
            if peer.purpose == Purpose::Stream {
                let Some(StreamOpen::Follow(follow)) = peer.opening().await else { return };
                tell.send(Heard::Opened(follow.reader)).unwrap();
                if peer.number < opens {
                    peer.accept(StreamReply::Follow(Box::new(command("c")))).await;
                    peer.until_hangup().await;
                }
                return;
            }
            while let Some((id, request)) = peer.request().await {
                let Request::LeaveOutput { command_id, reader, for_good } = request else {
                    panic!("{request:?}")
                };
                assert_eq!(command_id, "c");
                tell.send(Heard::Left(reader, for_good)).unwrap();
                if peer.number == 0 {
                    // The answer is lost with the link: it has to be said again.
                    return;
                }
                peer.reply(id, Reply::Done).await;
            }
        })
    });
    (agent, heard)
}

fn lossless() -> Follow {
    Follow { command_id: "c".to_owned(), lossless: true, ..Follow::default() }
}

#[tokio::test]
async fn a_reader_that_leaves_says_so_until_it_is_answered() {
    for for_good in [true, false] {
        let (agent, mut heard) = listening_agent(usize::MAX);
        let follower = FollowStream::open(agent.client().await, lossless()).await.unwrap();
        let Some(Heard::Opened(reader)) = heard.recv().await else { panic!("not opened") };
        if for_good {
            follower.leave();
        } else {
            drop(follower);
        }
        for _ in 0..2 {
            assert_eq!(heard.recv().await, Some(Heard::Left(reader, for_good)));
        }
    }
}

/// The process waited for a reader whose opening had no answer: over a link that is cut
/// unheard it stayed for ever.
#[tokio::test]
async fn a_reader_that_was_never_answered_leaves_too() {
    let (agent, mut heard) = listening_agent(0);
    let error = FollowStream::open(agent.client().await, lossless()).await.unwrap_err();
    assert!(error.is_link_trouble(), "{error:?}");
    let Some(Heard::Opened(reader)) = heard.recv().await else { panic!("not opened") };
    for _ in 0..2 {
        assert_eq!(heard.recv().await, Some(Heard::Left(reader, false)));
    }
    // Who asks for no hold has none to give up.
    let follow = Follow { lossless: false, ..lossless() };
    FollowStream::open(agent.client().await, follow).await.unwrap_err();
    assert!(matches!(heard.recv().await, Some(Heard::Opened(_))));
    assert!(heard.try_recv().is_err());
}
