//! A running command on this terminal: its output as it comes, Ctrl-C and stdin
//! for it, and its exit code.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Stderr, Stdout};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::client::Client;
use crate::client::events::Event;
use crate::error::Error;

/// A broken line to the broker is tried again for this long: less than the
/// grace that the agent's hold on the output has (30 s), so that nothing is lost.
const REJOIN: Duration = Duration::from_secs(25);

/// Between two tries.
const REJOIN_PAUSE: Duration = Duration::from_millis(200);

/// After a KILL the exit must come; if it does not, the link is as good as dead.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// One read of stdin; with base64 it stays far below the largest JSON body.
const STDIN_PIECE: usize = 256 << 10;

/// When the command's stdin is full, it is tried again after this long.
const STDIN_PAUSE: Duration = Duration::from_millis(20);

/// 128 and SIGPIPE: whoever read our output went away.
const BROKEN_PIPE: u8 = 141;

/// 128 and SIGKILL.
const KILLED: u8 = 137;

/// The signals that are the command's, not ours.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// From here on they are taken.
    pub(crate) fn take() -> Result<Self, Error> {
        let take = |kind| signal(kind).map_err(Error::io("taking over signals"));
        Ok(Self {
            interrupt: take(SignalKind::interrupt())?,
            terminate: take(SignalKind::terminate())?,
            hangup: take(SignalKind::hangup())?,
        })
    }

    /// The next one, by its name. Safe to cancel.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "INT",
            _ = self.terminate.recv() => "TERM",
            _ = self.hangup.recv() => "HUP",
        }
    }
}

/// Which command.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) client: Client,
    pub(crate) session: String,
    pub(crate) command: String,
}

impl Running {
    /// Stays with the command until its exit; gives its exit code.
    pub(crate) async fn attend(self, signals: &mut Signals, stdin: bool) -> Result<u8, Error> {
        let stdin = stdin.then(|| tokio::spawn(self.clone().feed()));
        let mut output = tokio::spawn(self.clone().show());
        let mut asked = 0;
        let mut give_up: Option<Instant> = None;
        let ended = loop {
            let deadline = give_up.unwrap_or_else(|| Instant::now() + REJOIN);
            tokio::select! {
                ended = &mut output => break ended,
                name = signals.next() => {
                    asked += 1;
                    if self.hand_on(name, asked).await {
                        give_up = Some(Instant::now() + KILL_PATIENCE);
                    }
                }
                () = tokio::time::sleep_until(deadline), if give_up.is_some() => {
                    output.abort();
                    stop(stdin);
                    return Ok(KILLED);
                }
            }
        };
        stop(stdin);
        match ended {
            Ok(Err(Error::Io { source, .. }))
                if source.kind() == std::io::ErrorKind::BrokenPipe =>
            {
                self.tell("PIPE", "tree").await;
                Ok(BROKEN_PIPE)
            }
            Ok(result) => result,
            Err(panic) => {
                Err(Error::Answer { doing: "showing output".to_owned(), what: panic.to_string() })
            }
        }
    }

    /// The first signal goes on as it is, as a terminal would send it: to the
    /// group. A second asks the whole tree to end, a third does not ask. Whether
    /// it was the last resort.
    async fn hand_on(&self, name: &str, asked: u32) -> bool {
        match (asked, name) {
            (1, "INT") => self.tell("INT", "group").await,
            (1, name) => self.tell(name, "tree").await,
            (2, _) => self.tell("TERM", "tree").await,
            _ => {
                self.tell("KILL", "tree").await;
                return true;
            }
        }
        false
    }

    async fn tell(&self, signal: &str, scope: &str) {
        // Told and not returned: the command's own exit is still to come.
        if let Err(error) = self.client.signal(&self.session, &self.command, signal, scope).await {
            error.print();
        }
    }

    /// Output to our own stdout and stderr, in order, to the exit. A broken line
    /// is taken up where it broke.
    async fn show(self) -> Result<u8, Error> {
        let mut screen = Screen { stdout: tokio::io::stdout(), stderr: tokio::io::stderr(), at: 0 };
        let mut since = None;
        loop {
            let before = screen.at;
            let error = match self.show_one_line(&mut screen).await {
                Ok(code) => return Ok(code),
                Err(error) if error.is_link() => error,
                Err(error) => return Err(error),
            };
            if screen.at > before {
                since = None;
            }
            let since = *since.get_or_insert_with(Instant::now);
            if since.elapsed() > REJOIN {
                return Err(error);
            }
            tokio::time::sleep(REJOIN_PAUSE).await;
        }
    }

    async fn show_one_line(&self, screen: &mut Screen) -> Result<u8, Error> {
        let mut events = self.client.stream(&self.session, &self.command, screen.at).await?;
        while let Some(event) = events.next().await? {
            if let Some(code) = screen.put(&event).await? {
                return Ok(code);
            }
        }
        let doing = "following the command".to_owned();
        Err(Error::Http { doing, source: "the stream ended before the command".into() })
    }

    /// Our stdin to the command's, to its end.
    async fn feed(self) {
        let mut stdin = tokio::io::stdin();
        let mut piece = vec![0; STDIN_PIECE];
        let mut offset = 0;
        loop {
            // An error of reading is the end as well: there is no more to send.
            let read = stdin.read(&mut piece).await.unwrap_or(0);
            if self.write(&piece[..read], &mut offset, read == 0).await.is_err() || read == 0 {
                // A command that reads no more is no fault of ours.
                return;
            }
        }
    }

    /// All of `data`; what the full buffer did not take goes again.
    async fn write(&self, mut data: &[u8], offset: &mut u64, eof: bool) -> Result<(), Error> {
        loop {
            let text = BASE64.encode(data);
            let state = self.client.stdin(&self.session, &self.command, text, *offset, eof).await?;
            let taken = usize::try_from(state.offset.saturating_sub(*offset)).unwrap_or(usize::MAX);
            data = data.get(taken..).unwrap_or_default();
            *offset = state.offset;
            if data.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(STDIN_PAUSE).await;
        }
    }
}

fn stop(task: Option<JoinHandle<()>>) {
    if let Some(task) = task {
        task.abort();
    }
}

/// Where output goes, and how far it is.
#[derive(Debug)]
struct Screen {
    stdout: Stdout,
    stderr: Stderr,
    at: u64,
}

#[derive(Debug, Deserialize)]
struct Output<'a> {
    offset: u64,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    base64: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
struct Gap {
    from: u64,
    to: u64,
}

#[derive(Debug, Deserialize)]
struct Exit {
    exit_code: i32,
    #[serde(default)]
    timed_out: bool,
    #[serde(default)]
    oom_killed: bool,
}

impl Screen {
    /// Shows one event; the exit code if it was the last.
    async fn put(&mut self, event: &Event) -> Result<Option<u8>, Error> {
        let doing = "following the command";
        match event.name.as_str() {
            "output" => self.output(&event.parse(doing)?).await?,
            "gap" => {
                let gap: Gap = event.parse(doing)?;
                eprintln!("postern: output from {} to {} is gone", gap.from, gap.to);
                self.at = gap.to;
            }
            "exit" => {
                let exit: Exit = event.parse(doing)?;
                if exit.timed_out {
                    eprintln!("postern: the command ran out of time");
                }
                if exit.oom_killed {
                    eprintln!("postern: the command was killed for want of memory");
                }
                return Ok(Some(u8::try_from(exit.exit_code).unwrap_or(u8::MAX)));
            }
            "error" => return Err(event.failure(doing)),
            _ => {}
        }
        Ok(None)
    }

    async fn output(&mut self, output: &Output<'_>) -> Result<(), Error> {
        let decoded;
        let bytes = match (&output.text, &output.base64) {
            (Some(text), _) => text.as_bytes(),
            (None, Some(base64)) => {
                decoded = BASE64.decode(base64.as_bytes()).map_err(|e| Error::Answer {
                    doing: "following the command".to_owned(),
                    what: e.to_string(),
                })?;
                &decoded
            }
            (None, None) => &[],
        };
        let written = if output.stream == "stderr" {
            write(&mut self.stderr, bytes).await
        } else {
            write(&mut self.stdout, bytes).await
        };
        written.map_err(Error::io("writing output"))?;
        self.at = output.offset + bytes.len() as u64;
        Ok(())
    }
}

/// Flushed at once: a prompt without a newline has to be seen.
async fn write(to: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}
