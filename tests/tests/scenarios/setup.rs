//! A process is set up as it was asked for, or it is said what cannot be had.

use postern_tests::{Rig, Session};
use serde_json::{Value, json};

fn said(session: &Session, request: &Value) -> String {
    let done = session.exec(request).ok();
    assert_eq!(done["exit_code"], 0, "{request}: {done}");
    done["stdout"].as_str().unwrap().to_owned()
}

/// A line of /proc/self/status of a process that was started so.
fn status(session: &Session, mut request: Value, line: &str) -> String {
    request["argv"] = json!(["cat", "/proc/self/status"]);
    let text = said(session, &request);
    let found = text.lines().find_map(|l| l.strip_prefix(line));
    found.unwrap_or_else(|| panic!("no {line} in {text}")).trim().to_owned()
}

fn set(session: &Session, request: &Value, line: &str) -> u64 {
    u64::from_str_radix(&status(session, request.clone(), line), 16).unwrap()
}

pub(crate) fn a_process_is_set_up_as_asked(rig: &Rig) {
    let session = rig.shared();
    let line = "umask; ulimit -Sn; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj; \
                cut -d ' ' -f 19 /proc/$$/stat; grep NoNewPrivs /proc/$$/status";
    let request = json!({
        "command": line, "umask": "027", "nice": 7, "oom_score_adj": 321, "no_new_privs": true,
        "rlimits": {"nofile": {"soft": 77, "hard": 99}, "core": 0},
    });
    assert_eq!(said(&session, &request), "0027\n77\n99\n0\n321\n7\nNoNewPrivs:\t1\n");
    // It was for that one alone.
    let line = "umask; cat /proc/self/oom_score_adj; cut -d ' ' -f 19 /proc/$$/stat";
    assert_eq!(session.say(line), "0022\n0\n0");
}

pub(crate) fn capabilities_are_what_the_profile_says(rig: &Rig) {
    const NET_BIND: u64 = 1 << 10;
    const CHOWN: u64 = 1;
    const BOOT: u64 = 1 << 22;
    let session = rig.shared();
    let none = json!({"capabilities": {"profile": "none"}});
    for line in ["CapBnd:", "CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
        assert_eq!(set(&session, &none, line), 0, "{line}");
    }
    let restricted =
        json!({"capabilities": {"profile": "restricted", "add": ["sys_time"], "drop": ["CHOWN"]}});
    let (bound, has) =
        (set(&session, &restricted, "CapBnd:"), set(&session, &restricted, "CapEff:"));
    assert_eq!(bound, has, "root has what the bounding set allows");
    assert_eq!(bound & (CHOWN | NET_BIND), NET_BIND);
    assert_eq!(bound.count_ones(), 14);
    let full = json!({});
    assert_eq!(set(&session, &full, "CapEff:") & BOOT, 0, "withheld from everybody");
    // Who is not root has nothing but what is ambient, and keeps that.
    let ambient = json!({
        "user": "1234:1234", "cwd": "/",
        "capabilities": {"profile": "restricted", "ambient": ["net_bind_service"]},
    });
    for line in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
        assert_eq!(set(&session, &ambient, line), NET_BIND, "{line}");
    }
    assert_eq!(status(&session, ambient, "Uid:").split_whitespace().next(), Some("1234"));
    // What was given up does not come back through a program.
    let request = json!({"command": "chown 1:1 /tmp/owned", "capabilities": {"profile": "none"}});
    session.say("rm -f /tmp/owned; touch /tmp/owned");
    assert_ne!(session.exec(&request).ok()["exit_code"], 0);
}

pub(crate) fn what_cannot_be_had_names_its_field(rig: &Rig) {
    let session = rig.shared();
    let withheld = json!({"argv": ["true"], "capabilities": {"add": ["SYS_BOOT"]}});
    // A start that fails is 400 whatever the agent calls it; field, stage and errno
    // say more.
    let error = session.exec(&withheld).error(400, "invalid_argument");
    assert!(error["message"].as_str().unwrap().contains("SYS_BOOT"), "{error}");
    assert_eq!((&error["stage"], &error["field"]), (&json!("credentials"), &json!("capabilities")));
    for (field, request) in [
        ("capabilities", json!({"capabilities": {"add": ["NO_SUCH"]}})),
        ("rlimits", json!({"rlimits": {"no_such": 1}})),
        ("umask", json!({"umask": "1000"})),
        ("nice", json!({"nice": 20})),
        ("oom_score_adj", json!({"oom_score_adj": -1001})),
    ] {
        let mut request = request;
        request["argv"] = json!(["true"]);
        let error = session.exec(&request).error(400, "invalid_argument");
        assert!(error["field"].as_str().unwrap().starts_with(field), "{error}");
    }
    // Root of a machine may do what root of a process sandbox may not.
    for (field, request) in [
        ("nice", json!({"argv": ["true"], "nice": -5})),
        ("oom_score_adj", json!({"argv": ["true"], "oom_score_adj": -500})),
        ("rlimits", json!({"argv": ["true"], "rlimits": {"nofile": 1_048_577_u64 << 10}})),
    ] {
        let answer = session.exec(&request);
        if answer.status == 200 {
            let may = rig.size(false, field != "rlimits");
            assert!(may, "{field}: {answer:?}");
            continue;
        }
        let error = answer.error(400, "invalid_argument");
        assert_eq!((&error["field"], &error["stage"]), (&json!(field), &json!("process_setup")));
        assert!(error["errno"].as_i64().unwrap() > 0, "{error}");
    }
}

pub(crate) fn a_user_is_asked_for_in_every_form(rig: &Rig) {
    let session = rig.fresh(json!({}));
    session.say("echo 'extra:x:4242:user' >> /etc/group");
    let line = "id -u; id -g; id -G; echo $HOME $USER $LOGNAME";
    for (user, expected) in [
        ("user", "1000\n1000\n1000 4242\n/home/user user user\n"),
        ("1000", "1000\n1000\n1000 4242\n/home/user user user\n"),
        ("user:extra", "1000\n4242\n4242\n/home/user user user\n"),
        ("user:7", "1000\n7\n7\n/home/user user user\n"),
        ("1000:7", "1000\n7\n7\n/home/user user user\n"),
        ("9999", "9999\n0\n0\n/ 9999 9999\n"),
        ("9999:8888", "9999\n8888\n8888\n/ 9999 9999\n"),
    ] {
        let request = json!({"command": line, "user": user, "cwd": "/"});
        assert_eq!(said(&session, &request), expected, "{user}");
    }
}

pub(crate) fn starts_that_fail_at_each_stage_disturb_no_others(rig: &Rig) {
    let _alone = rig.heavy();
    let session = rig.fresh(json!({}));
    session.say("echo x > /tmp/plain; chmod 644 /tmp/plain");
    let failing = [
        ("not_found", json!({"argv": ["no-such-program"]})),
        ("not_executable", json!({"argv": ["/tmp/plain"]})),
        ("bad_cwd", json!({"argv": ["true"], "cwd": "/no/such"})),
        ("no_such_user", json!({"argv": ["true"], "user": "nobody-here"})),
        ("bad_arguments", json!({"argv": ["true", "x".repeat(200 << 10)]})),
        ("credentials", json!({"argv": ["true"], "capabilities": {"add": ["SYS_BOOT"]}})),
        ("process_setup", json!({"argv": ["true"], "rlimits": {"nofile": 1_u64 << 40}})),
    ];
    std::thread::scope(|scope| {
        let session = &*session;
        let good: Vec<_> = (0..100)
            .map(|n| scope.spawn(move || (n, session.sh(&format!("echo {n}; exit {n}")))))
            .collect();
        let bad: Vec<_> = failing
            .iter()
            .map(|(stage, request)| scope.spawn(move || (*stage, session.exec(request))))
            .collect();
        for call in good {
            let (n, done) = call.join().unwrap();
            assert_eq!(
                (&done["exit_code"], &done["stdout"]),
                (&json!(n), &json!(format!("{n}\n")))
            );
        }
        for call in bad {
            let (stage, answer) = call.join().unwrap();
            assert_eq!(answer.json["stage"], stage, "{answer:?}");
        }
    });
}
