//! stdin of any length, exactly once, at the pace of the process.

use std::io::Write;

use postern_tests::http::Response;
use postern_tests::layout::hex;
use postern_tests::proc::Watch;
use postern_tests::{Answer, Command, Kind, Rig, Session, wait};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Bytes that repeat after no round number.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

fn summing<'a>(session: &'a Session, line: &str) -> Command<'a> {
    session.start(json!({"command": line, "stdin_open": true}))
}

fn put(command: &Command<'_>, query: &str, body: &[u8]) -> Answer {
    Answer::of(command.send("PUT", &format!("/stdin{query}"), body))
}

/// The head of a body in chunks, whose end is up to the caller.
fn begin(session: &Session, command: &Command<'_>, query: &str) -> std::net::TcpStream {
    let http = &session.broker().http;
    let path = format!("/v1/sessions/{}/commands/{}/stdin{query}", session.id, command.id);
    let mut socket = http.connect().unwrap();
    let head = http.head("PUT", &path, &[], Some(("Transfer-Encoding", "chunked")));
    socket.write_all(head.as_bytes()).unwrap();
    socket
}

fn chunk(socket: &mut std::net::TcpStream, data: &[u8]) -> std::io::Result<()> {
    write!(socket, "{:x}\r\n", data.len())?;
    socket.write_all(data)?;
    socket.write_all(b"\r\n")
}

pub(crate) fn a_body_of_any_length_goes_to_stdin(rig: &Rig) {
    let _alone = rig.heavy();
    let rig = &Rig::alone(rig.kind(), "stdin-flow");
    let session = rig.fresh(json!({}));
    let command = summing(&session, "sha256sum");
    let piece = pattern(1 << 20);
    let pieces = rig.size(1024, 32);
    let memory = Watch::start(rig.broker().pid());
    let agent = (rig.kind() == Kind::Process).then(|| Watch::start(session.serve_pid().unwrap()));
    let mut socket = begin(&session, &command, "?from=0&eof=true");
    let mut sum = Sha256::new();
    for _ in 0..pieces {
        chunk(&mut socket, &piece).unwrap();
        sum.update(&piece);
    }
    socket.write_all(b"0\r\n\r\n").unwrap();
    let state = Answer::of(Response::read(socket).unwrap()).ok();
    let total = pieces << 20;
    assert_eq!(state, json!({"accepted": total, "offset": total, "eof": true}));
    let info = command.exited();
    assert_eq!(info["output"], format!("{}  -\n", hex(&sum.finalize())));
    for watch in [Some(memory), agent].into_iter().flatten() {
        let growth = watch.growth();
        assert!(growth < 16 << 20, "it grew by {} MiB", growth >> 20);
    }
}

pub(crate) fn a_body_that_breaks_off_leaves_stdin_open_and_a_repeat_goes_on(rig: &Rig) {
    let session = rig.shared();
    let command = summing(&session, "sha256sum");
    let data = pattern(rig.size(8 << 20, 2 << 20));
    let mut socket = begin(&session, &command, "?from=0&eof=true");
    chunk(&mut socket, &data[..data.len() / 2]).unwrap();
    let half = data.len() as u64 / 2;
    let seen = |info: &Value| info["stdin_offset"] == half;
    command.when("what was sent is taken", wait::seconds(60), seen);
    drop(socket);
    let info = command.info();
    assert_eq!((&info["status"], &info["stdin_open"]), (&json!("running"), &json!(true)));
    let beyond = put(&command, &format!("?from={}", half + 1), b"x").error(416, "out_of_range");
    assert_eq!(beyond["first_available"], half);
    let state = put(&command, "?from=0&eof=true", &data).ok();
    assert_eq!(state["offset"], data.len() as u64);
    let expected = format!("{}  -\n", hex(&Sha256::digest(&data)));
    assert_eq!(command.exited()["output"], expected);
    // The answer may have been lost: asked again it is the same.
    let again = put(&command, "?from=0&eof=true", &data).ok();
    assert_eq!(again, state);
    put(&command, &format!("?from={}", data.len()), b"more").error(409, "failed_precondition");
    put(&command, "", b"more").error(409, "failed_precondition");
}

pub(crate) fn a_process_that_does_not_read_stalls_only_its_own_stdin(rig: &Rig) {
    let session = rig.shared();
    let command = summing(&session, "exec sleep 1000");
    std::thread::scope(|scope| {
        let stuck = scope.spawn(|| put(&command, "?from=0", &pattern(4 << 20)));
        let seen = |info: &Value| info["stdin_offset"].as_u64().unwrap() > 0;
        command.when("a pipe is full", wait::seconds(60), seen);
        // Another writer is answered at once, with what was taken of it.
        let more = command.stdin(&json!({"input": "x".repeat(3 << 20)})).ok();
        assert!(more["accepted"].as_u64().unwrap() < 3 << 20, "{more}");
        assert_eq!(session.say("echo alive"), "alive");
        assert!(!stuck.is_finished());
        command.kill("KILL", "tree").ok();
        stuck.join().unwrap().error(409, "failed_precondition");
    });
}

pub(crate) fn writers_of_one_stdin_do_not_lose_each_others_bytes(rig: &Rig) {
    const LINES: usize = 200;
    let session = rig.shared();
    let command = summing(&session, "sort | uniq -c | awk '{print $1, $2}'");
    std::thread::scope(|scope| {
        for name in ["a", "b"] {
            let command = &command;
            scope.spawn(move || {
                for _ in 0..LINES {
                    let input = format!("post-{name}\n");
                    assert_eq!(command.stdin(&json!({"input": input})).ok()["accepted"], 7);
                }
            });
            scope.spawn(move || {
                let body = format!("put-{name}\n").repeat(LINES);
                assert_eq!(put(command, "", body.as_bytes()).ok()["accepted"], 6 * LINES);
            });
        }
    });
    command.stdin(&json!({"eof": true})).ok();
    let expected =
        ["post-a", "post-b", "put-a", "put-b"].map(|name| format!("{LINES} {name}\n")).concat();
    assert_eq!(command.exited()["output"], expected);
}
