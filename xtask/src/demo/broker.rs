//! The daemon under demonstration: started, watched, ended.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::error::Error;
use crate::run::Running;
use crate::workspace::{Workspace, make_folder};

/// It only binds a socket before it says where it listens.
const START_LIMIT: Duration = Duration::from_secs(20);
/// It has no session left to end.
const STOP_LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Broker {
    running: Running,
    pub(crate) url: String,
    data: PathBuf,
}

impl Broker {
    /// `postern serve` on a free port, with nothing kept from earlier runs.
    pub(crate) fn start(workspace: &Workspace) -> Result<Self, Error> {
        let dist = workspace.dist();
        // Below the system's own folder for such things, because the paths of
        // sockets are limited to 108 bytes and a checkout may lie deep.
        let data = std::env::temp_dir().join(format!("postern-demo-{}", std::process::id()));
        make_folder(&data)?;
        let log = data.join("serve.log");
        let log = File::create(&log).map_err(Error::io("making", &log))?;
        let mut running = Running::start(
            Command::new(dist.join("postern"))
                .args([
                    "serve",
                    "--listen",
                    "127.0.0.1:0",
                    "--driver",
                    "qemu",
                    "--allow-anonymous",
                    "--data-dir",
                ])
                .arg(&data)
                .arg("--images")
                .arg(dist.join("images"))
                .env("PATH", workspace.path_with_tools())
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(log),
        )?;
        let stdout = running.child.stdout.take();
        let mut broker = Self { running, url: String::new(), data };
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout
                .map(|stdout| BufReader::new(stdout).lines())
                .into_iter()
                .flatten()
                .map_while(Result::ok)
            {
                if let Some(url) = line.strip_prefix("listening on ") {
                    let _ = sender.send(url.to_owned());
                }
            }
        });
        broker.url = receiver.recv_timeout(START_LIMIT).map_err(|_| Error::Demo {
            doing: "starting `postern serve`".to_owned(),
            problem: format!("no line `listening on URL`; it said:\n{}", broker.log_tail()),
        })?;
        Ok(broker)
    }

    /// SIGTERM, as a service manager would.
    pub(crate) fn stop(mut self) -> Result<(), Error> {
        self.running.signal(Signal::SIGTERM);
        let status = self.running.wait(STOP_LIMIT)?;
        if !status.success() {
            return Err(Error::Demo {
                doing: "stopping `postern serve` by SIGTERM".to_owned(),
                problem: format!("it ended with {status}; it said:\n{}", self.log_tail()),
            });
        }
        fs::remove_dir_all(&self.data).map_err(Error::io("removing", &self.data))
    }

    /// What it said last, for an error message.
    pub(crate) fn log_tail(&self) -> String {
        const LINES: usize = 40;
        let log = fs::read_to_string(self.data.join("serve.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n")
    }
}
