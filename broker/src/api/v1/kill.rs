//! `POST /v1/sessions/{id}/commands/{cid}/kill`: a signal for a command.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::api::error::ApiError;
use crate::api::extract::{Json, Params};
use crate::api::fields::Fields;
use crate::api::reply;
use crate::core::{Broker, SignalScope};
use crate::signal;

pub(crate) async fn handle(
    State(broker): State<Broker>,
    Params((id, command_id)): Params<(String, String)>,
    Json(fields): Json,
) -> Result<Response, ApiError> {
    let (signal, scope) = parse(fields)?;
    let session = broker.session(&id)?;
    let delivered = session.signal(&command_id, signal, scope).await?;
    let body = json!({
        "command_id": command_id,
        "signal": signal,
        "signal_name": signal::name(signal),
        "delivered": delivered,
    });
    Ok(reply::json(StatusCode::OK, &body))
}

/// Without a scope the whole tree is meant: who kills a command does not want
/// its children to stay.
pub(super) fn parse(mut fields: Fields) -> Result<(u32, SignalScope), ApiError> {
    let known = match fields.take("signal") {
        None => Some(signal::TERM),
        Some(Value::String(text)) => signal::parse(&text),
        Some(Value::Number(number)) => number.as_u64().and_then(signal::by_number),
        Some(_) => return Err(fields.invalid("signal", "must be a name such as TERM, or a number")),
    };
    let Some(signal) = known else {
        return Err(fields.invalid("signal", "is not a signal's name or number (1 to 64)"));
    };
    let scope = match fields.text("scope")?.as_deref() {
        None | Some("tree") => SignalScope::Tree,
        Some("group") => SignalScope::Group,
        Some("process") => SignalScope::Process,
        Some(_) => return Err(fields.invalid("scope", "must be process, group or tree")),
    };
    Ok((signal, scope))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn read(json: &'static str) -> Result<(u32, SignalScope), ApiError> {
        parse(Fields::parse(&Bytes::from_static(json.as_bytes())).unwrap())
    }

    #[test]
    fn names_numbers_and_scopes() {
        assert_eq!(read("").unwrap(), (15, SignalScope::Tree));
        assert_eq!(
            read(r#"{"signal":"KILL","scope":"process"}"#).unwrap(),
            (9, SignalScope::Process)
        );
        assert_eq!(read(r#"{"signal":2,"scope":"group"}"#).unwrap(), (2, SignalScope::Group));
        for (json, field) in [
            (r#"{"signal":"NOPE"}"#, "signal"),
            (r#"{"signal":0}"#, "signal"),
            (r#"{"signal":65}"#, "signal"),
            (r#"{"signal":true}"#, "signal"),
            (r#"{"scope":"all"}"#, "scope"),
        ] {
            assert_eq!(read(json).unwrap_err().field.as_deref(), Some(field), "{json}");
        }
    }
}
