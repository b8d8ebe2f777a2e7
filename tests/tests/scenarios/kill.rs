//! Signals: to a process, its group, its tree.

use postern_tests::{Rig, wait};
use serde_json::json;

pub(crate) fn a_signal_to_the_process_is_for_the_process_alone(rig: &Rig) {
    let session = rig.shared();
    let line = "trap 'echo got; exit 9' USR1; sleep 1000 & echo ready; wait; wait";
    let command = session.start(json!({"command": line}));
    command.said("ready");
    let sent = command.kill("USR1", "process").ok();
    assert_eq!((&sent["signal"], &sent["delivered"]), (&json!(10), &json!(true)));
    let info = command.exited();
    assert_eq!(info["exit_code"], 9);
    assert_eq!(info["held_open"], true, "the child was left alone");
    command.kill("KILL", "tree").ok();
    command.closed();
}

pub(crate) fn a_signal_to_the_group_reaches_its_members(rig: &Rig) {
    let session = rig.shared();
    let command = session.start(json!({"command": "sleep 1000 | sleep 1000; echo never"}));
    command.when("it runs", wait::seconds(30), |info| info["pid"].is_u64());
    assert_eq!(command.kill("INT", "group").ok()["delivered"], true);
    let info = command.closed();
    assert_eq!(info["signal"], 2, "{info}");
}

pub(crate) fn a_kill_of_the_tree_reaches_who_left_the_group(rig: &Rig) {
    let session = rig.shared();
    let line = "setsid sh -c 'trap \"\" TERM; echo alone; sleep 1000; sleep 1000' & wait";
    let command = session.start(json!({"command": line}));
    command.said("alone");
    assert_eq!(command.kill("KILL", "tree").ok()["delivered"], true);
    let info = command.closed();
    assert_eq!(info["signal"], 9);
    // Its pipe is free: nobody who held it is left.
    assert_eq!(info["held_open"], false);
}

pub(crate) fn a_term_of_the_tree_reaches_each_process_once(rig: &Rig) {
    let session = rig.shared();
    // What is started after the signal would not get it: all is there before.
    let child = "trap 'echo child' TERM; sleep 1000 & echo there; wait $!; wait $!";
    let line =
        format!("setsid sh -c \"{child}\" & trap 'echo parent' TERM; echo up; wait; wait; exit 4");
    let command = session.start(json!({"command": line}));
    command.said("up");
    command.said("there");
    assert_eq!(command.kill("TERM", "tree").ok()["delivered"], true);
    let info = command.closed();
    let said = info["output"].as_str().unwrap();
    assert_eq!(said.matches("parent").count(), 1, "{said}");
    assert!(said.matches("child").count() <= 1, "{said}");
    assert_eq!(info["exit_code"], 4);
}

pub(crate) fn a_kill_after_the_exit_is_no_error(rig: &Rig) {
    let session = rig.shared();
    let command = session.start(json!({"argv": ["true"]}));
    command.closed();
    for scope in ["process", "group", "tree"] {
        assert_eq!(command.kill("TERM", scope).ok()["delivered"], false, "{scope}");
    }
}

pub(crate) fn an_unknown_signal_or_scope_is_refused(rig: &Rig) {
    let session = rig.shared();
    let command = session.start(json!({"argv": ["sleep", "1000"]}));
    for signal in ["NOPE", "", "SIG", "99", "-9"] {
        let error = command.kill(signal, "tree").error(400, "invalid_argument");
        assert_eq!(error["field"], "signal", "{signal}");
    }
    assert_eq!(command.kill("KILL", "all").error(400, "invalid_argument")["field"], "scope");
    assert_eq!(command.info()["status"], "running", "none of it was sent");
    command.kill("KILL", "tree").ok();
}
