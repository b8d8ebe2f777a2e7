//! Ends: in time, whatever the tree does, and told as they were.

use std::time::Instant;

use postern_tests::{Kind, Rig, wait};
use serde_json::json;

pub(crate) fn an_exit_is_told_though_a_grandchild_never_stops_writing(rig: &Rig) {
    let session = rig.shared();
    // Without a pause of 100 ms in which the pipe would be silent.
    let line = "(while :; do echo late; usleep 90000; done) & echo early; exit 6";
    let done = session.sh(line);
    assert_eq!((&done["exit_code"], &done["held_open"]), (&json!(6), &json!(true)), "{done}");
    let said = done["stdout"].as_str().unwrap();
    assert!(said.matches("late").count() <= 3, "it waited for the pipe: {said}");
    assert!(done["duration_ms"].as_u64().unwrap() < wait::seconds(2).as_millis() as u64, "{done}");
    let command = session.command(done["command_id"].as_str().unwrap());
    let before = done["output_bytes"].as_u64().unwrap();
    command.when("the log goes on", wait::seconds(30), |info| {
        info["output_bytes"].as_u64().unwrap() > before + 10
    });
    assert_eq!(command.kill("KILL", "tree").ok()["delivered"], true);
    assert_eq!(command.closed()["exit_code"], 6, "there is one exit");
}

pub(crate) fn a_timeout_ends_every_descendant(rig: &Rig) {
    let session = rig.fresh(json!({}));
    let line = "trap \"\" TERM; (setsid sleep 1000 &) ; (setsid sh -c 'setsid sleep 1000 & exit' \
                >/dev/null 2>&1 &); echo up; sleep 1000; sleep 1000";
    let begun = Instant::now();
    let request = json!({"command": line, "timeout_ms": 1000, "kill_grace_ms": 300});
    let done = session.exec(&request).ok();
    assert_eq!((&done["timed_out"], &done["signal"]), (&json!(true), &json!(9)), "{done}");
    assert_eq!(done["stdout"], "up\n");
    assert!(begun.elapsed() < wait::seconds(20));
    wait::until("nobody of the tree is left", wait::seconds(20), || {
        (session.say("set -- /proc/[0-9]*; echo $#") == "2").then_some(())
    });
}

pub(crate) fn a_timeout_ends_a_stopped_command(rig: &Rig) {
    let session = rig.shared();
    let request =
        json!({"command": "echo up; kill -STOP $$", "timeout_ms": 1000, "kill_grace_ms": 200});
    let done = session.exec(&request).ok();
    assert_eq!((&done["timed_out"], &done["stdout"]), (&json!(true), &json!("up\n")), "{done}");
    assert!(done["signal"].is_u64(), "{done}");
}

pub(crate) fn what_outlives_the_first_process_has_the_grace_too(rig: &Rig) {
    let session = rig.fresh(json!({}));
    // It holds no pipe: nothing but its cgroup says that it is there.
    let line = "setsid sh -c 'trap \"sleep 1; echo done > /tmp/tidied; exit\" TERM; \
                while :; do sleep 0.1; done' >/dev/null 2>&1 & sleep 1000";
    let request = json!({"command": line, "timeout_ms": 1000, "kill_grace_ms": 20_000});
    assert_eq!(session.exec(&request).ok()["timed_out"], true);
    wait::until("it has tidied up", wait::seconds(20), || session.get("/tmp/tidied").ok());
}

pub(crate) fn a_core_dump_is_told(rig: &Rig) {
    let session = rig.fresh(json!({}));
    let with = |core: u64| {
        let request = json!({"command": "kill -ABRT $$", "cwd": "/tmp", "rlimits": {"core": core}});
        session.exec(&request).ok()
    };
    let without = with(0);
    assert_eq!(without["signal"], 6);
    if rig.kind() == Kind::Vm {
        assert_eq!(without["core_dumped"], false, "{without}");
        let dumped = with(100 << 20);
        assert_eq!((&dumped["signal"], &dumped["core_dumped"]), (&json!(6), &json!(true)));
    }
}
