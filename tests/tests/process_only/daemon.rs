//! `postern serve` itself: its end, its lock, and what the next one finds.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postern_tests::http::Http;
use postern_tests::{Rig, artifacts, proc, wait};
use serde_json::{Value, json};

/// Killed when the test fails, and its sandboxes with it.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) http: Http,
    data: std::path::PathBuf,
}

pub(crate) fn command(data: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(artifacts::dist("postern"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--allow-anonymous", "--driver", "process"]);
    command.args(["--default-image", "busybox", "--data-dir"]).arg(data).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Daemon {
    fn start(data: &Path, more: &[&str]) -> Self {
        Self::start_by(command(data, more), data)
    }

    pub(crate) fn start_by(mut command: Command, data: &Path) -> Self {
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address: SocketAddr = line.trim().rsplit('/').next().unwrap().parse().unwrap();
        Self { child, http: Http::new(address), data: data.to_owned() }
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers = [("Content-Type", "application/json")];
        let mut response = self.http.send(method, path, &headers, body.as_bytes()).unwrap();
        let json = response.json().unwrap();
        assert!((200..300).contains(&response.status), "{method} {path}: {json}");
        json
    }

    pub(crate) fn terminate(mut self) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM).unwrap();
        let ended =
            wait::until("the daemon ends", wait::seconds(60), || self.child.try_wait().unwrap());
        assert_eq!(ended.code(), Some(0));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            for process in sandboxes(&self.data) {
                let _ = kill(Pid::from_raw(i32::try_from(process.pid).unwrap()), Signal::SIGKILL);
            }
        }
    }
}

fn sandboxes(data: &Path) -> Vec<proc::Process> {
    let is_one = |p: &proc::Process| p.comm == "postern-sandbox" && p.has_argument_with(data);
    proc::all().into_iter().filter(is_one).collect()
}

pub(crate) fn a_daemon_that_is_to_leave_its_sandboxes_leaves_them_to_the_next(_: &Rig) {
    let dir = tempfile::Builder::new().prefix("pt").tempdir().unwrap();
    let first = Daemon::start(dir.path(), &["--on-shutdown", "leave"]);
    let id = first.ask("POST", "/v1/sessions", &json!({"memory_mb": 256}))["id"].clone();
    let path = format!("/v1/sessions/{}", id.as_str().unwrap());
    let exec = format!("{path}/exec");
    let line = "echo up; read line; echo got $line; exit 5";
    let request = json!({"command": line, "background": true, "stdin_open": true});
    let started = first.ask("POST", &exec, &request);
    let command = format!("{path}/commands/{}", started["command_id"].as_str().unwrap());
    let pid = sandboxes(dir.path())[0].pid;
    first.terminate();
    assert_eq!(sandboxes(dir.path())[0].pid, pid, "its sandbox was not left");

    let second = Daemon::start(dir.path(), &[]);
    let body = json!({"input": "it\n", "offset": 0});
    second.ask("POST", &format!("{command}/stdin"), &body);
    let done = wait::until("it ends", wait::seconds(60), || {
        Some(second.ask("GET", &command, &Value::Null)).filter(|c| c["status"] == "exited")
    });
    assert_eq!((&done["output"], &done["exit_code"]), (&json!("up\ngot it\n"), &json!(5)));
    // The default: its sandboxes end with it, adopted or not.
    second.terminate();
    assert_eq!(sandboxes(dir.path()), []);
    assert_eq!(std::fs::read_dir(dir.path().join("sessions")).unwrap().count(), 0);
}

pub(crate) fn a_second_daemon_on_one_data_directory_is_refused_and_told_why(_: &Rig) {
    let dir = tempfile::Builder::new().prefix("pt").tempdir().unwrap();
    let first = Daemon::start(dir.path(), &[]);
    let refused = command(dir.path(), &[]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(125), "{said}");
    let pid = first.child.id();
    assert!(
        said.contains(&format!("another broker (pid {pid}) uses the data directory")),
        "{said}"
    );
    assert!(refused.stdout.is_empty(), "{refused:?}");
    assert_eq!(first.ask("GET", "/v1/sessions", &Value::Null)["total"], 0);
    first.terminate();
    Daemon::start(dir.path(), &[]).terminate();
}
