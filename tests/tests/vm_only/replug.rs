//! The process that serves a machine's vsock dies; the host sleeps.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postern_tests::events::{Event, Events};
use postern_tests::{Rig, Session, proc, wait};
use serde_json::{Value, json};

/// The session's vhost-device-vsock.
fn backend(session: &Session) -> Option<u32> {
    let dir = session.dir();
    let all = proc::all().into_iter();
    let mut found =
        all.filter(|p| p.comm == "vhost-device-vs" && p.state != 'Z' && p.has_argument_with(&dir));
    found.next().map(|p| p.pid)
}

fn kill_backend(session: &Session) {
    let pid = backend(session).unwrap();
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    wait::until("there is another", wait::seconds(60), || {
        backend(session).filter(|now| *now != pid)
    });
}

fn skip(session: &Session) -> bool {
    let none = backend(session).is_none();
    if none {
        println!("SKIPPED replug: the kernel serves vsock here; enable: rmmod vhost_vsock");
    }
    none
}

pub(crate) fn a_stream_goes_on_when_the_vsock_device_is_plugged_anew(rig: &Rig) {
    let session = rig.fresh(json!({}));
    if skip(&session) {
        return;
    }
    let line = "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo line $i; sleep 0.05; done; exit 9";
    let command = session.start(json!({"command": line, "lossless": true}));
    let mut events = Events::new(command.stream("?lossless=true"));
    let (mut all, mut replugged) = (Vec::new(), 0);
    let exit = loop {
        let event: Event = events.event().unwrap().unwrap();
        match event.name.as_str() {
            "output" => all.extend(event.bytes()),
            "exit" => break event,
            other => panic!("{other}: {event:?}"),
        }
        if all.len() > 500 * (replugged + 1) && replugged < 2 {
            kill_backend(&session);
            replugged += 1;
        }
    };
    assert_eq!((replugged, exit.number("exit_code")), (2, 9));
    let wanted: String = (1..=400).map(|i| format!("line {i}\n")).collect();
    assert_eq!(String::from_utf8(all).unwrap(), wanted);
    assert_eq!(session.say("echo alive"), "alive");
}

pub(crate) fn a_vsock_device_that_died_without_a_broker_is_plugged_anew(rig: &Rig) {
    let rig = &Rig::alone(rig.kind(), "replug");
    let session = rig.fresh(json!({}));
    if skip(&session) {
        return;
    }
    let command = session.start(json!({"command": "cat", "stdin_open": true}));
    command.stdin(&json!({"input": "one ", "offset": 0})).ok();
    rig.broker().kill();
    let pid = backend(&session).unwrap();
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    wait::until("it is dead", wait::seconds(30), || backend(&session).is_none().then_some(()));
    rig.broker().start_again();
    let taken = wait::until("the agent is reached", wait::seconds(60), || {
        let answer = command.stdin(&json!({"input": "one two", "offset": 0, "eof": true}));
        (answer.status == 200).then(|| answer.ok())
    });
    assert_eq!(taken["offset"], 7);
    assert_eq!(command.exited()["output"], "one two");
    // The store has the new one: a broker after this finds it and kills nothing.
    let now = backend(&session).unwrap();
    rig.broker().kill();
    rig.broker().start_again();
    assert_eq!(session.say("echo alive"), "alive");
    assert_eq!(backend(&session), Some(now));
}

pub(crate) fn a_vsock_device_that_always_dies_fails_its_session_with_the_reason(rig: &Rig) {
    let session = rig.fresh(json!({}));
    if skip(&session) {
        return;
    }
    let look = wait::until("the broker gives up", wait::seconds(120), || {
        if let Some(pid) = backend(&session) {
            // It may have died since it was looked at.
            let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL);
        }
        Some(session.look().ok()).filter(|look| look["status"] == "failed")
    });
    assert!(look["reason"].as_str().unwrap().contains("vsock"), "{look}");
    assert!(!session.dir().exists(), "its directory is left");
    assert!(backend(&session).is_none(), "its backend is left");
}

pub(crate) fn a_resumed_guest_knows_what_time_it_is(rig: &Rig) {
    let session = rig.fresh(json!({}));
    let now = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        since.as_secs()
    };
    let off = |session: &Session| {
        let inside: u64 = session.say("date +%s").parse().unwrap();
        Duration::from_secs(inside.abs_diff(now()))
    };
    session.say("date -s @1000000000");
    assert!(off(&session) > Duration::from_secs(1000));
    session.ask("POST", "/resume", &Value::Null).ok();
    assert!(off(&session) < wait::seconds(5), "{:?} off", off(&session));
}
