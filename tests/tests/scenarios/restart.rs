//! The broker is killed, and another one started on its data and its port.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postern_tests::events::{Event, Events};
use postern_tests::http::Response;
use postern_tests::layout::write_busybox;
use postern_tests::random::Random;
use postern_tests::{Broker, Rig, proc, wait};
use serde_json::{Value, json};

/// Killed and started again, with the sandboxes left to themselves in between.
fn restart(rig: &Rig) {
    rig.broker().kill();
    rig.broker().start_again();
}

/// One request of a client that bears the want of a broker: as often as it takes.
fn insist(broker: &Broker, method: &str, path: &str, body: &Value) -> Value {
    wait::until(&format!("{method} {path}"), wait::seconds(60), || {
        let headers = [("Content-Type", "application/json")];
        let sent = broker.http.send(method, path, &headers, body.to_string().as_bytes());
        let mut response = sent.ok()?;
        let json = response.json().ok()?;
        match response.status {
            200..300 => Some(json),
            // The broker is on its way to the agent.
            503 | 504 => None,
            status => panic!("{method} {path}: {status} {json}"),
        }
    })
}

/// Writes all of it, with offsets: what was not answered is written again.
fn write_all(broker: &Broker, path: &str, data: &[u8]) {
    let mut at = 0;
    while at < data.len() {
        let piece = &data[at..data.len().min(at + (48 << 10))];
        let body = json!({"input": STANDARD.encode(piece), "encoding": "base64", "offset": at});
        let taken = insist(broker, "POST", path, &body)["offset"].as_u64().unwrap();
        if usize::try_from(taken).unwrap() == at {
            // It is full: whoever reads the output makes room.
            wait::pause(Duration::from_millis(5));
        }
        at = usize::try_from(taken).unwrap();
    }
    insist(broker, "POST", path, &json!({"input": "", "offset": at, "eof": true}));
}

/// Follows to the exit as an EventSource does, over as many connections as it takes.
fn follow(broker: &Broker, path: &str, seen: &AtomicU64) -> (Vec<u8>, Event, usize) {
    let (mut all, mut connections) = (Vec::new(), 0);
    loop {
        let id = all.len().to_string();
        let headers = [("Last-Event-ID", id.as_str())];
        let sent = broker.http.send("GET", path, &headers, b"");
        let Some(response) = sent.ok().filter(|r: &Response| r.status == 200) else {
            wait::pause(Duration::from_millis(10));
            continue;
        };
        connections += 1;
        let mut events = Events::new(response);
        // Cut off with the broker: whatever came is kept, and the rest asked for.
        while let Ok(Some(event)) = events.event() {
            match event.name.as_str() {
                "output" => {
                    assert_eq!(event.number("offset"), all.len() as u64, "{event:?}");
                    all.extend(event.bytes());
                    seen.store(all.len() as u64, Ordering::Relaxed);
                }
                "exit" => return (all, event, connections),
                other => panic!("{other}: {event:?}"),
            }
        }
    }
}

pub(crate) fn a_killed_broker_loses_no_byte_of_output_or_stdin(rig: &Rig) {
    let _alone = rig.heavy();
    let rig = &Rig::alone(rig.kind(), "restart-bytes");
    let session = rig.fresh(json!({}));
    let data = Random::new("restart").bytes(rig.size(24 << 20, 4 << 20));
    let line = "tee /tmp/copy; exit 7";
    let command = session.start(json!({"command": line, "stdin_open": true, "lossless": true}));
    let before = command.info();
    let path = format!("/v1/sessions/{}/commands/{}", session.id, command.id);
    let (seen, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let broker = rig.broker();
        let writer = scope.spawn(|| write_all(broker, &format!("{path}/stdin"), &data));
        let reader = scope.spawn(|| {
            let followed = follow(broker, &format!("{path}/stream?lossless=true"), &seen);
            done.store(true, Ordering::Relaxed);
            followed
        });
        for part in 1..=3 {
            let there = data.len() as u64 * part / 4;
            wait::until("a quarter more has come", wait::seconds(120), || {
                assert!(!done.load(Ordering::Relaxed), "over before it was disturbed");
                (seen.load(Ordering::Relaxed) >= there).then_some(())
            });
            restart(rig);
        }
        writer.join().unwrap();
        let (all, exit, connections) = reader.join().unwrap();
        assert!(all == data, "{} bytes of {} came, or others", all.len(), data.len());
        assert_eq!(exit.number("exit_code"), 7, "{exit:?}");
        assert!(connections > 3, "the broker was never missed");
    });
    let after = command.info();
    assert_eq!((&after["command_id"], &after["pid"]), (&before["command_id"], &before["pid"]));
    assert_eq!(after["output_bytes"], data.len());
    assert_eq!(session.say("wc -c < /tmp/copy"), data.len().to_string(), "stdin as it arrived");
}

pub(crate) fn what_was_there_before_a_restart_is_there_after_it(rig: &Rig) {
    let rig = &Rig::alone(rig.kind(), "restart-state");
    let session = rig.fresh(json!({"env": {"KEPT": "yes"}, "ttl_seconds": 3600}));
    let gone = rig.make(json!({"memory_mb": rig.size(64, 256)})).unwrap();
    gone.delete(true).ok();
    session.put("/tmp/file", b"content").ok();
    let ended = session.start(json!({"command": "echo out; echo err >&2; exit 3"}));
    ended.closed();
    let running = session.start(json!({"command": "echo up; exec sleep 1000"}));
    running.said("up");
    let (info, list) = (session.look().ok(), session.ask("GET", "/commands", &Value::Null).ok());
    let (of_ended, of_running) = (ended.info(), running.info());
    for _ in 0..2 {
        restart(rig);
        assert_eq!(session.look().ok(), info);
        let now = session.ask("GET", "/commands", &Value::Null).ok();
        let ids = |list: &Value| {
            let list = list["commands"].as_array().unwrap();
            list.iter().map(|c| c["command_id"].clone()).collect::<Vec<_>>()
        };
        // What is said below is a command, too.
        assert!(ids(&now).starts_with(&ids(&list)), "{now}");
        assert_eq!(ended.info(), of_ended);
        let now = running.info();
        for field in ["status", "pid", "output", "started_at_epoch"] {
            assert_eq!(now[field], of_running[field], "{field}");
        }
        assert_eq!(session.say("echo $KEPT; cat /tmp/file"), "yes\ncontent");
    }
    let reason = gone.look().ok();
    assert_eq!(reason["status"], "terminated", "ended ones stay listed: {reason}");
    assert_eq!(running.kill("KILL", "tree").ok()["delivered"], true);
    assert_eq!(running.exited()["signal"], 9);
    session.delete(false).ok();
    assert_eq!(session.look().ok()["status"], "terminated");
    assert!(!session.dir().exists(), "its directory is left");
}

pub(crate) fn a_retried_exec_runs_once_also_when_the_broker_died(rig: &Rig) {
    let rig = &Rig::alone(rig.kind(), "restart-key");
    let session = rig.fresh(json!({}));
    // It goes on when it is told to, so that no time decides.
    let line = "echo ran >> /tmp/runs; while ! [ -e /tmp/go ]; do sleep 0.05; done; echo done";
    let request = json!({"command": line, "idempotency_key": "once"});
    let ran = || session.say("cat /tmp/runs 2>/dev/null | wc -l");
    let path = format!("/v1/sessions/{}/exec", session.id);
    std::thread::scope(|scope| {
        let ask = || insist(rig.broker(), "POST", &path, &request);
        // The reply to the first is lost with the broker; it asks again by itself.
        let first = scope.spawn(ask);
        wait::until("it runs", wait::seconds(30), || (ran() == "1").then_some(()));
        restart(rig);
        let second = scope.spawn(ask);
        // Longer than the grace: who asked again is its caller now.
        let asked = Instant::now();
        wait::until("the grace is over", wait::seconds(60), || {
            (asked.elapsed() > Duration::from_secs(12)).then_some(())
        });
        session.put("/tmp/go", b"").ok();
        let (first, second) = (first.join().unwrap(), second.join().unwrap());
        assert_eq!(first["command_id"], second["command_id"]);
        for answer in [first, second] {
            assert_eq!((&answer["exit_code"], &answer["stdout"]), (&json!(0), &json!("done\n")));
        }
    });
    assert_eq!(ran(), "1");
}

pub(crate) fn commands_whose_callers_died_with_the_broker_are_ended(rig: &Rig) {
    let rig = &Rig::alone(rig.kind(), "restart-callers");
    let session = rig.fresh(json!({}));
    let kept = session.start(json!({"command": "exec sleep 1000"}));
    let list = |status: &str| {
        let list = session.ask("GET", "/commands", &Value::Null).ok();
        let list = list["commands"].as_array().unwrap().clone();
        list.into_iter()
            .filter(|c| c["status"] == status)
            .map(|c| c["command_id"].clone())
            .collect::<Vec<_>>()
    };
    let path = format!("/v1/sessions/{}/exec", session.id);
    std::thread::scope(|scope| {
        for key in [Value::Null, json!("nobody comes for it")] {
            let body = json!({"command": "exec sleep 1000", "idempotency_key": key});
            let (broker, path) = (rig.broker(), &path);
            scope.spawn(move || {
                let headers = [("Content-Type", "application/json")];
                let lost = broker.http.send("POST", path, &headers, body.to_string().as_bytes());
                assert!(lost.is_err(), "it was answered: {lost:?}");
            });
        }
        wait::until("all run", wait::seconds(30), || (list("running").len() == 3).then_some(()));
        restart(rig);
    });
    // New callers come before the old ones are missed, and are not taken for them.
    std::thread::scope(|scope| {
        let new = scope.spawn(|| session.sh("sleep 14; echo not mine to end"));
        let begun = Instant::now();
        wait::until("the abandoned are ended", wait::seconds(60), || {
            let left = list("running");
            (!left.is_empty() && left.len() <= 2).then_some(())
        });
        assert!(begun.elapsed() > Duration::from_secs(5), "they had no grace");
        assert_eq!(new.join().unwrap()["stdout"], "not mine to end\n");
    });
    assert_eq!(list("running"), [json!(kept.id)]);
}

pub(crate) fn a_sandbox_that_died_while_no_broker_was_there_is_failed(rig: &Rig) {
    let rig = &Rig::alone(rig.kind(), "restart-dead");
    let session = rig.fresh(json!({}));
    let dir = session.dir();
    rig.broker().kill();
    let theirs = || proc::all().into_iter().filter(|p| p.has_argument_with(&dir));
    let pids: Vec<_> = theirs().map(|p| i32::try_from(p.pid).unwrap()).collect();
    assert!(!pids.is_empty());
    for pid in pids {
        let pid = nix::unistd::Pid::from_raw(pid);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
    wait::until("it is dead", wait::seconds(30), || theirs().all(|p| p.state == 'Z').then_some(()));
    rig.broker().start_again();
    let look = session.look().ok();
    assert_eq!(look["status"], "failed", "{look}");
    assert!(look["reason"].as_str().unwrap().contains("while no broker was there"), "{look}");
    session.exec(&json!({"command": "true"})).error(409, "failed_precondition");
    assert!(!dir.exists(), "its directory is left");
}

pub(crate) fn a_broker_killed_while_it_makes_a_session_leaves_nothing(rig: &Rig) {
    let rig = &Rig::alone(rig.kind(), "restart-making");
    let data = rig.broker().data().to_owned();
    let sandboxes = || {
        let others = |p: &proc::Process| p.pid != rig.broker().pid() && p.state != 'Z';
        proc::all().into_iter().filter(|p| others(p) && p.has_argument_with(&data)).count()
    };
    for _ in 0..rig.size(5, 2) {
        std::thread::scope(|scope| {
            let kind = rig.size("process", "qemu");
            let making = scope.spawn(move || {
                let body = json!({"driver": kind, "memory_mb": 256}).to_string();
                rig.broker().http.send("POST", "/v1/sessions", &[], body.as_bytes())
            });
            wait::until("a part of it runs", wait::seconds(30), || (sandboxes() > 0).then_some(()));
            rig.broker().kill();
            // One that was quicker than the kill is a session like others.
            let _ = making.join().unwrap();
        });
        rig.broker().start_again();
        let mut list = rig.broker().http.send("GET", "/v1/sessions", &[], b"").unwrap();
        let list = list.json().unwrap();
        let list = list["sessions"].as_array().unwrap();
        let live: Vec<_> = list.iter().filter(|s| s["status"] == "running").collect();
        for session in &live {
            let path = format!("/v1/sessions/{}?force=true", session["id"].as_str().unwrap());
            rig.broker().http.send("DELETE", &path, &[], b"").unwrap();
        }
        wait::until("nothing of it is left", wait::seconds(30), || {
            (sandboxes() == 0).then_some(())
        });
        assert_eq!(std::fs::read_dir(data.join("sessions")).unwrap().count(), 0);
    }
}

pub(crate) fn an_entrypoint_is_started_once_also_when_the_broker_died(rig: &Rig) {
    let dir = tempfile::tempdir().unwrap();
    let script = "echo started >> /started; echo up; exec busybox sleep 1000";
    let config = json!({"Env": ["PATH=/bin"], "Cmd": ["sh", "-c", script], "Labels": {"a": "b"}});
    write_busybox(dir.path(), &config, &[]);
    let image = format!("oci:{}", dir.path().display());
    let session = rig.fresh(json!({"image": image, "entrypoint": true, "no_new_privs": true}));
    let id = session.info["entrypoint_command_id"].as_str().unwrap();
    session.command(id).said("up");
    let before = session.look().ok();
    restart(rig);
    let path = format!("/v1/sessions/{}", session.id);
    let command = insist(rig.broker(), "GET", &format!("{path}/commands/{id}"), &Value::Null);
    assert_eq!((&command["status"], &command["output"]), (&json!("running"), &json!("up\n")));
    assert_eq!(session.say("cat /started"), "started");
    let after = session.look().ok();
    for key in ["entrypoint_command_id", "image_config", "no_new_privs"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    assert_eq!(after["image_config"]["labels"], json!({"a": "b"}));
}
