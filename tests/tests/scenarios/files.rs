//! Files in and out, whole or not at all.

use std::io::{Read, Write};

use postern_tests::random::Random;
use postern_tests::{Answer, Rig, Session, wait};
use serde_json::{Value, json};

fn upload(session: &Session, path: &str, data: &[u8]) -> Answer {
    let mut body = format!(
        "--b\r\nContent-Disposition: form-data; name=\"path\"\r\n\r\n{path}\r\n\
         --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(data);
    body.extend_from_slice(b"\r\n--b--\r\n");
    let kind = ("Content-Type", "multipart/form-data; boundary=b");
    Answer::of(session.send("POST", "/upload", &[kind], &body))
}

pub(crate) fn files_go_in_and_out_unchanged(rig: &Rig) {
    let session = rig.shared();
    let mut random = Random::new("files_go_in_and_out");
    for size in [0, 1, 4096, 65_537, rig.size(5 << 20, 1 << 20)] {
        let data = random.bytes(size);
        let path = format!("/tmp/files/deep/down/{size}");
        let put = session.put(&path, &data).ok();
        assert_eq!(put["size"], size);
        assert_eq!(session.get(&path).unwrap(), data);
        let form = format!("/tmp/files/form {size}");
        assert_eq!(upload(&session, &form, &data).ok()["size"], size);
        let query = format!("/download?path=/tmp/files/form%20{size}");
        let mut response = session.send("GET", &query, &[], b"");
        assert_eq!(response.status, 200);
        assert_eq!(response.whole().unwrap(), data);
    }
}

pub(crate) fn a_range_of_a_file(rig: &Rig) {
    let session = rig.shared();
    session.put("/tmp/range", b"0123456789").ok();
    let ask = |range: &str| {
        let mut response = session.send("GET", "/files/tmp/range", &[("Range", range)], b"");
        let text = String::from_utf8(response.whole().unwrap()).unwrap();
        (response.status, response.header("content-range").map(str::to_owned), text)
    };
    assert_eq!(ask("bytes=2-4"), (206, Some("bytes 2-4/10".into()), "234".into()));
    assert_eq!(ask("bytes=7-"), (206, Some("bytes 7-9/10".into()), "789".into()));
    assert_eq!(ask("bytes=-3"), (206, Some("bytes 7-9/10".into()), "789".into()));
    assert_eq!(ask("bytes=5-100"), (206, Some("bytes 5-9/10".into()), "56789".into()));
    let (status, range, _) = ask("bytes=10-");
    assert_eq!((status, range.as_deref()), (416, Some("bytes */10")));
}

pub(crate) fn mode_and_owner_are_as_asked_and_kept(rig: &Rig) {
    let session = rig.shared();
    session.say("mkdir -p /tmp/owned && chown user /tmp/owned");
    let path = "/files/tmp/owned/f?mode=0640&user=user";
    Answer::of(session.send("PUT", path, &[], b"first")).ok();
    assert_eq!(session.say("stat -c '%a %U' /tmp/owned/f"), "640 user");
    session.put("/tmp/owned/f", b"second").ok();
    assert_eq!(session.say("stat -c '%a %U' /tmp/owned/f; cat /tmp/owned/f"), "640 user\nsecond");
    let denied = Answer::of(session.send("PUT", "/files/root/f?user=user", &[], b"x"));
    denied.error(403, "permission_denied");
}

pub(crate) fn an_upload_that_breaks_off_changes_nothing(rig: &Rig) {
    let session = rig.shared();
    session.say("rm -rf /tmp/cut && mkdir /tmp/cut && echo old > /tmp/cut/f");
    let http = session.broker().http;
    for sent in [0, 1, 100_000, 999_999] {
        let path = format!("/v1/sessions/{}/files/tmp/cut/f", session.id);
        let mut socket = http.connect().unwrap();
        let head = http.head("PUT", &path, &[], Some(("Content-Length", "1000000")));
        socket.write_all(head.as_bytes()).unwrap();
        socket.write_all(&vec![b'x'; sent]).unwrap();
        drop(socket);
    }
    // What was begun is tidied away, and nothing has taken its place.
    wait::until("no temporary file is left", wait::seconds(30), || {
        (session.say("ls -A /tmp/cut") == "f").then_some(())
    });
    assert_eq!(session.say("cat /tmp/cut/f"), "old");
}

pub(crate) fn what_is_no_plain_file_is_refused(rig: &Rig) {
    let session = rig.shared();
    session.say(
        "rm -rf /tmp/odd && mkdir -p /tmp/odd/dir && cd /tmp/odd && mkfifo fifo && \
         ln -s /proc/self/mem mem && ln -s /dev/zero zero && ln -s loop loop && \
         ln -s /proc/1/root/etc magic && ln -s ../../../../../../etc/escaped out",
    );
    for name in ["fifo", "mem", "zero", "loop", "dir", "magic/passwd"] {
        let path = format!("/tmp/odd/{name}");
        for answer in [session.put(&path, b"x"), session.get(&path).unwrap_err()] {
            assert!((400..500).contains(&answer.status), "{name}: {answer:?}");
            assert!(answer.json["code"].is_string(), "{name}: {answer:?}");
        }
    }
    // A link is followed as the sandbox would follow it: never out of its root.
    session.put("/tmp/odd/out", b"inside").ok();
    assert_eq!(session.say("cat /etc/escaped; rm /etc/escaped"), "inside");
    assert!(!std::path::Path::new("/etc/escaped").exists());
    session.get("/tmp/odd/none").unwrap_err().error(404, "not_found");
    let relative = session.ask("GET", "/download?path=etc/passwd", &Value::Null);
    assert_eq!(relative.error(400, "invalid_argument")["field"], "path");
}

pub(crate) fn a_full_disk_is_said_to_be_full(rig: &Rig) {
    let session = rig.fresh(json!({"root_size_mb": 16}));
    session.put("/tmp/f", b"old").ok();
    let error = session.put("/tmp/f", &vec![0; 64 << 20]);
    assert!(error.status >= 400, "{error:?}");
    assert_eq!(error.json["errno"], 28, "ENOSPC: {error:?}");
    assert_eq!(session.get("/tmp/f").unwrap(), b"old");
    assert_eq!(session.say("ls -A /tmp"), "f");
}

pub(crate) fn a_large_file_is_streamed(rig: &Rig) {
    let _alone = rig.heavy();
    let size: u64 = rig.size(256 << 20, 16 << 20);
    let session = rig.fresh(json!({"memory_mb": 1024, "root_size_mb": 512}));
    let http = session.broker().http;
    let path = format!("/v1/sessions/{}/files/tmp/large", session.id);
    let mut random = Random::new("a_large_file");
    let block = random.bytes(1 << 20);
    let mut socket = http.connect().unwrap();
    let length = size.to_string();
    let head = http.head("PUT", &path, &[], Some(("Content-Length", length.as_str())));
    socket.write_all(head.as_bytes()).unwrap();
    for _ in 0..size >> 20 {
        socket.write_all(&block).unwrap();
    }
    let done = Answer::of(postern_tests::http::Response::read(socket).unwrap()).ok();
    assert_eq!(done["size"], size);
    let mut response = session.send("GET", "/files/tmp/large", &[], b"");
    assert_eq!(response.header("content-length"), Some(length.as_str()));
    let mut piece = vec![0; block.len()];
    for n in 0..size >> 20 {
        response.read_exact(&mut piece).unwrap();
        assert!(piece == block, "MiB {n} differs");
    }
    assert_eq!(response.read(&mut piece).unwrap(), 0);
    if size > 16 << 20 {
        let over = session.ask("GET", "/download?path=/tmp/large", &Value::Null);
        over.error(413, "payload_too_large");
    }
}
