//! The few words of QMP that are needed, on QEMU's own socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines, Take};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// For one command. QEMU answers at once unless it hangs.
const DEADLINE: Duration = Duration::from_secs(2);

/// The most that is read on one connection: a greeting, answers, some events.
const MAX_READ: u64 = 256 << 10;

/// One connection. QEMU serves one at a time, so it is closed soon.
#[derive(Debug)]
pub(super) struct Qmp {
    lines: Lines<BufReader<Take<OwnedReadHalf>>>,
    write: OwnedWriteHalf,
    /// Events that came before an answer.
    events: Vec<Value>,
}

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum QmpError {
    #[error("QMP")]
    Io(#[from] io::Error),
    #[error("QEMU did not answer to {0} in time")]
    Silent(String),
    /// `class` is one of QEMU's, such as `DeviceNotFound`.
    #[error("QEMU refuses {command}: {text}")]
    Refused { command: String, class: String, text: String },
}

impl Qmp {
    pub(super) async fn connect(socket: &Path) -> Result<Self, QmpError> {
        let connect = tokio::time::timeout(DEADLINE, UnixStream::connect(socket));
        let stream = connect.await.map_err(|_| QmpError::Silent("a connection".to_owned()))?;
        let (read, write) = stream?.into_split();
        let lines = BufReader::new(read.take(MAX_READ)).lines();
        let mut qmp = Self { lines, write, events: Vec::new() };
        qmp.execute("qmp_capabilities", Value::Null).await?;
        Ok(qmp)
    }

    /// Runs one command and gives its `return`.
    pub(super) async fn execute(
        &mut self,
        command: &str,
        arguments: Value,
    ) -> Result<Value, QmpError> {
        tokio::time::timeout(DEADLINE, self.exchange(command, arguments))
            .await
            .unwrap_or_else(|_| Err(QmpError::Silent(command.to_owned())))
    }

    async fn exchange(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        let mut request = json!({ "execute": command });
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        self.write.write_all(format!("{request}\n").as_bytes()).await?;
        loop {
            let mut message = self.message().await?;
            if let Some(error) = message.get("error") {
                let text = |key| error[key].as_str().unwrap_or_default().to_owned();
                let (class, text) = (text("class"), text("desc"));
                return Err(QmpError::Refused { command: command.to_owned(), class, text });
            }
            if let Some(value) = message.get_mut("return") {
                return Ok(value.take());
            }
            // The greeting is neither, and is passed over.
            if message.get("event").is_some() {
                self.events.push(message);
            }
        }
    }

    /// Waits for an event of this name about this device.
    pub(super) async fn event(
        &mut self,
        name: &str,
        device: &str,
        within: Duration,
    ) -> Result<(), QmpError> {
        let is_it = |m: &Value| m["event"] == name && m["data"]["device"] == device;
        if self.events.iter().any(is_it) {
            return Ok(());
        }
        let wait = async {
            while !is_it(&self.message().await?) {}
            Ok(())
        };
        let waited = tokio::time::timeout(within, wait).await;
        waited.unwrap_or_else(|_| Err(QmpError::Silent(format!("the event {name}"))))
    }

    async fn message(&mut self) -> io::Result<Value> {
        let line = self.lines.next_line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(serde_json::from_str(&line)?)
    }
}

/// Runs one command on a connection of its own.
pub(super) async fn execute(socket: &Path, command: &str) -> Result<Value, QmpError> {
    Qmp::connect(socket).await?.execute(command, Value::Null).await
}

/// `running`, `paused`, `guest-panicked`, … as QEMU names them.
pub(super) async fn status(socket: &Path) -> Result<String, QmpError> {
    let status = execute(socket, "query-status").await?;
    let text = status.get("status").and_then(Value::as_str);
    Ok(text.unwrap_or("unknown").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    /// A QEMU that says one thing to whoever connects.
    fn qemu_that_says(said: &'static str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp.sock");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
            let mut asked = String::new();
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                asked.push_str(&line);
            }
        });
        (dir, path)
    }

    #[tokio::test]
    async fn events_between_answers_are_kept_for_who_asks_for_them() {
        let (_dir, path) = qemu_that_says(concat!(
            "{\"QMP\":{}}\n{\"return\":{}}\n{\"event\":\"RESUME\"}\n",
            "{\"event\":\"DEVICE_DELETED\",\"data\":{\"device\":\"vsock0\"}}\n",
            "{\"return\":{\"status\":\"running\"}}\n",
        ));
        let mut qmp = Qmp::connect(&path).await.unwrap();
        let status = qmp.execute("query-status", Value::Null).await.unwrap();
        assert_eq!(status["status"], "running");
        qmp.event("DEVICE_DELETED", "vsock0", Duration::ZERO).await.unwrap();
        let other = qmp.event("DEVICE_DELETED", "other", Duration::from_millis(1)).await;
        assert!(matches!(other, Err(QmpError::Silent(_))), "{other:?}");
    }

    #[tokio::test]
    async fn a_refusal_has_its_class() {
        let (_dir, path) = qemu_that_says(concat!(
            "{\"QMP\":{}}\n{\"return\":{}}\n",
            "{\"error\":{\"class\":\"DeviceNotFound\",\"desc\":\"no\"}}\n",
        ));
        let error = execute(&path, "device_del").await.unwrap_err();
        assert!(matches!(&error, QmpError::Refused { class, .. } if class == "DeviceNotFound"));
        assert_eq!(error.to_string(), "QEMU refuses device_del: no");
    }
}
