//! `postern run`, as people and scripts see it.

use std::process::{Command, Output};
use std::time::Instant;

use postern_tests::{Rig, artifacts, wait};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(artifacts::dist("postern"));
    command.args(["run", "--driver", "process", "--memory", "256"]);
    command.env_remove("POSTERN_URL").env_remove("POSTERN_API_KEY");
    command.args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn run_gives_output_and_code_of_the_command(_: &Rig) {
    let done = run(&["busybox", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(done.status.code(), Some(7), "{done:?}");
    assert_eq!(text(&done.stdout), "out\n");
    assert!(text(&done.stderr).contains("err\n"), "{done:?}");
}

pub(crate) fn run_does_not_wait_for_a_grandchild(_: &Rig) {
    let begun = Instant::now();
    let done = run(&["busybox", "--", "sh", "-c", "sleep 600 & exit 3"]);
    assert_eq!(done.status.code(), Some(3), "{done:?}");
    assert!(begun.elapsed() < wait::seconds(60), "it waited for the grandchild");
}

pub(crate) fn run_of_a_killed_shell_is_137(_: &Rig) {
    let done = run(&["busybox", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(done.status.code(), Some(137), "{done:?}");
}

pub(crate) fn run_of_what_is_not_there_says_so(_: &Rig) {
    let done = run(&["busybox", "--", "no-such-program"]);
    assert_eq!(done.status.code(), Some(127), "{done:?}");
    assert!(text(&done.stderr).contains("no-such-program"), "{done:?}");
    let done = run(&["busybox", "--", "/etc/passwd"]);
    assert_eq!(done.status.code(), Some(126), "{done:?}");
    let done = run(&["no-such-image", "--", "true"]);
    assert_eq!(done.status.code(), Some(125), "{done:?}");
    assert!(text(&done.stderr).contains("no-such-image"), "{done:?}");
}

pub(crate) fn run_hands_stdin_on_and_leaves_nothing(_: &Rig) {
    use std::io::Write;
    use std::process::Stdio;
    let mut command = Command::new(artifacts::dist("postern"));
    command.args([
        "run",
        "--driver",
        "process",
        "-i",
        "busybox",
        "--",
        "sh",
        "-c",
        "cat; hostname",
    ]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let data = vec![b'x'; 3 << 20];
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&data));
    let done = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    assert!(done.stdout.len() > 3 << 20, "{} bytes came back", done.stdout.len());
    let hostname = text(&done.stdout[3 << 20..]);
    wait::until("its sandbox is gone", wait::seconds(60), || {
        let all = postern_tests::proc::all();
        let line = |pid| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let theirs = all.iter().any(|p| text(&line(p.pid)).contains(hostname.trim()));
        (!theirs).then_some(())
    });
}
