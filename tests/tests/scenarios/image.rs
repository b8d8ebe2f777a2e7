//! An image that is not one of the samples.

use std::collections::BTreeMap;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postern_tests::events::Events;
use postern_tests::hostile::{self, Expect};
use postern_tests::layout::{Blob, Kind, Layout, TOP, digest, write_image};
use postern_tests::random::Random;
use postern_tests::tarball::Tar;
use postern_tests::{Rig, Session, proc, wait};
use serde_json::json;

fn as_root(session: &Session, line: &str) -> String {
    let done =
        session.exec(&json!({"command": line, "user": "0", "max_output_bytes": 32 << 20})).ok();
    assert_eq!(done["exit_code"], 0, "{line}: {done}");
    done["stdout"].as_str().unwrap().to_owned()
}

/// Lines of `key|value`, by key.
fn by_name(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().map(|line| line.split_once('|').unwrap());
    pairs.map(|(name, rest)| (name.trim_start_matches('/').to_owned(), rest.to_owned())).collect()
}

pub(crate) fn has_its_tree(session: &Session, layout: &Layout) {
    // A layout at random may have none of a kind: then nothing is run (-r).
    let find = |what: &str| format!("find /{TOP} {what} -print0 | sort -z");
    let stat = format!("{} | xargs -0r stat -c '%n|%f %u %g %Y'", find(""));
    let got = by_name(&as_root(session, &stat));
    let names: Vec<_> = layout.tree.keys().cloned().collect();
    assert_eq!(got.keys().cloned().collect::<Vec<_>>(), names, "other names");
    for (path, node) in &layout.tree {
        let kind = match node.kind {
            Kind::Dir => 0o040_000,
            Kind::File(..) => 0o100_000,
            Kind::Link(_) => 0o120_000,
        };
        let expected = format!("{:x} {} {} {}", kind | node.mode, node.uid, node.gid, node.mtime);
        assert_eq!(got[path], expected, "{path}: mode, owner, group or time of {:?}", node.kind);
    }
    let sums = format!(
        "{} | xargs -0r sha256sum | while read -r s n; do echo \"$n|$s\"; done",
        find("-type f")
    );
    let sums = by_name(&as_root(session, &sums));
    let links = format!(
        "{} | xargs -0r sh -c 'for l; do echo \"$l|$(readlink \"$l\")\"; done' sh",
        find("-type l")
    );
    let links = by_name(&as_root(session, &links));
    let inodes = format!("{} | xargs -0r stat -c '%n|%i %h'", find("-type f"));
    let inodes = by_name(&as_root(session, &inodes));
    let mut of_file: BTreeMap<u64, Vec<&String>> = BTreeMap::new();
    for (path, node) in &layout.tree {
        match &node.kind {
            Kind::File(file, data) => {
                assert_eq!(format!("sha256:{}", sums[path]), digest(data), "{path}");
                of_file.entry(*file).or_default().push(&inodes[path]);
            }
            Kind::Link(target) => assert_eq!(&links[path], target, "{path}"),
            Kind::Dir => {}
        }
    }
    for (file, inodes) in of_file {
        assert!(inodes.iter().all(|i| *i == inodes[0]), "file {file} is no longer one: {inodes:?}");
        assert!(inodes[0].ends_with(&format!(" {}", inodes.len())), "{file}: {inodes:?}");
    }
}

pub(crate) fn an_image_that_is_not_one_of_the_samples_runs(rig: &Rig) {
    let rounds = rig.size(10, 1);
    let mut random = Random::new("an_image_that_is_not_one_of_the_samples");
    for _ in 0..rounds {
        let layers = usize::try_from(random.below(6)).unwrap() + 2;
        let layout = Layout::random(random.clone(), layers);
        random.number();
        let dir = tempfile::tempdir().unwrap();
        layout.write(dir.path());
        let session = rig.fresh(json!({"image": format!("oci:{}", dir.path().display())}));
        // Config: user, working directory, environment.
        let done = session.exec(&json!({"command": "id -u; id -g; echo $MADE", "cwd": "/"})).ok();
        assert_eq!(done["stdout"], "4242\n4343\nby chance\n");
        assert_eq!(as_root(&session, "pwd"), "/r\n");
        has_its_tree(&session, &layout);
    }
}

pub(crate) fn a_layer_that_is_not_what_it_says_makes_no_session(rig: &Rig) {
    let layout = Layout::random(Random::new("a_layer_that_is_not_what_it_says"), 2);
    // The first is gzip, the second plain: its last block is padding, which only
    // the digest covers.
    for (layer, from_the_end) in [(0, 2000), (1, 1)] {
        let dir = tempfile::tempdir().unwrap();
        layout.write(dir.path());
        let blob = dir.path().join(layout.blob(layer));
        let mut bytes = std::fs::read(&blob).unwrap();
        let at = bytes.len() - from_the_end;
        bytes[at] ^= 1;
        std::fs::write(&blob, bytes).unwrap();
        let image = format!("oci:{}", dir.path().display());
        let answer = rig.make(json!({"image": image})).unwrap_err();
        assert!((400..500).contains(&answer.status), "layer {layer}: {answer:?}");
        let message = answer.json["message"].as_str().unwrap();
        assert!(message.contains("layer") || message.contains("sha256"), "{answer:?}");
    }
}

/// The host does not unpack, so it is the guest's word that comes back; what the
/// host sees by itself (digests that are none, sizes of blobs) it says itself.
pub(crate) fn hostile_images_make_no_session_and_leave_none(rig: &Rig) {
    let cases = hostile::cases("/run/outside");
    // A machine boots for each.
    let step = rig.size(1, 30);
    let mut faults = Vec::new();
    for case in cases.iter().step_by(usize::try_from(step).unwrap()) {
        let Expect::Refused(_, says) = case.expect else { continue };
        // The limits of an agent that was not told others are beyond a test's time.
        if case.limits.is_some() {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        write_image(dir.path(), &json!({}), &case.layers);
        let image = format!("oci:{}", dir.path().display());
        match rig.make(json!({"image": image})) {
            Ok(_) => faults.push(format!("{}: it made a session", case.name)),
            Err(answer) => {
                let message = answer.json["message"].as_str().unwrap_or_default();
                let by_host = message.contains("sha256") || message.contains("bytes where");
                if !(400..500).contains(&answer.status) || !(message.contains(says) || by_host) {
                    faults.push(format!("{}: {answer:?}", case.name));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(rig.shared().exec(&json!({"command": "echo lives"})).ok()["stdout"], "lives\n");
}

/// A layer that is long to unpack: one file that takes some time to come, so that there
/// is progress to tell of, then one that is written over and over, and another.
fn slow_layer(noise: &[u8], bytes: &[u8], times: usize) -> Blob {
    let again = |tar: Tar, _| tar.file("big", bytes);
    let noise = Tar::default().file("noise", noise);
    let tar = (0..times).fold(noise, again).file("last", b"there").end();
    Blob::pack(2, &tar)
}

pub(crate) fn a_sandbox_killed_while_it_unpacks_leaves_nothing_and_the_next_one_works(rig: &Rig) {
    let rig = Rig::alone(rig.kind(), "killed-unpacking");
    // What repeats itself is small on its way.
    let mut random = Random::new("killed while it unpacks");
    let (noise, bytes) = (random.bytes(16 << 20), random.bytes(16 << 10).repeat(1 << 10));
    let dir = tempfile::tempdir().unwrap();
    let layer = slow_layer(&noise, &bytes, rig.size(32, 8));
    write_image(dir.path(), &json!({}), &[layer]);
    let settings = json!({
        "image": format!("oci:{}", dir.path().display()),
        "driver": rig.size("process", "qemu"), "memory_mb": 512,
    });
    let body = settings.to_string();
    let headers = [("Accept", "text/event-stream")];
    let answer = rig.broker().http.send("POST", "/v1/sessions", &headers, body.as_bytes()).unwrap();
    let mut events = Events::new(answer);
    let error = loop {
        let event = events.event().unwrap().unwrap();
        assert_ne!(event.name, "session", "it was made before it could be killed");
        if event.name == "error" {
            break event.data;
        }
        if event.data["stage"] == "image" && event.number("sent") > 0 {
            sandboxes(&rig).into_iter().for_each(|pid| kill(pid, Signal::SIGKILL).unwrap_or(()));
        }
    };
    assert_eq!(error["code"], "unavailable", "{error}");
    assert!(error["message"].as_str().unwrap().contains("ended"), "{error}");
    let data = rig.broker().data();
    wait::until("nothing of it is left", wait::seconds(60), || {
        let is_empty = |dir: &str| {
            std::fs::read_dir(data.join(dir)).map_or(true, |mut entries| entries.next().is_none())
        };
        let gone = is_empty("sessions") && is_empty("images/unpacked");
        (gone && sandboxes(&rig).is_empty()).then_some(())
    });
    let session = rig.make(settings).unwrap();
    assert!(session.get("/big").unwrap() == bytes, "the next one has another file");
    assert_eq!(session.get("/last").unwrap(), b"there");
}

/// The processes that are sandboxes of the rig's own broker.
fn sandboxes(rig: &Rig) -> Vec<Pid> {
    const NAMES: [&str; 2] = ["postern-sandbox", "qemu-system-x86"];
    let data = rig.broker().data();
    let ours = |p: &proc::Process| NAMES.contains(&p.comm.as_str()) && p.has_argument_with(data);
    let all = proc::all().into_iter().filter(ours);
    all.map(|p| Pid::from_raw(p.pid.cast_signed())).collect()
}
