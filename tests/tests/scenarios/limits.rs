//! What a command may use, and what it used.

use postern_tests::{Kind, Rig};
use serde_json::json;

pub(crate) fn a_limit_is_kept_or_refused_by_name(rig: &Rig) {
    let session = rig.shared();
    let loop_of_40 =
        "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done 2>&1; echo end; kill $(jobs -p)";
    for (field, limits) in [
        ("limits.memory_bytes", json!({"memory_bytes": 32 << 20})),
        ("limits.cpu_millis", json!({"cpus": 0.5})),
        ("limits.pids", json!({"pids": 10})),
    ] {
        let answer = session.exec(&json!({"argv": ["true"], "limits": limits}));
        if rig.kind() == Kind::Vm {
            assert_eq!(answer.ok()["exit_code"], 0, "{limits}");
        } else if answer.status != 200 {
            // The host's kernel may or may not have the controller for us.
            let error = answer.error(400, "invalid_argument");
            assert_eq!(
                (&error["field"], &error["stage"]),
                (&json!(field), &json!("resource_limit"))
            );
        }
    }
    if rig.kind() == Kind::Vm {
        let done = session.exec(&json!({"command": loop_of_40, "limits": {"pids": 10}})).ok();
        assert!(done["output"].as_str().unwrap().contains("fork"), "{done}");
    }
}

pub(crate) fn what_a_command_used_is_told(rig: &Rig) {
    let session = rig.shared();
    // In a grandchild that nobody waits for.
    let line = "(setsid sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done' &); \
                sleep 0.1";
    let id = session.sh(line)["command_id"].as_str().unwrap().to_owned();
    let command = session.command(&id);
    command.said("done");
    let spent = |info: &serde_json::Value| {
        let part = |name: &str| info["usage"][name].as_u64().unwrap();
        part("cpu_user_ms") + part("cpu_system_ms")
    };
    command.when("the grandchild is counted", postern_tests::wait::seconds(30), |info| {
        spent(info) >= 20
    });
    // The next one in the same cgroup begins anew.
    for _ in 0..8 {
        let done = session.exec(&json!({"argv": ["sleep", "0.05"]})).ok();
        assert!(spent(&done) < rig.size(20, 200), "{done}");
    }
}
