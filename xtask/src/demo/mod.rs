//! `demo`: a Debian microVM, driven over plain HTTP, each step with its timing.
//!
//! Every step checks what came back, so that the demo is a test as well.

mod broker;
mod http;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::arch::Arch;
use crate::dist;
use crate::error::Error;
use crate::setup;
use crate::stamp::sha256;
use crate::step::{bytes, seconds};
use crate::workspace::Workspace;

use broker::Broker;
use http::Client;

const SESSION: &str = r#"{"image": "debian"}"#;

const PYTHON: &str = "\
import platform, sys
print('Python', platform.python_version(), 'on', platform.machine())
print('sum of squares below 1000:', sum(n * n for n in range(1000)))";

const UPLOAD_SIZE: usize = 1 << 20;
const UPLOAD_PATH: &str = "/tmp/demo/upload.bin";

pub(crate) fn run(workspace: &Workspace) -> Result<(), Error> {
    setup::run(workspace, Arch::host())?;
    dist::run(workspace, Arch::host(), dist::For::Use)?;
    let start = Instant::now();
    let broker = timed("postern serve", || Broker::start(workspace))?;
    println!("    listening on {}", broker.url);
    match drive(&Client::new(&broker.url)) {
        Ok(()) => timed("SIGTERM to the broker", || broker.stop())?,
        Err(error) => {
            println!("    the broker said last:\n{}", broker.log_tail());
            return Err(error);
        }
    }
    println!("\nall steps as they should be, in {}", seconds(start.elapsed()));
    Ok(())
}

fn drive(client: &Client) -> Result<(), Error> {
    let id = timed(&format!("POST /v1/sessions {SESSION}"), || create(client))?;
    let session = Session { client, base: format!("/v1/sessions/{id}") };
    timed("exec: cat /etc/os-release", || session.os_release())?;
    timed("exec: a Python program", || session.python())?;
    timed("exec in the background, followed by SSE", || session.background())?;
    timed("stdin, twice, then its end", || session.stdin())?;
    timed("kill a command that sleeps", || session.kill())?;
    let content = noise(UPLOAD_SIZE);
    timed(&format!("upload of {}", bytes(UPLOAD_SIZE as u64)), || session.upload(&content))?;
    timed("download of the same", || session.download(&content))?;
    timed("DELETE the session", || client.delete(&session.base))
}

fn create(client: &Client) -> Result<String, Error> {
    const BOOT_LIMIT: Duration = Duration::from_secs(120);
    const POLL: Duration = Duration::from_millis(50);
    let deadline = Instant::now() + BOOT_LIMIT;
    let body: Value = serde_json::from_str(SESSION).map_err(|error| Error::Demo {
        doing: "reading the request for a session".to_owned(),
        problem: error.to_string(),
    })?;
    let mut session = client.post("/v1/sessions", &body)?;
    let id = text(&session, "id")?.to_owned();
    while !matches!(session["status"].as_str(), Some("running" | "ready" | "active")) {
        expect(
            "the session comes up",
            Instant::now() < deadline && session["status"] != "failed",
            &session,
        )?;
        std::thread::park_timeout(POLL);
        session = client.get(&format!("/v1/sessions/{id}"))?;
    }
    let boot = &session["boot"];
    println!("    {id} is {}", text(&session, "status")?);
    println!(
        "    boot {} ms ({}), image {} ms",
        boot["sandbox_ms"],
        boot["accelerator"].as_str().unwrap_or("accelerator unknown"),
        boot["image_ms"]
    );
    Ok(id)
}

/// One session, with the requests of the demo.
struct Session<'a> {
    client: &'a Client,
    base: String,
}

impl Session<'_> {
    fn os_release(&self) -> Result<(), Error> {
        let reply = self.exec(&json!({ "command": "cat /etc/os-release" }))?;
        show(text(&reply, "output")?.lines().take(3).collect::<Vec<_>>().join("\n").as_str());
        expect("it is Debian", text(&reply, "output")?.contains("ID=debian"), &reply)
    }

    fn python(&self) -> Result<(), Error> {
        let reply = self.exec(&json!({ "argv": ["python3", "-c", PYTHON] }))?;
        show(text(&reply, "output")?);
        expect("the sum is right", text(&reply, "output")?.contains("332833500"), &reply)
    }

    fn background(&self) -> Result<(), Error> {
        let command = "for i in 1 2 3; do echo tick $i; sleep 0.3; done; exit 7";
        let id = self.start(&json!({ "command": command }))?;
        let (output, exit) = self.follow(&id)?;
        expect("every tick came", output == "tick 1\ntick 2\ntick 3\n", &exit)?;
        expect("the exit code is the command's own", exit["exit_code"] == 7, &exit)
    }

    fn stdin(&self) -> Result<(), Error> {
        let command = "read line; echo \"first line: $line\"; echo \"bytes after it: $(wc -c)\"";
        let id = self.start(&json!({ "command": command, "stdin_open": true }))?;
        let path = format!("{}/commands/{id}/stdin", self.base);
        let first = "hello from outside\n";
        let second = "12345";
        let reply = self.client.post(&path, &json!({ "input": first, "offset": 0 }))?;
        expect("all of it was taken", reply["accepted"] == first.len(), &reply)?;
        let reply = self
            .client
            .post(&path, &json!({ "input": second, "offset": first.len(), "eof": true }))?;
        expect("all of it was taken", reply["offset"] == first.len() + second.len(), &reply)?;
        let (output, exit) = self.follow(&id)?;
        let wanted = "first line: hello from outside\nbytes after it: 5\n";
        expect("the program read both", output == wanted, &exit)
    }

    fn kill(&self) -> Result<(), Error> {
        let id = self.start(&json!({ "command": "sleep 1000" }))?;
        let path = format!("{}/commands/{id}/kill", self.base);
        let reply = self.client.post(&path, &json!({ "signal": "TERM" }))?;
        expect("it was delivered", reply["delivered"] == true, &reply)?;
        let (_, exit) = self.follow(&id)?;
        expect("it ended by signal 15", exit["signal"] == 15 && exit["exit_code"] == 143, &exit)
    }

    fn upload(&self, content: &[u8]) -> Result<(), Error> {
        let reply = self.client.upload(&format!("{}/upload", self.base), UPLOAD_PATH, content)?;
        expect("its size is right", reply["size"] == content.len(), &reply)?;
        let reply = self.exec(&json!({ "argv": ["sha256sum", UPLOAD_PATH] }))?;
        show(text(&reply, "output")?);
        expect(
            "the guest has the same bytes",
            text(&reply, "output")?.starts_with(&sha256(content)),
            &reply,
        )
    }

    fn download(&self, content: &[u8]) -> Result<(), Error> {
        let path = UPLOAD_PATH.replace('/', "%2F");
        let got = self.client.bytes(&format!("{}/download?path={path}", self.base))?;
        println!("    sha256 {}", sha256(&got));
        expect("the same bytes came back", got == content, &Value::Null)
    }

    /// A command in the foreground that must succeed.
    fn exec(&self, body: &Value) -> Result<Value, Error> {
        let reply = self.client.post(&format!("{}/exec", self.base), body)?;
        expect("the command succeeds", reply["exit_code"] == 0, &reply)?;
        Ok(reply)
    }

    /// A command in the background; gives its id.
    fn start(&self, body: &Value) -> Result<String, Error> {
        let mut body = body.clone();
        body["background"] = true.into();
        let reply = self.client.post(&format!("{}/exec", self.base), &body)?;
        Ok(text(&reply, "command_id")?.to_owned())
    }

    /// Follows the command's stream to its end: its output and its exit event.
    fn follow(&self, id: &str) -> Result<(String, Value), Error> {
        let start = Instant::now();
        let mut output = String::new();
        let mut exit = Value::Null;
        self.client.events(&format!("{}/commands/{id}/stream?from=0", self.base), |event| {
            println!(
                "    +{:<7} id {:<4} {} {}",
                seconds(start.elapsed()),
                event.id,
                event.name,
                event.data
            );
            match event.name.as_str() {
                "output" => output.push_str(text(&event.data, "text")?),
                "exit" => exit = event.data,
                _ => expect("no gap and no error in the stream", false, &event.data)?,
            }
            Ok(())
        })?;
        expect("the stream ends with an exit", !exit.is_null(), &Value::String(output.clone()))?;
        Ok((output, exit))
    }
}

fn timed<T>(name: &str, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    println!("\n==> {name}");
    let start = Instant::now();
    let value = work()?;
    println!("    took {}", seconds(start.elapsed()));
    Ok(value)
}

fn text<'a>(reply: &'a Value, field: &str) -> Result<&'a str, Error> {
    reply[field].as_str().ok_or_else(|| Error::Demo {
        doing: format!("reading the field `{field}`"),
        problem: format!("it is no text in {reply}"),
    })
}

fn expect(what: &str, holds: bool, reply: &Value) -> Result<(), Error> {
    if holds {
        return Ok(());
    }
    Err(Error::Demo {
        doing: format!("checking that {what}"),
        problem: format!("it does not: {reply}"),
    })
}

fn show(output: &str) {
    for line in output.lines() {
        println!("    | {line}");
    }
}

/// Bytes with no pattern, NULs and broken UTF-8 among them; always the same.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(size)
    .collect()
}
