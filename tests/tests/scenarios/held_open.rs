//! A command ends when it ends, whoever holds its pipes.

use std::time::Instant;

use postern_tests::events::contiguous;
use postern_tests::{Rig, wait};
use serde_json::json;

pub(crate) fn an_exit_does_not_wait_for_a_held_pipe(rig: &Rig) {
    let session = rig.shared();
    let begun = Instant::now();
    // The grandchild speaks when it is told to: the exit cannot have waited for it.
    let line = "mkfifo /tmp/go.$$; (cat /tmp/go.$$; echo late) & echo early; echo $$; exit 3";
    let done = session.sh(line);
    assert!(begun.elapsed() < wait::seconds(20), "it waited for the pipe");
    assert_eq!(done["exit_code"], 3);
    assert_eq!(done["held_open"], true);
    let pid = done["stdout"].as_str().unwrap().trim_start_matches("early\n").trim().to_owned();
    let command = session.command(done["command_id"].as_str().unwrap());
    assert_eq!(command.info()["closed"], false);
    let before = done["output_bytes"].as_u64().unwrap();
    // `echo` waits for the reader of the fifo, which is there.
    session.say(&format!("echo > /tmp/go.{pid}"));
    let info = command.closed();
    assert_eq!(info["exit_code"], 3, "there is one exit");
    let mut late = command.output(&format!("?from={before}"));
    assert_eq!(late.whole().unwrap(), b"\nlate\n");
}

pub(crate) fn the_exit_event_comes_once_and_late_output_is_read_afterwards(rig: &Rig) {
    let session = rig.shared();
    let command = session.start(json!({"command": "echo a; (sleep 1; echo b) & exit 7"}));
    let events = command.events("");
    let exits: Vec<_> = events.iter().filter(|event| event.name == "exit").collect();
    assert_eq!(exits.len(), 1);
    assert_eq!(exits[0].data["exit_code"], 7);
    assert_eq!(contiguous(&events, 0), b"a\n");
    command.closed();
    let again = command.events("?from=2");
    assert_eq!(contiguous(&again, 2), b"b\n");
    assert_eq!(again.iter().filter(|event| event.name == "exit").count(), 1);
}
