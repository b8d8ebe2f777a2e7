//! A broker of the tests' own.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::artifacts;
use crate::http::Http;
use crate::wait;

/// A running `rig-broker`. Dropped, it ends its sandboxes and itself; when the
/// tests die it does the same.
#[derive(Debug)]
pub struct Broker {
    /// The way to its API; the same one after [`Self::start_again`].
    pub http: Http,
    /// Where its log goes.
    pub log: PathBuf,
    child: Mutex<Child>,
    /// What it is started with beside the usual.
    word: Option<&'static str>,
    data: tempfile::TempDir,
}

impl Broker {
    /// Starts one; `name` is for its log.
    pub fn start(name: &str) -> Self {
        Self::start_with(name, None)
    }

    /// One whose guests are of another architecture than this machine, by its name.
    pub fn start_for(name: &str, arch: Option<&'static str>) -> Self {
        Self::start_with(name, arch)
    }

    /// One from which images go to microVMs by `stream` or `disk`.
    pub fn start_with_images_by(transfer: &'static str, name: &str) -> Self {
        Self::start_with(name, Some(transfer))
    }

    fn start_with(name: &str, word: Option<&'static str>) -> Self {
        artifacts::dist("postern-agent");
        // Short, since sockets have short names (sockaddr_un(7)).
        let data = tempfile::Builder::new().prefix("pt").tempdir().unwrap();
        let log = artifacts::logs().join(format!("{name}-{}.log", std::process::id()));
        File::create(&log).unwrap();
        let (child, address) = launch(data.path(), &log, "127.0.0.1:0", word);
        Self { http: Http::new(address), log, child: Mutex::new(child), word, data }
    }

    /// Kills it as the kernel would: its sandboxes are left as they are.
    pub fn kill(&self) {
        let mut child = self.child();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// After [`Self::kill`]: another one in its place, with its data and its address.
    pub fn start_again(&self) {
        let (child, _) = launch(self.data.path(), &self.log, &self.http.authority(), self.word);
        *self.child() = child;
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child().id()
    }

    /// Where a session's sockets and console are.
    pub fn session_dir(&self, id: &str) -> PathBuf {
        self.data.path().join("sessions").join(id)
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts its lifeline: it ends its sandboxes, then itself.
    pub fn cut(&self) {
        drop(self.child().stdin.take());
    }

    /// Where everything of it is.
    pub fn data(&self) -> &Path {
        self.data.path()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Killed: nobody else would end what it left.
        if self.child().try_wait().is_ok_and(|ended| ended.is_some_and(|s| s.signal().is_some())) {
            self.start_again();
        }
        self.cut();
        if !std::thread::panicking() {
            wait::until("the broker ends with its lifeline", wait::seconds(60), || {
                self.child().try_wait().unwrap()
            });
        }
    }
}

/// Starts one that listens at `address`, and says where that is.
fn launch(data: &Path, log: &Path, address: &str, word: Option<&str>) -> (Child, SocketAddr) {
    let mut child = Command::new(program())
        .arg(data)
        .arg(artifacts::target().join("dist"))
        .arg(address)
        .args(word)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::options().append(true).open(log).unwrap())
        // A signal for the tests is none for it: it ends by its lifeline, in order.
        .process_group(0)
        .spawn()
        .unwrap_or_else(|e| panic!("starting {}: {e}", program().display()));
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().parse().unwrap_or_else(|_| {
        panic!("the broker did not start: {}", std::fs::read_to_string(log).unwrap())
    });
    (child, address)
}

/// Cargo builds the programs of this crate beside its tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let build = test.parent().and_then(Path::parent).unwrap();
    build.join("rig-broker")
}
