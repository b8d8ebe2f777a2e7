//! One file per request kind.

mod ack_output;
mod commit_image;
mod configure;
mod disk_layer;
mod exec;
mod follow;
mod get_command;
mod get_info;
mod layer;
mod leave_output;
mod list_commands;
mod prepare_image;
mod read_file;
mod read_output;
mod resize_tty;
mod resume;
mod shutdown;
mod signal;
mod stdin;
mod wait_command;
mod write_file;
mod write_stdin;

use std::rc::Rc;

use postern_proto::{Error, Reply, Request, StreamOpen, StreamReply};

use crate::guest::State;
use crate::link::{Conn, ConnError};

pub(crate) use shutdown::end_commands;

/// Answers a request of the control connection.
pub(crate) async fn handle(state: &Rc<State>, request: Request) -> Result<Reply, Error> {
    match request {
        Request::Ping => Ok(Reply::Done),
        Request::Configure(configure) => configure::handle(state, configure),
        Request::PrepareImage { layers } => prepare_image::handle(state, layers),
        Request::CommitImage(config) => commit_image::handle(state, config).await,
        Request::Exec(exec) => exec::handle(state, *exec).await,
        Request::GetCommand { command_id } => get_command::handle(state, &command_id),
        Request::ListCommands { after, limit } => Ok(list_commands::handle(state, &after, limit)),
        Request::WaitCommand { command_id, timeout_ms, until_closed } => {
            wait_command::handle(state, &command_id, timeout_ms, until_closed).await
        }
        Request::WriteStdin(write) => write_stdin::handle(state, &write),
        Request::Signal { command_id, signal, scope } => {
            signal::handle(state, &command_id, signal, scope).await
        }
        Request::AckOutput { command_id, offset } => ack_output::handle(state, &command_id, offset),
        Request::LeaveOutput { command_id, reader, for_good } => {
            leave_output::handle(state, &command_id, reader, for_good)
        }
        Request::ReadOutput { command_id, from, only, max_bytes } => {
            read_output::handle(state, &command_id, from, only, max_bytes)
        }
        Request::GetInfo => Ok(get_info::handle(state)),
        Request::Shutdown { grace_ms } => shutdown::handle(state, grace_ms).await,
        Request::ResizeTty { command_id, size } => {
            resize_tty::handle(state, &command_id, size).await
        }
        Request::Resume(resume) => resume::handle(state, resume),
        Request::Unknown => Err(Error::invalid("body", "this agent does not know the request")),
    }
}

/// Serves a stream connection after its opening.
pub(crate) async fn open_stream(
    conn: Conn,
    open: StreamOpen,
    state: &Rc<State>,
) -> Result<(), ConnError> {
    match open {
        StreamOpen::Follow(follow) => follow::serve(conn, follow, state).await,
        StreamOpen::ReadFile(read) => read_file::serve(conn, read, state).await,
        StreamOpen::WriteFile(write) => write_file::serve(conn, write, state).await,
        StreamOpen::Layer(layer) => layer::serve(conn, layer, state),
        StreamOpen::DiskLayer(layer) => disk_layer::serve(conn, layer, state),
        StreamOpen::Stdin(open) => stdin::serve(conn, open, state).await,
        StreamOpen::Unknown => {
            let error = Error::invalid("body", "this agent does not know the stream");
            refuse(&conn, error).await
        }
    }
}

/// Answers an opening with an error.
async fn refuse(conn: &Conn, error: Error) -> Result<(), ConnError> {
    let mut frame = bytes::BytesMut::new();
    StreamReply::Error(error).encode(&mut frame)?;
    Ok(conn.write_all(&frame).await?)
}
