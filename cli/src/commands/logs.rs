//! `postern logs [-f] SESSION COMMAND`: a command's output as it is.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::resolve;
use crate::args::{Logs, OutputStream};
use crate::client::Client;
use crate::connect;
use crate::error::Error;

/// A broken line is tried again for this long: less than the grace of the
/// agent's hold on the output.
const REJOIN: Duration = Duration::from_secs(25);

/// Between two tries.
const REJOIN_PAUSE: Duration = Duration::from_millis(200);

pub(crate) async fn run(args: Logs) -> Result<u8, Error> {
    let client = connect::daemon().await?;
    let session = resolve::session(&client, &args.session).await?;
    let command = resolve::command(&client, &session, &args.command).await?;
    let mut log = Log { client, session, command, args, at: 0, out: tokio::io::stdout() };
    log.at = log.args.from;
    let mut since = None;
    loop {
        let before = log.at;
        let error = match log.print().await {
            Ok(()) => return Ok(0),
            // As when a pager is left.
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::BrokenPipe => {
                return Ok(0);
            }
            Err(error) if error.is_link() => error,
            Err(error) => return Err(error),
        };
        if log.at > before {
            since = None;
        }
        if since.get_or_insert_with(Instant::now).elapsed() > REJOIN {
            return Err(error);
        }
        tokio::time::sleep(REJOIN_PAUSE).await;
    }
}

/// A log on its way to stdout.
struct Log {
    client: Client,
    session: String,
    command: String,
    args: Logs,
    at: u64,
    out: tokio::io::Stdout,
}

impl Log {
    /// From where it stands to the end. A broken body is resumed by the caller;
    /// what is gone by then is told.
    async fn print(&mut self) -> Result<(), Error> {
        let stream = match self.args.stream {
            OutputStream::All => "all",
            OutputStream::Stdout => "stdout",
            OutputStream::Stderr => "stderr",
        };
        let follow = self.args.follow;
        let output = self.client.output(&self.session, &self.command, self.at, stream, follow);
        let mut output = output.await?;
        if let Some(first) = output.offset.filter(|first| *first > self.at) {
            eprintln!("postern: output from {} to {first} is gone", self.at);
            self.at = first;
        }
        while let Some(piece) = output.next_patiently().await? {
            self.out.write_all(&piece).await.map_err(Error::io("writing output"))?;
            self.out.flush().await.map_err(Error::io("writing output"))?;
            self.at += piece.len() as u64;
        }
        Ok(())
    }
}
