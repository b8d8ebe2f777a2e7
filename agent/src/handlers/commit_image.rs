//! `CommitImage`: the layers become the workload's root.

use std::rc::Rc;
use std::sync::Arc;

use postern_proto::{Code, Error, ImageConfig, Reply};
use tokio::sync::oneshot;

use crate::guest::State;

pub(super) async fn handle(state: &Rc<State>, config: ImageConfig) -> Result<Reply, Error> {
    let images = Arc::clone(&state.images);
    let (done, result) = oneshot::channel();
    let for_thread = config.clone();
    // The workload's init mounts things, which is not for the runtime to wait for.
    std::thread::Builder::new()
        .spawn(move || done.send(images.commit(&for_thread)))
        .map_err(|e| Error::new(Code::ResourceExhausted, format!("starting a thread: {e}")))?;
    let gone = |_| Error::new(Code::Internal, "committing the image ended without a word");
    result.await.map_err(gone)??;
    state.open_session(&config)?;
    Ok(Reply::Done)
}
