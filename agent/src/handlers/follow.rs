//! `Follow`: a command's output as it comes.

mod hold;
mod reader;

use std::rc::Rc;

use bytes::BytesMut;
use postern_proto::{Code, Error, Follow, StreamReply};

use super::refuse;
use crate::command::Command;
use crate::guest::State;
use crate::link::{Conn, ConnError};

pub(super) use hold::Hold;
use reader::Reader;

pub(super) async fn serve(conn: Conn, follow: Follow, state: &Rc<State>) -> Result<(), ConnError> {
    let command = match state.commands.table.get(&follow.command_id) {
        Ok(command) => command,
        Err(e) => return refuse(&conn, e.into()).await,
    };
    let cursor = command.log.borrow().cursor(follow.from, follow.only);
    let Some(cursor) = cursor else {
        return refuse(&conn, beyond(&command, &follow)).await;
    };
    let mut frame = BytesMut::new();
    StreamReply::Follow(Box::new(command.info())).encode(&mut frame)?;
    Reader::new(&command, &follow, cursor, frame).run(conn).await
}

fn beyond(command: &Command, follow: &Follow) -> Error {
    let log = command.log.borrow();
    let (first, end) = match follow.only {
        None => (log.first(), log.end()),
        Some(stream) => (log.stream_first(stream), log.stream_end(stream)),
    };
    let message = format!("offset {} is beyond the end, {end}", follow.from);
    Error {
        first_available: Some(first),
        field: Some("from".to_owned()),
        ..Error::new(Code::OutOfRange, message)
    }
}
