//! vsock from inside, memory, a machine that dies.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use postern_tests::events::Events;
use postern_tests::{Rig, proc, wait};
use serde_json::json;

/// Tries every way to the agent's port that a process of the guest has.
const KNOCK: &str = r#"
import socket, struct
heard = 0
for cid in (socket.VMADDR_CID_HOST, 1, 3, socket.VMADDR_CID_ANY):
    for port in (1000, 1001):
        s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        s.settimeout(3)
        try:
            s.connect((cid, port))
            s.sendall(struct.pack(">I", 4) + b"\x0dNTSP"[:4])
            said = s.recv(64)
            heard += len(said)
            print(cid, port, "said", said)
        except OSError as e:
            print(cid, port, e)
        s.close()
try:
    s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    s.bind((socket.VMADDR_CID_ANY, 1000))
    s.listen()
    print("bound")
    heard += 1
except OSError as e:
    print("bind", e)
print("heard", heard)
"#;

pub(crate) fn a_root_inside_gets_no_word_from_the_agent(rig: &Rig) {
    let session = rig.fresh(json!({"image": "debian", "memory_mb": 1024}));
    let done = session.exec(&json!({"argv": ["python3", "-c", KNOCK]})).ok();
    let said = done["stdout"].as_str().unwrap();
    assert!(said.ends_with("heard 0\n"), "{done}");
    assert_eq!(session.say("echo alive"), "alive");
    let os = session.say("cat /etc/os-release; bash --version; git --version; sudo -u user id -un");
    assert!(os.contains("Debian") && os.ends_with("user"), "{os}");
}

pub(crate) fn a_command_that_eats_the_memory_is_told_of_and_the_agent_lives(rig: &Rig) {
    let session = rig.fresh(json!({"memory_mb": 256, "root_size_mb": 64}));
    // A shell whose variable doubles until there is no memory for it.
    let line = "x=0123456789abcdef; while :; do x=$x$x; done";
    let done = session.exec(&json!({"command": line, "timeout_ms": 120_000})).ok();
    assert_eq!((&done["oom_killed"], &done["signal"]), (&json!(true), &json!(9)), "{done}");
    assert_eq!(session.say("echo alive"), "alive");
}

/// Has the machine of that directory stand still, before its kernel runs.
fn stop(dir: &Path) -> Option<()> {
    let mut qmp = UnixStream::connect(dir.join("qmp.sock")).ok()?;
    qmp.write_all(b"{\"execute\": \"qmp_capabilities\"}\n{\"execute\": \"stop\"}\n").ok()?;
    let done = BufReader::new(qmp).lines().filter(|line| line.as_ref().unwrap().contains("return"));
    (done.take(2).count() == 2).then_some(())
}

pub(crate) fn a_machine_that_never_comes_up_is_replaced_once(rig: &Rig) {
    let rig = Rig::alone(rig.kind(), "second-boot");
    let qemus = || proc::descendants(rig.broker().pid()).into_iter().map(|p| p.pid);
    let session = std::thread::scope(|scope| {
        let made = scope.spawn(|| rig.make(json!({"image": "busybox", "disk_mb": 64})));
        let first: Vec<u32> = wait::until("a machine is stopped", wait::seconds(30), || {
            let mut dirs = std::fs::read_dir(rig.broker().data().join("sessions")).ok()?;
            stop(&dirs.next()?.unwrap().path()).map(|()| qemus().collect())
        });
        let session = made.join().unwrap().unwrap();
        assert!(qemus().all(|pid| !first.contains(&pid)), "the first one is still there");
        session
    });
    assert_eq!(session.say("echo alive"), "alive");
}

pub(crate) fn a_killed_machine_fails_its_session_alone(rig: &Rig) {
    let session = rig.fresh(json!({}));
    let command = session.start(json!({"command": "echo up; sleep 1000"}));
    let mut events = Events::new(command.stream(""));
    assert_eq!(events.event().unwrap().unwrap().bytes(), b"up\n");
    let dir = session.dir();
    let qemu = proc::descendants(rig.broker().pid()).into_iter().find(|p| {
        let line = std::fs::read(format!("/proc/{}/cmdline", p.pid)).unwrap_or_default();
        p.comm.starts_with("qemu") && String::from_utf8_lossy(&line).contains(dir.to_str().unwrap())
    });
    let pid = i32::try_from(qemu.unwrap().pid).unwrap();
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let rest = events.all().unwrap();
    assert!(rest.iter().all(|event| event.name != "exit"), "an invented exit: {rest:?}");
    wait::until("it is seen", wait::seconds(30), || {
        (session.look().ok()["status"] == "failed").then_some(())
    });
    session.exec(&json!({"command": "true"})).error(409, "failed_precondition");
    assert_eq!(rig.shared().say("echo others go on"), "others go on");
}
