//! The hostile images against the guest's kernel and its file systems, all of them:
//! as sessions of their own they would be a boot each.

use std::process::Command;

use postern_tests::{Rig, artifacts, wait};
use serde_json::json;

/// As many as the corpus is promised to have.
const AT_LEAST: u32 = 40;

pub(crate) fn every_one_ends_as_it_should_on_the_guests_kernel(rig: &Rig) {
    let Some(test) = artifacts::unit_test("hostile") else {
        println!(
            "SKIPPED every_one_ends_as_it_should: the agent's test is not built; \
             enable: cargo test -p postern-agent --test hostile --no-run"
        );
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let small = dir.path().join("hostile");
    let stripped = Command::new("strip").arg("-o").arg(&small).arg(test).status();
    assert!(stripped.unwrap().success());
    let session = rig.fresh(json!({"image": "debian", "memory_mb": 1024}));
    session.put("/root/hostile", &std::fs::read(&small).unwrap()).ok();
    let run = "chmod +x /root/hostile && exec /root/hostile --show-output --test-threads 1";
    let corpus = session.start(json!({"command": run, "user": "0"}));
    // Three seconds on this host, and some thirty times as long without KVM.
    let done = wait::until("the end of the corpus", wait::seconds(600), || {
        let look = corpus.look().ok();
        (look["status"] != "running").then_some(look)
    });
    let output = done["output"].as_str().unwrap();
    assert_eq!(done["exit_code"], 0, "{output}");
    let count = output.lines().find_map(|line| line.strip_suffix(" hostile images"));
    let count: u32 = count.unwrap().trim().parse().unwrap();
    assert!(count >= AT_LEAST, "{output}");
}
