//! Images that are unpacked once for every process sandbox.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use postern_tests::layout::{Blob, write_image};
use postern_tests::tarball::Tar;
use postern_tests::{Kind, Rig, proc, wait};
use serde_json::{Value, json};

fn unpacked(rig: &Rig) -> PathBuf {
    rig.broker().data().join("images/unpacked")
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn only(rig: &Rig) -> PathBuf {
    let names = names(&unpacked(rig));
    assert_eq!(names.len(), 1, "{names:?}");
    unpacked(rig).join(&names[0])
}

fn prune(rig: &Rig) -> Value {
    let body = json!({"all": true}).to_string();
    let answer = rig.broker().http.send("POST", "/v1/images/prune", &[], body.as_bytes()).unwrap();
    postern_tests::Answer::of(answer).ok()
}

pub(crate) fn an_image_is_unpacked_once_and_changes_are_ones_own(_: &Rig) {
    let rig = Rig::alone(Kind::Process, "shared-once");
    let first = rig.fresh(json!({"image": "busybox"}));
    let kept = only(&rig);
    let root = || std::fs::metadata(kept.join("root/etc/passwd")).unwrap();
    let (inode, changed) = (root().ino(), root().ctime());
    assert!(first.say("grep ' / ' /proc/mounts").starts_with("overlay / overlay"));
    first.say("echo changed >> /etc/passwd; rm /etc/group; echo x > /new; mv /bin /moved && /moved/busybox ln -s /moved /bin");

    let second = rig.fresh(json!({"image": "busybox"}));
    assert_eq!((only(&rig), root().ino(), root().ctime()), (kept.clone(), inode, changed));
    assert_eq!(second.say("grep -c changed /etc/passwd; true"), "0", "it sees another's change");
    assert_eq!(
        second.say("ls -d /etc/group /bin /new /moved 2>/dev/null; true"),
        "/bin\n/etc/group"
    );
    assert_eq!(
        first.say("tail -n 1 /etc/passwd; ls -d /etc/group /new 2>/dev/null; true"),
        "changed\n/new"
    );
}

pub(crate) fn a_shared_root_is_like_ones_own(_: &Rig) {
    let rig = Rig::alone(Kind::Process, "shared-like");
    let session = rig.fresh(json!({"image": "debian"}));
    let say = |line: &str| session.say(line);
    // The root directory itself, with its times, is the image's.
    assert_eq!(say("stat -c '%a %u %g' /"), "755 0 0");
    // A directory of the image is renamed as a whole, not refused with EXDEV.
    say(
        "python3 -c 'import os; os.rename(\"/usr/share\", \"/usr/moved\"); os.rename(\"/usr/moved\", \"/usr/share\")'",
    );
    assert_eq!(
        say("chmod 600 /etc/hostname; chown 7:8 /etc/issue; stat -c '%a %u' /etc/issue"),
        "644 7"
    );
    // Programs with the setuid bit have its power.
    let who =
        session.exec(&json!({"command": "sudo id -u; id -u", "user": "user", "cwd": "/"})).ok();
    assert_eq!(who["stdout"], "0\n1000\n", "{who}");
    assert_eq!(say("ln /etc/issue /etc/issue2 && stat -c %h /etc/issue2"), "2");
    // Nobody outside the sandbox gets at such a program.
    let mode = std::fs::metadata(unpacked(&rig)).unwrap().mode();
    assert_eq!(mode & 0o777, 0o700);
}

pub(crate) fn many_at_once_wait_for_one_unpacking(_: &Rig) {
    let rig = Rig::alone(Kind::Process, "shared-many");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let session = rig.fresh(json!({"image": "busybox"}));
                assert_eq!(session.say("echo here"), "here");
            });
        }
    });
    let log = std::fs::read_to_string(&rig.broker().log).unwrap();
    assert_eq!(log.matches("layer applied").count(), 1, "{log}");
    only(&rig);
}

pub(crate) fn a_root_in_use_is_not_pruned_not_even_by_the_next_broker(_: &Rig) {
    let rig = Rig::alone(Kind::Process, "shared-prune");
    let session = rig.fresh(json!({"image": "busybox"}));
    let kept = only(&rig);
    prune(&rig);
    assert!(kept.join("root/bin").is_dir(), "it was taken away under a session");
    rig.broker().kill();
    rig.broker().start_again();
    prune(&rig);
    assert!(kept.join("root/bin").is_dir(), "it was taken away under a session");
    assert_eq!(session.say("busybox echo still; echo there"), "still\nthere");
    session.delete(true).ok();
    let freed = prune(&rig)["freed_bytes"].as_u64().unwrap();
    assert!(freed > 1 << 20, "{freed}");
    wait::until("it is removed", wait::seconds(30), || {
        names(&unpacked(&rig)).is_empty().then_some(())
    });
    assert_eq!(rig.fresh(json!({"image": "busybox"})).say("echo again"), "again");
}

pub(crate) fn a_bad_layer_leaves_nothing_and_harms_no_other_image(_: &Rig) {
    let rig = Rig::alone(Kind::Process, "shared-bad");
    let dir = tempfile::Builder::new().prefix("pt").tempdir().unwrap();
    let tar = Tar::default().dir("a").file("a/b", &[7; 1 << 20]).end();
    let good = Blob::pack(1, &tar);
    // The same layers by their names, so the same key, and one byte less.
    let mut bad = Blob::pack(1, &tar);
    bad.bytes.pop();
    write_image(&dir.path().join("bad"), &json!({}), &[bad]);
    write_image(&dir.path().join("good"), &json!({}), &[good]);
    let named = |name: &str| json!({"image": format!("oci:{}", dir.path().join(name).display())});
    assert!(rig.make(named("bad")).is_err());
    wait::until("nothing is left over", wait::seconds(30), || {
        names(&unpacked(&rig)).is_empty().then_some(())
    });
    drop(rig.make(named("good")).unwrap());
    assert_eq!(std::fs::read(only(&rig).join("root/a/b")).unwrap(), [7; 1 << 20]);
}

pub(crate) fn a_broker_killed_while_it_unpacks_leaves_nothing(_: &Rig) {
    let rig = Rig::alone(Kind::Process, "shared-killed");
    let dir = unpacked(&rig);
    std::thread::scope(|scope| {
        let body = json!({"image": "debian", "driver": "process"}).to_string();
        let http = &rig.broker().http;
        let asked = scope.spawn(move || http.send("POST", "/v1/sessions", &[], body.as_bytes()));
        let begun = wait::until("an image is half there", wait::seconds(60), || {
            let new = names(&dir).into_iter().find(|name| name.starts_with("new-"))?;
            let some = names(&dir.join(&new).join("root")).len() > 1;
            some.then(|| dir.join(new))
        });
        rig.broker().kill();
        assert!(asked.join().unwrap().is_err());
        rig.broker().start_again();
        assert!(!begun.exists(), "it is left over");
    });
    let here = rig.broker().data().to_owned();
    wait::until("no sandbox is left", wait::seconds(30), || {
        let all = proc::all();
        let left = all.iter().any(|p| p.comm.starts_with("postern-") && p.has_argument_with(&here));
        (!left).then_some(())
    });
    assert_eq!(names(&dir), [""; 0]);
    assert_eq!(rig.fresh(json!({"image": "debian"})).say("cat /etc/hostname >&2; echo ok"), "ok");
    only(&rig);
}

pub(crate) fn a_disk_that_is_full_is_no_reason_to_have_no_session(_: &Rig) {
    let rig = Rig::alone(Kind::Process, "shared-full");
    let dir = unpacked(&rig);
    let mount = |options: &str| {
        let options = ["-t", "tmpfs", "-o", options, "tests"];
        let done = Command::new("mount").args(options).arg(&dir).status();
        done.is_ok_and(|status| status.success())
    };
    if !mount("size=20m,mode=0700") {
        println!("SKIPPED a_disk_that_is_full: no tmpfs can be mounted; enable: run as root");
        return;
    }
    // In its own memory, as where nothing is shared.
    let session = rig.fresh(json!({"image": "debian", "memory_mb": 1024}));
    let first = session.say("grep ' / ' /proc/mounts");
    drop(session);
    let left = names(&dir);
    let grown = mount("remount,size=600m");
    let session = rig.fresh(json!({"image": "debian"}));
    let second = session.say("grep ' / ' /proc/mounts");
    drop(session);
    let gone = Command::new("umount").arg("-l").arg(&dir).status();
    assert!(gone.unwrap().success() && grown);
    assert!(first.starts_with("tmpfs / tmpfs"), "{first}");
    assert_eq!(left, [""; 0], "what was begun still fills the disk");
    assert!(second.starts_with("overlay / overlay"), "{second}");
}
