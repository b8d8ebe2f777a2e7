//! The serving process dies, or the sandbox, or the broker.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postern_tests::events::Events;
use postern_tests::layout::write_busybox;
use postern_tests::{Broker, Kind, Rig, Session, proc, wait};
use serde_json::{Value, json};

fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

fn kill_serve(session: &Session) {
    let pid = session.serve_pid().unwrap();
    send(pid, Signal::SIGKILL);
    wait::until("serve is started again", wait::seconds(30), || {
        session.serve_pid().filter(|now| *now != pid)
    });
}

pub(crate) fn commands_of_a_dead_serve_are_lost_and_never_exit_zero(rig: &Rig) {
    let session = rig.fresh(json!({"env": {"KEPT": "yes"}}));
    let command = session.start(json!({"command": "echo up; sleep 1000"}));
    let mut events = Events::new(command.stream(""));
    assert_eq!(events.event().unwrap().unwrap().bytes(), b"up\n");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| session.exec(&json!({"command": "echo waiting; sleep 1000"})));
        let begun = || {
            let list = session.ask("GET", "/commands", &Value::Null).ok();
            (list["commands"].as_array().unwrap().len() == 2).then_some(())
        };
        wait::until("the foreground command runs", wait::seconds(30), begun);
        kill_serve(&session);
        let lost = waiting.join().unwrap();
        assert_eq!(lost.json["exit_code"], Value::Null, "an invented exit: {lost:?}");
        lost.error(503, "unavailable");
    });
    let rest = events.all().unwrap();
    assert!(rest.iter().all(|event| event.name != "exit"), "an invented exit: {rest:?}");
    let last = rest.last().unwrap();
    assert_eq!((last.name.as_str(), &last.data["code"]), ("error", &json!("unavailable")));
    let look = command.look();
    assert_ne!(look.json["status"], "exited", "{look:?}");
    look.error(503, "unavailable");
    // The image, its files and the settings are still there.
    assert_eq!(session.say("echo $KEPT; id -un"), "yes\nroot");
    let pids = session.say("set -- /proc/[0-9]*; echo $#");
    assert_eq!(pids, "2", "what the dead serve had started is gone with it");
}

pub(crate) fn an_entrypoint_of_a_dead_serve_is_lost_and_not_started_again(rig: &Rig) {
    let dir = tempfile::tempdir().unwrap();
    let script = "echo started >> /started; echo up; exec busybox sleep 1000";
    write_busybox(dir.path(), &json!({"Env": ["PATH=/bin"], "Cmd": ["sh", "-c", script]}), &[]);
    let image = format!("oci:{}", dir.path().display());
    let session = rig.fresh(json!({"image": image, "entrypoint": true, "no_new_privs": true}));
    let command = session.command(session.info["entrypoint_command_id"].as_str().unwrap());
    command.said("up");
    kill_serve(&session);
    wait::until("its loss is told", wait::seconds(30), || {
        let look = command.look();
        assert_ne!(look.json["status"], "exited", "{look:?}");
        (look.status == 503 && look.json["message"].as_str()?.contains("lost")).then_some(())
    });
    assert_eq!(session.say("cat /started"), "started");
    // What the session was made with holds for the serving process that came after.
    assert_eq!(session.say("busybox grep NoNewPrivs /proc/self/status"), "NoNewPrivs:\t1");
}

pub(crate) fn a_retry_after_serve_died_starts_nothing(rig: &Rig) {
    let session = rig.fresh(json!({}));
    let once = json!({"command": "echo ran >> /tmp/ran; sleep 1000", "idempotency_key": "k"});
    let mut background = once.clone();
    background["background"] = true.into();
    let started = session.exec(&background).ok();
    session.command(started["command_id"].as_str().unwrap()).look().ok();
    wait::until("it ran", wait::seconds(30), || {
        (session.say("cat /tmp/ran 2>/dev/null; true") == "ran").then_some(())
    });
    kill_serve(&session);
    for request in [&once, &background] {
        session.exec(request).error(503, "unavailable");
    }
    assert_eq!(session.say("cat /tmp/ran"), "ran");
    // Another key is another command.
    let other = json!({"command": "cat /tmp/ran", "idempotency_key": "l"});
    assert_eq!(session.exec(&other).ok()["stdout"], "ran\n");
}

pub(crate) fn a_retry_before_serve_is_back_starts_nothing(rig: &Rig) {
    let session = rig.fresh(json!({}));
    let once = json!({"command": "echo ran >> /tmp/ran; sleep 1000", "idempotency_key": "k"});
    let mut background = once.clone();
    background["background"] = true.into();
    session.exec(&background).ok();
    wait::until("it ran", wait::seconds(30), || {
        (session.say("cat /tmp/ran 2>/dev/null; true") == "ran").then_some(())
    });
    let below = proc::descendants(session.sandbox_pid());
    let init = below.iter().find(|p| p.comm == "postern-init").unwrap().pid;
    // Who would start it again does nothing for now.
    send(init, Signal::SIGSTOP);
    send(session.serve_pid().unwrap(), Signal::SIGKILL);
    std::thread::scope(|scope| {
        let retries = [&once, &background].map(|request| scope.spawn(|| session.exec(request)));
        // They wait for a link.
        wait::pause(wait::seconds(1));
        send(init, Signal::SIGCONT);
        for retry in retries {
            retry.join().unwrap().error(503, "unavailable");
        }
    });
    assert_eq!(session.say("cat /tmp/ran"), "ran");
}

pub(crate) fn serve_may_die_again_and_again(rig: &Rig) {
    let session = rig.fresh(json!({}));
    session.say("echo kept > /tmp/kept");
    for _ in 0..5 {
        kill_serve(&session);
        assert_eq!(session.say("cat /tmp/kept"), "kept");
    }
}

pub(crate) fn a_stopped_serve_delays_and_loses_nothing(rig: &Rig) {
    let session = rig.fresh(json!({}));
    let command = session.start(json!({"command": "cat", "stdin_open": true}));
    let serve = session.serve_pid().unwrap();
    send(serve, Signal::SIGSTOP);
    std::thread::scope(|scope| {
        let asked =
            scope.spawn(|| command.stdin(&json!({"input": "later", "offset": 0, "eof": true})));
        wait::pause(wait::seconds(1));
        send(serve, Signal::SIGCONT);
        assert_eq!(asked.join().unwrap().ok()["offset"], 5);
    });
    assert_eq!(command.exited()["output"], "later");
}

pub(crate) fn a_killed_sandbox_fails_its_session_alone(rig: &Rig) {
    let session = rig.fresh(json!({}));
    let command = session.start(json!({"command": "echo up; sleep 1000"}));
    let mut events = Events::new(command.stream(""));
    events.event().unwrap();
    send(session.sandbox_pid(), Signal::SIGKILL);
    let rest = events.all().unwrap();
    assert!(rest.iter().all(|event| event.name != "exit"), "an invented exit: {rest:?}");
    let look = wait::until("it is seen", wait::seconds(30), || {
        Some(session.look().ok()).filter(|look| look["status"] == "failed")
    });
    assert!(look["reason"].as_str().unwrap().contains("ended"), "{look}");
    session.exec(&json!({"command": "true"})).error(409, "failed_precondition");
    assert_eq!(rig.shared().say("echo others go on"), "others go on");
}

pub(crate) fn a_broker_that_ends_takes_its_sandboxes_along(_: &Rig) {
    let rig = Rig::alone(Kind::Process, "ending");
    let session = rig.fresh(json!({}));
    let mut below = proc::descendants(rig.broker().pid());
    assert!(below.iter().any(|p| p.comm == "postern-serve"), "{below:?}");
    let data = rig.broker().data().to_owned();
    drop(session);
    let kept = rig.make(json!({})).unwrap();
    below.extend(proc::descendants(rig.broker().pid()));
    std::mem::forget(kept);
    // Its lifeline is cut by the rig's end; the leaked handle keeps the broker
    // itself from being waited for, so that is done here.
    let pid = rig.broker().pid();
    rig.broker().cut();
    wait::until("every process is gone", wait::seconds(60), || {
        let now = proc::all();
        let left = below.iter().filter(|p| now.iter().any(|n| n.pid == p.pid && n.comm == p.comm));
        let broker = now.iter().any(|n| n.pid == pid && n.state != 'Z');
        (left.count() == 0 && !broker).then_some(())
    });
    let left = std::fs::read_dir(data.join("sessions")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "directories of sessions are left");
}

pub(crate) fn two_brokers_do_not_disturb_each_other(rig: &Rig) {
    let other = Broker::start("other");
    let list = |broker: &Broker| {
        let mut response = broker.http.send("GET", "/v1/sessions", &[], b"").unwrap();
        response.json().unwrap()["total"].as_u64().unwrap()
    };
    let _session = rig.shared();
    assert_eq!(list(&other), 0);
    assert!(list(rig.broker()) > 0);
}
