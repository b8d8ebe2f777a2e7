//! What an image's configuration gives to a session and its commands.

use postern_tests::Rig;
use postern_tests::layout::{Kind, Node, write_busybox};
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
