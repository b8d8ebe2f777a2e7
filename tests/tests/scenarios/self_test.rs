//! What a session says of itself.

use postern_tests::Rig;
use serde_json::{Value, json};

pub(crate) fn a_session_tells_what_it_has_and_what_it_lacks(rig: &Rig) {
    let session = rig.fresh(json!({"env": {"HTTPS_PROXY": "http://proxy.test:3128"}}));
    session
        .say("printf '#!/bin/sh\\necho git version 9.9' > /usr/bin/git && chmod +x /usr/bin/git");
    let told = session.ask("POST", "/self-test", &Value::Null).ok();
    let runtime = &told["runtime"];
    assert_eq!((&runtime["user"], &runtime["home"]), (&json!("root"), &json!("/root")), "{told}");
    assert_eq!(runtime["path_entries"][0], "/usr/local/sbin", "{told}");
    assert_eq!(runtime["proxy"]["https_proxy"], "http://proxy.test:3128", "{told}");
    assert_eq!(runtime["tools"], json!({"git": "/usr/bin/git"}), "{told}");
    assert_eq!(runtime["tool_versions"], json!({"git": "git version 9.9"}), "{told}");
    let guest = &told["guest"];
    assert!(guest["memory_total_bytes"].as_u64().unwrap() > 64 << 20, "{told}");
    // Every controller is there or is named as missing.
    let there = guest["cgroup_controllers"].as_array().unwrap();
    let warnings = told["warnings"].to_string();
    for name in ["cpu", "memory", "pids"] {
        let has = there.iter().any(|controller| controller == name);
        assert_ne!(has, warnings.contains(name), "{name}: {told}");
        // A machine of its own has them all.
        assert!(rig.size(true, has), "{name}: {told}");
    }
    assert_eq!(told["status"], if told["warnings"] == json!([]) { "ok" } else { "degraded" });
}

pub(crate) fn an_image_without_a_shell_has_an_answer_too(rig: &Rig) {
    let session = rig.fresh(json!({}));
    session.say("rm /bin/sh");
    let told = session.ask("POST", "/self-test", &Value::Null).ok();
    assert_eq!((&told["status"], &told["runtime"]), (&json!("degraded"), &Value::Null), "{told}");
    assert!(told["warnings"].to_string().contains("sh"), "{told}");
    assert!(told["guest"]["kernel"].is_string(), "{told}");
}
