//! What a process sandbox has none of.

use postern_tests::Rig;
use serde_json::json;

pub(crate) fn a_process_sandbox_has_no_disk_and_says_so(rig: &Rig) {
    let error = rig.make(json!({"disk_mb": 64})).unwrap_err().error(400, "invalid_argument");
    assert_eq!(error["field"], "disk_mb");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("disk_mb") && message.contains("process"), "{message}");
}
