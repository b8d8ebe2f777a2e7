//! Errors at the HTTP edge: one table of code, status and meaning, and the one
//! JSON shape that every failure has.
//!
//! The body's `code` and `message` are top-level strings, since that is all that
//! Chaser's SDK reads of an error.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::api::request_id;
use crate::core::{Code, SpawnStage};

/// What kind of failure; the protocol's codes, and those that only HTTP knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// A code of the protocol, which the core uses as well.
    Core(Code),
    /// The request's body is over its limit.
    PayloadTooLarge,
    /// The path is there, not with this method.
    MethodNotAllowed,
}

/// One row of [`TABLE`].
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// The code.
    pub code: ErrorCode,
    /// As it is in JSON.
    pub name: &'static str,
    /// The HTTP status.
    pub status: StatusCode,
    /// For the documentation.
    pub meaning: &'static str,
}

const fn row(
    code: ErrorCode,
    name: &'static str,
    status: StatusCode,
    meaning: &'static str,
) -> Row {
    Row { code, name, status, meaning }
}

/// Every code that this API answers with.
pub const TABLE: &[Row] = &[
    row(
        ErrorCode::Core(Code::InvalidArgument),
        "invalid_argument",
        StatusCode::BAD_REQUEST,
        "a field of the request is wrong (`field` names it), or the program cannot be started (`stage`, `errno`)",
    ),
    row(
        ErrorCode::Core(Code::PermissionDenied),
        "permission_denied",
        StatusCode::FORBIDDEN,
        "the caller, or the user it acts as in the sandbox, may not do this",
    ),
    row(
        ErrorCode::Core(Code::NotFound),
        "not_found",
        StatusCode::NOT_FOUND,
        "no such session, command, file, image or path of the API",
    ),
    row(
        ErrorCode::MethodNotAllowed,
        "method_not_allowed",
        StatusCode::METHOD_NOT_ALLOWED,
        "this path does not have this method",
    ),
    row(
        ErrorCode::Core(Code::AlreadyExists),
        "already_exists",
        StatusCode::CONFLICT,
        "a thing of that name exists",
    ),
    row(
        ErrorCode::Core(Code::FailedPrecondition),
        "failed_precondition",
        StatusCode::CONFLICT,
        "not in the state the thing is in now, such as stdin of a command that has ended",
    ),
    row(
        ErrorCode::PayloadTooLarge,
        "payload_too_large",
        StatusCode::PAYLOAD_TOO_LARGE,
        "the body is over the limit of this endpoint; the message names the one without",
    ),
    row(
        ErrorCode::Core(Code::OutOfRange),
        "out_of_range",
        StatusCode::RANGE_NOT_SATISFIABLE,
        "an offset beyond the end, or one that is gone (`first_available` is the first that is left)",
    ),
    row(
        ErrorCode::Core(Code::ResourceExhausted),
        "resource_exhausted",
        StatusCode::TOO_MANY_REQUESTS,
        "a cap is reached: memory, disk, sessions, commands, connections",
    ),
    row(
        ErrorCode::Core(Code::Internal),
        "internal",
        StatusCode::INTERNAL_SERVER_ERROR,
        "a fault of Postern's own; the broker's log has the cause under the request id",
    ),
    row(
        ErrorCode::Core(Code::Unavailable),
        "unavailable",
        StatusCode::SERVICE_UNAVAILABLE,
        "the sandbox cannot be reached now: it starts, it ends, or its link is down",
    ),
    row(
        ErrorCode::Core(Code::DeadlineExceeded),
        "deadline_exceeded",
        StatusCode::GATEWAY_TIMEOUT,
        "it did not happen in time",
    ),
];

impl ErrorCode {
    /// The row of this code.
    pub fn row(self) -> &'static Row {
        TABLE.iter().find(|row| row.code == self).unwrap_or(&INTERNAL)
    }
}

/// Stands in for a code that is missing from the table; a test says none is.
const INTERNAL: Row = row(
    ErrorCode::Core(Code::Internal),
    "internal",
    StatusCode::INTERNAL_SERVER_ERROR,
    "a fault of Postern's own",
);

/// A failed request, as its caller sees it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// What kind of failure.
    pub code: ErrorCode,
    /// For people; nothing from inside the broker.
    pub message: String,
    /// errno(3) of the guest.
    pub errno: Option<i32>,
    /// At which step the start of a process failed.
    pub stage: Option<SpawnStage>,
    /// The field of the request that is at fault.
    pub field: Option<String>,
    /// The first offset that is left of an output log.
    pub first_available: Option<u64>,
    /// The command that the failure left behind, to be asked after by this id.
    pub command_id: Option<String>,
}

impl ApiError {
    /// An error with only a code and a message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self::with_code(ErrorCode::Core(code), message)
    }

    /// A field of the request is wrong.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), ..Self::new(Code::InvalidArgument, message) }
    }

    /// The body is over a limit.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::with_code(ErrorCode::PayloadTooLarge, message)
    }

    /// Any code.
    pub fn with_code(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            errno: None,
            stage: None,
            field: None,
            first_available: None,
            command_id: None,
        }
    }

    /// The JSON that the caller gets, without the request id.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("code".to_owned(), self.code.row().name.into());
        body.insert("message".to_owned(), self.message.clone().into());
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        put("stage", self.stage.map(|stage| stage_name(stage).into()));
        put("errno", self.errno.map(Value::from));
        put("field", self.field.clone().map(Value::from));
        put("first_available", self.first_available.map(Value::from));
        put("command_id", self.command_id.clone().map(Value::from));
        body
    }
}

/// The core's message is for callers already; its causes are for the log alone.
impl From<crate::core::Error> for ApiError {
    fn from(error: crate::core::Error) -> Self {
        if error.code == Code::Internal {
            let request_id = request_id::current();
            tracing::error!(request_id, cause = error.private(), "a request failed");
        }
        // Whatever the agent calls it: a program that cannot be started is a
        // matter of the request, and `stage` says which.
        let code = if error.stage.is_some() { Code::InvalidArgument } else { error.code };
        Self {
            errno: error.errno,
            stage: error.stage,
            field: error.field,
            first_available: error.first_available,
            ..Self::new(code, error.message)
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let row = self.code.row();
        let mut body = self.to_json();
        body.insert("request_id".to_owned(), json!(request_id::current()));
        let text = Bytes::from(Value::Object(body).to_string());
        let mut response = (row.status, text).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if row.status == StatusCode::SERVICE_UNAVAILABLE
            || row.status == StatusCode::TOO_MANY_REQUESTS
        {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// A stage as it is in JSON.
pub(crate) fn stage_name(stage: SpawnStage) -> &'static str {
    match stage {
        SpawnStage::NotFound => "not_found",
        SpawnStage::NotExecutable => "not_executable",
        SpawnStage::BadCwd => "bad_cwd",
        SpawnStage::NoSuchUser => "no_such_user",
        SpawnStage::PtySetup => "pty_setup",
        SpawnStage::ResourceLimit => "resource_limit",
        SpawnStage::BadArguments => "bad_arguments",
        SpawnStage::Credentials => "credentials",
        SpawnStage::ProcessSetup => "process_setup",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const ALL: [ErrorCode; 12] = [
        ErrorCode::Core(Code::NotFound),
        ErrorCode::Core(Code::AlreadyExists),
        ErrorCode::Core(Code::InvalidArgument),
        ErrorCode::Core(Code::PermissionDenied),
        ErrorCode::Core(Code::ResourceExhausted),
        ErrorCode::Core(Code::FailedPrecondition),
        ErrorCode::Core(Code::DeadlineExceeded),
        ErrorCode::Core(Code::OutOfRange),
        ErrorCode::Core(Code::Unavailable),
        ErrorCode::Core(Code::Internal),
        ErrorCode::PayloadTooLarge,
        ErrorCode::MethodNotAllowed,
    ];

    #[test]
    fn every_code_has_one_row() {
        for code in ALL {
            assert_eq!(TABLE.iter().filter(|row| row.code == code).count(), 1, "{code:?}");
            assert_eq!(code.row().code, code);
        }
        assert_eq!(TABLE.len(), ALL.len());
        let names: HashSet<_> = TABLE.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), TABLE.len());
    }

    #[test]
    fn every_status_is_an_error() {
        for row in TABLE {
            assert!(row.status.is_client_error() || row.status.is_server_error(), "{row:?}");
            assert!(!row.meaning.is_empty());
        }
    }

    #[test]
    fn json_has_only_what_is_known() {
        let plain = ApiError::new(Code::NotFound, "no session x").to_json();
        assert_eq!(Value::Object(plain), json!({"code": "not_found", "message": "no session x"}));
        let mut spawn = ApiError::invalid("argv", "starting nope: No such file or directory");
        spawn.stage = Some(SpawnStage::NotFound);
        spawn.errno = Some(2);
        let spawn = spawn.to_json();
        assert_eq!(spawn["stage"], "not_found");
        assert_eq!(spawn["errno"], 2);
        assert_eq!(spawn["field"], "argv");
    }
}
