//! Terminals over a WebSocket.

use postern_tests::events::contiguous;
use postern_tests::socket::Got;
use postern_tests::{Rig, Session, Socket, wait};
use serde_json::{Value, json};

/// A socket that comes back to its command.
fn again(session: &Session, socket: &Socket, query: &str) -> Socket {
    session.pty(&format!("?command_id={}{query}", socket.command_id()))
}

pub(crate) fn a_person_gets_a_login_shell_on_a_terminal(rig: &Rig) {
    let session = rig.shared();
    let mut socket = session.pty("?rows=31&cols=97");
    assert_eq!((&socket.ready["tty"], &socket.ready["rows"]), (&json!(true), &json!(31)));
    assert_eq!((&socket.ready["offset"], &socket.ready["stdin_offset"]), (&json!(0), &json!(0)));
    let line = "echo \"<$(stty size) $TERM $(tty | cut -c 1-9) $(id -un)>\"";
    socket.line(line, "<31 97 xterm-256color /dev/pts/ root>");
    socket.send(b"exit 7\n");
    let (exit, code) = socket.end();
    assert_eq!((&exit["type"], &exit["exit_code"], code), (&json!("exit"), &json!(7), 1000));
    let info = session.command(socket.command_id()).info();
    assert_eq!((&info["exit_code"], &info["on_disconnect"]), (&json!(7), &json!("keep")));
    assert_eq!(exit["output_bytes"], socket.output.len() as u64);
}

pub(crate) fn a_new_size_reaches_the_program(rig: &Rig) {
    let session = rig.fresh(json!({}));
    let size = json!({"rows": 40, "cols": 100});
    session.ask("POST", "/resize", &size).error(409, "failed_precondition");
    let mut socket = session.pty("?mode=agent");
    socket.resize(50, 120);
    socket.line("stty size", "50 120");
    let command = session.command(socket.command_id());
    command.ask("POST", "/resize", &json!({"rows": 9, "cols": 11})).ok();
    socket.line("stty size", "9 11");
    let done = session.ask("POST", "/resize", &size).ok();
    assert_eq!(done["command_id"], socket.command_id());
    socket.line("stty size", "40 100");
    assert_eq!(command.info()["tty"], size);
    command.ask("POST", "/resize", &json!({"rows": 0, "cols": 1})).error(400, "invalid_argument");
    let plain = session.start(json!({"command": "sleep 1000"}));
    plain.ask("POST", "/resize", &size).error(409, "failed_precondition");
}

pub(crate) fn an_agent_gets_a_shell_that_draws_nothing(rig: &Rig) {
    let session = rig.shared();
    let mut socket = session.pty("?mode=agent&cwd=/tmp");
    socket.until(0, "$ ");
    socket.line("echo $TERM-$NO_COLOR-$PAGER; pwd", "dumb-1-cat");
    socket.line("ls --color=auto / | head -n 1; echo don''e", "done");
    let output = String::from_utf8_lossy(&socket.output).into_owned();
    assert!(!output.contains('\x1b'), "{output:?}");
    assert!(!output.contains("echo"), "nothing is echoed: {output:?}");
    socket.send(b"exit\n");
    assert_eq!(socket.end().1, 1000);
}

pub(crate) fn an_exec_without_a_terminal_tags_its_streams(rig: &Rig) {
    let session = rig.shared();
    let mut socket = session.pty("?mode=exec&command=echo+err+%3E%262;+exec+cat");
    assert_eq!(socket.ready["tty"], false);
    assert_eq!(socket.read(), Got::Bytes("\x02err\n".into()));
    socket.send(b"a\xff\0b");
    socket.until(4, "b");
    assert_eq!(socket.output, b"err\na\xff\0b");
    assert_eq!(socket.message("stdin")["offset"], 4);
    socket.control(&json!({"type": "eof"}));
    let (exit, code) = socket.end();
    assert_eq!((&exit["exit_code"], &exit["output_bytes"], code), (&json!(0), &json!(8), 1000));
}

pub(crate) fn ctrl_c_and_signals_stop_a_loop(rig: &Rig) {
    let session = rig.shared();
    let mut socket = session.pty("?mode=agent");
    socket.until(0, "$ ");
    socket.line("while :; do echo spin; sleep 0.05; done", "spin\r\nspin");
    let from = socket.output.len();
    socket.send(b"\x03");
    socket.until(from, "$ ");
    socket.line("echo $?-af''ter", "130-after");
    socket.line("sleep 1000 & echo bg-$?", "bg-0");
    socket.line("jobs", "sleep 1000");
    socket.control(&json!({"type": "signal", "signal": "KILL", "scope": "tree"}));
    let (exit, code) = socket.end();
    assert_eq!((&exit["signal_name"], code), (&json!("SIGKILL"), 1000));
}

pub(crate) fn a_cut_socket_is_replaced_and_no_byte_is_lost_or_doubled(rig: &Rig) {
    let session = rig.shared();
    let data: Vec<u8> = (0..rig.size(200_000u32, 30_000)).flat_map(u32::to_be_bytes).collect();
    let mut socket = session.pty("?mode=exec&command=cat");
    let mut echoed = Vec::new();
    let mut cuts = 0;
    while echoed.len() < data.len() {
        // As much as may be on its way; each socket ends before all of it is back.
        let stdin_at = usize::try_from(socket.ready["stdin_offset"].as_u64().unwrap()).unwrap();
        let to = data.len().min(stdin_at + data.len() / 7);
        let due = echoed.len() + (to - echoed.len()) / 2 + 1;
        assert!(stdin_at <= data.len());
        for piece in data[stdin_at..to].chunks(8191) {
            socket.send(piece);
        }
        while echoed.len() < due.min(data.len()) {
            match socket.read() {
                Got::Bytes(bytes) => echoed.extend_from_slice(&bytes[1..]),
                Got::Json(message) => assert_eq!(message["type"], "stdin", "{message}"),
                Got::Closed(code) => panic!("closed with {code}"),
            }
        }
        let query = format!(
            "?command_id={}&from={}&stdin_from={}",
            socket.command_id(),
            echoed.len(),
            // Further back than anything can be that is on its way: `ready` says
            // where to go on.
            echoed.len(),
        );
        socket.cut();
        socket = session.pty(&query);
        cuts += 1;
    }
    assert!(cuts > 5, "{cuts} cuts");
    assert!(echoed == data);
    socket.control(&json!({"type": "eof"}));
    let (exit, _) = socket.end();
    assert_eq!((&exit["exit_code"], &exit["output_bytes"]), (&json!(0), &json!(data.len())));
}

pub(crate) fn a_detached_terminal_goes_on_and_is_replayed(rig: &Rig) {
    let session = rig.shared();
    let mut socket = session.pty("?mode=agent");
    socket.until(0, "$ ");
    socket.line("for n in 1 2 3; do read x; echo got-$x; done; echo al''l", "");
    socket.line("one", "got-one");
    let so_far = socket.output.clone();
    let id = socket.command_id().to_owned();
    socket.close();
    let command = session.command(&id);
    command.stdin(&json!({"input": "two\n"})).ok();
    command.said("got-two");
    let mut socket = session.pty(&format!("?command_id={id}"));
    socket.until(0, "got-two");
    assert!(socket.output.starts_with(&so_far), "the replay is exact");
    let mut late = session.pty(&format!("?command_id={id}&from={}", socket.offset()));
    socket.line("three", "all");
    late.until(0, "all");
    assert!(!late.output.windows(7).any(|seen| seen == b"got-two"), "it begins where it asked");
    socket.send(b"exit\n");
    assert_eq!(socket.end().1, 1000);
    assert_eq!(late.end().1, 1000);
    // Server-sent events are the same bytes, under the terminal's name.
    let events = command.events("?interval_ms=20&max_bytes=64");
    assert_eq!(contiguous(&events, 0), socket.output);
    let outputs = events.iter().filter(|event| event.name == "output");
    for event in outputs {
        assert_eq!(event.data["stream"], "pty");
        assert!(event.bytes().len() <= 64 + 3, "{event:?}");
    }
}

pub(crate) fn several_may_type_and_watch_and_a_slow_one_stalls_only_itself(rig: &Rig) {
    let session = rig.shared();
    let mut first = session.pty("?mode=agent");
    first.until(0, "$ ");
    first.line(": > /tmp/typed; echo re''ady; exec cat > /tmp/typed", "ready");
    let mut second = again(&session, &first, "");
    let mut viewer = again(&session, &first, "&viewer=true&lossless=false");
    for n in 0..100 {
        first.send(format!("first {n}\n").as_bytes());
        second.send(format!("second {n}\n").as_bytes());
    }
    viewer.send(b"viewer\n");
    assert_eq!(viewer.message("error")["code"], "permission_denied");
    let all = || session.say("wc -l < /tmp/typed").trim() == "200";
    wait::until("all 200 lines", wait::seconds(60), || all().then_some(()));
    let counted = session.say("sort -u /tmp/typed | cut -d ' ' -f 1 | uniq -c | tr -s ' '");
    assert_eq!(counted.trim(), "100 first\n 100 second");
    first.control(&json!({"type": "signal", "signal": "KILL"}));
    for socket in [&mut first, &mut second, &mut viewer] {
        assert_eq!(socket.end().0["signal"], 9);
    }
}

pub(crate) fn a_flood_past_a_viewer_that_does_not_read_costs_little(rig: &Rig) {
    let session = rig.shared();
    let size = rig.size(64 << 20, 8 << 20);
    let line = format!("?mode=exec&lossless=false&command=read+x;+head+-c+{size}+/dev/zero");
    let mut stalled = session.pty(&line);
    let mut reader = again(&session, &stalled, "");
    stalled.send(b"go\n");
    let mut total = 0;
    let exit = loop {
        match reader.read() {
            Got::Bytes(bytes) => total += bytes.len() - 1,
            Got::Json(message) if message["type"] == "exit" => break message,
            Got::Json(message) => assert_eq!(message["type"], "stdin"),
            Got::Closed(code) => panic!("closed with {code}"),
        }
    };
    assert_eq!((total, &exit["exit_code"]), (size, &json!(0)));
    // It finds what is left, and the rest named.
    let mut gaps = 0;
    while let Got::Bytes(_) | Got::Json(_) = stalled.read() {}
    for message in &stalled.messages {
        gaps += match message["type"].as_str() {
            Some("gap") => message["to"].as_u64().unwrap() - message["from"].as_u64().unwrap(),
            _ => 0,
        };
    }
    assert!(gaps > 0, "it was slow");
    assert_eq!(gaps + stalled.output.len() as u64, size as u64);
}

pub(crate) fn what_cannot_start_is_an_http_error(rig: &Rig) {
    let session = rig.shared();
    let refused = |query: &str| session.pty_refused(query, &[]);
    let failed = refused("?cwd=/not/there").error(400, "invalid_argument");
    assert_eq!((&failed["stage"], &failed["errno"]), (&json!("bad_cwd"), &json!(2)));
    let failed = refused("?mode=agent&user=nobody-here").error(400, "invalid_argument");
    assert_eq!(failed["stage"], "no_such_user");
    refused("?mode=exec").error(400, "invalid_argument");
    refused("?command_id=cmd_none").error(404, "not_found");
    let done = session.start(json!({"command": "true"}));
    done.closed();
    refused(&format!("?command_id={}&from=1", done.id)).error(416, "out_of_range");
    let origin = session.pty_refused("", &[("Origin", "http://evil.example")]);
    origin.error(403, "permission_denied");
    let plain = session.ask("GET", "/pty", &Value::Null).error(400, "invalid_argument");
    assert_eq!(plain["field"], "upgrade");
    // What has ended can still be watched to its exit.
    let mut socket = session.pty(&format!("?command_id={}", done.id));
    assert_eq!(socket.end().0["exit_code"], 0);
}

pub(crate) fn a_wrong_message_is_answered_and_the_socket_stays(rig: &Rig) {
    let session = rig.shared();
    let mut socket = session.pty("?mode=exec&command=cat");
    for (text, field) in [
        ("no json", "body"),
        (r#"{"type":"dance"}"#, "type"),
        (r#"{"type":"resize","rows":1}"#, "cols"),
        (r#"{"type":"signal","signal":"NOPE"}"#, "signal"),
    ] {
        socket.text(text);
        let error = socket.message("error");
        assert_eq!((&error["code"], &error["field"]), (&json!("invalid_argument"), &json!(field)));
    }
    socket.resize(1, 1);
    assert_eq!(socket.message("error")["code"], "failed_precondition", "it has no terminal");
    socket.send(b"still there");
    socket.until(0, "still there");
    // A message over the cap ends the socket, and nothing of it is applied.
    let _ = socket.try_send(&vec![0; 2 << 20]);
    loop {
        match socket.try_read() {
            Ok(Got::Closed(code)) => break assert_eq!(code, 1008),
            Ok(_) => {}
            // The server may hang up before all of it is sent.
            Err(tungstenite::Error::Io(e)) if e.kind() != std::io::ErrorKind::WouldBlock => break,
            Err(e) => panic!("{e}"),
        }
    }
    assert_eq!(socket.output, b"still there");
}

pub(crate) fn an_exec_ends_with_its_socket_and_a_terminal_does_not(rig: &Rig) {
    let session = rig.shared();
    let exec = session.pty("?mode=exec&command=sleep+1000");
    let shell = session.pty("?mode=agent");
    let taken_over = session.pty("?mode=exec&command=sleep+1000");
    let ids = [&exec, &shell, &taken_over].map(|socket| socket.command_id().to_owned());
    exec.cut();
    shell.cut();
    let id = ids[2].clone();
    taken_over.cut();
    let back = session.pty(&format!("?command_id={id}"));
    assert_eq!(session.command(&ids[0]).exited()["signal_name"], "SIGTERM");
    assert_eq!(session.command(&ids[1]).info()["status"], "running");
    assert_eq!(session.command(&id).info()["status"], "running", "somebody came for it in time");
    drop(back);
    session.command(&ids[1]).kill("KILL", "tree").ok();
    session.command(&id).exited();
}
