//! What cannot be started says at which step and why, and is no exit code.

use postern_tests::{Rig, Session};
use serde_json::{Value, json};

const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const ENOTDIR: i32 = 20;

/// Foreground and background alike, and listed as failed.
fn refused(session: &Session, request: &Value, stage: &str, errno: Option<i32>) {
    for background in [false, true] {
        let mut request = request.clone();
        request["background"] = background.into();
        let error = session.exec(&request).error(400, "invalid_argument");
        assert_eq!(error["stage"], stage, "{request} {error}");
        if let Some(errno) = errno {
            assert_eq!(error["errno"], errno, "{request} {error}");
        }
    }
}

pub(crate) fn a_start_that_fails_says_stage_and_errno(rig: &Rig) {
    let session = rig.shared();
    session.say("mkdir -p /tmp/fs && echo x > /tmp/fs/plain && chmod 644 /tmp/fs/plain");
    let cases = [
        (json!({"argv": ["no-such-program"]}), "not_found", Some(ENOENT)),
        (json!({"argv": ["/no/such/program"]}), "not_found", Some(ENOENT)),
        (json!({"argv": ["/tmp/fs/plain"]}), "not_executable", Some(EACCES)),
        (json!({"argv": ["/tmp/fs"]}), "not_executable", Some(EACCES)),
        (json!({"argv": ["true"], "cwd": "/no/such/dir"}), "bad_cwd", Some(ENOENT)),
        (json!({"argv": ["true"], "cwd": "/tmp/fs/plain"}), "bad_cwd", Some(ENOTDIR)),
        (json!({"argv": ["true"], "cwd": "relative"}), "bad_cwd", None),
        (json!({"argv": ["true"], "user": "nobody-here"}), "no_such_user", None),
        (json!({"argv": ["true"], "user": "4294967295"}), "no_such_user", None),
        (json!({"argv": ["true"], "user": "-1"}), "no_such_user", None),
        (json!({"argv": ["true"], "user": "0:0:0"}), "no_such_user", None),
    ];
    for (request, stage, errno) in cases {
        refused(&session, &request, stage, errno);
    }
}

pub(crate) fn a_failed_start_is_listed_as_failed(rig: &Rig) {
    let session = rig.shared();
    let request = json!({"argv": ["no-such-thing-to-list"], "background": true});
    session.exec(&request).error(400, "invalid_argument");
    let list = session.ask("GET", "/commands", &Value::Null).ok();
    let found = list["commands"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["command"] == "no-such-thing-to-list");
    let found = found.unwrap_or_else(|| panic!("it is not listed: {list}"));
    assert_eq!(found["status"], "failed");
    assert_eq!(found["exit_code"], Value::Null, "a failed start has no exit code");
    assert_eq!(found["error"]["stage"], "not_found");
}

pub(crate) fn a_nul_is_refused_with_the_field_that_holds_it(rig: &Rig) {
    let session = rig.shared();
    for (field, request) in [
        ("command", json!({"command": "a\0b"})),
        ("argv", json!({"argv": ["a", "b\0c"]})),
        ("cwd", json!({"argv": ["true"], "cwd": "/tmp\0"})),
        ("env", json!({"argv": ["true"], "env": {"A": "b\0"}})),
    ] {
        let error = session.exec(&request).error(400, "invalid_argument");
        let named = error["field"].as_str().unwrap_or_default();
        assert!(named.starts_with(field), "{request} {error}");
    }
}

pub(crate) fn what_the_kernel_does_not_take_is_refused(rig: &Rig) {
    let session = rig.shared();
    // One string over the kernel's 128 KiB (MAX_ARG_STRLEN).
    let long = "x".repeat(200 << 10);
    let error = session.exec(&json!({"argv": ["true", long]})).error(400, "invalid_argument");
    assert_eq!(error["stage"], "bad_arguments", "{error}");
    session.say("printf '#!/no/interpreter\\n' > /tmp/bad && chmod 755 /tmp/bad");
    let error = session.exec(&json!({"argv": ["/tmp/bad"]})).error(400, "invalid_argument");
    assert!(["not_found", "not_executable"].contains(&error["stage"].as_str().unwrap()), "{error}");
}
