//! `postern` on a real terminal: tmux types, and reads the screen.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, tcgetattr};
use postern_tests::cutter::Cutter;
use postern_tests::random::Random;
use postern_tests::tmux::{self, PROMPT, Terminal};
use postern_tests::{Rig, Session, artifacts, proc, wait};
use serde_json::{Value, json};

/// What the shell inside asks with: its root's and its users' are images' matters.
pub(crate) const INSIDE: &str = "inside> ";

/// A terminal from which `postern` finds the rig's broker.
pub(crate) fn terminal(rig: &Rig, test: &str) -> Terminal {
    let url = format!("POSTERN_URL=http://{}", rig.broker().http.authority());
    let (name, url) = url.split_once('=').unwrap();
    let program = artifacts::dist("postern").canonicalize().unwrap();
    let path = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
    Terminal::open(test, 30, 100, &[(name, url), ("PATH", &path), ("HISTFILE", "/dev/null")])
}

/// A shell of the session, at its first prompt.
fn enter(terminal: &Terminal, session: &Session, flags: &str) {
    terminal.enters(&format!("postern shell -e PS1='{INSIDE}' {flags} {}", session.id));
    terminal.prompts(INSIDE);
}

pub(crate) fn leave(terminal: &Terminal) {
    terminal.enters("exit");
    terminal.prompts(PROMPT);
}

/// The command that runs on a terminal in this session.
fn on_a_terminal(session: &Session) -> String {
    let list = session.ask("GET", "/commands", &Value::Null).ok();
    let mut all = list["commands"].as_array().unwrap().iter();
    let found = all.find(|c| !c["tty"].is_null() && c["status"] == "running").unwrap();
    found["command_id"].as_str().unwrap().to_owned()
}

/// Waits until something of this command line runs in the session.
fn runs(session: &Session, line: &str) {
    // In brackets, the pattern does not find the shell that looks.
    let (first, rest) = line.split_at(1);
    let look = format!("ps -o args | grep -q '[{first}]{rest}'");
    wait::until(line, wait::seconds(60), || (session.sh(&look)["exit_code"] == 0).then_some(()));
}

pub(crate) fn a_shell_on_a_terminal_is_one(rig: &Rig) {
    let test = "a_shell_on_a_terminal_is_one";
    if !tmux::is_there(test) {
        return;
    }
    let session = rig.fresh(json!({}));
    let terminal = terminal(rig, test);
    enter(&terminal, &session, "");
    terminal.enters("echo is-$((6*7)) $(stty size)");
    assert_eq!(terminal.line("is-"), "42 30 100");
    terminal.enters("while sleep 1000; do :; done");
    runs(&session, "sleep 1000");
    terminal.presses(&["C-c"]);
    terminal.prompts(INSIDE);
    terminal.enters("echo code-$?");
    assert_eq!(terminal.line("code-"), "130");
    // Ctrl-Z and fg: job control is the shell's inside, not ours.
    terminal.enters("sleep 2000");
    runs(&session, "sleep 2000");
    terminal.presses(&["C-z"]);
    terminal.shows("Stopped");
    terminal.prompts(INSIDE);
    terminal.enters("fg");
    terminal.line("sleep 2000");
    terminal.presses(&["C-c"]);
    terminal.prompts(INSIDE);
    terminal.enters("exit 7");
    terminal.prompts(PROMPT);
    terminal.enters("echo left-$?");
    assert_eq!(terminal.line("left-"), "7");
    terminal.must_be_sane();
}

pub(crate) fn the_windows_size_is_followed(rig: &Rig) {
    let test = "the_windows_size_is_followed";
    if !tmux::is_there(test) {
        return;
    }
    let session = rig.fresh(json!({}));
    let terminal = terminal(rig, test);
    enter(&terminal, &session, "");
    terminal
        .enters("until [ \"$(stty size)\" = '37 91' ]; do sleep 0.1; done; echo now-$(stty size)");
    runs(&session, "sleep 0.1");
    terminal.resize(37, 91);
    assert_eq!(terminal.line("now-"), "37 91");
    leave(&terminal);
}

pub(crate) fn an_editor_draws_and_edits(rig: &Rig) {
    let test = "an_editor_draws_and_edits";
    if !tmux::is_there(test) {
        return;
    }
    let session = rig.fresh(json!({}));
    let terminal = terminal(rig, test);
    enter(&terminal, &session, "");
    edit(&terminal, &session);
    leave(&terminal);
    terminal.must_be_sane();
}

/// `vi`, whichever one the image has, from the shell's prompt to the next one.
pub(crate) fn edit(terminal: &Terminal, session: &Session) {
    terminal.enters("vi /tmp/letter");
    // What it draws below the end of the file.
    terminal.when("an empty file", |screen| {
        (screen.lines().filter(|line| *line == "~").count() > 10).then_some(())
    });
    terminal.types("i");
    terminal.types("dear postern,");
    terminal.presses(&["Enter"]);
    terminal.types("yours");
    command_mode(terminal);
    terminal.types("1GAsir");
    command_mode(terminal);
    terminal.shows("dear postern,sir");
    terminal.enters(":wq");
    terminal.prompts(INSIDE);
    assert_eq!(session.say("cat /tmp/letter"), "dear postern,sir\nyours");
}

/// Escape, and what comes next only when the editor took it for itself: at once
/// it would be the beginning of a key's sequence.
fn command_mode(terminal: &Terminal) {
    terminal.presses(&["Escape"]);
    terminal.when("the editor's command mode", |screen| {
        let status = screen.lines().next_back()?;
        let inserts = status.contains("INSERT") || status.starts_with("I ");
        (!inserts).then_some(())
    });
}

pub(crate) fn a_detached_shell_goes_on_and_is_come_back_to(rig: &Rig) {
    let test = "a_detached_shell_goes_on";
    if !tmux::is_there(test) {
        return;
    }
    let session = rig.fresh(json!({}));
    let terminal = terminal(rig, test);
    enter(&terminal, &session, "");
    terminal.enters("kept=remembered; echo before-$kept");
    terminal.line("before-remembered");
    terminal.enters("until [ -e /tmp/go ]; do sleep 0.1; done; echo meanwhile-$kept");
    runs(&session, "sleep 0.1");
    terminal.presses(&["C-]"]);
    let way_back = terminal.line("postern: left running; come back with: ");
    terminal.prompts(PROMPT);
    terminal.must_be_sane();

    session.say("touch /tmp/go");
    let command = on_a_terminal(&session);
    session.command(&command).said("meanwhile-remembered");
    assert_eq!(way_back, format!("postern attach {} {command}", session.id));

    terminal.wipe();
    terminal.enters(&format!("postern attach {command}"));
    terminal.line("before-remembered");
    terminal.line("meanwhile-remembered");
    terminal.prompts(INSIDE);
    terminal.enters("echo again-$kept");
    terminal.line("again-remembered");
    terminal.enters("exit 7");
    terminal.prompts(PROMPT);
    terminal.enters("echo left-$?");
    assert_eq!(terminal.line("left-"), "7");
    terminal.must_be_sane();
}

pub(crate) fn what_is_shown_again_asks_the_terminal_nothing(rig: &Rig) {
    let test = "what_is_shown_again_asks_the_terminal_nothing";
    if !tmux::is_there(test) {
        return;
    }
    let session = rig.fresh(json!({}));
    // Where the cursor is, and what kind of terminal: answers would be typed first.
    let line = "printf 'asked\\033[6n\\033[c\\n'; read -r line; echo \"got-$line\" | cat -v; \
                stty raw -echo; printf '\\033[6n'; dd bs=1 count=2 2>/dev/null | od -An -tx1; \
                stty sane; read -r end";
    let size = json!({"rows": 30, "cols": 100});
    let command = session.start(json!({"command": line, "tty": size, "stdin_open": true}));
    wait::until("it has asked", wait::seconds(60), || {
        (command.info()["output_bytes"].as_u64() >= Some(14)).then_some(())
    });
    let terminal = terminal(rig, test);
    terminal.enters(&format!("postern attach {}", command.id));
    terminal.line("asked");
    terminal.enters("word");
    assert_eq!(terminal.line("got-"), "word", "{}", terminal.screen());
    // What it asks while we are there is answered.
    terminal.shows("1b 5b");
}

pub(crate) fn output_that_ends_in_half_a_sequence_is_shown_whole(rig: &Rig) {
    let session = rig.shared();
    let line = "printf 'whole\\033[6n\\033]0;half'";
    let command = session.start(json!({"command": line, "tty": true}));
    command.exited();
    let url = rig.broker().http.authority();
    let shown =
        postern(&url, &["attach", "--no-stdin", &session.id, &command.id]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&shown.stdout), "whole\x1b]0;half", "{shown:?}");
    assert_eq!(shown.status.code(), Some(0));
}

pub(crate) fn output_is_shown_once_the_terminal_is_the_commands(rig: &Rig) {
    let session = rig.shared();
    let url = rig.broker().http.authority();
    for attempt in 0..rig.size(60, 10) {
        let command = session
            .start(json!({"command": "echo seen; read -r end", "tty": true, "stdin_open": true}));
        let pty = openpty(None, None).unwrap();
        let mut attached = postern(&url, &["attach", &session.id, &command.id])
            .stdin(pty.slave.try_clone().unwrap())
            .stdout(pty.slave)
            .spawn()
            .unwrap();
        let mut terminal = std::fs::File::from(pty.master);
        let mut seen = [0; 4];
        terminal.read_exact(&mut seen).unwrap();
        // A key typed at this moment is for the command.
        let modes = tcgetattr(&terminal).unwrap().local_flags;
        assert!(
            !modes.intersects(LocalFlags::ICANON | LocalFlags::ECHO),
            "attempt {attempt}: {modes:?}"
        );
        assert_eq!(&seen, b"seen");
        terminal.write_all(b"\r").unwrap();
        command.exited();
        assert_eq!(attached.wait().unwrap().code(), Some(0));
    }
}

pub(crate) fn the_keys_that_detach_are_ones_choice(rig: &Rig) {
    let test = "the_keys_that_detach_are_ones_choice";
    if !tmux::is_there(test) {
        return;
    }
    let session = rig.fresh(json!({}));
    let terminal = terminal(rig, test);
    enter(&terminal, &session, "--detach-keys ctrl-p,ctrl-q");
    // The usual key and the first of the two alone are the program's.
    terminal.enters("stty raw -echo; dd bs=1 count=3 2>/dev/null | od -An -tx1; stty sane");
    runs(&session, "od -An");
    terminal.presses(&["C-]", "C-p", "x"]);
    terminal.shows("1d 10 78");
    terminal.prompts(INSIDE);
    terminal.presses(&["C-p", "C-q"]);
    terminal.line("postern: left running");
    terminal.prompts(PROMPT);
}

pub(crate) fn a_signal_leaves_the_terminal_sane_and_hangs_up_the_shell(rig: &Rig) {
    let test = "a_signal_leaves_the_terminal_sane";
    if !tmux::is_there(test) {
        return;
    }
    let session = rig.fresh(json!({}));
    let terminal = terminal(rig, test);
    enter(&terminal, &session, "");
    let command = on_a_terminal(&session);
    let below = proc::descendants(terminal.pid());
    let postern = below.iter().find(|p| p.comm == "postern").unwrap().pid;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(postern).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    // The cursor is still where the shell's prompt left it.
    terminal.when("the prompt outside", |screen| screen.ends_with(PROMPT.trim_end()).then_some(()));
    terminal.enters("echo left-$?");
    assert_eq!(terminal.line("left-"), "143");
    terminal.must_be_sane();
    session.command(&command).exited();
}

/// `postern` with the rig's broker, or whatever stands before it.
fn postern(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(artifacts::dist("postern"));
    command.env("POSTERN_URL", format!("http://{url}")).env_remove("POSTERN_API_KEY");
    command.args(arguments).stdin(Stdio::null());
    command
}

pub(crate) fn a_terminal_is_not_made_up(rig: &Rig) {
    let session = rig.shared();
    let url = rig.broker().http.authority();
    let done = postern(&url, &["exec", "-it", &session.id, "--", "true"]).output().unwrap();
    assert_eq!(done.status.code(), Some(125), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stderr).contains("not a terminal"), "{done:?}");
    // Without stdin there is nothing to be typed, and the command has its terminal.
    let line = "test -t 1 && stty size; exit 3";
    let done =
        postern(&url, &["exec", "-t", &session.id, "--", "sh", "-c", line]).output().unwrap();
    assert_eq!(done.status.code(), Some(3), "{done:?}");
    assert_eq!(String::from_utf8_lossy(&done.stdout), "24 80\r\n");
}

pub(crate) fn an_input_that_cannot_be_read_is_told_of(rig: &Rig) {
    let session = rig.shared();
    let url = rig.broker().http.authority();
    let mut cat = postern(&url, &["exec", "-i", &session.id, "--", "cat"]);
    // A directory opens and cannot be read: EISDIR.
    let done = cat.stdin(std::fs::File::open("/").unwrap()).output().unwrap();
    assert_eq!((done.status.code(), done.stdout.len()), (Some(0), 0), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stderr).contains("reading stdin"), "{done:?}");
}

pub(crate) fn flags_reach_the_process(rig: &Rig) {
    let session = rig.shared();
    let url = rig.broker().http.authority();
    let line = "umask; ulimit -Sn; ulimit -Hn; id -u; pwd; echo $A; cut -d' ' -f19 /proc/self/stat";
    let done = postern(
        &url,
        &[
            "exec",
            "--umask",
            "027",
            "--ulimit",
            "nofile=64:128",
            "-u",
            "1000",
            "-w",
            "/tmp",
            "-e",
            "A=b c",
            "--nice",
            "5",
            &session.id,
            "--",
            "sh",
            "-c",
            line,
        ],
    )
    .output()
    .unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(said, "0027\n64\n128\n1000\n/tmp\nb c\n5\n", "{done:?}");
    let timed = ["exec", "--timeout", "300ms", &session.id, "--", "sleep", "1000"];
    let done = postern(&url, &timed).output().unwrap();
    assert_eq!(done.status.code(), Some(143), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stderr).contains("out of time"), "{done:?}");
    let dropped = ["exec", "--cap-drop", "ALL", &session.id, "--", "chown", "1", "/tmp"];
    let done = postern(&url, &dropped).output().unwrap();
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    let login = ["exec", "--login", &session.id, "--", "sh", "-c", "echo \"$0|$1\"", "a b", "c"];
    let done = postern(&url, &login).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stdout), "a b|c\n", "{done:?}");
}

pub(crate) fn a_link_that_breaks_costs_no_byte_either_way(rig: &Rig) {
    let session = rig.shared();
    let http = rig.broker().http.authority();
    let cutter = Cutter::start(http.parse().unwrap(), rig.size(3 << 20, 1 << 20));
    let data = Random::new("cut link").bytes(rig.size(24 << 20, 4 << 20));
    let url = cutter.address().to_string();
    let mut command =
        postern(&url, &["exec", "-i", &session.id, "--", "sh", "-c", "cat; echo end >&2; exit 5"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), data.clone());
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let mut errors = child.stderr.take().unwrap();
    let told = std::thread::spawn(move || {
        let mut text = String::new();
        errors.read_to_string(&mut text).map(|_| text)
    });
    let done = child.wait_with_output().unwrap();
    let told = told.join().unwrap().unwrap();
    assert_eq!(done.status.code(), Some(5), "{told}");
    writer.join().unwrap().unwrap();
    assert_eq!(done.stdout.len(), data.len(), "{told}");
    assert!(done.stdout == data, "what came back is not what was sent");
    assert!(cutter.cuts() >= 3, "only {} cuts", cutter.cuts());
    assert!(told.contains("coming back"), "{told}");
    assert_eq!(told.matches("end\n").count(), 1, "{told}");
}
