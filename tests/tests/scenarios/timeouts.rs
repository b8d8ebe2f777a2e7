//! Timeouts always fire.

use std::time::Instant;

use postern_tests::{Rig, wait};
use serde_json::json;

pub(crate) fn a_timeout_sends_term_and_keeps_the_output(rig: &Rig) {
    let session = rig.shared();
    let line = "trap 'echo bye; exit 5' TERM; echo hello; sleep 1000 & wait";
    let done = session.exec(&json!({"command": line, "timeout_ms": 1500})).ok();
    assert_eq!(done["timed_out"], true, "{done}");
    assert_eq!(done["stdout"], "hello\nbye\n");
    assert_eq!(done["exit_code"], 5, "what the command made of it is told too");
}

pub(crate) fn a_timeout_kills_who_ignores_it_and_who_left(rig: &Rig) {
    let session = rig.shared();
    let line = "trap '' TERM; setsid sh -c 'trap \"\" TERM; while :; do sleep 1000; done' & echo up; while :; do sleep 1000; done";
    let begun = Instant::now();
    let request = json!({"command": line, "timeout_ms": 1000, "kill_grace_ms": 500});
    let done = session.exec(&request).ok();
    assert!(begun.elapsed() < wait::seconds(30));
    assert_eq!(done["timed_out"], true, "{done}");
    assert_eq!(done["signal"], 9);
    assert_eq!(done["stdout"], "up\n");
    let info = session.command(done["command_id"].as_str().unwrap()).closed();
    assert_eq!(info["held_open"], false, "the one that left died too");
}

pub(crate) fn a_timeout_fires_with_stdin_open_and_nobody_reading(rig: &Rig) {
    let session = rig.shared();
    let request =
        json!({"command": "yes", "stdin_open": true, "timeout_ms": 1500, "kill_grace_ms": 100});
    let info = session.start(request).closed();
    assert_eq!(info["timed_out"], true, "{info}");
    // More than a pipe holds: nobody reads, and it went on.
    assert!(info["output_bytes"].as_u64().unwrap() > 64 << 10, "{info}");
}

pub(crate) fn an_exit_in_time_is_no_timeout(rig: &Rig) {
    let session = rig.shared();
    let done = session.exec(&json!({"command": "exit 2", "timeout_ms": 600_000})).ok();
    assert_eq!((&done["exit_code"], &done["timed_out"]), (&json!(2), &json!(false)));
}
