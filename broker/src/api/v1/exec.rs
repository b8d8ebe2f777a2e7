//! `POST /v1/sessions/{id}/exec`: run a command, in the foreground to its exit
//! or in the background.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::{command_view, exec_request, output_view};
use crate::api::error::ApiError;
use crate::api::extract::{Json, Params};
use crate::api::reply;
use crate::core::{Broker, CommandInfo, Finished, OutputStream, Started};

pub(crate) async fn handle(
    State(broker): State<Broker>,
    Params(id): Params<String>,
    Json(fields): Json,
) -> Result<Response, ApiError> {
    let asked = exec_request::parse(fields)?;
    let session = broker.session(&id)?;
    let body = if asked.background {
        started_view(session.id(), &session.exec(asked.request).await?)
    } else {
        // A client that hangs up drops this call, and the core takes it from
        // there (`on_disconnect`).
        finished_view(session.id(), session.run(asked.request, asked.output_cap).await?)
    };
    Ok(reply::json(StatusCode::OK, &Value::Object(body)))
}

fn started_view(session_id: &str, started: &Started) -> Map<String, Value> {
    let mut view = common(session_id, &started.info, true);
    view.insert("existing".to_owned(), started.existing.into());
    view
}

fn finished_view(session_id: &str, finished: Finished) -> Map<String, Value> {
    let mut view = common(session_id, &finished.info, false);
    let (mut all, mut stdout, mut stderr) = (Vec::new(), Vec::new(), Vec::new());
    for chunk in &finished.chunks {
        all.extend_from_slice(&chunk.data);
        match chunk.stream {
            OutputStream::Stdout | OutputStream::Pty => stdout.extend_from_slice(&chunk.data),
            OutputStream::Stderr => stderr.extend_from_slice(&chunk.data),
        }
    }
    drop(finished.chunks);
    output_view::put(&mut view, "output", all);
    output_view::put(&mut view, "stdout", stdout);
    output_view::put(&mut view, "stderr", stderr);
    let truncated = finished.truncated || !finished.gaps.is_empty();
    view.insert("output_truncated".to_owned(), truncated.into());
    if !finished.gaps.is_empty() {
        let gaps = finished.gaps.iter().map(|(from, to)| json!({"from": from, "to": to})).collect();
        view.insert("gaps".to_owned(), Value::Array(gaps));
    }
    view.insert("existing".to_owned(), finished.existing.into());
    view
}

/// What both answers have: Chaser's fields, and how the command stands or ended.
fn common(session_id: &str, info: &CommandInfo, background: bool) -> Map<String, Value> {
    let mut view = command_view::exit_view(match &info.state {
        crate::core::CommandState::Exited(exit) => Some(exit),
        _ => None,
    });
    let mut put = |name: &str, value: Value| view.insert(name.to_owned(), value);
    put("kind", json!("exec"));
    put("status", json!(command_view::status(&info.state)));
    put("session_id", json!(session_id));
    put("command", json!(command_view::command_line(info)));
    put("background", json!(background));
    put("ephemeral", json!(true));
    put("command_id", json!(info.command_id));
    put("pid", json!(Some(info.pid).filter(|pid| *pid != 0)));
    put("held_open", json!(info.held_open));
    put("duration_ms", json!(command_view::duration_ms(info)));
    put("output_bytes", json!(info.output_end));
    put("tty", command_view::tty(info.tty));
    put("usage", command_view::usage(info.usage));
    view
}
