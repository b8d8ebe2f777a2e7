//! A command, its output, and how it ended.

use postern_tests::Rig;
use serde_json::json;

pub(crate) fn a_session_boots_and_runs_a_command(rig: &Rig) {
    let session = rig.shared();
    assert_eq!(session.info["status"], "running");
    assert_eq!(session.info["driver"], rig.size("process", "qemu"));
    let done = session.sh("echo out; echo err >&2");
    assert_eq!(done["exit_code"], 0);
    assert_eq!(done["stdout"], "out\n");
    assert_eq!(done["stderr"], "err\n");
    assert_eq!(done["output_bytes"], 8);
    assert_eq!(done["held_open"], false);
    let boot = &session.look().ok()["boot"];
    assert!(boot["agent_ready_us"].as_u64() >= boot["init_start_us"].as_u64(), "{boot}");
}

pub(crate) fn every_exit_code_arrives(rig: &Rig) {
    let session = rig.shared();
    for code in 0..256 {
        let done = session.sh(&format!("exit {code}"));
        assert_eq!(done["exit_code"], code);
        assert_eq!(done["signal"], json!(null), "{code} is a code, whatever it looks like");
    }
}

pub(crate) fn a_death_by_signal_is_told_from_a_code(rig: &Rig) {
    let session = rig.shared();
    for (signal, name) in [(9, "SIGKILL"), (15, "SIGTERM"), (1, "SIGHUP"), (6, "SIGABRT")] {
        let done = session.sh(&format!("kill -{signal} $$"));
        assert_eq!(done["signal"], signal);
        assert_eq!(done["signal_name"], name);
        assert_eq!(done["exit_code"], 128 + signal);
        assert_eq!(done["timed_out"], false);
    }
}

pub(crate) fn argv_reaches_the_program_untouched(rig: &Rig) {
    let session = rig.shared();
    let words = ["a b", "", "$HOME", "*", "'\"", "é€", "-n", "\n"];
    let mut argv = vec!["printf", "[%s]"];
    argv.extend(words);
    let done = session.exec(&json!({"argv": argv})).ok();
    let expected: String = words.iter().map(|word| format!("[{word}]")).collect();
    assert_eq!(done["stdout"], expected);
}

pub(crate) fn the_environment_is_image_then_session_then_command(rig: &Rig) {
    let session = rig.fresh(json!({"env": {"A": "session", "B": "session"}}));
    let request = json!({"command": "echo $A $B $HOME; echo $PATH", "env": {"B": "command"}});
    let done = session.exec(&request).ok();
    let said = done["stdout"].as_str().unwrap();
    assert!(said.starts_with("session command /root\n"), "{said}");
    assert!(said.contains("/bin"), "{said}");
}

pub(crate) fn a_command_runs_where_and_as_whom_it_is_asked(rig: &Rig) {
    let session = rig.shared();
    let line = "pwd; id -u; id -g; echo $HOME $USER $LOGNAME";
    let done = session.exec(&json!({"command": line, "user": "user", "cwd": "/tmp"})).ok();
    assert_eq!(done["stdout"], "/tmp\n1000\n1000\n/home/user user user\n");
    let by_number =
        session.exec(&json!({"command": "id -u; id -g", "user": "1234:5678", "cwd": "/"})).ok();
    assert_eq!(by_number["stdout"], "1234\n5678\n");
    assert_eq!(session.say("id -u; pwd"), "0\n/root");
}

pub(crate) fn a_child_has_only_its_three_descriptors(rig: &Rig) {
    let session = rig.shared();
    // The shell opens the directory itself; what it opened is the fourth.
    let said = session.say("ls /proc/self/fd | wc -l; readlink /proc/$$/fd/* | grep -c -v -e pipe: -e /dev/null -e '^/proc' || true");
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines, ["4", "0"], "{said}");
}

pub(crate) fn a_child_starts_with_clean_signals_and_limits(rig: &Rig) {
    let session = rig.shared();
    // Directly: a shell ignores signals of its own.
    let status = session.exec(&json!({"argv": ["cat", "/proc/self/status"]})).ok();
    let status = status["stdout"].as_str().unwrap();
    for mask in ["SigBlk", "SigIgn"] {
        let line = status.lines().find(|line| line.starts_with(mask)).unwrap();
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
    let as_user = session
        .exec(&json!({"argv": ["cat", "/proc/self/status"], "user": "user", "cwd": "/"}))
        .ok();
    let as_user = as_user["stdout"].as_str().unwrap().to_owned();
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        let line = as_user.lines().find(|line| line.starts_with(set)).unwrap();
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
    assert_eq!(session.say("cat /proc/self/oom_score_adj"), "0");
    assert_eq!(session.say("umask"), "0022");
}
