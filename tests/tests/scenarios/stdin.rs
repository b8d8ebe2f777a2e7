//! stdin is exactly once.

use postern_tests::Rig;
use serde_json::json;

pub(crate) fn stdin_is_closed_unless_asked_for(rig: &Rig) {
    let session = rig.shared();
    assert_eq!(session.say("cat; echo end"), "end");
    let with = session.exec(&json!({"argv": ["cat"], "stdin": "given\n"})).ok();
    assert_eq!(with["stdout"], "given\n");
    let command = session.start(json!({"argv": ["true"]}));
    command.stdin(&json!({"input": "x"})).error(409, "failed_precondition");
}

pub(crate) fn a_repeated_write_is_not_applied_twice(rig: &Rig) {
    let session = rig.shared();
    let command = session.start(json!({"argv": ["cat"], "stdin_open": true}));
    let write = json!({"input": "abc", "offset": 0});
    assert_eq!(command.stdin(&write).ok()["offset"], 3);
    assert_eq!(command.stdin(&write).ok()["offset"], 3);
    let overlapping = command.stdin(&json!({"input": "bcdef", "offset": 1})).ok();
    assert_eq!((&overlapping["offset"], &overlapping["accepted"]), (&json!(6), &json!(5)));
    let beyond = command.stdin(&json!({"input": "x", "offset": 9})).error(416, "out_of_range");
    assert_eq!(beyond["first_available"], 6);
    let last = json!({"input": "Zw==", "encoding": "base64", "offset": 6, "eof": true});
    assert_eq!(command.stdin(&last).ok()["eof"], true);
    assert_eq!(command.stdin(&last).ok()["offset"], 7, "the end may be repeated too");
    let info = command.exited();
    assert_eq!(info["exit_code"], 0);
    assert_eq!(info["output"], "abcdefg");
}

pub(crate) fn a_process_that_never_reads_costs_a_bounded_buffer(rig: &Rig) {
    let session = rig.shared();
    let command = session.start(json!({"command": "exec sleep 1000", "stdin_open": true}));
    let input = "x".repeat(1 << 20);
    let mut taken = 0;
    loop {
        let state = command.stdin(&json!({"input": input, "offset": taken})).ok();
        taken = state["offset"].as_u64().unwrap();
        if state["accepted"].as_u64().unwrap() < input.len() as u64 {
            break;
        }
        assert!(taken < 64 << 20, "it takes without end");
    }
    let more = command.stdin(&json!({"input": input, "offset": taken, "eof": true})).ok();
    assert_eq!(more["eof"], false, "an end counts only when everything was taken");
    command.kill("KILL", "tree").ok();
    command.exited();
    command.stdin(&json!({"input": "x"})).error(409, "failed_precondition");
}

pub(crate) fn a_program_that_closes_stdin_is_told_of(rig: &Rig) {
    let session = rig.shared();
    let command =
        session.start(json!({"command": "exec 0<&-; echo closed; sleep 1000", "stdin_open": true}));
    command.said("closed");
    // The agent learns of it with the first write that the pipe refuses.
    let mut refused = command.stdin(&json!({"input": "x"}));
    for _ in 0..1000 {
        if refused.status != 200 {
            break;
        }
        refused = command.stdin(&json!({"input": "x"}));
    }
    refused.error(409, "failed_precondition");
    command.kill("KILL", "tree").ok();
}
