//! The broker against the real agent in namespaces of this host. Needs root
//! and a built `postern-agent`; says so and does nothing where they lack.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use postern_broker::core::{
    Broker, Code, CommandState, CreateSession, DriverChoice, ExecRequest, ExitStatus, FollowItem,
    FollowOptions, Program, ReadFile, Session, SessionStatus, SignalScope, SpawnStage, StdinWrite,
    WriteFile,
};

const CAP: usize = 1 << 20;

struct Rig {
    broker: Broker,
    session: Session,
    _data: tempfile::TempDir,
}

impl Rig {
    /// None where this machine cannot do it; the reason is printed.
    async fn start() -> Option<Self> {
        Self::start_with(CreateSession::default()).await
    }

    async fn start_with(request: CreateSession) -> Option<Self> {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
        let images = target.join("dist/images");
        let agent = [target.join("debug/postern-agent"), target.join("dist/postern-agent")];
        let Some(agent) = agent.into_iter().find(|path| path.is_file()) else {
            return skip("no postern-agent", "cargo build -p postern-agent");
        };
        if !images.join("busybox").is_dir() {
            return skip("no image busybox", "make dist");
        }
        if !is_root() {
            return skip("not root", "run as root");
        }
        let data = tempfile::tempdir().unwrap();
        let broker = Broker::builder()
            .data_dir(data.path())
            .images_dir(images)
            .default_image("busybox")
            .driver(DriverChoice::Process)
            .agent(agent)
            .build()
            .await
            .unwrap();
        let session = match broker.create_session(request, None).await {
            Ok(session) => session,
            Err(error) => panic!("no session: {}", error.private()),
        };
        Some(Self { broker, session, _data: data })
    }

    async fn stop(self) {
        assert_eq!(self.session.faults(), 0, "the agent and the broker disagree on the protocol");
        self.broker.delete_session(self.session.id(), true).await.unwrap();
        assert_eq!(self.session.info().status, SessionStatus::Terminated);
    }
}

fn skip<T>(why: &str, enable: &str) -> Option<T> {
    println!("SKIPPED: {why}; enable: {enable}");
    None
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn shell(script: &str) -> ExecRequest {
    ExecRequest::new(Program::Shell(script.to_owned()))
}

fn text(chunks: &[postern_broker::core::OutputChunk]) -> String {
    chunks.iter().map(|c| String::from_utf8_lossy(&c.data)).collect()
}

fn status(state: &CommandState) -> ExitStatus {
    match state {
        CommandState::Exited(exit) => exit.status,
        other => panic!("not exited: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn output_and_exit_come_in_one_answer() {
    let Some(rig) = Rig::start().await else { return };
    let done = rig.session.run(shell("echo out; echo err >&2; exit 3"), CAP).await.unwrap();
    assert_eq!(status(&done.info.state), ExitStatus::Code(3));
    assert_eq!(text(&done.chunks).len(), 8);
    assert!(!done.truncated && done.gaps.is_empty());
    let done = rig.session.run(shell("kill -9 $$"), CAP).await.unwrap();
    assert_eq!(status(&done.info.state), ExitStatus::Signal(9));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there_is_an_error_with_stage_and_errno() {
    let Some(rig) = Rig::start().await else { return };
    let request = || ExecRequest::new(Program::Argv(vec![Bytes::from_static(b"/not/there")]));
    for error in [
        rig.session.run(request(), CAP).await.unwrap_err(),
        rig.session.exec(request()).await.unwrap_err(),
    ] {
        assert_eq!(error.stage, Some(SpawnStage::NotFound), "{error:?}");
        assert_eq!(error.errno, Some(2));
    }
    let unknown = rig.session.command("cmd_unknown").await.unwrap_err();
    assert_eq!(unknown.code, Code::NotFound);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_beyond_the_cap_is_cut_and_the_command_still_ends() {
    let Some(rig) = Rig::start().await else { return };
    let begun = Instant::now();
    let script = "yes 0123456789abcdef | head -c 3000000";
    let done = rig.session.run(shell(script), CAP).await.unwrap();
    assert!(done.truncated);
    assert_eq!(text(&done.chunks).len(), CAP);
    assert_eq!(done.info.output_end, 3_000_000);
    assert!(begun.elapsed() < Duration::from_secs(20), "the hold was not lifted");
    let whole = rig.session.run(shell(script), 4 << 20).await.unwrap();
    assert_eq!(text(&whole.chunks), "0123456789abcdef\n".repeat(176_471)[..3_000_000]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_meets_every_byte_one_exit_and_the_end() {
    let Some(rig) = Rig::start().await else { return };
    let script = "i=0; while [ $i -lt 50 ]; do echo line $i; i=$((i+1)); done";
    let request = ExecRequest { lossless: true, ..shell(script) };
    let id = rig.session.exec(request).await.unwrap().info.command_id;
    let options = FollowOptions { lossless: true, ..FollowOptions::default() };
    let mut follower = rig.session.follow(&id, options).await.unwrap();
    let (mut got, mut exits, mut closed) = (Vec::new(), 0, false);
    while let Some(item) = follower.next().await.unwrap() {
        match item {
            FollowItem::Data(chunk) => got.extend_from_slice(&chunk.data),
            FollowItem::Exited(_) => exits += 1,
            FollowItem::Closed(info) => closed = info.closed,
            FollowItem::Gap { .. } => panic!("a gap"),
        }
    }
    let expected: String = (0..50).map(|n| format!("line {n}\n")).collect();
    assert_eq!(String::from_utf8(got).unwrap(), expected);
    assert_eq!((exits, closed), (1, true));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stdin_is_applied_once_and_signals_reach_the_tree() {
    let Some(rig) = Rig::start().await else { return };
    let request = ExecRequest { stdin_open: true, ..shell("cat") };
    let id = rig.session.exec(request).await.unwrap().info.command_id;
    let write = |offset, data: &'static str, eof| StdinWrite {
        offset: Some(offset),
        data: Bytes::from_static(data.as_bytes()),
        eof,
    };
    rig.session.write_stdin(&id, write(0, "hello ", false)).await.unwrap();
    rig.session.write_stdin(&id, write(0, "hello ", false)).await.unwrap();
    let state = rig.session.write_stdin(&id, write(6, "you", true)).await.unwrap();
    assert_eq!((state.accepted, state.offset, state.eof), (3, 9, true));
    let patience = Some(Duration::from_secs(10));
    assert!(rig.session.wait_closed(&id, patience).await.unwrap().closed);
    let output = rig.session.read_output(&id, Default::default()).await.unwrap();
    assert_eq!(text(&output.chunks), "hello you");

    let id = rig.session.exec(shell("sleep 1000 & sleep 1000")).await.unwrap().info.command_id;
    assert!(rig.session.signal(&id, 15, SignalScope::Tree).await.unwrap());
    let info = rig.session.wait(&id, patience).await.unwrap();
    assert_eq!(status(&info.state), ExitStatus::Signal(15));
    assert!(!rig.session.signal(&id, 15, SignalScope::Tree).await.unwrap());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_in_and_come_out_whole() {
    let Some(rig) = Rig::start().await else { return };
    let path = Bytes::from_static(b"/tmp/a/b/file");
    let request = WriteFile { path: path.clone(), make_parents: true, ..WriteFile::default() };
    let data: Bytes = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    let mut writer = rig.session.write_file(request.clone()).await.unwrap();
    writer.write(data.clone()).await.unwrap();
    assert_eq!(writer.finish().await.unwrap().size, data.len() as u64);
    // A writer that goes away leaves what was there.
    let mut writer = rig.session.write_file(request).await.unwrap();
    writer.write(Bytes::from_static(b"half")).await.unwrap();
    drop(writer);
    for (offset, length) in [(0, None), (1234, Some(5678))] {
        let request = ReadFile { path: path.clone(), offset, length, ..ReadFile::default() };
        let mut reader = rig.session.read_file(request).await.unwrap();
        let mut got = Vec::new();
        while let Some(piece) = reader.next().await.unwrap() {
            got.extend_from_slice(&piece);
        }
        let from = usize::try_from(offset).unwrap();
        let to = length.map_or(data.len(), |l| from + usize::try_from(l).unwrap());
        assert!(got == data[from..to]);
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_with_the_same_key_takes_the_command_over() {
    let Some(rig) = Rig::start().await else { return };
    let request =
        ExecRequest { idempotency_key: Some("k".to_owned()), ..shell("sleep 1; echo done") };
    // The first caller goes away.
    let first = rig.session.run(request.clone(), CAP);
    assert!(tokio::time::timeout(Duration::from_millis(300), first).await.is_err());
    let second = rig.session.run(request, CAP).await.unwrap();
    assert!(second.existing);
    assert_eq!(text(&second.chunks), "done\n");
    assert_eq!(rig.session.commands().await.unwrap().len(), 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_caller_went_away_is_ended_after_the_grace() {
    let Some(rig) = Rig::start().await else { return };
    let begun = Instant::now();
    let gone = rig.session.run(shell("trap '' TERM; sleep 1000; sleep 1000"), CAP);
    assert!(tokio::time::timeout(Duration::from_millis(300), gone).await.is_err());
    let commands = rig.session.commands().await.unwrap();
    let [command] = &commands[..] else { panic!("{commands:?}") };
    let patience = Some(Duration::from_secs(60));
    let info = rig.session.wait(&command.command_id, patience).await.unwrap();
    assert_eq!(status(&info.state), ExitStatus::Signal(9));
    assert!(begun.elapsed() > Duration::from_secs(9), "no grace");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_its_time_is_over() {
    let ttl = Some(Duration::from_secs(2));
    let request = CreateSession { ttl, ..CreateSession::default() };
    let Some(rig) = Rig::start_with(request).await else { return };
    let deadline = Instant::now() + Duration::from_secs(20);
    while rig.session.info().status != SessionStatus::Terminated {
        assert!(Instant::now() < deadline, "{:?}", rig.session.info());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let error = rig.session.run(shell("true"), CAP).await.unwrap_err();
    assert_eq!(error.code, Code::FailedPrecondition);
    let dirs: Vec<PathBuf> =
        rig._data.path().join("sessions").read_dir().unwrap().map(|e| e.unwrap().path()).collect();
    assert!(dirs.is_empty(), "{dirs:?}");
}
