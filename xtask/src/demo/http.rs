//! Plain HTTP as any program would speak it: the demo uses nothing of ours.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use serde_json::Value;
use ureq::{Agent, Body};

use crate::error::Error;

/// Over any one request here, the boot of a Debian guest under emulation
/// included; only a hang reaches it.
const REQUEST_LIMIT: Duration = Duration::from_secs(180);

/// Over anything that a reply of the demo holds.
const REPLY_LIMIT: u64 = 64 << 20;

pub(crate) struct Client {
    agent: Agent,
    base: String,
}

/// One event of a stream.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: Value,
}

impl Client {
    pub(crate) fn new(base: &str) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(REQUEST_LIMIT))
            // The body of a refusal says more than its status.
            .http_status_as_error(false)
            .build();
        Self { agent: config.into(), base: base.to_owned() }
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value, Error> {
        let request = format!("GET {path}");
        json(&request, self.agent.get(self.url(path)).call())
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, Error> {
        let request = format!("POST {path}");
        json(&request, self.agent.post(self.url(path)).send_json(body))
    }

    pub(crate) fn delete(&self, path: &str) -> Result<(), Error> {
        let request = format!("DELETE {path}");
        accepted(&request, self.agent.delete(self.url(path)).call()).map(drop)
    }

    pub(crate) fn bytes(&self, path: &str) -> Result<Vec<u8>, Error> {
        let request = format!("GET {path}");
        let mut body = accepted(&request, self.agent.get(self.url(path)).call())?;
        body.with_config().limit(REPLY_LIMIT).read_to_vec().map_err(broken(&request))
    }

    /// `multipart/form-data` with the fields `path` and `file`.
    pub(crate) fn upload(&self, url: &str, path: &str, content: &[u8]) -> Result<Value, Error> {
        const BOUNDARY: &str = "postern-demo-8f1c2b";
        let mut body = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"path\"\r\n\r\n{path}\r\n\
             --{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"demo\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        )
        .into_bytes();
        body.extend_from_slice(content);
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        let request = format!("POST {url}");
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        json(&request, self.agent.post(self.url(url)).header("Content-Type", kind).send(body))
    }

    /// Hands over each server-sent event as it comes, until the stream ends.
    pub(crate) fn events(
        &self,
        path: &str,
        each: impl FnMut(Event) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let request = format!("GET {path}");
        let body = accepted(
            &request,
            self.agent.get(self.url(path)).header("Accept", "text/event-stream").call(),
        )?;
        read_events(&request, BufReader::new(body.into_reader()), each)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

type Reply = Result<ureq::http::Response<Body>, ureq::Error>;

fn accepted(request: &str, reply: Reply) -> Result<Body, Error> {
    let (parts, mut body) = reply.map_err(broken(request))?.into_parts();
    if parts.status.is_success() {
        return Ok(body);
    }
    let said = body.read_to_string().unwrap_or_default();
    Err(Error::Demo { doing: request.to_owned(), problem: format!("{}: {said}", parts.status) })
}

fn json(request: &str, reply: Reply) -> Result<Value, Error> {
    let text = accepted(request, reply)?.read_to_string().map_err(broken(request))?;
    serde_json::from_str(&text).map_err(|error| Error::Demo {
        doing: request.to_owned(),
        problem: format!("the reply is not JSON ({error}): {text}"),
    })
}

fn broken(request: &str) -> impl FnOnce(ureq::Error) -> Error {
    let request = request.to_owned();
    move |source| Error::Http { request, source: Box::new(source) }
}

fn read_events(
    request: &str,
    reader: impl BufRead,
    mut each: impl FnMut(Event) -> Result<(), Error>,
) -> Result<(), Error> {
    let fault = |problem: String| Error::Demo { doing: request.to_owned(), problem };
    let mut event = Event::default();
    let mut data = String::new();
    for line in reader.lines() {
        let line = line.map_err(|error| fault(format!("the stream broke: {error}")))?;
        if line.is_empty() {
            if !event.name.is_empty() {
                event.data = serde_json::from_str(&data)
                    .map_err(|error| fault(format!("{error} in `{data}`")))?;
                each(std::mem::take(&mut event))?;
            }
            data.clear();
        } else if let Some((field, value)) = line.split_once(':') {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut event.name),
                "id" => value.clone_into(&mut event.id),
                "data" => data.push_str(value),
                // A comment, as sent to keep the connection alive.
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_and_heartbeats_passed_over() {
        let text = ": beat\n\nid: 5\nevent: output\ndata: {\"text\":\"tick\\n\"}\n\nevent: exit\ndata: {\"exit_code\":0}\n\n";
        let mut seen = Vec::new();
        read_events("GET /", text.as_bytes(), |event| {
            seen.push(event);
            Ok(())
        })
        .unwrap();
        assert_eq!(seen.len(), 2);
        assert_eq!((seen[0].id.as_str(), seen[0].data["text"].as_str()), ("5", Some("tick\n")));
        assert_eq!(seen[1].name, "exit");
    }
}
