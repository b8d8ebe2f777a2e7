//! Disks of a machine: one that the root is on, and one that the image comes on.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use postern_tests::layout::Layout;
use postern_tests::random::Random;
use postern_tests::tarball::Tar;
use postern_tests::{Kind, Rig, Session, wait};
use serde_json::json;

use crate::scenarios::image::has_its_tree;

/// Room that a file takes on the host.
fn taken(path: &Path) -> u64 {
    path.metadata().unwrap().blocks() * 512
}

/// What mke2fs's own tools say of a disk.
fn tool(name: &str, args: &[&str], disk: &Path) -> String {
    let path = ["/usr/sbin", "/sbin"].map(|dir| Path::new(dir).join(name));
    let path = path.into_iter().find(|path| path.is_file()).unwrap();
    let output = Command::new(path).args(args).arg(disk).output().unwrap();
    assert!(output.status.success(), "{name}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn as_root(session: &Session, line: &str) -> String {
    let done = session.exec(&json!({"command": line, "user": "0"})).ok();
    assert_eq!(done["exit_code"], 0, "{line}: {done}");
    done["stdout"].as_str().unwrap().trim_end().to_owned()
}

const XATTR: &str = r"
import os
os.setxattr('/root/f', 'user.note', b'kept')
print(os.getxattr('/root/f', 'user.note').decode())
";

pub(crate) fn debian_and_more_than_the_memory_fit_a_root_on_a_disk(rig: &Rig) {
    let settings = json!({"image": "debian", "memory_mb": 512, "disk_mb": 2048});
    let session = rig.fresh(settings);
    assert_eq!((&session.info["disk_mb"], &session.info["memory_mb"]), (&json!(2048), &json!(512)));
    assert_eq!(
        as_root(&session, "stat -f -c %T /; ls -d /lost+found 2>&1 | wc -l"),
        "ext2/ext3\n1"
    );
    assert!(!as_root(&session, "ls /").contains("lost+found"), "the root is not the image alone");
    let os = session.say("cat /etc/os-release; git --version; sudo -u user id -un");
    assert!(os.contains("Debian") && os.ends_with("user"), "{os}");
    // Neither the root's disk nor any other is seen where programs look.
    assert_eq!(as_root(&session, "ls /dev | grep -c ^vd; true"), "0");
    let image = session.dir().join("root.img");
    let (len, before) = (image.metadata().unwrap().len(), taken(&image));
    assert!(len == 2048 << 20 && before < 600 << 20, "{before} of {len} bytes are taken");
    // What no tmpfs of this machine could hold, and attributes that none has.
    as_root(&session, "head -c 600M /dev/zero > /root/f && sync /root/f");
    assert!(taken(&image) > before + (500 << 20), "it is not on the disk");
    assert_eq!(as_root(&session, &format!("python3 -c \"{XATTR}\"")), "kept");
}

pub(crate) fn a_root_on_a_disk_outlives_a_broker_and_ends_whole(_: &Rig) {
    let rig = Rig::alone(Kind::Vm, "disks");
    let session = rig.fresh(json!({"disk_mb": 64}));
    as_root(&session, "echo before > /root/note");
    rig.broker().kill();
    rig.broker().start_again();
    let note = wait::until("the next broker has the session", wait::seconds(60), || {
        let done = session.exec(&json!({"command": "cat /root/note", "user": "0"}));
        (done.status == 200).then(|| done.json["stdout"].clone())
    });
    assert_eq!(note, "before\n");
    assert_eq!(session.look().ok()["disk_mb"], 64);
    // Written last, with files open and a process that will not go by itself.
    let line = "trap '' TERM; exec 3> /root/open; echo last > /root/last; echo up; sleep 1000";
    session.start(json!({"command": line, "user": "0"})).said("up");
    let dir = session.dir();
    // A second name, to look at what the session leaves.
    let kept = rig.broker().data().join("kept.img");
    std::fs::hard_link(dir.join("root.img"), &kept).unwrap();
    assert_eq!(session.delete(false).status, 204);
    assert!(!dir.exists(), "the disk is left");
    assert!(tool("dumpe2fs", &["-h"], &kept).contains("Filesystem state:         clean"));
    assert_eq!(tool("debugfs", &["-R", "cat /root/last"], &kept), "last\n");
    // Exits with 4 if there is anything to repair.
    tool("e2fsck", &["-f", "-n"], &kept);
}

pub(crate) fn a_disk_that_is_full_in_mid_layer_is_said_to_be_and_the_next_one_works(rig: &Rig) {
    let large = Random::new("a full disk").bytes(40 << 20);
    let mut layout = Layout::random(Random::new("a full disk's base"), 0);
    layout.push(&Tar::default().dir("big").file("big/small", b"x").file("big/large", &large).end());
    let dir = tempfile::tempdir().unwrap();
    layout.write(dir.path());
    let image = format!("oci:{}", dir.path().display());
    let sessions = rig.broker().data().join("sessions");
    let there = || std::fs::read_dir(&sessions).map_or(0, Iterator::count);
    let before = there();
    let answer = rig.make(json!({"image": image, "disk_mb": 16})).unwrap_err();
    let error = answer.error(429, "resource_exhausted");
    assert!(error["message"].as_str().unwrap().contains("big/large"), "{error}");
    assert_eq!(error["errno"], nix::errno::Errno::ENOSPC as i32, "{error}");
    assert_eq!(there(), before, "something is left of it");
    let session = rig.fresh(json!({"image": image, "disk_mb": 64}));
    let done =
        session.exec(&json!({"command": "read x < /big/small || :; echo $x", "cwd": "/"})).ok();
    assert_eq!(done["stdout"], "x\n");
}

pub(crate) fn a_disk_of_a_wrong_size_is_refused_by_name(rig: &Rig) {
    let cases = [
        (json!({"disk_mb": 15}), 400, "invalid_argument", "disk_mb"),
        (json!({"disk_mb": 1 << 30}), 400, "invalid_argument", "disk_mb"),
        (json!({"disk_mb": 64, "root_size_mb": 64}), 400, "invalid_argument", "root_size_mb"),
    ];
    for (settings, status, code, field) in cases {
        let error = rig.make(settings.clone()).unwrap_err().error(status, code);
        assert_eq!(error["field"], field, "{settings}: {error}");
    }
}

/// What root of the workload finds on the disks that the kernel tells of.
const LOOK: &str = r#"
for d in /sys/block/vd*; do
    IFS=: read -r major minor < $d/dev
    mknod /disk b $major $minor
    echo "$(cat $d/serial) $(cat $d/size) $(tr -d '\0' < /disk | wc -c)"
    { echo x > /disk; } 2>/dev/null && echo written
    rm /disk
done
"#;

pub(crate) fn an_image_on_a_disk_is_the_same_image_and_leaves_nothing_there(_: &Rig) {
    let rig = Rig::with_images_by("disk", "disk-images");
    let layout = Layout::random(Random::new("an image on a disk"), 5);
    let dir = tempfile::tempdir().unwrap();
    layout.write(dir.path());
    let image = format!("oci:{}", dir.path().display());
    let session = rig.fresh(json!({"image": image}));
    has_its_tree(&session, &layout);
    let disk = session.dir().join("image.img");
    assert_eq!(taken(&disk), 0, "the copy takes room on");
    let size = disk.metadata().unwrap().len() / 512;
    assert_eq!(as_root(&session, LOOK), format!("postern-image {size} 0"));
    drop(session);
    // Of the third layer, whose digest only the guest looks at.
    let blob = dir.path().join(layout.blob(2));
    let mut bytes = std::fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    let answer = rig.make(json!({"image": image})).unwrap_err();
    assert!((400..500).contains(&answer.status), "{answer:?}");
    assert!(answer.json["message"].as_str().unwrap().contains("layer 2"), "{answer:?}");
    let left = std::fs::read_dir(rig.broker().data().join("sessions")).unwrap().count();
    assert_eq!(left, 0, "something is left of it");
}

pub(crate) fn an_image_by_streams_is_the_same_image(_: &Rig) {
    let rig = Rig::with_images_by("stream", "stream-images");
    let layout = Layout::random(Random::new("an image by streams"), 3);
    let dir = tempfile::tempdir().unwrap();
    layout.write(dir.path());
    let session = rig.fresh(json!({"image": format!("oci:{}", dir.path().display())}));
    has_its_tree(&session, &layout);
    assert_eq!(as_root(&session, "ls /sys/block | grep -c ^vd; true"), "0");
}
