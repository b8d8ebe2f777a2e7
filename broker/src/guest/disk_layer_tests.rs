//! Layers on a disk, with an agent that behaves and agents that do not.

use bytes::BytesMut;
use postern_proto::{
    Code, DiskLayer, Error, Layer, LayerDone, Purpose, StreamEnd, StreamEvent, StreamOpen,
    StreamReply,
};

use super::error::GuestError;
use super::fake::{FakeAgent, Peer};

fn layer() -> DiskLayer {
    let layer = Layer { size: 100, ..Layer::default() };
    DiskLayer { layer, serial: "s".into(), offset: 4096 }
}

const DONE: LayerDone = LayerDone { entries: 1, bytes: 2, xattrs_skipped: 3 };

/// What comes of an agent that tells these numbers and ends so; with what was told.
async fn apply(
    read: Vec<u64>,
    reply: StreamReply,
    end: Option<StreamEnd>,
) -> (Result<LayerDone, GuestError>, Vec<u64>, u64) {
    let agent = FakeAgent::start(move |mut peer: Peer| {
        let (read, reply, end) = (read.clone(), reply.clone(), end.clone());
        Box::pin(async move {
            if peer.purpose != Purpose::Stream {
                return peer.until_hangup().await;
            }
            assert_eq!(peer.opening().await, Some(StreamOpen::DiskLayer(layer())));
            peer.accept(reply).await;
            for bytes in read {
                let mut out = BytesMut::new();
                StreamEvent::LayerRead { bytes }.encode(&mut out).unwrap();
                peer.raw(&out).await;
            }
            if let Some(end) = end {
                peer.end(end).await;
                peer.until_hangup().await;
            }
        })
    });
    let guest = agent.client().await;
    let mut told = Vec::new();
    let done = guest.apply_disk_layer(layer(), |read| told.push(read)).await;
    (done, told, guest.faults())
}

#[tokio::test]
async fn a_layer_is_applied_and_its_progress_heard() {
    let end = StreamEnd::Layer(DONE);
    let (done, told, faults) = apply(vec![40, 100], StreamReply::Done, Some(end)).await;
    assert_eq!((done.unwrap(), told, faults), (DONE, vec![40, 100], 0));
}

#[tokio::test]
async fn an_agents_own_error_is_its_word_and_no_fault() {
    let error = Error::new(Code::ResourceExhausted, "full");
    let end = Some(StreamEnd::Error(error.clone()));
    let (done, _, faults) = apply(vec![40], StreamReply::Done, end).await;
    assert!(matches!(done, Err(GuestError::Agent(e)) if e == error));
    let (refused, _, more) = apply(vec![], StreamReply::Error(error.clone()), None).await;
    assert!(matches!(refused, Err(GuestError::Agent(e)) if e == error));
    assert_eq!((faults, more), (0, 0));
}

#[tokio::test]
async fn what_an_agent_must_not_say_is_a_fault() {
    let end = || Some(StreamEnd::Layer(DONE));
    for read in [vec![101], vec![40, 40], vec![40, 39], vec![0]] {
        let (done, _, faults) = apply(read.clone(), StreamReply::Done, end()).await;
        assert!(matches!(done, Err(GuestError::Fault { .. })), "{read:?}: {done:?}");
        assert_eq!(faults, 1, "{read:?}");
    }
    let (done, _, faults) = apply(vec![], StreamReply::Done, Some(StreamEnd::Done)).await;
    assert!(matches!(done, Err(GuestError::Fault { .. })) && faults == 1, "{done:?}");
    let (done, ..) = apply(vec![40], StreamReply::Done, None).await;
    assert!(matches!(done, Err(GuestError::Lost { .. })), "{done:?}");
}
