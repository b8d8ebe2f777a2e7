//! Commands on a terminal: what programs find there, and what they are told.

use postern_proto::{
    Code, Exec, Follow, OutputStream, Purpose, Reply, Request, StreamEnd, StreamKind, StreamOpen,
    TtySize,
};
use postern_tests::raw::{Address, Item, Raw, ok};
use postern_tests::{Command, Rig, Session, wait};
use serde_json::json;

const PROMPT: &str = "ready> ";

/// A shell that takes orders, at its first prompt.
fn shell(session: &Session) -> Command<'_> {
    let env = json!({"PS1": PROMPT});
    let request = json!({"argv": ["sh", "-i"], "tty": true, "stdin_open": true, "env": env});
    let shell = session.start(request);
    shell.said(PROMPT);
    shell
}

fn types(command: &Command<'_>, keys: &str) {
    let state = command.stdin(&json!({"input": keys})).ok();
    assert_eq!(state["accepted"], keys.len(), "{state}");
}

/// Once `text` was said so often.
fn said_times(command: &Command<'_>, text: &str, times: usize) {
    let what = format!("{text:?} {times} times");
    command.when(&what, wait::seconds(60), |info| {
        info["output"].as_str().unwrap().matches(text).count() >= times
    });
}

pub(crate) fn a_terminal_has_a_name_a_size_and_a_type(rig: &Rig) {
    let session = rig.shared();
    let line = "tty; stty size; echo $TERM; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all three";
    let request = json!({"command": line, "tty": {"rows": 33, "cols": 111}});
    let said = session.exec(&request).ok()["stdout"].as_str().unwrap().to_owned();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("/dev/pts/"), "{said:?}");
    assert_eq!(lines[1..], ["33 111", "xterm-256color", "all three"]);
    assert!(said.ends_with("three\r\n"), "a terminal ends lines with both: {said:?}");
    let request = json!({"command": "echo $TERM", "tty": true, "env": {"TERM": "dumb"}});
    assert_eq!(session.exec(&request).ok()["stdout"], "dumb\r\n");
    assert_eq!(session.say("tty || true"), "not a tty");
}

pub(crate) fn a_user_can_open_the_terminal_again(rig: &Rig) {
    let session = rig.shared();
    let line = "echo one > /dev/tty; echo two > $(tty); stat -c %u $(tty)";
    let done =
        session.exec(&json!({"command": line, "tty": true, "user": "1000:1000", "cwd": "/"})).ok();
    assert_eq!(done["stdout"], "one\r\ntwo\r\n1000\r\n", "{done}");
}

pub(crate) fn a_login_shell_reads_its_name(rig: &Rig) {
    let session = rig.shared();
    let request = json!({"login_shell": true, "command": "echo $0", "tty": true});
    let done = session.exec(&request).ok();
    assert_eq!(done["stdout"], "-sh\r\n", "{done}");
}

pub(crate) fn a_start_that_fails_on_a_terminal_says_why(rig: &Rig) {
    let session = rig.shared();
    let request = json!({"argv": ["/no/such"], "tty": true});
    let error = session.exec(&request).error(400, "invalid_argument");
    assert_eq!((&error["stage"], &error["errno"]), (&json!("not_found"), &json!(2)));
    let request = json!({"argv": ["true"], "tty": {"rows": 0, "cols": 80}});
    session.exec(&request).error(400, "invalid_argument");
}

pub(crate) fn ctrl_c_ends_what_is_in_the_foreground(rig: &Rig) {
    let session = rig.shared();
    let shell = shell(&session);
    types(&shell, "echo go''ing; sleep 1000\n");
    shell.said("going");
    types(&shell, "\x03");
    said_times(&shell, PROMPT, 2);
    types(&shell, "echo status=$?\n");
    shell.said("status=130");
    types(&shell, "exit 7\n");
    assert_eq!(shell.exited()["exit_code"], 7);
}

pub(crate) fn ctrl_z_stops_and_fg_goes_on(rig: &Rig) {
    let session = rig.shared();
    let shell = shell(&session);
    types(&shell, "echo go''ing; cat\n");
    shell.said("going");
    types(&shell, "first line\n");
    // The terminal's echo, and cat's answer.
    said_times(&shell, "first line", 2);
    types(&shell, "\x1a");
    shell.said("Stopped");
    types(&shell, "echo back''ground\n");
    shell.said("background");
    types(&shell, "fg\n");
    // Typed once, told when it was stopped, and said by fg. What was typed before
    // that, the shell would have for its own next line.
    said_times(&shell, "cat", 3);
    types(&shell, "second line\n");
    said_times(&shell, "second line", 2);
    types(&shell, "\x04");
    said_times(&shell, PROMPT, 4);
    types(&shell, "echo status=$?; exit\n");
    shell.said("status=0");
    assert_eq!(shell.exited()["exit_code"], 0);
}

pub(crate) fn the_end_of_stdin_is_the_end_on_a_terminal(rig: &Rig) {
    let session = rig.shared();
    for (input, output) in [("line\n", "line\r\nline\r\n"), ("no line", "no lineno line"), ("", "")]
    {
        let cat = session.start(json!({"argv": ["cat"], "tty": true, "stdin_open": true}));
        assert_eq!(cat.stdin(&json!({"input": input, "eof": true})).ok()["eof"], true);
        let info = cat.closed();
        assert_eq!((&info["exit_code"], &info["output"]), (&json!(0), &json!(output)));
    }
    // Nobody types: what reads has its end at once.
    let done = session.exec(&json!({"command": "cat; echo over", "tty": true})).ok();
    assert_eq!(done["stdout"], "over\r\n");
}

pub(crate) fn a_terminal_that_nobody_reads_from_stalls_nobody(rig: &Rig) {
    let session = rig.shared();
    let request =
        json!({"command": "stty -echo; exec sleep 1000", "tty": true, "stdin_open": true});
    let command = session.start(request);
    let input = "x\n".repeat(256 << 10);
    let mut taken = 0;
    loop {
        let state = command.stdin(&json!({"input": input, "offset": taken})).ok();
        taken = state["offset"].as_u64().unwrap();
        if state["accepted"].as_u64().unwrap() < input.len() as u64 {
            break;
        }
        assert!(taken < 64 << 20, "it takes without end");
    }
    assert_eq!(session.say("echo alive"), "alive");
    command.kill("KILL", "tree").ok();
    assert_eq!(command.exited()["signal"], 9);
}

pub(crate) fn a_detached_terminal_goes_on_and_all_see_the_same(rig: &Rig) {
    let session = rig.shared();
    let request = json!({"argv": ["seq", "1", "20000"], "tty": true, "lossless": true});
    let command = session.start(request);
    let from_the_start = std::thread::scope(|scope| {
        let readers: Vec<_> =
            (0..3).map(|_| scope.spawn(|| follow(&session.agent(), &command.id))).collect();
        readers.into_iter().map(|r| r.join().unwrap()).collect::<Vec<_>>()
    });
    command.closed();
    let all: String = (1..=20_000).map(|n| format!("{n}\r\n")).collect();
    for seen in from_the_start.iter().chain([&follow(&session.agent(), &command.id)]) {
        assert!(seen == all.as_bytes(), "{} bytes of {}", seen.len(), all.len());
    }
    // Nobody was there at all.
    let alone = session.start(json!({"argv": ["seq", "1", "20000"], "tty": true}));
    assert_eq!(alone.closed()["exit_code"], 0);
    assert!(follow(&session.agent(), &alone.id) == all.as_bytes());
}

/// A terminal's output to its end, every byte at its offset.
fn follow(agent: &Address, id: &str) -> Vec<u8> {
    let open = Follow { command_id: id.to_owned(), lossless: true, ..Follow::default() };
    let (mut raw, _) = Raw::stream(agent, &StreamOpen::Follow(open)).unwrap();
    let mut got = Vec::new();
    loop {
        match raw.item().unwrap() {
            Item::Data(header, bytes) => {
                assert_eq!(header.kind, StreamKind::Data(Some(OutputStream::Pty)));
                assert_eq!(header.offset, got.len() as u64);
                got.extend_from_slice(&bytes);
            }
            Item::Event(_) => {}
            Item::End(StreamEnd::Output(_)) => return got,
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn who_keeps_the_terminal_open_is_told_from_the_exit(rig: &Rig) {
    let session = rig.shared();
    session.say("rm -f /tmp/held.fifo; mkfifo /tmp/held.fifo");
    let line = "trap '' HUP; (read x < /tmp/held.fifo; echo late) & echo early; exit 3";
    let command = session.start(json!({"command": line, "tty": true}));
    let info = command.exited();
    assert_eq!((&info["exit_code"], &info["held_open"]), (&json!(3), &json!(true)), "{info}");
    assert_eq!(info["output"], "early\r\n");
    session.say("echo > /tmp/held.fifo");
    assert_eq!(command.closed()["output"], "early\r\nlate\r\n");
}

/// A host with the control connection. The broker's own is fenced for good.
fn host(session: &Session) -> Raw {
    let raw = Raw::connect(&session.agent(), Purpose::Control, u64::MAX).unwrap();
    assert_eq!(raw.hello.refusal, None);
    raw
}

fn exec(host: &mut Raw, exec: Exec) {
    ok(host.ask(&Request::Exec(Box::new(exec))).unwrap()).unwrap();
}

fn output(host: &mut Raw, id: &str) -> String {
    let request =
        Request::ReadOutput { command_id: id.to_owned(), from: 0, only: None, max_bytes: 1 << 16 };
    let Reply::Output(output) = ok(host.ask(&request).unwrap()).unwrap() else {
        panic!("no output")
    };
    let all: Vec<u8> = output.chunks.iter().flat_map(|c| c.data.iter().copied()).collect();
    String::from_utf8(all).unwrap()
}

pub(crate) fn a_resize_reaches_the_program(rig: &Rig) {
    let session = rig.fresh(json!({}));
    let mut host = host(&session);
    let argv = ["sh", "-c", "trap 'stty size' WINCH; echo up; while :; do sleep 0.1; done"];
    let tty = Exec {
        command_id: "tty".to_owned(),
        argv: argv.map(bytes::Bytes::from).to_vec(),
        tty: Some(TtySize { rows: 24, cols: 80 }),
        ..Exec::default()
    };
    exec(&mut host, Exec { command_id: "pipes".to_owned(), tty: None, ..tty.clone() });
    exec(&mut host, tty);
    wait::until("the trap is set", wait::seconds(60), || {
        output(&mut host, "tty").contains("up").then_some(())
    });
    let resize = |id: &str, rows, cols| Request::ResizeTty {
        command_id: id.to_owned(),
        size: TtySize { rows, cols },
    };
    assert_eq!(host.ask(&resize("tty", 50, 132)).unwrap(), Ok(Reply::Done));
    wait::until("SIGWINCH came", wait::seconds(60), || {
        output(&mut host, "tty").contains("50 132").then_some(())
    });
    let get = Request::GetCommand { command_id: "tty".to_owned() };
    let Reply::Command(info) = ok(host.ask(&get).unwrap()).unwrap() else { panic!("no command") };
    assert_eq!(info.tty, Some(TtySize { rows: 50, cols: 132 }));
    let code = |host: &mut Raw, request: &Request| host.ask(request).unwrap().unwrap_err().code;
    assert_eq!(code(&mut host, &resize("tty", 0, 80)), Code::InvalidArgument);
    assert_eq!(code(&mut host, &resize("pipes", 24, 80)), Code::FailedPrecondition);
    assert_eq!(code(&mut host, &resize("none", 24, 80)), Code::NotFound);
}
