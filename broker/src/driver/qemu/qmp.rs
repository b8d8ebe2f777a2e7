//! The few words of QMP that are needed, on QEMU's own socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// For one command. QEMU answers at once unless it hangs.
const DEADLINE: Duration = Duration::from_secs(2);

/// The most that is read in one exchange: a greeting, answers, some events.
const MAX_READ: u64 = 256 << 10;

/// Runs one command and gives its `return`.
pub(super) async fn execute(socket: &Path, command: &str) -> io::Result<Value> {
    tokio::time::timeout(DEADLINE, exchange(socket, command))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn exchange(socket: &Path, command: &str) -> io::Result<Value> {
    let (read, mut write) = UnixStream::connect(socket).await?.into_split();
    let mut lines = BufReader::new(read.take(MAX_READ)).lines();
    for command in ["qmp_capabilities", command] {
        let request = serde_json::json!({ "execute": command });
        write.write_all(format!("{request}\n").as_bytes()).await?;
    }
    let mut answers = 0;
    while let Some(line) = lines.next_line().await? {
        let message: Value = serde_json::from_str(&line)?;
        if let Some(error) = message.get("error") {
            return Err(io::Error::other(format!("QEMU refuses {command}: {error}")));
        }
        // The greeting and events have no `return`.
        let Some(value) = message.get("return") else { continue };
        answers += 1;
        if answers == 2 {
            return Ok(value.clone());
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// `running`, `paused`, `guest-panicked`, … as QEMU names them.
pub(super) async fn status(socket: &Path) -> io::Result<String> {
    let status = execute(socket, "query-status").await?;
    let text = status.get("status").and_then(Value::as_str);
    Ok(text.unwrap_or("unknown").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    #[tokio::test]
    async fn events_between_answers_are_skipped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qmp.sock");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let said = b"{\"QMP\":{}}\n{\"return\":{}}\n{\"event\":\"RESUME\"}\n{\"return\":{\"status\":\"running\"}}\n";
            stream.write_all(said).await.unwrap();
            let mut asked = String::new();
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                asked.push_str(&line);
            }
        });
        assert_eq!(status(&path).await.unwrap(), "running");
    }
}
