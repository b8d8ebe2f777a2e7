//! Many commands: at once, and one after another.

use postern_tests::{Kind, Rig, Session, proc, wait};
use serde_json::{Value, json};

/// What must not grow with the number of commands.
fn descriptors(rig: &Rig, session: &Session) -> Option<usize> {
    (rig.kind() == Kind::Process).then(|| proc::open_files(session.serve_pid().unwrap()))
}

/// Nobody in the sandbox is a zombie for longer than it takes to reap it.
fn no_zombies(session: &Session) {
    let look = || {
        let said = session.say("grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l");
        (said == "0").then_some(())
    };
    wait::until("no zombie is left in the sandbox", wait::seconds(30), look);
}

/// As before, allowing for what is kept ready for the next commands.
fn nothing_leaked(rig: &Rig, session: &Session, before: Option<usize>, slack: usize) {
    let Some(before) = before else { return };
    let look = || Some(descriptors(rig, session)?).filter(|now| *now <= before + slack);
    wait::until("descriptors are given back", wait::seconds(30), look);
    let below = proc::descendants(session.sandbox_pid());
    let dead: Vec<_> = below.iter().filter(|p| p.state == 'Z').collect();
    assert!(dead.is_empty(), "{dead:?}");
}

pub(crate) fn two_hundred_commands_at_once(rig: &Rig) {
    let _alone = rig.heavy();
    let session = rig.fresh(json!({}));
    session.sh("true");
    let before = descriptors(rig, &session);
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..200)
            .map(|n| {
                let session = &*session;
                let line = format!("echo {n}; sleep 0.{}; exit {}", n % 10, n % 256);
                scope.spawn(move || (n, session.sh(&line)))
            })
            .collect();
        for call in calls {
            let (n, done) = call.join().unwrap();
            assert_eq!(done["exit_code"], n % 256);
            assert_eq!(done["stdout"], format!("{n}\n"));
            // Another command's start, at the same moment, holds nothing of it.
            assert_eq!(done["held_open"], false, "command {n}: {done}");
        }
    });
    no_zombies(&session);
    // 64 cgroups may be kept ready, each one descriptor or two.
    nothing_leaked(rig, &session, before, 200);
}

pub(crate) fn thousands_of_commands_one_after_another(rig: &Rig) {
    let _alone = rig.heavy();
    let session = rig.fresh(json!({}));
    let count = rig.size(5000, 200);
    for n in 0..50 {
        session.sh(&format!("exit {n}"));
    }
    let before = descriptors(rig, &session);
    for n in 0..count {
        let done = session.exec(&json!({"argv": ["sh", "-c", format!("exit {}", n % 256)]})).ok();
        assert_eq!(done["exit_code"], n % 256, "command {n}: {done}");
    }
    no_zombies(&session);
    nothing_leaked(rig, &session, before, 16);
    let known = session.ask("GET", "/commands", &Value::Null).ok();
    let known = known["commands"].as_array().unwrap();
    assert!(known.iter().all(|c| c["status"] == "exited"), "an exit was lost");
}

pub(crate) fn orphans_are_reaped(rig: &Rig) {
    let _alone = rig.heavy();
    let session = rig.fresh(json!({}));
    let count = rig.size(10_000, 300);
    // Each is orphaned at once: its parent, the inner shell, is gone.
    let line = format!("i=0; while [ $i -lt {count} ]; do (true & ); i=$((i+1)); done; echo done");
    assert_eq!(session.say(&line), "done");
    no_zombies(&session);
    let left = || {
        let pids: u32 = session.say("ls -d /proc/[0-9]* | wc -l").parse().unwrap();
        // The workload's init, the shell, ls and wc.
        (pids < 10).then_some(())
    };
    wait::until("the processes are gone", wait::seconds(30), left);
}

pub(crate) fn a_stream_of_a_silent_command_is_cheap_and_alive(rig: &Rig) {
    let session = rig.shared();
    let command = session.start(json!({"command": "sleep 1000"}));
    let streams: Vec<_> = (0..20).map(|_| command.stream("")).collect();
    assert!(streams.iter().all(|stream| stream.status == 200));
    command.kill("KILL", "tree").ok();
    for stream in streams {
        let events = postern_tests::events::Events::new(stream).all().unwrap();
        assert_eq!(events.last().unwrap().data["signal"], 9);
    }
}
