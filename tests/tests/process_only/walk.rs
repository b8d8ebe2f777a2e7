//! Trees on a kernel without cgroups: an agent of its own, without a broker.

use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postern_proto::{CommandInfo, CommandState, Exec, ExitStatus, Reply, Request, SignalScope};
use postern_tests::raw::{Address, Raw, load_image, ok};
use postern_tests::{Rig, artifacts, proc, wait};

/// A process sandbox that was told to do without cgroups.
struct Bare {
    agent: Child,
    control: Raw,
    _dir: tempfile::TempDir,
}

impl Bare {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let agent = Command::new(artifacts::dist("postern-agent"))
            .args(["--sandbox", "--cgroups", "off", "--dir"])
            .arg(dir.path())
            .env_clear()
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let address = Address::Unix(dir.path().join("agent.sock"));
        let mut control =
            wait::until("the agent answers", wait::seconds(30), || Raw::control(&address).ok());
        load_image(&address, &mut control, &artifacts::dist("images/busybox")).unwrap();
        let Reply::Info(info) = ok(control.ask(&Request::GetInfo).unwrap()).unwrap() else {
            panic!("no info")
        };
        assert!(!info.cgroup_v2 && info.cgroup_controllers.is_empty(), "{info:?}");
        Self { agent, control, _dir: dir }
    }

    fn exec(&mut self, id: &str, line: &str, more: Exec) -> CommandInfo {
        let argv = ["sh", "-c", line].map(|word| word.to_owned().into()).to_vec();
        let exec = Exec { command_id: id.to_owned(), argv, ..more };
        let reply = ok(self.control.ask(&Request::Exec(Box::new(exec))).unwrap()).unwrap();
        let Reply::Exec(result) = reply else { panic!("{reply:?}") };
        result.command
    }

    fn info(&mut self, id: &str) -> CommandInfo {
        let request = Request::GetCommand { command_id: id.to_owned() };
        let reply = ok(self.control.ask(&request).unwrap()).unwrap();
        let Reply::Command(info) = reply else { panic!("{reply:?}") };
        *info
    }

    fn said(&mut self, id: &str) -> String {
        let command_id = id.to_owned();
        let request = Request::ReadOutput { command_id, from: 0, only: None, max_bytes: 0 };
        let reply = ok(self.control.ask(&request).unwrap()).unwrap();
        let Reply::Output(output) = reply else { panic!("{reply:?}") };
        let bytes: Vec<u8> = output.chunks.iter().flat_map(|c| c.data.to_vec()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn signal(&mut self, id: &str, signal: u32) -> bool {
        let command_id = id.to_owned();
        let request = Request::Signal { command_id, signal, scope: SignalScope::Tree };
        let reply = ok(self.control.ask(&request).unwrap()).unwrap();
        let Reply::Delivered(delivered) = reply else { panic!("{reply:?}") };
        delivered
    }

    /// Processes of the workload of that name, as the host sees them.
    fn named(&self, name: &str) -> usize {
        let below = proc::descendants(self.agent.id());
        below.iter().filter(|p| p.comm == name && p.state != 'Z').count()
    }

    fn until_named(&self, name: &str, count: usize) {
        wait::until(&format!("{count} of {name}"), wait::seconds(30), || {
            (self.named(name) == count).then_some(())
        });
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.agent.id().cast_signed()), Signal::SIGTERM);
        let _ = self.agent.wait();
    }
}

/// Three sleeps: a child, one in a session of its own, and one that was forked
/// twice into another.
const TREE: &str = "(setsid sleep 1000 &); (setsid sh -c 'setsid sleep 1000 & exit' &); sleep 1000";

pub(crate) fn without_cgroups_a_kill_of_the_tree_reaches_who_left(_: &Rig) {
    let mut bare = Bare::start();
    bare.exec("other", TREE, Exec::default());
    bare.until_named("sleep", 3);
    bare.exec("mine", TREE, Exec::default());
    bare.until_named("sleep", 6);
    assert!(bare.signal("mine", 9));
    bare.until_named("sleep", 3);
    assert_eq!(bare.info("other").state, CommandState::Running, "another's tree is its own");
    assert!(!bare.signal("mine", 9), "nobody is left");
    // The first process is gone; its tree is still found.
    bare.exec("left", &format!("{} & exit 3", &TREE[..TREE.len() - 12]), Exec::default());
    bare.until_named("sleep", 5);
    wait::until("the first is over", wait::seconds(30), || {
        bare.info("left").state.is_final().then_some(())
    });
    assert!(bare.signal("left", 9));
    bare.until_named("sleep", 3);
}

pub(crate) fn without_cgroups_a_term_of_the_tree_reaches_each_process_once(_: &Rig) {
    let mut bare = Bare::start();
    let child = "trap \"echo child\" TERM; echo up; while :; do sleep 0.1; done";
    let line = format!(
        "setsid sh -c '{child}' & trap 'echo parent; exit 4' TERM; while :; do sleep 0.1; done"
    );
    bare.exec("c", &line, Exec::default());
    wait::until("the child is up", wait::seconds(30), || {
        bare.said("c").contains("up").then_some(())
    });
    assert!(bare.signal("c", 15));
    let said = wait::until("both have heard", wait::seconds(30), || {
        Some(bare.said("c")).filter(|said| said.contains("parent") && said.contains("child"))
    });
    assert_eq!((said.matches("parent").count(), said.matches("child").count()), (1, 1), "{said}");
    let info = wait::until("the end", wait::seconds(30), || {
        Some(bare.info("c")).filter(|info| info.state.is_final())
    });
    let CommandState::Exited(exit) = info.state else { panic!("{info:?}") };
    assert_eq!(exit.status, ExitStatus::Code(4));
    assert!(bare.signal("c", 9), "the child goes on, and was continued");
}

pub(crate) fn without_cgroups_a_timeout_ends_every_descendant(_: &Rig) {
    let mut bare = Bare::start();
    let line = format!("trap '' TERM; {TREE}; sleep 1000");
    let (timeout_ms, kill_grace_ms) = (Some(500), Some(200));
    let info =
        bare.exec("c", &line, Exec { timeout_ms, kill_grace_ms, wait: true, ..Exec::default() });
    let CommandState::Exited(exit) = info.state else { panic!("{info:?}") };
    assert!(exit.timed_out, "{exit:?}");
    bare.until_named("sleep", 0);
}
