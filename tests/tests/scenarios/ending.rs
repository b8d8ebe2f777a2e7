//! How a session ends.

use std::time::Instant;

use postern_tests::events::Events;
use postern_tests::{Kind, Rig, proc, wait};
use serde_json::json;

pub(crate) fn a_deleted_session_ends_in_order_and_leaves_nothing(rig: &Rig) {
    let session = rig.fresh(json!({}));
    let dir = session.dir();
    let ours = |p: &proc::Process| {
        let line = std::fs::read(format!("/proc/{}/cmdline", p.pid)).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(dir.to_str().unwrap())
    };
    let mut before: Vec<_> = proc::all().into_iter().filter(|p| ours(p)).collect();
    assert!(!before.is_empty());
    if rig.kind() == Kind::Process {
        before.extend(proc::descendants(session.sandbox_pid()));
    }
    let line = "trap 'echo told; exit 0' TERM; echo up; sleep 1000 & wait";
    let command = session.start(json!({"command": line}));
    let mut events = Events::new(command.stream(""));
    assert_eq!(events.event().unwrap().unwrap().bytes(), b"up\n");
    std::thread::scope(|scope| {
        let last_words = scope.spawn(move || {
            let mut said = Vec::new();
            while let Ok(Some(event)) = events.event() {
                said.push(event);
            }
            said
        });
        assert_eq!(session.delete(false).status, 204);
        let said = last_words.join().unwrap();
        assert_eq!(said[0].bytes(), b"told\n", "TERM reaches commands: {said:?}");
    });
    assert_eq!(session.look().ok()["status"], "terminated");
    session.exec(&json!({"command": "true"})).error(409, "failed_precondition");
    wait::until("its processes are gone", wait::seconds(30), || {
        let now = proc::all();
        let left = before.iter().filter(|p| now.iter().any(|n| n.pid == p.pid && n.comm == p.comm));
        (left.count() == 0).then_some(())
    });
    assert!(!dir.exists(), "its directory is left");
    assert_eq!(session.delete(false).status, 204);
    session.look().error(404, "not_found");
}

pub(crate) fn a_forced_end_leaves_no_grace(rig: &Rig) {
    let session = rig.fresh(json!({}));
    let line = "trap '' TERM; echo up; while :; do sleep 1000; done";
    session.start(json!({"command": line})).said("up");
    let begun = Instant::now();
    assert_eq!(session.delete(true).status, 204);
    // The grace alone would be 5 s; a power-off under TCG is about one.
    println!("ended within {:?}", begun.elapsed());
    assert_eq!(session.look().ok()["status"], "terminated");
}

pub(crate) fn a_session_ends_when_its_time_is_over(rig: &Rig) {
    let session = rig.fresh(json!({"ttl": 8}));
    wait::until("the session ends by itself", wait::seconds(60), || {
        let look = session.look().ok();
        (look["status"] == "terminated").then_some(look)
    });
    session.exec(&json!({"command": "true"})).error(409, "failed_precondition");
    let again = rig.shared();
    assert_eq!(again.say("echo others go on"), "others go on");
}
