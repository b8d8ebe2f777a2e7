//! `POST /v1/sessions`: make a sandbox, or attach one, and wait until it takes
//! commands. With `Accept: text/event-stream` the answer tells how far it is.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::{progress, session_view};
use crate::api::error::ApiError;
use crate::api::extract::Json;
use crate::api::fields::Fields;
use crate::api::reply;
use crate::core::{AGENT_PORT, AttachTarget, Broker, CreateSession, DriverChoice, PullPolicy};

/// Names of images and hosts are short; what is longer is a mistake that should
/// not travel further.
const MAX_NAME: usize = 1024;

/// A sandbox that is asked to live longer than this means "no limit".
const MAX_TTL_SECONDS: u64 = 366 * 24 * 3600;

pub(crate) async fn handle(
    State(broker): State<Broker>,
    headers: HeaderMap,
    Json(fields): Json,
) -> Result<Response, ApiError> {
    let request = parse(fields)?;
    if progress::is_wanted(&headers) {
        return Ok(progress::answer("session", |sender| async move {
            let session = broker.create_session(request, Some(sender)).await?;
            Ok(session_view::detail(&session.info()))
        }));
    }
    let session = broker.create_session(request, None).await?;
    Ok(reply::json(StatusCode::OK, &session_view::detail(&session.info())))
}

fn parse(mut fields: Fields) -> Result<CreateSession, ApiError> {
    refuse_what_is_not_there_yet(&mut fields)?;
    let ttl = match fields.number("ttl_seconds")? {
        Some(seconds) => Some(seconds),
        None => fields.number("ttl")?,
    };
    if ttl.is_some_and(|seconds| seconds == 0 || seconds > MAX_TTL_SECONDS) {
        return Err(fields.invalid("ttl", format!("must be 1 to {MAX_TTL_SECONDS} seconds")));
    }
    let image = name(&mut fields, "image")?;
    let driver = match fields.text("driver")?.as_deref() {
        None => None,
        Some("auto") => Some(DriverChoice::Auto),
        Some("qemu") => Some(DriverChoice::Qemu),
        Some("process") => Some(DriverChoice::Process),
        Some(_) => return Err(fields.invalid("driver", "must be auto, qemu or process")),
    };
    Ok(CreateSession {
        image,
        pull_policy: pull_policy(&mut fields, "pull_policy")?.unwrap_or_default(),
        driver,
        env: fields.environment("env")?,
        memory_mb: fields.number_in("memory_mb", 1, u32::MAX)?,
        cpus: fields.number_in("cpus", 1, u32::MAX)?,
        ttl: ttl.map(Duration::from_secs),
        root_size_mb: fields.number_in("root_size_mb", 1, u32::MAX)?,
        disk_mb: fields.number_in("disk_mb", 1, u32::MAX)?,
        hostname: name(&mut fields, "hostname")?,
        network: fields.flag("network")?.unwrap_or(false),
        entrypoint: fields.flag("entrypoint")?.unwrap_or(false),
        cmd: fields.texts("cmd")?,
        no_new_privs: fields.flag("no_new_privs")?.unwrap_or(false),
        attach: fields.object("attach")?.map(attach).transpose()?,
    })
}

/// Fields of Chaser's contract that would be a lie to ignore.
fn refuse_what_is_not_there_yet(fields: &mut Fields) -> Result<(), ApiError> {
    match fields.text("session_type")?.as_deref() {
        None | Some("sandbox") => {}
        Some("browser") => {
            return Err(
                fields.invalid("session_type", "browser sessions are not supported, only sandbox")
            );
        }
        Some(_) => return Err(fields.invalid("session_type", "must be sandbox")),
    }
    if fields.has("workspace") {
        return Err(fields.invalid(
            "workspace",
            "workspaces are not supported yet: leave it out for an ephemeral session",
        ));
    }
    if fields.flag("ephemeral")? == Some(false) {
        return Err(fields.invalid("ephemeral", "only ephemeral sessions are supported yet"));
    }
    for name in ["proxy", "github_repo"] {
        if fields.has(name) {
            return Err(fields.invalid(name, "is not supported"));
        }
    }
    Ok(())
}

/// `always`, `missing` or `never`.
pub(super) fn pull_policy(
    fields: &mut Fields,
    field: &str,
) -> Result<Option<PullPolicy>, ApiError> {
    match fields.text(field)?.as_deref() {
        None => Ok(None),
        Some("always") => Ok(Some(PullPolicy::Always)),
        Some("missing") => Ok(Some(PullPolicy::Missing)),
        Some("never") => Ok(Some(PullPolicy::Never)),
        Some(_) => Err(fields.invalid(field, "must be always, missing or never")),
    }
}

pub(super) fn name(fields: &mut Fields, field: &str) -> Result<Option<String>, ApiError> {
    match fields.text(field)? {
        Some(text) if text.is_empty() => Err(fields.invalid(field, "must not be empty")),
        Some(text) if text.len() > MAX_NAME => {
            Err(fields.invalid(field, format!("must not be longer than {MAX_NAME} bytes")))
        }
        other => Ok(other),
    }
}

/// `{"cid": 3}`, `{"hybrid": PATH}` or `{"unix": PATH}`, the first two with a
/// `port` if it is not the usual one.
fn attach(mut fields: Fields) -> Result<AttachTarget, ApiError> {
    let port = fields.number_in("port", 1, u32::MAX - 1)?.unwrap_or(AGENT_PORT);
    // 0 and 1 are the hypervisor and loopback, 2 is the host itself (vsock(7)).
    let cid = fields.number_in("cid", 3, u32::MAX - 1)?;
    let hybrid = fields.text("hybrid")?;
    let unix = fields.text("unix")?;
    match (cid, hybrid, unix) {
        (Some(cid), None, None) => Ok(AttachTarget::Vsock { cid, port }),
        (None, Some(path), None) => Ok(AttachTarget::Hybrid { path: path.into(), port }),
        (None, None, Some(path)) => Ok(AttachTarget::Unix { path: path.into() }),
        _ => Err(ApiError::invalid("attach", "attach needs exactly one of cid, hybrid and unix")),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn read(json: &str) -> Result<CreateSession, ApiError> {
        parse(Fields::parse(&Bytes::from(json.to_owned())).unwrap())
    }

    #[test]
    fn everything_that_can_be_asked() {
        let request = read(
            r#"{"image":"debian","env":{"A":"b"},"memory_mb":512,"cpus":2,"ttl":60,"driver":"process",
                "root_size_mb":300,"hostname":"h","pull_policy":"always","network":true,"no_new_privs":true,"entrypoint":true,"cmd":["a","b"],"session_type":"sandbox","ephemeral":true,"x":1}"#,
        )
        .unwrap();
        assert_eq!(request.image.as_deref(), Some("debian"));
        assert_eq!(request.ttl, Some(Duration::from_secs(60)));
        assert_eq!(request.driver, Some(DriverChoice::Process));
        assert!(request.network && request.no_new_privs && request.entrypoint);
        assert_eq!(request.cmd, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(read(r#"{"disk_mb":2048}"#).unwrap().disk_mb, Some(2048));
        assert_eq!(request.pull_policy, PullPolicy::Always);
        assert!(read("").unwrap().image.is_none());
        assert_eq!(read("").unwrap().pull_policy, PullPolicy::Missing);
        assert_eq!(read(r#"{"ttl_seconds":9,"ttl":1}"#).unwrap().ttl, Some(Duration::from_secs(9)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (r#"{"workspace":"w"}"#, "workspace"),
            (r#"{"session_type":"browser"}"#, "session_type"),
            (r#"{"ephemeral":false}"#, "ephemeral"),
            (r#"{"driver":"kvm"}"#, "driver"),
            (r#"{"memory_mb":-1}"#, "memory_mb"),
            (r#"{"cpus":0}"#, "cpus"),
            (r#"{"ttl":0}"#, "ttl"),
            (r#"{"disk_mb":"2g"}"#, "disk_mb"),
            (r#"{"image":""}"#, "image"),
            (r#"{"image":7}"#, "image"),
            (r#"{"pull_policy":"often"}"#, "pull_policy"),
            (r#"{"entrypoint":["sh"]}"#, "entrypoint"),
            (r#"{"cmd":"ls"}"#, "cmd"),
            (r#"{"cmd":["a\u0000"]}"#, "cmd[0]"),
            (r#"{"no_new_privs":1}"#, "no_new_privs"),
            (r#"{"attach":{}}"#, "attach"),
            (r#"{"attach":{"cid":2}}"#, "attach.cid"),
            (r#"{"attach":{"cid":3,"unix":"/x"}}"#, "attach"),
            (r#"{"github_repo":"a/b"}"#, "github_repo"),
        ];
        for (json, field) in cases {
            assert_eq!(read(json).unwrap_err().field.as_deref(), Some(field), "{json}");
        }
    }

    #[test]
    fn attaching() {
        let target = |json| read(json).unwrap().attach.unwrap();
        assert_eq!(
            target(r#"{"attach":{"cid":5}}"#),
            AttachTarget::Vsock { cid: 5, port: AGENT_PORT }
        );
        assert_eq!(target(r#"{"attach":{"unix":"/a"}}"#), AttachTarget::Unix { path: "/a".into() });
        let hybrid = AttachTarget::Hybrid { path: "/b".into(), port: 7 };
        assert_eq!(target(r#"{"attach":{"hybrid":"/b","port":7}}"#), hybrid);
    }
}
