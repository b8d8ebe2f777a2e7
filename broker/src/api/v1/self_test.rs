//! `POST /v1/sessions/{id}/self-test`: what a command would find in this sandbox,
//! and what its guest cannot do. The body is not read.
//!
//! One command of the session's own user looks around; what the agent knows comes
//! from the agent, so that an image without a shell has an answer, too.

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::api::error::ApiError;
use crate::api::extract::Params;
use crate::api::reply;
use crate::core::{
    AgentInfo, Broker, Error, ExecRequest, Finished, OutputStream, Program, Session,
};

/// A tool that hangs when asked for its version must not hang the answer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(20);

/// PATH, a few versions: kilobytes.
const MAX_FOUND: usize = 256 << 10;

/// Pairs of name and value, each ended by a NUL.
const LOOK: &str = r#"
p() { printf '%s\0%s\0' "$1" "$2"; }
p cwd "$PWD"; p home "$HOME"; p user "$(id -un 2>/dev/null || id -u)"; p shell "$SHELL"
p path "$PATH"; p term "$TERM"; p lang "$LANG"
p all_proxy "${all_proxy:-$ALL_PROXY}"; p http_proxy "${http_proxy:-$HTTP_PROXY}"
p https_proxy "${https_proxy:-$HTTPS_PROXY}"; p no_proxy "${no_proxy:-$NO_PROXY}"
for t in node python3 git bun cargo rustc go; do
    w=$(command -v $t 2>/dev/null) || continue
    p tool.$t "$w"
    a=--version; [ $t = go ] && a=version
    p version.$t "$($t $a </dev/null 2>/dev/null | { IFS= read -r l; printf %s "$l"; })"
done
exit 0
"#;

/// Of the commands' cgroups; each bounds what the limit of its name bounds.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

pub(crate) async fn handle(
    State(broker): State<Broker>,
    Params(id): Params<String>,
) -> Result<Response, ApiError> {
    let session = broker.session(&id)?;
    let guest = session.agent_info().await?;
    let mut warnings = lacks(&guest);
    let runtime = match look(&session).await {
        Ok(found) => runtime(&found),
        Err(error) => {
            warnings.push(format!("a command could not look around: {error}"));
            Value::Null
        }
    };
    let body = json!({
        "kind": "self_test",
        "status": if warnings.is_empty() { "ok" } else { "degraded" },
        "session_id": session.id(),
        "runtime": runtime,
        "guest": describe(&guest),
        "warnings": warnings,
    });
    Ok(reply::json(StatusCode::OK, &body))
}

fn describe(guest: &AgentInfo) -> Value {
    json!({
        "agent": guest.software,
        "kernel": guest.kernel,
        "memory_total_bytes": guest.memory_total_bytes,
        "memory_available_bytes": guest.memory_available_bytes,
        "commands_running": guest.commands_running,
        "commands_kept": guest.commands_kept,
        "cgroup_v2": guest.cgroup_v2,
        "cgroup_controllers": guest.cgroup_controllers,
        "tree_kill": if guest.cgroup_v2 { "cgroup" } else { "process_walk" },
    })
}

/// What this guest cannot do, and what is done in its place.
fn lacks(guest: &AgentInfo) -> Vec<String> {
    let mut lacks = Vec::new();
    if !guest.cgroup_v2 {
        lacks.push(
            "commands have no cgroups: a tree is found by walking /proc for its mark, usage is \
             the first process's"
                .to_owned(),
        );
    }
    let has = |name: &&str| guest.cgroup_controllers.iter().any(|there| there == name);
    let missing: Vec<&str> = CONTROLLERS.into_iter().filter(|name| !has(name)).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        lacks.push(format!("no cgroup controller {missing}: limits of that kind are refused"));
    }
    lacks
}

type Found = HashMap<String, String>;

async fn look(session: &Session) -> Result<Found, Error> {
    let mut request = ExecRequest::new(Program::Shell(LOOK.to_owned()));
    request.timeout = Some(LOOK_TIMEOUT);
    Ok(pairs(&session.run(request, MAX_FOUND).await?))
}

fn pairs(done: &Finished) -> Found {
    let stdout = done.chunks.iter().filter(|chunk| chunk.stream == OutputStream::Stdout);
    let bytes: Vec<u8> = stdout.flat_map(|chunk| chunk.data.iter().copied()).collect();
    let text = String::from_utf8_lossy(&bytes);
    let mut parts = text.split('\0').map(str::to_owned);
    let mut found = Found::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        found.insert(name, value);
    }
    found
}

fn runtime(found: &Found) -> Value {
    let get = |name: &str| found.get(name).filter(|value| !value.is_empty());
    let below = |prefix: &str| -> Map<String, Value> {
        let of = |(name, value): (&String, &String)| {
            name.strip_prefix(prefix).map(|name| (name.to_owned(), json!(value)))
        };
        found.iter().filter_map(of).collect()
    };
    let path = get("path");
    let entries: Vec<&str> = path.map(|path| path.split(':').collect()).unwrap_or_default();
    json!({
        "cwd": get("cwd"), "home": get("home"), "user": get("user"), "shell": get("shell"),
        "path": path, "path_entries": entries, "term": get("term"), "lang": get("lang"),
        "proxy": {
            "all_proxy": get("all_proxy"), "http_proxy": get("http_proxy"),
            "https_proxy": get("https_proxy"), "no_proxy": get("no_proxy"),
        },
        "tools": below("tool."),
        "tool_versions": below("version."),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_lacks_is_named() {
        let all = CONTROLLERS.map(str::to_owned).to_vec();
        let full = AgentInfo { cgroup_v2: true, cgroup_controllers: all, ..AgentInfo::default() };
        assert_eq!(lacks(&full), [""; 0]);
        let some = AgentInfo { cgroup_controllers: vec!["cpu".to_owned()], ..full };
        assert!(lacks(&some)[0].contains("memory, pids"), "{:?}", lacks(&some));
        assert_eq!(lacks(&AgentInfo::default()).len(), 2);
    }

    #[test]
    fn what_was_found_is_told() {
        let found = [("path", "/bin:/usr/bin"), ("lang", ""), ("tool.git", "/usr/bin/git")];
        let found = found.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let runtime = runtime(&found);
        assert_eq!(runtime["path_entries"], json!(["/bin", "/usr/bin"]));
        assert_eq!((&runtime["lang"], &runtime["home"]), (&Value::Null, &Value::Null));
        assert_eq!(runtime["tools"], json!({"git": "/usr/bin/git"}));
    }
}
