//! A session, and what can be asked of it over HTTP.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use postern_proto::limits::AGENT_PORT;
use serde_json::{Value, json};

use crate::broker::Broker;
use crate::command::Command;
use crate::http::Response;
use crate::raw::Address;
use crate::rig::Kind;
use crate::{keep, proc};

/// A status and its JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body; Null when there is none.
    pub json: Value,
}

impl Answer {
    /// Of a response.
    pub fn of(mut response: Response) -> Self {
        let json = response.json().unwrap();
        Self { status: response.status, json }
    }

    /// The body of a success.
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.json
    }

    /// The body of an error of this status and code, in its proper shape.
    pub fn error(self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, self.json["code"].as_str()), (status, Some(code)), "{self:?}");
        assert!(!self.json["message"].as_str().unwrap().is_empty(), "{self:?}");
        assert!(!self.json["request_id"].as_str().unwrap().is_empty(), "{self:?}");
        self.json
    }
}

/// A session of a rig. On a failed test its logs are kept; a session of a
/// test's own ends with it.
#[derive(Debug)]
pub struct Session {
    /// `sess_…`.
    pub id: String,
    /// What the API said of it when it was made.
    pub info: Value,
    kind: Kind,
    broker: Arc<Broker>,
    ends_with_us: bool,
}

impl Session {
    /// Makes one; `settings` are the body of the request.
    pub fn make(kind: Kind, broker: Arc<Broker>, settings: &Value) -> Result<Self, Answer> {
        let response =
            broker.http.send("POST", "/v1/sessions", &[], settings.to_string().as_bytes());
        let answer = Answer::of(response.unwrap());
        if answer.status != 200 {
            return Err(answer);
        }
        let id = answer.json["id"].as_str().unwrap().to_owned();
        Ok(Self { id, info: answer.json, kind, broker, ends_with_us: true })
    }

    /// Another handle, which leaves the session alone when it goes.
    pub fn lend(&self) -> Self {
        let broker = Arc::clone(&self.broker);
        let (id, info) = (self.id.clone(), self.info.clone());
        Self { id, info, kind: self.kind, broker, ends_with_us: false }
    }

    /// The broker that it is of.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Where the broker keeps what belongs to it.
    pub fn dir(&self) -> PathBuf {
        self.broker.session_dir(&self.id)
    }

    /// Its agent, for [`crate::raw`].
    pub fn agent(&self) -> Address {
        match self.kind {
            Kind::Process => Address::Unix(self.dir().join("agent.sock")),
            Kind::Vm => Address::Hybrid(self.dir().join("vm.vsock"), AGENT_PORT),
        }
    }

    /// The program that the broker started for a process sandbox.
    pub fn sandbox_pid(&self) -> u32 {
        let wanted = self.dir();
        let list = proc::all();
        let found = list.iter().find(|p| p.comm == "postern-sandbox" && p.has_argument(&wanted));
        found.unwrap_or_else(|| panic!("no sandbox in {}", wanted.display())).pid
    }

    /// The agent's serving process, of a process sandbox.
    pub fn serve_pid(&self) -> Option<u32> {
        let below = proc::descendants(self.sandbox_pid());
        below.iter().find(|p| p.comm == "postern-serve").map(|p| p.pid)
    }

    /// A request below the session's path.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let path = format!("/v1/sessions/{}{path}", self.id);
        self.broker.http.send(method, &path, headers, body).unwrap()
    }

    /// Likewise with JSON both ways.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        Answer::of(self.send(
            method,
            path,
            &[("Content-Type", "application/json")],
            body.as_bytes(),
        ))
    }

    /// What the API says of it.
    pub fn look(&self) -> Answer {
        self.ask("GET", "", &Value::Null)
    }

    /// Runs a command as the request says, and gives whatever comes back.
    pub fn exec(&self, request: &Value) -> Answer {
        self.ask("POST", "/exec", request)
    }

    /// Runs a line of shell to its exit.
    pub fn sh(&self, line: &str) -> Value {
        self.exec(&json!({"command": line})).ok()
    }

    /// What a line of shell that must succeed says.
    pub fn say(&self, line: &str) -> String {
        let done = self.sh(line);
        assert_eq!(done["exit_code"], 0, "{line}: {done}");
        done["stdout"].as_str().unwrap().trim_end().to_owned()
    }

    /// Starts a command in the background.
    pub fn start(&self, mut request: Value) -> Command<'_> {
        request["background"] = true.into();
        let started = self.exec(&request).ok();
        Command::new(self, started["command_id"].as_str().unwrap().to_owned())
    }

    /// A command by its id.
    pub fn command(&self, id: &str) -> Command<'_> {
        Command::new(self, id.to_owned())
    }

    /// A file into the sandbox.
    pub fn put(&self, path: &str, data: &[u8]) -> Answer {
        Answer::of(self.send("PUT", &format!("/files{path}"), &[], data))
    }

    /// A file out of it; the error if there is none.
    pub fn get(&self, path: &str) -> Result<Vec<u8>, Answer> {
        let mut response = self.send("GET", &format!("/files{path}"), &[], b"");
        if response.status != 200 {
            return Err(Answer::of(response));
        }
        let mut all = Vec::new();
        response.read_to_end(&mut all).unwrap();
        Ok(all)
    }

    /// Ends it, with a grace for its commands or without.
    pub fn delete(&self, force: bool) -> Answer {
        self.ask("DELETE", if force { "?force=true" } else { "" }, &Value::Null)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if std::thread::panicking() {
            keep::logs_of(&self.dir(), &self.broker.log);
        }
        if self.ends_with_us {
            let path = format!("/v1/sessions/{}?force=true", self.id);
            // It may have ended already, and the broker with it.
            let _ = self.broker.http.send("DELETE", &path, &[], b"");
        }
    }
}
