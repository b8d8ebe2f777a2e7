//! The daemon, and a session of it.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::Rig;
use super::agent::stop;
use super::http::Http;

#[derive(Debug)]
pub(crate) struct Broker {
    child: Child,
    pub(crate) address: SocketAddr,
    data: TempDir,
}

impl Broker {
    pub(crate) fn start(rig: &Rig, driver: &str) -> io::Result<Self> {
        Self::start_with(rig, driver, "")
    }

    /// With lines of its settings.
    pub(crate) fn start_with(rig: &Rig, driver: &str, settings: &str) -> io::Result<Self> {
        let data = rig.dir()?;
        let mut command = Command::new(rig.shipped("postern")?);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--allow-anonymous", "--driver", driver])
            .arg("--data-dir")
            .arg(data.path().join("data"))
            .arg("--images")
            .arg(&rig.images)
            .args(["--default-image", "bench"]);
        // Nothing overridden: what is shipped is measured.
        let agent = rig.agent()?;
        let mut settings = settings.to_owned();
        if agent != rig.dist.join("postern-agent") {
            settings += &format!("agent = {:?}\n", agent.display().to_string());
        }
        if !settings.is_empty() {
            let config = data.path().join("config.toml");
            std::fs::write(&config, settings)?;
            command.arg("--config").arg(config);
        }
        let mut child =
            command.env("RUST_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?;
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        let address = line.trim().strip_prefix("listening on http://");
        match (read, address.and_then(|text| text.parse().ok())) {
            (Ok(_), Some(address)) => Ok(Self { child, address, data }),
            (read, _) => {
                stop(&mut child);
                Err(io::Error::other(format!("postern serve said {line:?} ({read:?})")))
            }
        }
    }

    pub(crate) fn connect(&self) -> io::Result<Http> {
        Http::connect(self.address)
    }

    /// A session of the benchmark's image; its path in the API.
    pub(crate) fn session(&self, http: &mut Http) -> io::Result<String> {
        self.create(http, &json!({"image": "bench"}))
    }

    /// One with room for a large file.
    pub(crate) fn roomy_session(&self, http: &mut Http) -> io::Result<String> {
        self.create(http, &json!({"image": "bench", "root_size_mb": 3072}))
    }

    fn create(&self, http: &mut Http, body: &Value) -> io::Result<String> {
        let answer = http.post("/v1/sessions", body)?;
        let id = answer["id"].as_str().ok_or_else(|| io::Error::other(answer.to_string()))?;
        Ok(format!("/v1/sessions/{id}"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A file of that name somewhere below the data directory.
    pub(crate) fn find(&self, name: &str) -> io::Result<PathBuf> {
        let mut dirs = vec![self.data.path().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(&dir)?.flatten() {
                if entry.file_name() == name {
                    return Ok(entry.path());
                }
                if entry.file_type()?.is_dir() {
                    dirs.push(entry.path());
                }
            }
        }
        Err(io::Error::other(format!("no {name} in the broker's data directory")))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// Runs a program to its end, which must be a good one.
pub(crate) fn exec(http: &mut Http, session: &str, argv: &[&str]) -> io::Result<Value> {
    let answer = http.post(&format!("{session}/exec"), &json!({"argv": argv}))?;
    if answer["exit_code"] == 0 { Ok(answer) } else { Err(io::Error::other(answer.to_string())) }
}

/// Starts a program whose output waits for its reader; its path in the API.
pub(crate) fn start_lossless(
    http: &mut Http,
    session: &str,
    argv: &[String],
) -> io::Result<String> {
    let body = json!({"argv": argv, "background": true, "lossless": true});
    let answer = http.post(&format!("{session}/exec"), &body)?;
    let id = answer["command_id"].as_str().ok_or_else(|| io::Error::other(answer.to_string()))?;
    Ok(format!("{session}/commands/{id}"))
}
