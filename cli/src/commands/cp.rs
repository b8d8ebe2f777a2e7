//! `postern cp`: one file into or out of a session.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use indicatif::ProgressBar;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::resolve;
use crate::args::Cp;
use crate::client::Client;
use crate::client::transfer::Download;
use crate::connect;
use crate::error::Error;
use crate::progress;

/// One read of the file: as much as one frame to the agent carries.
const PIECE: usize = 256 << 10;

/// Permission bits, without set-user-ID and the like: those are not copied
/// between worlds.
const COPIED_MODE: u32 = 0o777;

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Here(PathBuf),
    Pipe,
    There { session: String, path: String },
}

pub(crate) async fn run(args: Cp) -> Result<u8, Error> {
    let (from, to) = (place(&args.from)?, place(&args.to)?);
    let client = connect::daemon().await?;
    let user = args.user.as_deref();
    match (from, to) {
        (Place::There { session, path }, to @ (Place::Here(_) | Place::Pipe)) => {
            let session = resolve::session(&client, &session).await?;
            let file = client.get_file(&session, &path, user).await?;
            out_of(file, &path, to).await?;
        }
        (Place::Here(local), Place::There { session, path }) => {
            let session = resolve::session(&client, &session).await?;
            into(&client, &session, &local, &path, user).await?;
        }
        (Place::Pipe, Place::There { session, path }) => {
            let session = resolve::session(&client, &session).await?;
            let bar = progress::copy(&path, None);
            let body = pieces(tokio::io::stdin(), bar.clone());
            client.put_file(&session, &path, user, None, None, body).await?;
            bar.finish_and_clear();
        }
        _ => return Err(Error::usage("exactly one of the two must be SESSION:PATH")),
    }
    Ok(0)
}

/// `SESSION:/PATH` if what is before the colon can be a session's id.
fn place(text: &str) -> Result<Place, Error> {
    if text == "-" {
        return Ok(Place::Pipe);
    }
    match text.split_once(':') {
        Some((session, path)) if !session.is_empty() && !session.contains(['/', '.']) => {
            if !path.starts_with('/') {
                return Err(Error::usage(format!("the path in {text} must be absolute")));
            }
            Ok(Place::There { session: session.to_owned(), path: path.to_owned() })
        }
        _ => Ok(Place::Here(PathBuf::from(text))),
    }
}

async fn into(
    client: &Client,
    session: &str,
    local: &Path,
    path: &str,
    user: Option<&str>,
) -> Result<(), Error> {
    let reading = || Error::io(format!("reading {}", local.display()));
    let file = File::open(local).await.map_err(reading())?;
    let info = file.metadata().await.map_err(reading())?;
    if info.is_dir() {
        return Err(Error::usage(format!(
            "{} is a directory: only files are copied",
            local.display()
        )));
    }
    let path = match (path.ends_with('/'), local.file_name()) {
        (true, Some(name)) => format!("{path}{}", name.to_string_lossy()),
        _ => path.to_owned(),
    };
    let size = info.is_file().then_some(info.len());
    let mode = Some(info.permissions().mode() & COPIED_MODE);
    let bar = progress::copy(&path, size);
    let body = pieces(file, bar.clone());
    let written = client.put_file(session, &path, user, mode, size, body).await?;
    bar.finish_and_clear();
    match size {
        Some(size) if size != written.size => Err(Error::Answer {
            doing: format!("writing {path}"),
            what: format!("{} bytes arrived of {size}", written.size),
        }),
        _ => Ok(()),
    }
}

async fn out_of(mut file: Download, path: &str, to: Place) -> Result<(), Error> {
    let bar = progress::copy(path, file.length);
    let done = match to {
        Place::Here(local) => {
            let local = match Path::new(path).file_name() {
                Some(name) if local.is_dir() => local.join(name),
                _ => local,
            };
            replace(&mut file, &local, &bar).await
        }
        _ => pour(&mut file, &mut tokio::io::stdout(), &bar).await,
    };
    bar.finish_and_clear();
    done
}

/// Written beside the target and renamed, so that no half a file is ever there.
async fn replace(from: &mut Download, local: &Path, bar: &ProgressBar) -> Result<(), Error> {
    let writing = || Error::io(format!("writing {}", local.display()));
    if std::fs::metadata(local).is_ok_and(|info| !info.is_file()) {
        // A device or a pipe is written to, not replaced.
        let mut file = File::options().write(true).open(local).await.map_err(writing())?;
        return pour(from, &mut file, bar).await;
    }
    let dir = local.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let draft = tempfile::Builder::new().prefix(".postern-").tempfile_in(dir).map_err(writing())?;
    let mut file = File::from_std(draft.as_file().try_clone().map_err(writing())?);
    let mode = from.mode.unwrap_or(0o644) & COPIED_MODE;
    pour(from, &mut file, bar).await?;
    let permissions = std::fs::Permissions::from_mode(mode);
    file.set_permissions(permissions).await.map_err(writing())?;
    draft.persist(local).map_err(|e| writing()(e.error))?;
    Ok(())
}

async fn pour(
    from: &mut Download,
    to: &mut (impl AsyncWrite + Unpin),
    bar: &ProgressBar,
) -> Result<(), Error> {
    while let Some(piece) = from.next().await? {
        to.write_all(&piece).await.map_err(Error::io("writing the copy"))?;
        bar.inc(piece.len() as u64);
    }
    to.flush().await.map_err(Error::io("writing the copy"))
}

fn pieces(
    from: impl AsyncRead + Unpin + Send + 'static,
    bar: ProgressBar,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold((from, bar), |(mut from, bar)| async move {
        let mut piece = BytesMut::with_capacity(PIECE);
        if from.read_buf(&mut piece).await? == 0 {
            return Ok(None);
        }
        bar.inc(piece.len() as u64);
        Ok(Some((piece.freeze(), (from, bar))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let there =
            |path: &str| Place::There { session: "sess_1".to_owned(), path: path.to_owned() };
        assert_eq!(place("sess_1:/a:b").unwrap(), there("/a:b"));
        assert_eq!(place("-").unwrap(), Place::Pipe);
        for here in ["a", "/a", "./a:b", "dir/a:b", ":x", "C.txt:1"] {
            assert_eq!(place(here).unwrap(), Place::Here(here.into()), "{here}");
        }
        assert!(place("sess_1:relative").is_err());
        assert!(place("sess_1:").is_err());
    }
}
