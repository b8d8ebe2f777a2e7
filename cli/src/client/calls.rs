//! One method per call of the API.

use std::time::Duration;

use hyper::Method;
use hyper::header::ACCEPT;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::events::{Event, Events};
use super::types::{Command, Commands, Delivered, Progress, Session, Sessions, Started, Version};
use super::{Client, SHORT, empty, full, segment};
use crate::error::Error;

/// The broker has deadlines of its own for a pull, a boot and an image; this one
/// is only for a broker that hangs.
const MAKE_DEADLINE: Duration = Duration::from_secs(45 * 60);

/// Whether there is a broker has to be known at once.
const PROBE_DEADLINE: Duration = Duration::from_secs(1);

impl Client {
    /// Who answers there, asked in a hurry.
    pub(crate) async fn probe(&self) -> Result<Version, Error> {
        self.json("asking who is there", Method::GET, "/v1/version", None, PROBE_DEADLINE).await
    }

    pub(crate) async fn create_session(
        &self,
        body: &Value,
        watch: impl FnMut(&Progress),
    ) -> Result<Session, Error> {
        self.watched("making a session", "/v1/sessions", body, "session", watch).await
    }

    /// A call that tells its progress, and ends with an event of the given name.
    pub(super) async fn watched<T: DeserializeOwned>(
        &self,
        doing: &str,
        path: &str,
        body: &Value,
        result: &str,
        mut watch: impl FnMut(&Progress),
    ) -> Result<T, Error> {
        let request = self
            .request(Method::POST, path)
            .header(ACCEPT, "text/event-stream")
            .body(full(body.to_string()));
        let response = self.send(doing, request, SHORT).await?;
        let mut events = Events::new(doing, response);
        let making = async {
            while let Some(event) = events.next().await? {
                match event.name.as_str() {
                    "progress" => watch(&event.parse(doing)?),
                    "error" => return Err(event.failure(doing)),
                    name if name == result => return event.parse(doing),
                    _ => {}
                }
            }
            Err(Error::Answer { doing: doing.to_owned(), what: "it ended early".to_owned() })
        };
        match tokio::time::timeout(MAKE_DEADLINE, making).await {
            Ok(made) => made,
            Err(_) => {
                Err(Error::Late { doing: doing.to_owned(), seconds: MAKE_DEADLINE.as_secs() })
            }
        }
    }

    pub(crate) async fn sessions(&self) -> Result<Vec<Session>, Error> {
        let list: Sessions =
            self.json("listing sessions", Method::GET, "/v1/sessions", None, SHORT).await?;
        Ok(list.sessions)
    }

    pub(crate) async fn delete_session(&self, id: &str, force: bool) -> Result<(), Error> {
        let path = format!("/v1/sessions/{}?force={force}", segment(id));
        let request = self.request(Method::DELETE, &path).body(empty());
        self.send(&format!("ending session {id}"), request, SHORT).await.map(drop)
    }

    /// Starts a command in the background; live output is followed beside it.
    pub(crate) async fn start(&self, session: &str, body: &Value) -> Result<Started, Error> {
        let path = format!("/v1/sessions/{}/exec", segment(session));
        self.json("starting the command", Method::POST, &path, Some(body), SHORT).await
    }

    pub(crate) async fn commands(&self, session: &str) -> Result<Vec<Command>, Error> {
        let path = format!("/v1/sessions/{}/commands", segment(session));
        let list: Commands = self.json("listing commands", Method::GET, &path, None, SHORT).await?;
        Ok(list.commands)
    }

    pub(crate) async fn signal(
        &self,
        session: &str,
        command: &str,
        signal: &str,
        scope: &str,
    ) -> Result<Delivered, Error> {
        let path = format!("{}/kill", command_path(session, command));
        let body = json!({"signal": signal, "scope": scope});
        self.json("sending a signal", Method::POST, &path, Some(&body), SHORT).await
    }
}

pub(crate) fn command_path(session: &str, command: &str) -> String {
    format!("/v1/sessions/{}/commands/{}", segment(session), segment(command))
}

impl Event {
    /// An `error` event as the error that it is.
    pub(crate) fn failure(&self, doing: &str) -> Error {
        match self.parse(doing) {
            Ok(failure) => Error::Api { doing: doing.to_owned(), failure: Box::new(failure) },
            Err(error) => error,
        }
    }
}
