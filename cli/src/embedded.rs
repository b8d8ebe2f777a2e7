//! A broker for one call.
//!
//! `run` has to end with its command, within a fraction of a second; the sandbox's
//! teardown takes longer. So the broker is a child process: this same program,
//! serving the same API on a Unix socket in a private directory. Its stdin is a
//! lifeline: when the caller is gone, for whatever reason, it reads the end
//! there, ends its sandboxes and removes its directory. It inherits no other
//! descriptor of the caller, so that nobody who reads the caller's output waits for it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use postern_broker::api;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::UnixListener;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::args;
use crate::config::Config;
use crate::error::Error;

/// Opening a broker touches a few files; only a hang takes this long.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// For the sandboxes to end once the caller is gone.
const END_DEADLINE: Duration = Duration::from_secs(20);

/// What the child says once its socket is there.
const READY: &str = "ready";

/// As much of the child's log as an error can carry.
const LOG_TAIL: usize = 2000;

/// A broker of this call's own.
#[derive(Debug)]
pub(crate) struct Embedded {
    socket: PathBuf,
    /// Holds the lifeline: the child ends when this is dropped.
    _child: Child,
}

impl Embedded {
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) async fn start(images: Option<&Path>) -> Result<Self, Error> {
        // Mode 0700: the socket in it lets in whoever can reach it.
        let dir = tempfile::Builder::new()
            .prefix("postern-")
            .tempdir()
            .map_err(Error::io("making a directory for the broker"))?;
        let log_path = dir.path().join("log");
        let log = File::create(&log_path).map_err(Error::io("making the broker's log"))?;
        let program = std::env::current_exe().map_err(Error::io("finding this program"))?;
        let mut command = Command::new(program);
        command.arg("__embedded").arg("--dir").arg(dir.path());
        if let Some(images) = images {
            command.arg("--images").arg(images);
        }
        // A process group of its own: Ctrl-C is for the command, not for the broker.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).process_group(0);
        let mut child = command.spawn().map_err(Error::io("starting the broker"))?;
        let ready = tokio::time::timeout(START_DEADLINE, is_ready(&mut child)).await;
        if ready != Ok(true) {
            let log = std::fs::read_to_string(&log_path).unwrap_or_default();
            let tail =
                log.trim().char_indices().rev().take(LOG_TAIL).last().map_or(0, |(at, _)| at);
            let message = format!("the broker of this call did not start: {}", &log.trim()[tail..]);
            let hint = Some("`postern doctor` shows what this machine lacks");
            return Err(Error::Usage { message, hint });
        }
        let socket = socket_in(dir.path());
        // From here on the child removes it.
        let _ = dir.keep();
        Ok(Self { socket, _child: child })
    }
}

async fn is_ready(child: &mut Child) -> bool {
    let Some(stdout) = child.stdout.take() else { return false };
    let mut line = String::new();
    let read = BufReader::new(stdout).read_line(&mut line).await;
    read.is_ok() && line.trim() == READY
}

fn socket_in(dir: &Path) -> PathBuf {
    dir.join("api.sock")
}

/// The child's side.
pub(crate) async fn child(args: args::Embedded) -> Result<u8, Error> {
    crate::commands::serve::start_log()?;
    // A terminal that closes takes the caller, whose end is seen on the lifeline.
    let _hangups = signal(SignalKind::hangup()).map_err(Error::io("watching for SIGHUP"))?;
    let config =
        Config { images: args.images, data_dir: Some(args.dir.join("data")), ..Config::default() };
    let doing = "setting up a broker";
    // Its sandboxes end with the call, so there is nothing for a later broker.
    let broker = config.builder()?.without_store().build().await;
    let broker = broker.map_err(|source| Error::Broker { doing: doing.to_owned(), source })?;
    let listener =
        UnixListener::bind(socket_in(&args.dir)).map_err(Error::io("making the socket"))?;
    println!("{READY}");
    let router = broker.router();
    let ending = async {
        caller_is_gone().await;
        broker.shutdown(END_DEADLINE).await;
    };
    api::serve(listener, router, ending).await;
    // Only what was made for this call is in it.
    std::fs::remove_dir_all(&args.dir).map_err(Error::io("removing the broker's directory"))?;
    Ok(0)
}

async fn caller_is_gone() {
    let mut lifeline = tokio::io::stdin();
    let mut buffer = [0; 64];
    // Nobody writes there; an error means as much as the end.
    while lifeline.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}
