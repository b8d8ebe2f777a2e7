//! `Layer`: one image layer, unpacked while it comes.

use std::rc::Rc;
use std::sync::Arc;

use postern_proto::{Layer, StreamEnd, StreamReply};

use crate::guest::State;
use crate::link::{Conn, ConnError, Transfer};

pub(super) fn serve(conn: Conn, layer: Layer, state: &Rc<State>) -> Result<(), ConnError> {
    let images = Arc::clone(&state.images);
    Transfer::spawn(conn, move |mut stream| {
        stream.reply(&StreamReply::Done)?;
        let end = match images.apply(&layer, &mut stream) {
            Ok(done) => StreamEnd::Layer(done),
            Err(error) => StreamEnd::Error(error),
        };
        stream.finish(&end)
    })
}
