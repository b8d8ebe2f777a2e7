//! Many at once, and some that mean no good.

use postern_tests::events::{Events, contiguous};
use postern_tests::http::Response;
use postern_tests::proc::Watch;
use postern_tests::{Command, Kind, Rig, wait};
use serde_json::{Value, json};

/// What each command says once it is told to.
const SAYS: u64 = 64 << 10;

/// What a follower may cost the broker or the agent: the connection's buffers.
const PER_FOLLOWER: u64 = 16 << 10;

const FOLLOWERS: usize = 8;

pub(crate) fn five_hundred_commands_with_eight_followers_each(rig: &Rig) {
    let _alone = rig.heavy();
    let count = rig.size(500, 30_usize);
    let rig = &Rig::alone(rig.kind(), "crowd");
    let session = rig.fresh(json!({}));
    session.say("true");
    let mut watches = vec![("broker", Watch::start(rig.broker().pid()))];
    if rig.kind() == Kind::Process {
        watches.push(("agent", Watch::start(session.serve_pid().unwrap())));
    }
    // Nothing is said before everybody listens.
    let line = format!("read go; head -c {SAYS} /dev/zero | tr '\\0' \"$go\"");
    let request = json!({"command": line, "stdin_open": true});
    let commands: Vec<_> = (0..count).map(|_| session.start(request.clone())).collect();
    let mut followers: Vec<Vec<Response>> =
        commands.iter().map(|c| (0..FOLLOWERS).map(|_| c.stream("")).collect()).collect();
    for (n, command) in commands.iter().enumerate() {
        command.stdin(&json!({"input": format!("{}\n", letter(n)), "eof": true})).ok();
    }
    // The first of each command's followers reads nothing while the others do.
    let stalled: Vec<_> = followers.iter_mut().map(|all| all.remove(0)).collect();
    std::thread::scope(|scope| {
        let mut parts = followers.into_iter().enumerate().collect::<Vec<_>>();
        while !parts.is_empty() {
            let part = parts.split_off(parts.len().saturating_sub(count.div_ceil(8)));
            scope.spawn(move || {
                part.into_iter().for_each(|(n, all)| {
                    all.into_iter().for_each(|stream| hears_everything(n, stream));
                });
            });
        }
    });
    stalled.into_iter().enumerate().for_each(|(n, stream)| hears_everything(n, stream));
    let budget = (count * FOLLOWERS) as u64 * PER_FOLLOWER + count as u64 * SAYS + (16 << 20);
    for (who, watch) in watches {
        let growth = watch.growth();
        println!("{who} grew by {} KiB", growth >> 10);
        assert!(growth <= budget, "the {who} grew by {} MiB of {}", growth >> 20, budget >> 20);
    }
}

pub(crate) fn a_command_gets_no_more_descriptors_than_the_agent_was_given(rig: &Rig) {
    let session = rig.shared();
    let expected = match rig.kind() {
        // INR_OPEN_CUR and INR_OPEN_MAX of the kernel.
        Kind::Vm => "1024 4096".to_owned(),
        Kind::Process => {
            let path = format!("/proc/{}/limits", session.sandbox_pid());
            let limits = std::fs::read_to_string(path).unwrap();
            let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
            line.unwrap().split_whitespace().take(2).collect::<Vec<_>>().join(" ")
        }
    };
    assert_eq!(session.say("echo $(ulimit -Sn) $(ulimit -Hn)"), expected);
}

fn letter(n: usize) -> char {
    char::from(b'a' + u8::try_from(n % 26).unwrap())
}

fn hears_everything(n: usize, stream: Response) {
    let events = Events::new(stream).all().unwrap();
    let bytes = contiguous(&events, 0);
    assert_eq!(bytes.len() as u64, SAYS, "a follower of command {n}: {:?}", events.last());
    assert!(bytes.iter().all(|b| char::from(*b) == letter(n)), "bytes of another command");
    let exit = events.last().unwrap();
    assert_eq!((exit.name.as_str(), &exit.data["exit_code"]), ("exit", &json!(0)), "{exit:?}");
}

pub(crate) fn a_user_that_stops_everybody_all_the_time_harms_only_itself(rig: &Rig) {
    let session = rig.fresh(json!({}));
    let line = "echo up; while :; do kill -STOP -1; done 2>/dev/null";
    let request = json!({
        "command": line, "user": "1000:1000", "cwd": "/", "timeout_ms": 15_000,
        "kill_grace_ms": 200,
    });
    let attacker = session.start(request);
    attacker.said("up");
    for n in 0..10 {
        let done = session.exec(&json!({"command": format!("exit {n}")})).ok();
        assert_eq!(done["exit_code"], n, "{done}");
        // Of the same user: it may be stopped at any moment, the agent may not.
        let theirs = json!({
            "argv": ["true"], "user": "1000:1000", "cwd": "/", "timeout_ms": 300,
            "kill_grace_ms": 100,
        });
        let answer = session.exec(&theirs);
        let ended = answer.status == 200
            && (answer.json["exit_code"] == 0 || answer.json["timed_out"] == true);
        assert!(ended || answer.json["stage"].is_string(), "{answer:?}");
    }
    let info = attacker.exited();
    assert_eq!(info["timed_out"], true, "{info}");
    wait::until("its user can work again", wait::seconds(30), || {
        let request = json!({"command": "echo alive", "user": "1000:1000", "cwd": "/"});
        let answer = session.exec(&request);
        (answer.json["stdout"] == "alive\n").then_some(())
    });
    assert_eq!(session.look().ok()["status"], "running");
}

/// Five of them, in sessions of their own, without a parent or a pipe, deaf to TERM.
const DAEMONS: &str = r#"
for i in 1 2 3 4 5; do
    (setsid sh -c '(setsid sh -c "trap \"\" TERM HUP INT; echo \$\$ >> FILE; while :; do sleep 1000; done" \
        </dev/null >/dev/null 2>&1 &)' &)
done
"#;

/// Starts them and gives their pids.
fn daemons<'a>(
    session: &'a postern_tests::Session,
    file: &str,
    then: &str,
    mut request: Value,
) -> (Command<'a>, Vec<String>) {
    request["command"] = (DAEMONS.replace("FILE", file) + then).into();
    let command = session.start(request);
    let pids = wait::until("the daemons run", wait::seconds(60), || {
        let pids = session.say(&format!("cat {file} 2>/dev/null || true"));
        let pids: Vec<_> = pids.lines().map(str::to_owned).collect();
        (pids.len() == 5).then_some(pids)
    });
    (command, pids)
}

/// Who is alive of them; a zombie is not.
fn alive(session: &postern_tests::Session, pids: &[String]) -> String {
    let files = pids.iter().map(|pid| format!("/proc/{pid}/status ")).collect::<String>();
    session.say(&format!("grep -h '^State:' {files} 2>/dev/null | grep -v Z; true"))
}

pub(crate) fn daemons_that_left_everything_die_with_the_tree(rig: &Rig) {
    let session = rig.fresh(json!({}));
    let (command, pids) = daemons(&session, "/tmp/kill", "sleep 1000", json!({}));
    assert_eq!(alive(&session, &pids).lines().count(), 5);
    assert_eq!(command.kill("KILL", "tree").ok()["delivered"], true);
    assert_eq!(command.closed()["signal"], 9);
    wait::until("the daemons are gone", wait::seconds(30), || {
        alive(&session, &pids).is_empty().then_some(())
    });
}

pub(crate) fn daemons_that_left_everything_die_at_the_timeout(rig: &Rig) {
    let session = rig.fresh(json!({}));
    let request = json!({"timeout_ms": rig.size(3000, 15_000), "kill_grace_ms": 200});
    let then = "trap '' TERM; (setsid sleep 1000 &) ; sleep 1000";
    let (command, pids) = daemons(&session, "/tmp/timeout", then, request);
    let info = command.closed();
    assert_eq!((&info["timed_out"], &info["signal"]), (&json!(true), &json!(9)), "{info}");
    assert_eq!(info["held_open"], false, "the sleeper that held its pipe is gone");
    wait::until("the daemons are gone", wait::seconds(30), || {
        alive(&session, &pids).is_empty().then_some(())
    });
}

pub(crate) fn an_exit_does_not_wait_for_daemons(rig: &Rig) {
    let session = rig.fresh(json!({}));
    let begun = std::time::Instant::now();
    let (command, pids) = daemons(&session, "/tmp/exit", "exit 3", json!({}));
    let info = command.exited();
    assert_eq!(info["exit_code"], 3, "{info}");
    assert!(begun.elapsed() < wait::seconds(60), "it waited for them");
    assert_eq!(command.closed()["held_open"], false, "none of them holds a pipe");
    assert_eq!(alive(&session, &pids).lines().count(), 5, "nobody asked for their end");
}
