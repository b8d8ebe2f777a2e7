//! `ReadFile`: a file's bytes to the host.

use std::io::{self, Read};
use std::rc::Rc;

use postern_proto::{Code, Error, ReadFile, StreamEnd, StreamReply};

use super::refuse;
use crate::files::open_read;
use crate::guest::State;
use crate::link::{Conn, ConnError, Transfer, buffer};

pub(super) async fn serve(conn: Conn, read: ReadFile, state: &Rc<State>) -> Result<(), ConnError> {
    let session = match state.session() {
        Ok(session) => session,
        Err(error) => return refuse(&conn, error).await,
    };
    let resolved = session.user_or_default(&read.user).map_err(Error::from);
    let (user, root) = match (resolved, session.root.try_clone()) {
        (Ok(user), Ok(root)) => (user, root),
        (Err(error), _) => return refuse(&conn, error).await,
        (_, Err(e)) => return Err(e.into()),
    };
    Transfer::spawn(conn, move |mut stream| {
        let (info, mut file) = match open_read(&root, &read, &user) {
            Ok(opened) => opened,
            Err(e) => return stream.reply(&StreamReply::Error(e.into())),
        };
        stream.reply(&StreamReply::File(info))?;
        let mut buffer = buffer();
        let mut sent = 0;
        while sent < info.length {
            let want = usize::try_from(info.length - sent).unwrap_or(usize::MAX).min(buffer.len());
            match file.read(&mut buffer[..want]) {
                Ok(0) => return stream.finish(&StreamEnd::Error(shrunk(sent, info.length))),
                Ok(n) => {
                    stream.send(sent, &buffer[..n])?;
                    sent += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    let error = Error::new(Code::Internal, format!("reading the file: {e}"))
                        .with_errno(e.raw_os_error().unwrap_or(0));
                    return stream.finish(&StreamEnd::Error(error));
                }
            }
        }
        stream.finish(&StreamEnd::Done)
    })
}

/// The length was promised; a file that became shorter breaks the promise.
fn shrunk(sent: u64, length: u64) -> Error {
    let message = format!("the file ended after {sent} of {length} bytes: it was changed");
    Error::new(Code::FailedPrecondition, message)
}
