//! Links that do not come up, fall silent, or are taken over.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use postern_proto::{Reply, Request};
use tokio::sync::Notify;

use super::client::{ConnectOptions, Guest};
use super::error::GuestError;
use super::fake::{FakeAgent, Peer, command};
use crate::transport::{Dial, DialError, Stream};

/// A link whose other end is gone without a word: nothing is answered, and
/// nothing breaks.
#[tokio::test(start_paused = true)]
async fn a_half_open_link_is_noticed_and_the_request_sent_again() {
    let agent = FakeAgent::start(|mut peer: Peer| {
        Box::pin(async move {
            while let Some((id, request)) = peer.request().await {
                if peer.number > 0 {
                    let Request::GetCommand { command_id } = request else { continue };
                    peer.reply(id, Reply::Command(Box::new(command(&command_id)))).await;
                }
            }
        })
    });
    let guest = agent.client().await;
    let begun = tokio::time::Instant::now();
    assert_eq!(guest.command("c").await.unwrap().command_id, "c");
    assert!(begun.elapsed() < Duration::from_secs(20), "after {:?}", begun.elapsed());
    assert_eq!(guest.restarts(), 0);
}

/// Answers every question about a command.
fn knows_every_command() -> FakeAgent {
    FakeAgent::start(|mut peer: Peer| {
        Box::pin(async move {
            while let Some((id, request)) = peer.request().await {
                let Request::GetCommand { command_id } = request else { continue };
                peer.reply(id, Reply::Command(Box::new(command(&command_id)))).await;
            }
        })
    })
}

#[tokio::test]
async fn an_adopted_agent_is_dialled_and_its_restarts_are_known() {
    let agent = knows_every_command();
    let met = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let known = met(&["instance 0"]).into();
    let guest = Guest::adopt(agent.dial(), 7, known);
    guest.command("c").await.unwrap();
    assert_eq!((guest.restarts(), guest.instances().borrow().to_vec()), (0, met(&["instance 0"])));
    drop(guest);
    // The serving process died while nobody was there.
    agent.instance.store(1, Ordering::SeqCst);
    let guest = Guest::adopt(agent.dial(), 8, met(&["instance 0"]).into());
    guest.command("c").await.unwrap();
    let both = met(&["instance 0", "instance 1"]);
    assert_eq!((guest.restarts(), guest.instances().borrow().to_vec()), (1, both));
}

#[tokio::test]
async fn an_adopted_agent_that_is_not_there_is_an_error_in_time_and_ends_when_told() {
    let dial = Arc::new(Refusing::default());
    let guest = Guest::adopt(dial, 7, Vec::new().into());
    let waiting = tokio::spawn({
        let guest = guest.clone();
        async move { guest.command("c").await }
    });
    tokio::task::yield_now().await;
    guest.end("it is over");
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(&error, GuestError::Ended(why) if why == "it is over"), "{error:?}");
}

/// Notes when it is dialled, and refuses.
#[derive(Debug, Default)]
struct Refusing(std::sync::Mutex<Vec<tokio::time::Instant>>);

impl Dial for Refusing {
    fn dial(&self) -> BoxFuture<'_, Result<Stream, DialError>> {
        self.0.lock().unwrap().push(tokio::time::Instant::now());
        Box::pin(async {
            Err(DialError {
                target: "nobody".to_owned(),
                doing: "dialling",
                source: std::io::ErrorKind::ConnectionRefused.into(),
            })
        })
    }
}

/// When the first of the dials came, with a bell that rings after `bell`.
async fn first_dial(bell: Duration) -> Duration {
    let begun = tokio::time::Instant::now();
    let rings = Arc::new(Notify::new());
    let ring = rings.clone();
    tokio::spawn(async move {
        tokio::time::sleep(bell).await;
        ring.notify_one();
    });
    let options =
        ConnectOptions { deadline: Duration::from_secs(60), hint: Some(rings), epoch: None };
    let dial = Arc::new(Refusing::default());
    Guest::connect(dial.clone(), options).await.unwrap_err();
    let dials = dial.0.lock().unwrap();
    dials[0] - begun
}

/// A connection that met a guest in the midst of setting up its queues made
/// vhost-device-vsock deaf for good: one boot in some forty on a loaded machine.
#[tokio::test(start_paused = true)]
async fn nothing_is_dialled_before_the_guest_has_rung() {
    assert_eq!(first_dial(Duration::from_secs(7)).await.as_secs(), 7);
    // A guest that never rings is tried all the same.
    assert_eq!(first_dial(Duration::from_secs(90)).await.as_secs(), 30);
}
