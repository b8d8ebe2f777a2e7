//! `WriteFile`: a file's bytes from the host, published whole or not at all.

use std::io::{self, Read};
use std::rc::Rc;

use postern_proto::{Error, StreamEnd, StreamReply, WriteFile};

use super::refuse;
use crate::files::AtomicWrite;
use crate::guest::State;
use crate::link::{Conn, ConnError, Transfer, buffer, error_of};

pub(super) async fn serve(
    conn: Conn,
    write: WriteFile,
    state: &Rc<State>,
) -> Result<(), ConnError> {
    let session = match state.session() {
        Ok(session) => session,
        Err(error) => return refuse(&conn, error).await,
    };
    let resolved = session.user_or_default(&write.user).map_err(Error::from);
    let (user, root) = match (resolved, session.root.try_clone()) {
        (Ok(user), Ok(root)) => (user, root),
        (Err(error), _) => return refuse(&conn, error).await,
        (_, Err(e)) => return Err(e.into()),
    };
    Transfer::spawn(conn, move |mut stream| {
        let file = match AtomicWrite::begin(&root, &write, &user) {
            Ok(file) => file,
            Err(e) => return stream.reply(&StreamReply::Error(e.into())),
        };
        stream.reply(&StreamReply::Done)?;
        let end = match receive(&mut stream, file) {
            Ok(info) => StreamEnd::File(info),
            Err(error) => StreamEnd::Error(error),
        };
        stream.finish(&end)
    })
}

/// An error on the way drops the unfinished file.
fn receive(stream: &mut Transfer, mut file: AtomicWrite) -> Result<postern_proto::FileInfo, Error> {
    let mut buffer = buffer();
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return file.finish().map_err(Error::from),
            Ok(n) => file.write(&buffer[..n]).map_err(Error::from)?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(error_of("receiving the file", &e)),
        }
    }
}
