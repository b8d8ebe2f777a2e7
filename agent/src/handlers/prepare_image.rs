//! `PrepareImage`: layers will come.

use postern_proto::{Error, Reply};

use crate::guest::State;

pub(super) fn handle(state: &State, layers: u32) -> Result<Reply, Error> {
    state.images.prepare(layers)?;
    Ok(Reply::Done)
}
