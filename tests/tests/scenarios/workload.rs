//! A root of the workload that is up to no good.

use postern_tests::{Rig, Session, wait};
use serde_json::json;

/// Everything that `kill` reaches, and then some.
const ATTACKS: &[(&str, &str)] = &[
    ("kill everybody", "kill -9 -1 2>/dev/null; true"),
    (
        "kill by number",
        "for p in $(seq 1 400); do [ $p = $$ ] || kill -9 $p; done 2>/dev/null; true",
    ),
    (
        "stop by number",
        "for p in $(seq 1 400); do [ $p = $$ ] || kill -19 $p; done 2>/dev/null; true",
    ),
    ("signals for init", "for s in 1 2 3 10 12 15 17 18; do kill -$s 1; done 2>/dev/null; true"),
    (
        "write memory",
        "for m in /proc/[0-9]*/mem; do case $m in /proc/$$/*) ;; *) echo x > $m;; esac; done 2>/dev/null; true",
    ),
    (
        "leave by the mounts",
        "umount -a 2>/dev/null; mount -o remount,ro / 2>/dev/null; mount -o remount,rw / 2>/dev/null; true",
    ),
];

pub(crate) fn a_hostile_root_cannot_end_or_stop_the_agent(rig: &Rig) {
    let session = rig.fresh(json!({}));
    for (what, line) in ATTACKS {
        // In the background: it may well end itself.
        session.start(json!({"command": line, "timeout_ms": 20_000})).exited();
        let done = session.exec(&json!({"command": "echo alive", "timeout_ms": 20_000})).ok();
        assert_eq!(done["stdout"], "alive\n", "after: {what}");
    }
    assert_eq!(session.look().ok()["status"], "running");
}

pub(crate) fn a_workload_cannot_pull_the_plug(rig: &Rig) {
    let session = rig.fresh(json!({}));
    for line in [
        "echo o > /proc/sysrq-trigger",
        "echo b > /proc/sysrq-trigger",
        "echo c > /proc/sysrq-trigger",
        "reboot -f",
        "poweroff -f",
        "halt -f",
    ] {
        let command = session.start(json!({"command": line, "timeout_ms": 5000}));
        // The command may be what dies of it; the sandbox is not.
        wait::until(line, wait::seconds(60), || {
            let look = command.look();
            (look.json["status"] != "running").then_some(())
        });
        let answer = session.exec(&json!({"command": "echo alive"}));
        assert_eq!(answer.json["stdout"], "alive\n", "after {line}: {answer:?}");
    }
}

pub(crate) fn a_workload_that_freezes_itself_harms_only_itself(rig: &Rig) {
    let session = rig.fresh(json!({}));
    let line = "echo 1 > /sys/fs/cgroup/cgroup.freeze; true";
    let command = session.start(json!({"command": line, "timeout_ms": 2000, "kill_grace_ms": 100}));
    command.exited();
    let done = session.exec(&json!({"command": "echo thawed"}));
    assert_eq!(done.status, 200, "a frozen sandbox takes no commands for ever: {done:?}");
    assert_eq!(done.json["stdout"], "thawed\n");
}

pub(crate) fn a_hostile_root_sees_nothing_of_the_agent(rig: &Rig) {
    let session = rig.shared();
    let names = session.say("cat /proc/[0-9]*/comm");
    assert!(!names.contains("postern"), "{names}");
    let read = "for p in /proc/[0-9]*; do readlink $p/exe $p/cwd $p/root; cat $p/cmdline $p/environ; done 2>/dev/null; ls / /run; cat /proc/mounts; true";
    let seen = session.sh(read)["stdout"].as_str().unwrap().to_owned();
    for trace in ["postern-agent", "/run/postern", "agent.sock", "initramfs"] {
        assert!(!seen.contains(trace), "{trace} is seen from inside: {seen}");
    }
    // What the workload's init holds open could be taken over through /proc.
    assert_eq!(session.say("ls /proc/1/fd 2>/dev/null | wc -l"), "0");
}

pub(crate) fn a_fork_bomb_is_killed_and_the_agent_answers(rig: &Rig) {
    let session = rig.fresh(json!({}));
    let line = "i=0; while [ $i -lt 300 ]; do sh -c 'while :; do :; done' & i=$((i+1)); done; wait";
    let bomb = session.start(json!({"command": line}));
    assert_eq!(during(&session), "alive\n");
    bomb.kill("KILL", "tree").ok();
    bomb.closed();
    let count = "set -- /proc/[0-9]*; echo $#";
    wait::until("only init and who looks are left", wait::seconds(30), || {
        (session.say(count) == "2").then_some(())
    });
}

fn during(session: &Session) -> String {
    let done = session.exec(&json!({"command": "echo alive", "timeout_ms": 60_000})).ok();
    done["stdout"].as_str().unwrap().to_owned()
}

pub(crate) fn links_in_the_image_do_not_lead_the_agent_astray(rig: &Rig) {
    let session = rig.fresh(json!({}));
    // By number, which needs no file of users.
    let as_root = |line: &str| {
        let done = session.exec(&json!({"command": line, "user": "0:0"})).ok();
        assert_eq!(done["exit_code"], 0, "{line}: {done}");
    };
    // The users' files become endless, or links to what never ends.
    as_root(
        "cp /etc/passwd /tmp/p; rm -f /etc/passwd /etc/group; ln -s /dev/zero /etc/passwd; \
         mkfifo /etc/group",
    );
    let answer = session.exec(&json!({"argv": ["true"], "user": "user", "timeout_ms": 20_000}));
    assert!((400..500).contains(&answer.status), "{answer:?}");
    // Else nobody can put it right again.
    as_root("rm /etc/passwd /etc/group; cp /tmp/p /etc/passwd");
    let done = session.exec(&json!({"argv": ["id", "-u"], "user": "user", "cwd": "/"})).ok();
    assert_eq!(done["stdout"], "1000\n");
}
