//! Commands that died while no broker was there to see it.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postern_tests::{Kind, Rig, proc, wait};
use serde_json::{Value, json};

pub(crate) fn a_retry_after_broker_and_serve_died_starts_nothing(_: &Rig) {
    let rig = Rig::alone(Kind::Process, "lost-key");
    let session = rig.fresh(json!({}));
    let line = "echo ran >> /tmp/ran; exec sleep 1000";
    let once = json!({"command": line, "background": true, "idempotency_key": "k"});
    let started = session.exec(&once).ok();
    wait::until("it ran", wait::seconds(30), || {
        (session.say("cat /tmp/ran 2>/dev/null; true") == "ran").then_some(())
    });
    rig.broker().kill();
    rig.broker().start_again();
    // By now the new broker has heard of it from the agent.
    let known = session.ask("GET", "/commands", &Value::Null).ok();
    let mut known = known["commands"].as_array().unwrap().iter();
    assert!(known.any(|command| command["command_id"] == started["command_id"]));
    let serve = session.serve_pid().unwrap();
    kill(Pid::from_raw(i32::try_from(serve).unwrap()), Signal::SIGKILL).unwrap();
    wait::until("serve is started again", wait::seconds(30), || {
        session.serve_pid().filter(|now| *now != serve)
    });
    session.exec(&once).error(503, "unavailable");
    assert_eq!(session.say("cat /tmp/ran"), "ran");
}

pub(crate) fn commands_that_died_while_no_broker_was_there_are_lost(_: &Rig) {
    let rig = Rig::alone(Kind::Process, "lost");
    let session = rig.fresh(json!({"env": {"KEPT": "yes"}}));
    let command = session.start(json!({"command": "echo up; exec sleep 1000"}));
    command.said("up");
    let serve = session.serve_pid().unwrap();
    rig.broker().kill();
    kill(Pid::from_raw(i32::try_from(serve).unwrap()), Signal::SIGKILL).unwrap();
    wait::until("serve is started again", wait::seconds(30), || {
        session.serve_pid().filter(|now| *now != serve)
    });
    rig.broker().start_again();
    for _ in 0..2 {
        let look = command.look();
        assert_eq!(look.json["exit_code"], Value::Null, "an invented exit: {look:?}");
        look.error(503, "unavailable");
        assert_eq!(command.stream("").status, 503);
        assert_eq!(command.output("").status, 503);
        command.stdin(&json!({"input": "x"})).error(503, "unavailable");
        // One that never was is another matter.
        session.command("cmd_aaaaaaaaaaaaaaaaaaaaaaaaaa").look().error(404, "not_found");
        assert_eq!(session.say("echo $KEPT"), "yes");
        // The broker after that knows it as well.
        rig.broker().kill();
        rig.broker().start_again();
    }
    assert!(proc::descendants(session.sandbox_pid()).iter().all(|p| p.comm != "sleep"));
}
