//! Waiting for a command without a stream.

use std::time::Instant;

use postern_tests::{Command, Rig, wait};
use serde_json::{Value, json};

fn wait_for(command: &Command<'_>, query: &str) -> Value {
    command.ask("GET", &format!("/wait{query}"), &Value::Null).ok()
}

pub(crate) fn a_wait_ends_with_the_exit_or_with_its_time(rig: &Rig) {
    let session = rig.shared();
    let command = session.start(json!({"command": "read line; exit 7", "stdin_open": true}));
    let early = wait_for(&command, "?timeout_ms=50");
    assert_eq!((&early["status"], &early["exit_code"]), (&json!("running"), &Value::Null));
    assert_eq!(wait_for(&command, "?timeout_ms=0")["status"], "running");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| wait_for(&command, "?timeout_ms=120000"));
        let begun = Instant::now();
        command.stdin(&json!({"input": "x\n"})).ok();
        let info = waiting.join().unwrap();
        assert_eq!((&info["status"], &info["exit_code"]), (&json!("exited"), &json!(7)));
        assert!(begun.elapsed() < wait::seconds(60), "it waited for its time");
    });
    assert_eq!(wait_for(&command, "")["exit_code"], 7, "after the exit it answers at once");
    command.ask("GET", "/wait?timeout_ms=600001", &Value::Null).error(400, "invalid_argument");
    session.command("cmd_none").ask("GET", "/wait", &Value::Null).error(404, "not_found");
}

pub(crate) fn a_wait_for_the_log_outlasts_the_exit(rig: &Rig) {
    let session = rig.shared();
    // A grandchild keeps the pipe until it is told.
    let line = "rm -f /tmp/go; (while [ ! -e /tmp/go ]; do sleep 0.05; done; echo late) & exit 3";
    let command = session.start(json!({"command": line}));
    let exited = wait_for(&command, "?timeout_ms=60000");
    assert_eq!((&exited["exit_code"], &exited["held_open"]), (&json!(3), &json!(true)));
    assert_eq!(wait_for(&command, "?timeout_ms=50&until=closed")["closed"], false);
    session.say("touch /tmp/go");
    let closed = wait_for(&command, "?timeout_ms=60000&until=closed");
    assert_eq!((&closed["closed"], &closed["output_bytes"]), (&json!(true), &json!(5)));
}
