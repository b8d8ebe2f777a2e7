//! One of every message, with every field set.

use bytes::{Bytes, BytesMut};
use postern_proto::{
    Capabilities, CapabilityProfile, CgroupLimits, Code, CommandInfo, CommandState, Configure,
    DiskLayer, EnvVar, Error, Event, Exec, ExecResult, Exit, ExitStatus, FileInfo, Follow,
    FromAgent, Hello, ImageConfig, Info, Layer, LayerDone, OnDisconnect, Output, OutputChunk,
    OutputStream, Purpose, ReadFile, Reply, Request, Resume, Rlimit, SignalScope, SpawnStage,
    StdinOpen, StdinState, StreamEnd, StreamEvent, StreamOpen, StreamReply, TtySize, Usage,
    WriteFile, WriteStdin,
};

pub(crate) fn error() -> Error {
    Error {
        errno: Some(2),
        stage: Some(SpawnStage::NotFound),
        first_available: Some(7),
        field: Some("argv".into()),
        ..Error::new(Code::OutOfRange, "gone")
    }
}

pub(crate) fn hello() -> Hello {
    Hello {
        boot_id: "b".into(),
        instance_id: "i".into(),
        refusal: Some(error()),
        ..Hello::host(Purpose::Control, 9, "test 1")
    }
}

pub(crate) fn exec() -> Exec {
    Exec {
        command_id: "cmd_1".into(),
        argv: vec!["sh".into(), Bytes::from_static(b"\xff\x00")],
        cwd: "/w".into(),
        env: vec![EnvVar::new("A", "1")],
        user: "u:g".into(),
        timeout_ms: Some(0),
        kill_grace_ms: Some(5),
        stdin: "in".into(),
        stdin_open: true,
        tty: Some(TtySize { rows: 24, cols: 80 }),
        idempotency_key: "k".into(),
        on_disconnect: OnDisconnect::Kill,
        lossless: true,
        window_bytes: Some(1),
        stretch_bytes: Some(2),
        wait: true,
        inline_limit: 64,
        umask: Some(0o77),
        rlimits: vec![Rlimit { resource: "nofile".into(), soft: 1, hard: u64::MAX }],
        capabilities: Some(Capabilities {
            profile: CapabilityProfile::Restricted,
            add: vec!["net_admin".into()],
            drop: vec!["chown".into()],
            ambient: vec!["net_raw".into()],
        }),
        no_new_privs: true,
        nice: Some(-20),
        oom_score_adj: Some(1000),
        limits: CgroupLimits { memory_bytes: Some(1), cpu_millis: Some(2), pids: Some(3) },
        login_shell: true,
        stop_signal: Some(3),
    }
}

pub(crate) fn info(state: CommandState) -> CommandInfo {
    CommandInfo {
        command_id: "cmd_1".into(),
        pid: 3,
        state,
        argv: vec!["sh".into()],
        cwd: "/w".into(),
        user: "u".into(),
        started_unix_ms: 1,
        finished_unix_ms: 2,
        duration_us: 3,
        output_first: 4,
        output_end: 5,
        stdout_end: 6,
        stderr_end: 7,
        output_first_stdout: 8,
        output_first_stderr: 9,
        held_open: true,
        closed: true,
        stdin_open: true,
        stdin_offset: 10,
        idempotency_key: "k".into(),
        on_disconnect: OnDisconnect::Keep,
        usage: Usage { cpu_user_us: Some(11), cpu_system_us: Some(0), memory_peak_bytes: Some(12) },
        tty: Some(TtySize { rows: 1, cols: 2 }),
    }
}

pub(crate) fn exited() -> CommandState {
    CommandState::Exited(Exit {
        status: ExitStatus::Signal(9),
        core_dumped: true,
        timed_out: true,
        oom_killed: true,
    })
}

fn chunk() -> OutputChunk {
    OutputChunk { stream: OutputStream::Stderr, offset: 1, stream_offset: 2, data: "x".into() }
}

pub(crate) fn requests() -> Vec<Request> {
    let id = || "cmd_1".to_owned();
    vec![
        Request::Ping,
        Request::Configure(Configure {
            hostname: "h".into(),
            env: vec![EnvVar::new("A", "")],
            no_new_privs: true,
        }),
        Request::PrepareImage { layers: 2 },
        Request::CommitImage(ImageConfig {
            env: vec![EnvVar::new("PATH", "/bin")],
            user: "user".into(),
            working_dir: "/w".into(),
            entrypoint: vec!["e".into()],
            cmd: vec!["c".into()],
        }),
        Request::Exec(Box::new(exec())),
        Request::GetCommand { command_id: id() },
        Request::ListCommands { after: id(), limit: 3 },
        Request::WaitCommand { command_id: id(), timeout_ms: Some(0), until_closed: true },
        Request::WriteStdin(WriteStdin {
            command_id: id(),
            offset: Some(0),
            data: "d".into(),
            eof: true,
        }),
        Request::Signal { command_id: id(), signal: 15, scope: SignalScope::Tree },
        Request::AckOutput { command_id: id(), offset: 1 },
        Request::LeaveOutput { command_id: id(), reader: 7, for_good: true },
        Request::ReadOutput {
            command_id: id(),
            from: 1,
            only: Some(OutputStream::Pty),
            max_bytes: 2,
        },
        Request::GetInfo,
        Request::Shutdown { grace_ms: 1 },
        Request::ResizeTty { command_id: id(), size: TtySize { rows: 50, cols: 132 } },
        Request::Resume(Resume {
            unix_us: 1,
            entropy: vec![7; 32].into(),
            configure: Some(Configure {
                hostname: "h".into(),
                env: vec![EnvVar::new("A", "2")],
                no_new_privs: true,
            }),
        }),
    ]
}

pub(crate) fn from_agent() -> Vec<FromAgent> {
    let info = |state| Box::new(info(state));
    let replies = vec![
        Reply::Error(error()),
        Reply::Done,
        Reply::Command(info(exited())),
        Reply::Exec(Box::new(ExecResult {
            command: *info(CommandState::Running),
            output: vec![chunk()],
            existing: true,
        })),
        Reply::Commands { commands: vec![*info(CommandState::Failed(error()))], more: true },
        Reply::Stdin(StdinState { accepted: 1, offset: 2, eof: true }),
        Reply::Delivered(true),
        Reply::Output(Output { chunks: vec![chunk()], next: 1, end: 2, closed: true }),
        Reply::Info(Box::new(Info {
            software: "s".into(),
            kernel: "6".into(),
            cgroup_v2: true,
            image_ready: true,
            memory_total_bytes: 1,
            memory_available_bytes: 2,
            commands_running: 3,
            commands_kept: 4,
            init_start_us: 5,
            ready_us: 6,
            cgroup_controllers: vec!["memory".into()],
        })),
    ];
    let mut all: Vec<_> =
        (1..).zip(replies).map(|(id, reply)| FromAgent::Reply { id, reply }).collect();
    all.push(FromAgent::Event(Event::CommandExited(info(CommandState::Starting))));
    all.push(FromAgent::Event(Event::CommandClosed(info(exited()))));
    all
}

pub(crate) fn opens() -> Vec<StreamOpen> {
    vec![
        StreamOpen::Follow(Follow {
            command_id: "cmd_1".into(),
            from: 1,
            only: Some(OutputStream::Stdout),
            lossless: true,
            until_exit: true,
            no_wait: true,
            reader: 7,
        }),
        StreamOpen::ReadFile(ReadFile {
            path: "/f".into(),
            offset: 1,
            length: Some(0),
            user: "u".into(),
        }),
        StreamOpen::WriteFile(WriteFile {
            path: "/f".into(),
            mode: Some(0),
            user: "u".into(),
            make_parents: true,
            size: Some(0),
        }),
        StreamOpen::Layer(Layer {
            index: 1,
            media_type: "m".into(),
            digest: "d".into(),
            diff_id: "i".into(),
            size: 2,
        }),
        StreamOpen::DiskLayer(DiskLayer {
            layer: Layer { index: 1, size: 2, ..Layer::default() },
            serial: "s".into(),
            offset: 4096,
        }),
        StreamOpen::Stdin(StdinOpen { command_id: "cmd_1".into(), keep_open: true }),
    ]
}

fn file() -> FileInfo {
    FileInfo { size: 1, mode: 0o100_644, uid: 2, gid: 3, mtime_unix_ms: -4, length: 5 }
}

pub(crate) fn stream_replies() -> Vec<StreamReply> {
    vec![
        StreamReply::Error(error()),
        StreamReply::Follow(Box::new(info(CommandState::Running))),
        StreamReply::File(file()),
        StreamReply::Stdin(StdinState { accepted: 0, offset: 3, eof: true }),
        StreamReply::Done,
    ]
}

pub(crate) fn events() -> Vec<StreamEvent> {
    vec![
        StreamEvent::Exited(Box::new(info(exited()))),
        StreamEvent::Stdin(StdinState { accepted: 1, offset: 4, eof: true }),
        StreamEvent::LayerRead { bytes: 5 },
    ]
}

pub(crate) fn ends() -> Vec<StreamEnd> {
    vec![
        StreamEnd::Error(error()),
        StreamEnd::Done,
        StreamEnd::Output(Box::new(info(exited()))),
        StreamEnd::File(file()),
        StreamEnd::Layer(LayerDone { entries: 1, bytes: 2, xattrs_skipped: 3 }),
        StreamEnd::Stdin(StdinState { accepted: 5, offset: 6, eof: true }),
    ]
}

/// What encodes into a buffer.
pub(crate) fn bytes_of(encode: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut buf = BytesMut::new();
    encode(&mut buf);
    buf
}
