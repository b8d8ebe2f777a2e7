//! Bounds that only a machine's kernel can keep here: memory, processes.

use postern_tests::{Rig, wait};
use serde_json::json;

/// Tells the most processes that the machine had at once; forks none itself.
const WATCH: &str = "max=0; while read -r a b c total e < /proc/loadavg; do \
    n=${total#*/}; [ $n -gt $max ] && max=$n && echo $max; done";

pub(crate) fn a_fork_bomb_is_contained_and_the_agent_answers(rig: &Rig) {
    let session = rig.fresh(json!({}));
    let limit = session.say("cat /sys/fs/cgroup/pids.max");
    assert_eq!(limit, "max", "the bound lies where the workload's root cannot lift it");
    let threads: u64 = session.say("cat /proc/sys/kernel/threads-max").parse().unwrap();
    let watch = session.start(json!({"command": WATCH}));
    // Each goes on forking until it cannot; none of them ever ends.
    let bomb = session.start(json!({"command": "b() { b | b & wait; }; b; b"}));
    let alive = json!({"command": "echo alive", "timeout_ms": 60_000});
    wait::until("it cannot fork any more", wait::seconds(120), || {
        // The workload's processes may be all taken: that is said, not waited for.
        let answer = session.exec(&alive);
        let refused = answer.json["stage"] == "resource_limit";
        assert!(refused || answer.json["exit_code"].is_u64(), "{answer:?}");
        bomb.info()["output"].as_str().unwrap().contains("can't fork").then_some(())
    });
    bomb.kill("KILL", "tree").ok();
    bomb.closed();
    watch.kill("KILL", "tree").ok();
    let seen = watch.closed()["output"].as_str().unwrap().to_owned();
    let most: u64 = seen.lines().last().unwrap().parse().unwrap();
    // Beside the workload there are the kernel's own threads.
    assert!(most > threads / 4 && most < threads / 2 + 200, "{most} of {threads}");
    assert_eq!(session.say("echo alive"), "alive");
}

pub(crate) fn a_command_over_its_memory_is_told_as_oom_killed_and_no_other_is(rig: &Rig) {
    let session = rig.fresh(json!({}));
    let eat = "x=0123456789abcdef; while :; do x=$x$x; done";
    let line = format!("sh -c '{eat}' & wait; echo never");
    let request = json!({"command": line, "limits": {"memory_mb": 24}, "timeout_ms": 120_000});
    let hog = session.start(request);
    while hog.info()["status"] == "running" {
        assert_eq!(session.say("echo alive"), "alive");
    }
    let info = hog.exited();
    assert_eq!((&info["oom_killed"], &info["signal"]), (&json!(true), &json!(9)), "{info}");
    // The cgroup of one that lost a child to the OOM killer is nobody else's.
    for _ in 0..6 {
        let done = session.sh("kill -KILL $$");
        assert_eq!((&done["oom_killed"], &done["signal"]), (&json!(false), &json!(9)), "{done}");
    }
    wait::until("memory is given back", wait::seconds(30), || {
        (session.say("echo alive") == "alive").then_some(())
    });
}

pub(crate) fn a_peak_of_memory_is_the_commands_own(rig: &Rig) {
    let session = rig.shared();
    let line = "head -c 20000000 /dev/zero | tail -c 20000000 | wc -c; sleep 0.1";
    let peak = |line: &str| session.sh(line)["usage"]["memory_peak_bytes"].as_u64();
    assert!(peak(line) > Some(16_000_000), "{:?}", peak(line));
    for _ in 0..8 {
        assert!(peak("sleep 0.1") < Some(8_000_000), "of somebody before");
    }
}
