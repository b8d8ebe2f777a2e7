//! A command in the background.

use std::time::Duration;

use serde_json::{Value, json};

use crate::events::{Event, Events};
use crate::http::Response;
use crate::session::{Answer, Session};
use crate::wait;

/// One command of a session.
#[derive(Debug)]
pub struct Command<'a> {
    session: &'a Session,
    /// Its id.
    pub id: String,
}

impl<'a> Command<'a> {
    pub(crate) fn new(session: &'a Session, id: String) -> Self {
        Self { session, id }
    }

    fn path(&self, rest: &str) -> String {
        format!("/commands/{}{rest}", self.id)
    }

    /// A request below its path, with JSON both ways.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.session.ask(method, &self.path(path), body)
    }

    /// A request below its path, with a body as it is.
    pub fn send(&self, method: &str, path: &str, body: &[u8]) -> Response {
        self.session.send(method, &self.path(path), &[], body)
    }

    /// Whatever the API says of it.
    pub fn look(&self) -> Answer {
        self.session.ask("GET", &self.path(""), &Value::Null)
    }

    /// How it stands.
    pub fn info(&self) -> Value {
        self.look().ok()
    }

    /// As soon as `seen` holds.
    pub fn when(&self, what: &str, limit: Duration, seen: impl Fn(&Value) -> bool) -> Value {
        wait::until(what, limit, || Some(self.info()).filter(&seen))
    }

    /// At its exit.
    pub fn exited(&self) -> Value {
        let what = format!("the exit of {}", self.id);
        self.when(&what, wait::seconds(120), |info| info["status"] != "running")
    }

    /// When its log is final.
    pub fn closed(&self) -> Value {
        let what = format!("the final log of {}", self.id);
        self.when(&what, wait::seconds(120), |info| info["closed"] == true)
    }

    /// Its output once `text` is in it.
    pub fn said(&self, text: &str) -> Value {
        let what = format!("{} says {text:?}", self.id);
        self.when(&what, wait::seconds(60), |info| info["output"].as_str().unwrap().contains(text))
    }

    /// A stream of events; `query` such as `?from=3`.
    pub fn stream(&self, query: &str) -> Response {
        self.session.send("GET", &self.path(&format!("/stream{query}")), &[], b"")
    }

    /// Its events to the end.
    pub fn events(&self, query: &str) -> Vec<Event> {
        Events::new(self.stream(query)).all().unwrap()
    }

    /// Comes back as an EventSource does.
    pub fn resume(&self, query: &str, last_event_id: u64) -> Response {
        let id = last_event_id.to_string();
        let path = self.path(&format!("/stream{query}"));
        self.session.send("GET", &path, &[("Last-Event-ID", id.as_str())], b"")
    }

    /// The output as it is.
    pub fn output(&self, query: &str) -> Response {
        self.session.send("GET", &self.path(&format!("/output{query}")), &[], b"")
    }

    /// Bytes for stdin.
    pub fn stdin(&self, body: &Value) -> Answer {
        self.session.ask("POST", &self.path("/stdin"), body)
    }

    /// A signal for a scope.
    pub fn kill(&self, signal: &str, scope: &str) -> Answer {
        let body = json!({"signal": signal, "scope": scope});
        self.session.ask("POST", &self.path("/kill"), &body)
    }
}
