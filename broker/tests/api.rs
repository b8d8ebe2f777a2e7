//! The router as a client meets it, before there is any session.

#![allow(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use postern_broker::api::{self, Access};
use postern_broker::core::Broker;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

async fn router() -> (tempfile::TempDir, Router) {
    let dir = tempfile::tempdir().unwrap();
    let broker =
        Broker::builder().data_dir(dir.path()).images_dir(dir.path()).build().await.unwrap();
    (dir, broker.router())
}

fn ask(method: &str, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header("host", "localhost")
}

async fn send(router: &Router, request: Request<Body>) -> (StatusCode, Value, Response<()>) {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    (parts.status, json, Response::from_parts(parts, ()))
}

#[tokio::test]
async fn every_failure_is_json_with_a_request_id() {
    let (_dir, router) = router().await;
    let cases = [
        ("GET", "/nope", 404, "not_found"),
        ("GET", "/v1/sessions/nope", 404, "not_found"),
        ("GET", "/v1/sessions/%2e%2e", 404, "not_found"),
        ("GET", "/v1/sessions/%ff", 404, "not_found"),
        ("DELETE", "/v1/sessions/nope", 404, "not_found"),
        ("PATCH", "/v1/sessions", 405, "method_not_allowed"),
        ("GET", "/v1/sessions/nope/commands", 404, "not_found"),
        ("GET", "/v1/sessions/nope/commands/x/stream?from=-1", 400, "invalid_argument"),
        ("GET", "/v1/sessions/nope/commands/x/output?stream=both", 400, "invalid_argument"),
        ("GET", "/v1/sessions/nope/download", 400, "invalid_argument"),
        ("GET", "/v1/sessions/nope/files/etc/passwd", 404, "not_found"),
    ];
    for (method, path, status, code) in cases {
        let (got, json, response) =
            send(&router, ask(method, path).body(Body::empty()).unwrap()).await;
        assert_eq!((got.as_u16(), &json["code"]), (status, &Value::from(code)), "{method} {path}");
        assert!(json["message"].is_string());
        let header = response.headers()["x-request-id"].to_str().unwrap();
        assert_eq!(json["request_id"], header, "{method} {path}");
    }
}

#[tokio::test]
async fn a_callers_request_id_comes_back() {
    let (_dir, router) = router().await;
    let request = ask("GET", "/nope").header("x-request-id", "mine-1").body(Body::empty()).unwrap();
    let (_, json, response) = send(&router, request).await;
    assert_eq!(json["request_id"], "mine-1");
    assert_eq!(response.headers()["x-request-id"], "mine-1");
}

#[tokio::test]
async fn web_pages_are_kept_out_and_embedders_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::builder().data_dir(dir.path()).build().await.unwrap();
    let foreign =
        || Request::get("/healthz").header("host", "evil.example").body(Body::empty()).unwrap();
    let (status, json, _) = send(&broker.router(), foreign()).await;
    assert_eq!((status, &json["code"]), (StatusCode::FORBIDDEN, &Value::from("permission_denied")));
    let (status, _, _) = send(&api::router(broker, Access::Embedder), foreign()).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn bodies_are_looked_at_before_anything_is_made() {
    let (_dir, router) = router().await;
    let cases = [
        ("/v1/sessions", "{", "body"),
        ("/v1/sessions", r#"{"workspace":"w"}"#, "workspace"),
        ("/v1/sessions/nope/exec", r#"{"command":1}"#, "command"),
        ("/v1/sessions/nope/exec", r#"{"command":"a","tty":"yes"}"#, "tty"),
        ("/v1/sessions/nope/commands/x/kill", r#"{"signal":"NOPE"}"#, "signal"),
        ("/v1/sessions/nope/commands/x/stdin", "{}", "input"),
        ("/v1/sessions/nope/commands/x/ack", "{}", "offset"),
    ];
    for (path, body, field) in cases {
        let (status, json, _) =
            send(&router, ask("POST", path).body(Body::from(body)).unwrap()).await;
        assert_eq!((status.as_u16(), &json["field"]), (400, &Value::from(field)), "{path} {body}");
    }
    let long = vec![b' '; (8 << 20) + 1];
    let (status, _, _) =
        send(&router, ask("POST", "/v1/sessions").body(Body::from(long)).unwrap()).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

/// Sends raw bytes to a served router and reads until the server hangs up.
async fn raw(router: Router, text: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(api::serve(listener, router, std::future::pending()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let ended = tokio::time::timeout(Duration::from_secs(10), read).await;
    assert!(ended.is_ok(), "no hang-up after {text:.120}: {}", String::from_utf8_lossy(&answer));
    served.abort();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn ambiguous_requests_are_refused_and_cut_off() {
    let (_dir, router) = router().await;
    let post = "POST /v1/sessions HTTP/1.1\r\nhost: localhost\r\n";
    for head in [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: +5\r\n",
        "content-length: 99999999999999999999999\r\n",
        "transfer-encoding: gzip\r\n",
        "folded: a\r\n b\r\n",
        "bad name: x\r\n",
    ] {
        let answer = raw(router.clone(), &format!("{post}{head}\r\nhello")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{head:?}: {answer}");
    }
    let answer = raw(
        router.clone(),
        &format!("{post}transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
    )
    .await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    let huge = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(2 << 20));
    let answer = raw(router, &huge).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_drain_ends_idle_connections() {
    let (_dir, router) = router().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(api::serve(listener, router, async {
        stopped.await.ok();
    }));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut some = [0; 16];
    stream.read_exact(&mut some).await.unwrap();
    drop(stop);
    tokio::time::timeout(Duration::from_secs(5), served).await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

/// A row of a newer Postern's, say: its sandbox was ended and its directory removed,
/// while the log said that it was left.
#[tokio::test]
async fn a_session_that_cannot_be_read_is_left_and_a_directory_without_one_is_not() {
    let data = tempfile::tempdir().unwrap();
    let build = || Broker::builder().data_dir(data.path()).build();
    drop(build().await.unwrap());
    let store = rusqlite::Connection::open(data.path().join("postern.db")).unwrap();
    let row = "INSERT INTO sessions (id, created_us, status, settings)
               VALUES ('sess_odd', 1, 'hibernating', '{}')";
    store.execute(row, []).unwrap();
    drop(store);
    for name in ["sess_odd", "sess_none"] {
        std::fs::create_dir_all(data.path().join("sessions").join(name)).unwrap();
    }
    let _broker = build().await.unwrap();
    let is_there = |name: &str| data.path().join("sessions").join(name).exists();
    assert!(is_there("sess_odd") && !is_there("sess_none"));
}
