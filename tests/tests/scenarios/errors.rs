//! What a caller does wrong is said: which field, what kind, which request.

use postern_tests::{Answer, Rig};
use serde_json::{Value, json};

pub(crate) fn what_is_not_there_is_not_found(rig: &Rig) {
    let session = rig.shared();
    let http = session.broker().http;
    for (method, path) in [
        ("GET", "/v1/sessions/sess_none".to_owned()),
        ("DELETE", "/v1/sessions/sess_none".to_owned()),
        ("POST", "/v1/sessions/sess_none/exec".to_owned()),
        ("GET", "/v1/sessions/..%2f..%2fetc/commands".to_owned()),
        ("GET", format!("/v1/sessions/{}/commands/cmd_none", session.id)),
        ("GET", format!("/v1/sessions/{}/commands/cmd_none/stream", session.id)),
        ("GET", format!("/v1/sessions/{}/commands/cmd_none/output", session.id)),
        ("POST", format!("/v1/sessions/{}/commands/cmd_none/kill", session.id)),
        ("GET", "/v2/sessions".to_owned()),
    ] {
        let body = if path.ends_with("exec") { r#"{"command":"true"}"# } else { "" };
        let answer = Answer::of(http.send(method, &path, &[], body.as_bytes()).unwrap());
        answer.error(404, "not_found");
    }
    let answer = Answer::of(http.send("PATCH", "/v1/sessions", &[], b"").unwrap());
    answer.error(405, "method_not_allowed");
}

pub(crate) fn a_missing_image_is_named(rig: &Rig) {
    let error = rig.make(json!({"image": "no-such-image"})).unwrap_err().error(404, "not_found");
    assert!(error["message"].as_str().unwrap().contains("no-such-image"), "{error}");
    for image in ["../../etc", "oci:/no/such/dir", "/etc/passwd"] {
        let answer = rig.make(json!({"image": image})).unwrap_err();
        assert!([400, 404].contains(&answer.status), "{image}: {answer:?}");
    }
}

pub(crate) fn a_body_that_is_wrong_names_its_field(rig: &Rig) {
    let session = rig.shared();
    let path = format!("/v1/sessions/{}/exec", session.id);
    let http = session.broker().http;
    for body in ["{", "[]", "\"x\"", "{\"command\": \"a\"} x", "\u{feff}{}", "{\"command\":1e999}"]
    {
        let answer = Answer::of(http.send("POST", &path, &[], body.as_bytes()).unwrap());
        answer.error(400, "invalid_argument");
    }
    for (body, field) in [
        (json!({}), "command"),
        (json!({"command": 7}), "command"),
        (json!({"argv": []}), "argv"),
        (json!({"command": "a", "argv": ["a"]}), "argv"),
        (json!({"command": "a", "timeout_ms": -1}), "timeout_ms"),
        (json!({"command": "a", "env": [1]}), "env"),
        (json!({"command": "a", "stdin": 1}), "stdin"),
    ] {
        let error = session.exec(&body).error(400, "invalid_argument");
        assert_eq!(error["field"], field, "{body}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    Answer::of(http.send("POST", &path, &[], deep.as_bytes()).unwrap())
        .error(400, "invalid_argument");
}

pub(crate) fn a_body_over_its_limit_is_refused_and_the_next_request_is_served(rig: &Rig) {
    let session = rig.shared();
    let huge = json!({"command": "x".repeat(9 << 20)});
    session.exec(&huge).error(413, "payload_too_large");
    assert_eq!(session.say("echo fine"), "fine");
}

pub(crate) fn the_request_id_is_the_callers_or_new(rig: &Rig) {
    let session = rig.shared();
    let http = session.broker().http;
    let ask = |headers: &[(&str, &str)]| {
        let response = http.send("GET", "/v1/sessions/sess_none", headers, b"").unwrap();
        let header = response.header("x-request-id").unwrap().to_owned();
        let error = Answer::of(response).error(404, "not_found");
        assert_eq!(error["request_id"], header);
        header
    };
    assert_eq!(ask(&[("X-Request-Id", "mine-1")]), "mine-1");
    assert_ne!(ask(&[]), ask(&[]));
    assert_ne!(ask(&[("X-Request-Id", "two words")]), "two words");
}

pub(crate) fn web_pages_do_not_get_in(rig: &Rig) {
    let session = rig.shared();
    let http = session.broker().http;
    let exec = format!("/v1/sessions/{}/exec", session.id);
    let body = json!({"command": "touch /tmp/owned-by-a-web-page"}).to_string();
    let own = format!("http://{}", http.authority());
    for (header, allowed) in [
        (("Host", "evil.example"), false),
        (("Host", "127.0.0.1.evil.example"), false),
        (("Origin", "http://evil.example"), false),
        (("Origin", "null"), false),
        (("Origin", own.as_str()), true),
    ] {
        for (method, path) in
            [("GET", "/healthz"), ("GET", "/v1/sessions"), ("POST", exec.as_str())]
        {
            let body =
                if method == "POST" && !allowed { body.as_str() } else { r#"{"command":"true"}"# };
            let answer = Answer::of(http.send(method, path, &[header], body.as_bytes()).unwrap());
            if allowed {
                assert_eq!(answer.status, 200, "{header:?} {path}");
            } else {
                answer.error(403, "permission_denied");
            }
        }
    }
    assert_eq!(session.say("ls /tmp/owned-by-a-web-page 2>/dev/null || echo none"), "none");
}

pub(crate) fn requests_that_are_no_http_do_no_harm(rig: &Rig) {
    use std::io::{Read, Write};
    let session = rig.shared();
    let http = session.broker().http;
    let host = http.authority();
    let smuggled = format!(
        "POST /v1/sessions HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}x"
    );
    let long = format!("GET /{} HTTP/1.1\r\nHost: {host}\r\n\r\n", "x".repeat(1 << 20));
    let signed =
        format!("POST /v1/sessions HTTP/1.1\r\nHost: {host}\r\nContent-Length: +5\r\n\r\n{{}}");
    for bytes in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"\0\0\0\0\r\n\r\n",
        smuggled.as_bytes(),
        long.as_bytes(),
        signed.as_bytes(),
    ] {
        let mut socket = http.connect().unwrap();
        let _ = socket.write_all(bytes);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        // It may cut the connection without a word; it must not say 200.
        let _ = socket.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    assert_eq!(session.look().ok()["status"], Value::from("running"));
}
