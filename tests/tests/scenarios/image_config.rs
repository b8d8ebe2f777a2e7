//! What an image's configuration gives to a session and its commands.

use std::time::{Duration, Instant};

use postern_tests::events::Events;
use postern_tests::layout::{Kind, Node, write_busybox};
use postern_tests::session::Answer;
use postern_tests::{Rig, Session};
use serde_json::{Value, json};

const ELOOP: i32 = 40;

/// An image of busybox with a user `odd` (4242:4343), as a name of a session's.
struct Image {
    dir: tempfile::TempDir,
}

impl Image {
    fn new(mut config: Value, files: &[(&str, Node)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        config["Env"] = json!(["PATH=/bin", "MADE=by hand"]);
        write_busybox(dir.path(), &config, files);
        Self { dir }
    }

    fn name(&self) -> String {
        format!("oci:{}", self.dir.path().display())
    }

    /// The body of a request that makes a session of it.
    fn with(&self, mut settings: Value) -> Value {
        settings["image"] = self.name().into();
        settings
    }
}

fn node(kind: Kind, mode: u32) -> Node {
    Node { kind, mode, uid: 0, gid: 0, mtime: 7 }
}

fn entrypoint(session: &Session) -> postern_tests::Command<'_> {
    session.command(session.info["entrypoint_command_id"].as_str().unwrap())
}

pub(crate) fn an_entrypoint_is_the_first_command(rig: &Rig) {
    let script =
        "echo \"$0\" \"$@\"; id -u; id -g; pwd; echo $MADE $ASKED; exec busybox sleep 1000";
    let image = Image::new(
        json!({
            "User": "odd:4343", "WorkingDir": "/made/here",
            "Entrypoint": ["/bin/sh", "-c", script, "entry"], "Cmd": ["a b", "c"],
        }),
        &[],
    );
    let asked = json!({"entrypoint": true, "env": {"ASKED": "too"}});
    let session = rig.fresh(image.with(asked));
    let first = entrypoint(&session);
    let said = first.said("by hand");
    assert_eq!(said["output"], "entry a b c\n4242\n4343\n/made/here\nby hand too\n");
    assert_eq!((&said["status"], &said["user"]), (&json!("running"), &json!("odd")));
    let list = session.ask("GET", "/commands", &Value::Null).ok();
    assert_eq!(list["commands"][0]["command_id"], first.id.as_str(), "{list}");
    assert_eq!(list["commands"].as_array().unwrap().len(), 1, "{list}");
    // Made for the image, and root's: as docker has it.
    let stat = json!({"command": "stat -c '%u %g %a' /made /made/here", "user": "0", "cwd": "/"});
    assert_eq!(session.exec(&stat).ok()["stdout"], "0 0 755\n0 0 755\n");
    let look = session.look().ok();
    assert_eq!(look["entrypoint_command_id"], first.id.as_str());
    assert_eq!(look["image_config"]["cmd"], json!(["a b", "c"]));
    drop(session);
    // It ends by itself, and the session stays.
    let entry = ["/bin/sh", "-c", "echo \"$@\"; exit 7", "entry"];
    let image = Image::new(json!({"Entrypoint": entry, "Cmd": ["a"]}), &[]);
    let session = rig.fresh(image.with(json!({"entrypoint": true, "cmd": ["d"]})));
    let ended = entrypoint(&session).exited();
    assert_eq!((&ended["output"], &ended["exit_code"]), (&json!("d\n"), &json!(7)));
    assert_eq!(session.say("echo lives"), "lives");
    assert_eq!(session.look().ok()["status"], "running");
}

pub(crate) fn an_entrypoint_that_cannot_start_makes_no_session(rig: &Rig) {
    let refused = |image: &Image, settings: Value, field: &str| {
        let answer = rig.make(image.with(settings)).map(|session| session.info.clone());
        let error = answer.unwrap_err().error(400, "invalid_argument");
        assert_eq!(error["field"], field, "{error}");
        error
    };
    // Before anything is made.
    let silent = Image::new(json!({}), &[]);
    refused(&silent, json!({"entrypoint": true}), "entrypoint");
    refused(&silent, json!({"cmd": ["sh"]}), "cmd");
    refused(&silent, json!({"entrypoint": "yes"}), "entrypoint");
    let of = |image: &Image| -> Vec<Value> {
        let list = rig.broker().ask("GET", "/v1/sessions", &Value::Null).ok();
        let all = list["sessions"].as_array().unwrap().iter();
        all.filter(|session| session["image"] == image.name().as_str()).cloned().collect()
    };
    assert_eq!(of(&silent), [] as [Value; 0]);
    // And when it was made.
    let broken = Image::new(json!({"Entrypoint": ["/no/such"]}), &[]);
    let error = refused(&broken, json!({"entrypoint": true}), "entrypoint");
    assert_eq!((&error["stage"], &error["errno"]), (&json!("not_found"), &json!(2)));
    let left = of(&broken);
    assert_eq!((left.len(), &left[0]["status"]), (1, &json!("failed")), "{left:?}");
    assert!(left[0]["reason"].as_str().unwrap().contains("entrypoint"), "{left:?}");
    let id = left[0]["id"].as_str().unwrap();
    assert!(!rig.broker().session_dir(id).exists(), "its directory is left");
}

pub(crate) fn an_entrypoint_is_stopped_by_its_images_signal(rig: &Rig) {
    // The helper would tell of a signal that was not for it.
    let helper = "trap 'echo helper told' USR1; echo helper; while :; do busybox sleep 0.2; done";
    let script = format!(
        "trap 'echo usr1; exit 0' USR1; trap 'echo term' TERM; \
         sh -c \"{helper}\" & echo up; while :; do busybox sleep 0.2; done"
    );
    let config = json!({"Cmd": ["sh", "-c", script], "StopSignal": "SIGUSR1"});
    let image = Image::new(config, &[]);
    let session = rig.fresh(image.with(json!({"entrypoint": true})));
    assert_eq!(session.info["image_config"]["stop_signal"], "SIGUSR1");
    let first = entrypoint(&session);
    first.said("helper");
    first.said("up");
    let mut events = Events::new(first.stream(""));
    std::thread::scope(|scope| {
        let last_words = scope.spawn(move || {
            let mut said = Vec::new();
            while let Ok(Some(event)) = events.event() {
                if event.name == "output" {
                    said.extend(event.bytes());
                }
            }
            String::from_utf8(said).unwrap()
        });
        assert_eq!(session.delete(false).status, 204);
        let said = last_words.join().unwrap();
        assert!(said.contains("usr1\n"), "{said:?}");
        assert!(!said.contains("term") && !said.contains("told"), "{said:?}");
    });
}

pub(crate) fn an_entrypoint_that_does_not_stop_is_killed_after_ten_seconds(rig: &Rig) {
    let script = "trap 'echo told' QUIT; echo up; while :; do busybox sleep 0.2; done";
    let image = Image::new(json!({"Cmd": ["sh", "-c", script], "StopSignal": "3"}), &[]);
    let session = rig.fresh(image.with(json!({"entrypoint": true})));
    entrypoint(&session).said("up");
    let begun = Instant::now();
    assert_eq!(session.delete(false).status, 204);
    let took = begun.elapsed();
    println!("ended within {took:?}");
    assert!(took >= Duration::from_secs(10), "the grace is docker's: {took:?}");
    assert_eq!(session.look().ok()["status"], "terminated");
}

pub(crate) fn what_an_image_says_of_itself_is_shown(rig: &Rig) {
    let image = Image::new(
        json!({
            "User": "odd", "Entrypoint": ["e"], "Cmd": ["c", "d"], "StopSignal": "SIGNOPE",
            "Labels": {"org.example.name": "it", "long": "x".repeat(70 << 10)},
            "ExposedPorts": {"443": {}, "80/tcp": {}, "99999/tcp": {}},
        }),
        &[],
    );
    let path = format!("/v1/images/{}", image.name());
    let inspected = rig.broker().ask("GET", &path, &Value::Null).ok()["config"].clone();
    let session = rig.fresh(image.with(json!({})));
    let config = session.look().ok()["image_config"].clone();
    assert_eq!(session.info["image_config"], config);
    assert_eq!(session.info["entrypoint_command_id"], Value::Null);
    for key in ["user", "entrypoint", "cmd", "stop_signal", "labels", "exposed_ports", "left_out"] {
        assert_eq!(inspected[key], config[key], "{key}");
    }
    assert_eq!(inspected["env"], json!(["PATH=/bin", "MADE=by hand"]));
    assert_eq!(config["labels"], json!({"org.example.name": "it"}));
    assert_eq!(config["exposed_ports"], json!(["80/tcp", "443/tcp"]));
    assert_eq!(config["stop_signal"], "SIGTERM");
    let left: Vec<_> = config["left_out"].as_array().unwrap().iter().map(|l| &l["field"]).collect();
    assert_eq!(left, ["StopSignal", "Labels", "ExposedPorts"], "{config}");
    // A listing does not say it again for each.
    let list = rig.broker().ask("GET", "/v1/sessions", &Value::Null).ok();
    let all = list["sessions"].as_array().unwrap();
    assert!(all.iter().all(|session| session.get("image_config").is_none()), "{list}");
}

pub(crate) fn a_working_dir_that_is_none_makes_no_session(rig: &Rig) {
    for path in ["/bin/busybox", "relative"] {
        let image = Image::new(json!({"WorkingDir": path}), &[]);
        let answer = rig.make(image.with(json!({}))).map(|session| session.info.clone());
        let error = answer.unwrap_err().error(400, "invalid_argument");
        assert_eq!(error["field"], "working_dir", "{error}");
        assert!(error["message"].as_str().unwrap().contains(path), "{error}");
    }
}

/// The image's User may have a WorkingDir that it cannot enter by itself, as with
/// docker; it gets there, and no further.
pub(crate) fn a_user_starts_in_a_working_dir_that_only_root_may_enter(rig: &Rig) {
    let secret = node(Kind::File(0, b"secret".to_vec()), 0o644);
    let files = [("root", node(Kind::Dir, 0o700)), ("root/secret", secret)];
    let image = Image::new(json!({"User": "odd", "WorkingDir": "/root"}), &files);
    let session = rig.fresh(image.with(json!({})));
    let done = session.exec(&json!({"argv": ["sh", "-c", "id -u; pwd; cat secret"]})).ok();
    assert_eq!(done["stdout"], "4242\n/root\n", "{done}");
    assert!(done["stderr"].as_str().unwrap().contains("Permission denied"), "{done}");
    // Likewise where the command names it, and with hardly a descriptor to spare.
    let asked = json!({"argv": ["pwd"], "user": "7:7", "cwd": "/root", "rlimits": {"nofile": 3}});
    assert_eq!(session.exec(&asked).ok()["stdout"], "/root\n");
}

/// CVE-2024-21626: a child has the agent's descriptors until it is a program.
pub(crate) fn a_cwd_that_is_a_link_of_procfs_is_refused(rig: &Rig) {
    let session = rig.shared();
    session
        .say("rm -rf /tmp/cwd; mkdir /tmp/cwd; ln -s /tmp/cwd /tmp/cwd/plain; chmod 755 /tmp/cwd");
    session.say("ln -s /proc/self/fd/9 /tmp/cwd/nine; ln -s /proc/1/root /tmp/cwd/one");
    let mut paths: Vec<_> = (3..40).map(|fd| format!("/proc/self/fd/{fd}")).collect();
    let others = ["/proc/1/cwd", "/proc/self/root", "/tmp/cwd/nine", "/tmp/cwd/one"];
    paths.extend(others.map(str::to_owned));
    for user in ["0", "1000"] {
        for path in &paths {
            let answer = session.exec(&json!({"argv": ["pwd"], "user": user, "cwd": path}));
            let error = answer.error(400, "invalid_argument");
            assert_eq!(error["stage"], "bad_cwd", "{path}: {error}");
        }
        let request = json!({"argv": ["pwd"], "user": user, "cwd": "/proc/self/cwd"});
        assert_eq!(session.exec(&request).error(400, "invalid_argument")["errno"], ELOOP);
        let request = json!({"argv": ["pwd"], "user": user, "cwd": "/tmp/cwd/plain"});
        assert_eq!(session.exec(&request).ok()["stdout"], "/tmp/cwd\n");
    }
}

pub(crate) fn setuid_bits_of_an_image_count_unless_the_session_says_no(rig: &Rig) {
    let program = node(Kind::File(0, exits_with_its_euid()), 0o4755);
    let image = Image::new(json!({"User": "odd"}), &[("bin/who", program)]);
    let euid = |session: &Session, mut request: Value| {
        request["argv"] = json!(["who"]);
        session.exec(&request).ok()["exit_code"].clone()
    };
    let session = rig.fresh(image.with(json!({})));
    assert_eq!(session.info["no_new_privs"], false);
    assert_eq!(euid(&session, json!({})), 0, "kept and heeded: sudo and su need it");
    assert_eq!(euid(&session, json!({"no_new_privs": true})), 4242 & 0xff);
    drop(session);
    let entry = json!({"no_new_privs": true, "entrypoint": true, "cmd": ["who"]});
    let session = rig.fresh(image.with(entry));
    assert_eq!(session.look().ok()["no_new_privs"], true);
    assert_eq!(entrypoint(&session).exited()["exit_code"], 4242 & 0xff);
    // No command takes it back.
    assert_eq!(euid(&session, json!({"no_new_privs": false})), 4242 & 0xff);
    assert_eq!(euid(&session, json!({"tty": true})), 4242 & 0xff);
    assert_eq!(euid(&session, json!({"user": "0"})), 0);
}

/// `exit(geteuid())` and nothing else, for x86-64: busybox gives its rights up.
fn exits_with_its_euid() -> Vec<u8> {
    const START: u64 = 0x40_0000;
    // mov eax, geteuid; syscall; mov edi, eax; mov eax, exit; syscall
    const CODE: [u8; 16] =
        [0xb8, 107, 0, 0, 0, 0x0f, 0x05, 0x89, 0xc7, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    const HEADERS: u64 = 64 + 56;
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    // An executable, x86-64; the entry, and where the one program header is.
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    [START + HEADERS, 64, 0].iter().for_each(|n| elf.extend(n.to_le_bytes()));
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    // All of the file, to be read and executed.
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    let size = HEADERS + CODE.len() as u64;
    [0, START, START, size, size, 0x1000].iter().for_each(|n| elf.extend(n.to_le_bytes()));
    elf.extend(CODE);
    elf
}

/// The answer of a broker, not of a session.
trait Ask {
    fn ask(&self, method: &str, path: &str, body: &Value) -> Answer;
}

impl Ask for postern_tests::Broker {
    fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        Answer::of(self.http.send(method, path, &[], body.as_bytes()).unwrap())
    }
}
