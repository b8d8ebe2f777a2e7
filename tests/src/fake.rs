//! An agent that lies. Made of `postern-proto` only, it is honest enough to be
//! attached, and breaks the protocol in a follow stream in the way it was told.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use postern_proto::limits::{MAX_CONTROL_FRAME, MAX_HELLO_FRAME, MAX_OPEN_FRAME};
use postern_proto::{
    Code, CommandInfo, CommandState, Error, ExecResult, Exit, ExitStatus, FromAgent, Hello, Info,
    OutputStream, Purpose, Reply, Request, StreamEnd, StreamEvent, StreamHeader, StreamKind,
    StreamOpen, StreamReply, take_frame,
};

/// What it does wrong once somebody follows a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Output goes on at an offset that is not the next.
    OffsetJump,
    /// Output goes back to an offset that was sent.
    OffsetBack,
    /// A command ends twice.
    SecondExit,
    /// The log is final at an offset that was never sent.
    ClosedElsewhere,
    /// A frame claims 4 GiB.
    FrameOverCap,
    /// Bytes that are no frame.
    Garbage,
    /// The connection ends without an end, again and again.
    HangsUp,
    /// Nothing, without an end.
    Silence,
}

/// A listening liar; its socket goes with it.
#[derive(Debug)]
pub struct FakeAgent {
    dir: tempfile::TempDir,
}

impl FakeAgent {
    /// Begins to listen.
    pub fn start(lie: Lie) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("agent.sock")).unwrap();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    // The broker hangs up on a liar: that is what we are here for.
                    let _ = Peer { socket, ahead: BytesMut::new() }.speak(lie);
                });
            }
        });
        Self { dir }
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("agent.sock")
    }
}

/// A command as the liar tells of it.
fn command(id: &str, state: CommandState, output_end: u64) -> Box<CommandInfo> {
    let is_final = state.is_final();
    Box::new(CommandInfo {
        command_id: id.to_owned(),
        pid: 2,
        state,
        argv: vec![Bytes::from_static(b"liar")],
        cwd: "/".to_owned(),
        user: "root".to_owned(),
        started_unix_ms: 1,
        finished_unix_ms: u64::from(is_final),
        duration_us: u64::from(is_final),
        output_end,
        stdout_end: output_end,
        closed: is_final,
        ..CommandInfo::default()
    })
}

fn exited() -> CommandState {
    let status = ExitStatus::Code(0);
    CommandState::Exited(Exit { status, core_dumped: false, timed_out: false, oom_killed: false })
}

struct Peer {
    socket: UnixStream,
    ahead: BytesMut,
}

impl Peer {
    fn frame(&mut self, max: usize) -> io::Result<Bytes> {
        loop {
            if let Some(frame) = take_frame(&mut self.ahead, max).map_err(io::Error::other)? {
                return Ok(frame);
            }
            let mut piece = [0; 4096];
            match self.socket.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => self.ahead.extend_from_slice(&piece[..n]),
            }
        }
    }

    fn speak(&mut self, lie: Lie) -> io::Result<()> {
        let hello = Hello::decode(self.frame(MAX_HELLO_FRAME)?).map_err(io::Error::other)?;
        let mut out = BytesMut::new();
        let mine = Hello { boot_id: "b".to_owned(), instance_id: "i".to_owned(), ..hello.clone() };
        mine.encode(&mut out).map_err(io::Error::other)?;
        self.socket.write_all(&out)?;
        match hello.purpose {
            Purpose::Control => self.control(),
            Purpose::Stream => self.stream(lie),
        }
    }

    fn control(&mut self) -> io::Result<()> {
        loop {
            let frame = self.frame(MAX_CONTROL_FRAME)?;
            let (id, request) = Request::decode(frame).map_err(io::Error::other)?;
            let reply = match request {
                Request::Ping | Request::Configure(_) => Reply::Done,
                Request::GetInfo => {
                    Reply::Info(Box::new(Info { image_ready: true, ..Info::default() }))
                }
                Request::Exec(exec) => Reply::Exec(Box::new(ExecResult {
                    command: *command(&exec.command_id, CommandState::Running, 0),
                    output: Vec::new(),
                    existing: false,
                })),
                Request::GetCommand { command_id } => {
                    Reply::Command(command(&command_id, CommandState::Running, 0))
                }
                _ => Reply::Error(Error::new(Code::Unavailable, "not today")),
            };
            let mut out = BytesMut::new();
            FromAgent::Reply { id, reply }.encode(&mut out).map_err(io::Error::other)?;
            self.socket.write_all(&out)?;
        }
    }

    fn stream(&mut self, lie: Lie) -> io::Result<()> {
        let opening = StreamOpen::decode(self.frame(MAX_OPEN_FRAME)?).map_err(io::Error::other)?;
        let StreamOpen::Follow(follow) = opening else { return Ok(()) };
        let mut out = BytesMut::new();
        let info = command(&follow.command_id, CommandState::Running, follow.from);
        StreamReply::Follow(info).encode(&mut out).map_err(io::Error::other)?;
        let at = follow.from;
        self.lie(lie, &follow.command_id, at, &mut out).map_err(io::Error::other)?;
        self.socket.write_all(&out)?;
        if lie == Lie::HangsUp {
            return Ok(());
        }
        // Stays until the broker has had enough.
        while self.socket.read(&mut [0; 64])? > 0 {}
        Ok(())
    }

    fn lie(
        &self,
        lie: Lie,
        id: &str,
        at: u64,
        out: &mut BytesMut,
    ) -> Result<(), postern_proto::DecodeError> {
        let exit = |end| StreamEvent::Exited(command(id, exited(), end));
        match lie {
            Lie::Silence => {}
            Lie::HangsUp => data(out, at, b"h"),
            Lie::OffsetJump => {
                data(out, at, b"ab");
                data(out, at + 10, b"cd");
            }
            Lie::OffsetBack => {
                data(out, at, b"ab");
                data(out, at, b"ab");
            }
            Lie::SecondExit => {
                exit(at).encode(out)?;
                exit(at).encode(out)?;
            }
            Lie::ClosedElsewhere => {
                data(out, at, b"ab");
                StreamEnd::Output(command(id, exited(), at + 1000)).encode(out)?;
            }
            Lie::FrameOverCap => {
                let kind = StreamKind::Data(Some(OutputStream::Stdout));
                let header = StreamHeader { kind, len: u32::MAX, offset: at, aux: at };
                out.extend_from_slice(&header.encode());
            }
            Lie::Garbage => out.extend_from_slice(&[0xa5; 256]),
        }
        Ok(())
    }
}

fn data(out: &mut BytesMut, offset: u64, bytes: &[u8]) {
    let kind = StreamKind::Data(Some(OutputStream::Stdout));
    let len = u32::try_from(bytes.len()).unwrap();
    out.extend_from_slice(&StreamHeader { kind, len, offset, aux: offset }.encode());
    out.extend_from_slice(bytes);
}
