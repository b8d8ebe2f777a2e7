//! `POST /v1/sessions/{id}/commands/{cid}/stdin`: bytes for a command.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::json;

use crate::api::error::ApiError;
use crate::api::extract::{Json, Params};
use crate::api::fields::Fields;
use crate::api::reply;
use crate::core::{Broker, StdinWrite};

pub(crate) async fn handle(
    State(broker): State<Broker>,
    Params((id, command_id)): Params<(String, String)>,
    Json(fields): Json,
) -> Result<Response, ApiError> {
    let write = parse(fields)?;
    let session = broker.session(&id)?;
    let state = session.write_stdin(&command_id, write).await?;
    let body = json!({"accepted": state.accepted, "offset": state.offset, "eof": state.eof});
    Ok(reply::json(StatusCode::OK, &body))
}

fn parse(mut fields: Fields) -> Result<StdinWrite, ApiError> {
    let eof = fields.flag("eof")?.unwrap_or(false);
    let offset = fields.number("offset")?;
    let encoding = fields.text("encoding")?;
    let input = match fields.raw_text("input")? {
        Some(input) => input,
        None if eof => String::new(),
        None => {
            return Err(fields.invalid("input", "is missing (it may be left out with eof only)"));
        }
    };
    let data = match encoding.as_deref() {
        None | Some("utf8" | "utf-8" | "text") => Bytes::from(input),
        Some("base64") => match BASE64.decode(input) {
            Ok(data) => Bytes::from(data),
            Err(cause) => return Err(fields.invalid("input", format!("is not base64: {cause}"))),
        },
        Some(_) => return Err(fields.invalid("encoding", "must be utf8 or base64")),
    };
    Ok(StdinWrite { offset, data, eof })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &'static str) -> Result<StdinWrite, ApiError> {
        parse(Fields::parse(&Bytes::from_static(json.as_bytes())).unwrap())
    }

    #[test]
    fn text_bytes_and_the_end() {
        let write = read(r#"{"input":"a\u0000","offset":3}"#).unwrap();
        assert_eq!((write.data.as_ref(), write.offset, write.eof), (&b"a\0"[..], Some(3), false));
        assert_eq!(
            read(r#"{"input":"/wA=","encoding":"base64"}"#).unwrap().data.as_ref(),
            b"\xff\0"
        );
        assert!(read(r#"{"eof":true}"#).unwrap().eof);
        for (json, field) in [
            ("{}", "input"),
            (r#"{"input":"x","encoding":"latin1"}"#, "encoding"),
            (r#"{"input":"x","encoding":"base64"}"#, "input"),
            (r#"{"input":"x","offset":-1}"#, "offset"),
        ] {
            assert_eq!(read(json).unwrap_err().field.as_deref(), Some(field), "{json}");
        }
    }
}
