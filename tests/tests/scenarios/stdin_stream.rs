//! stdin as a flow: any amount, exactly once, at the process's pace.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use bytes::BytesMut;
use postern_proto::{
    Code, StdinOpen, StdinState, StreamEnd, StreamEvent, StreamHeader, StreamKind, StreamOpen,
    StreamReply,
};
use postern_tests::layout::hex;
use postern_tests::proc::{self, Watch};
use postern_tests::random::Random;
use postern_tests::raw::{Item, Raw};
use postern_tests::{Command, Kind, Rig, Session, wait};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::scenarios::lossless;

/// The agent's buffer for one stream, what the allocator makes of it, and room
/// for what else an agent does.
const MEMORY: u64 = 4 << 20;

/// A stream for a command's stdin, and where it stands.
fn open(session: &Session, id: &str, keep_open: bool) -> (Raw, StdinState) {
    let open = StreamOpen::Stdin(StdinOpen { command_id: id.to_owned(), keep_open });
    let (raw, reply) = Raw::stream(&session.agent(), &open).unwrap();
    let StreamReply::Stdin(state) = reply else { panic!("{reply:?}") };
    (raw, state)
}

fn send(raw: &mut Raw, offset: u64, data: &[u8]) -> std::io::Result<()> {
    let len = u32::try_from(data.len()).unwrap();
    let header = StreamHeader { kind: StreamKind::Data(None), len, offset, aux: 0 };
    raw.socket.write_all(&header.encode())?;
    raw.socket.write_all(data)
}

fn end(raw: &mut Raw) {
    let mut frame = BytesMut::new();
    StreamEnd::Done.encode(&mut frame).unwrap();
    raw.socket.write_all(&frame).unwrap();
}

/// The agent's last word, and how often it said how far it was.
fn last_word(raw: &mut Raw) -> (StreamEnd, usize) {
    let (mut told, mut last) = (0, 0);
    loop {
        match raw.item().unwrap() {
            Item::Event(StreamEvent::Stdin(state)) => {
                assert!(state.offset >= last, "it went back to {}", state.offset);
                (told, last) = (told + 1, state.offset);
            }
            Item::End(end) => return (end, told),
            other => panic!("{other:?}"),
        }
    }
}

fn reader<'a>(session: &'a Session, command: &str) -> Command<'a> {
    session.start(json!({"command": command, "stdin_open": true}))
}

fn sum_of(command: &Command<'_>) -> String {
    let info = command.closed();
    info["output"].as_str().unwrap().split(' ').next().unwrap().to_owned()
}

pub(crate) fn a_large_stdin_arrives_whole_and_memory_stays_flat(rig: &Rig) {
    let _alone = rig.heavy();
    let size = lossless::size(rig);
    let session = rig.fresh(json!({}));
    let command = reader(&session, "sha256sum");
    let (mut raw, state) = open(&session, &command.id, false);
    assert_eq!((state.offset, state.eof), (0, false));
    let watch = (rig.kind() == Kind::Process).then(|| Watch::start(session.serve_pid().unwrap()));
    let block = Random::new("a_large_stdin").bytes(256 << 10);
    let mut sum = Sha256::new();
    let mut offset = 0;
    while offset < size {
        sum.update(&block);
        send(&mut raw, offset, &block).unwrap();
        offset += block.len() as u64;
    }
    end(&mut raw);
    let (end, told) = last_word(&mut raw);
    assert_eq!(end, StreamEnd::Stdin(StdinState { accepted: size, offset: size, eof: true }));
    assert!(told > 0, "it was never told how far stdin came");
    assert_eq!(sum_of(&command), hex(&sum.finalize()));
    if let Some(growth) = watch.map(Watch::growth) {
        println!("the agent grew by {} KiB", growth >> 10);
        assert!(growth <= MEMORY, "the agent grew by {} KiB", growth >> 10);
    }
}

pub(crate) fn a_stdin_stream_that_breaks_is_taken_up_where_it_was(rig: &Rig) {
    let session = rig.shared();
    let command = reader(&session, "sha256sum");
    let mut random = Random::new("a_stdin_stream_that_breaks");
    let all = random.bytes(rig.size(16 << 20, 4 << 20));
    let at = |n: u64| usize::try_from(n).unwrap();
    for _ in 0..40 {
        let (mut raw, state) = open(&session, &command.id, false);
        assert!(!state.eof);
        // From before where it stands: what is there already is skipped.
        let mut from = state.offset.saturating_sub(random.below(300_000));
        let stop = (from + random.below(800_000)).min(all.len() as u64);
        while from < stop {
            let to = (from + 1 + random.below(200_000)).min(stop);
            send(&mut raw, from, &all[at(from)..at(to)]).unwrap();
            from = to;
        }
        // Within a frame, too.
        let header = StreamHeader { kind: StreamKind::Data(None), len: 9, offset: from, aux: 0 };
        let cut = at(random.below(24));
        raw.socket.write_all(&header.encode()[..cut]).unwrap();
    }
    let (mut raw, state) = open(&session, &command.id, false);
    for (n, piece) in (0..).zip(all[at(state.offset)..].chunks(100_000)) {
        send(&mut raw, state.offset + n * 100_000, piece).unwrap();
    }
    end(&mut raw);
    let size = all.len() as u64;
    let (end, _) = last_word(&mut raw);
    let StreamEnd::Stdin(state) = end else { panic!("{end:?}") };
    assert_eq!((state.offset, state.eof), (size, true));
    assert_eq!(sum_of(&command), hex(&Sha256::digest(&all)));
}

pub(crate) fn streams_and_single_writes_are_one_stdin(rig: &Rig) {
    let session = rig.shared();
    let command = reader(&session, "cat");
    let (mut first, _) = open(&session, &command.id, true);
    send(&mut first, 0, b"one ").unwrap();
    // It is told within a second or so, also of a little.
    let item = first.item().unwrap();
    let Item::Event(StreamEvent::Stdin(state)) = item else { panic!("{item:?}") };
    assert_eq!((state.offset, state.accepted), (4, 4));
    assert_eq!(command.stdin(&json!({"input": "two ", "offset": 4})).ok()["offset"], 8);
    let (mut second, state) = open(&session, &command.id, false);
    assert_eq!(state.offset, 8);
    send(&mut second, 4, b"two three ").unwrap();
    end(&mut first);
    let (kept, _) = last_word(&mut first);
    assert!(matches!(kept, StreamEnd::Stdin(state) if !state.eof), "{kept:?}");
    assert!(command.info()["stdin_open"] == true, "the first stream was to keep it open");
    send(&mut second, 14, b"four").unwrap();
    end(&mut second);
    let (end, _) = last_word(&mut second);
    let whole = StdinState { accepted: 14, offset: 18, eof: true };
    assert_eq!(end, StreamEnd::Stdin(whole));
    assert_eq!(command.closed()["output"], "one two three four");
}

pub(crate) fn a_stdin_stream_that_does_not_fit_is_an_error(rig: &Rig) {
    let session = rig.shared();
    let none = StdinOpen { command_id: "none".to_owned(), keep_open: false };
    let (_, reply) = Raw::stream(&session.agent(), &StreamOpen::Stdin(none)).unwrap();
    assert!(matches!(&reply, StreamReply::Error(e) if e.code == Code::NotFound), "{reply:?}");
    let command = reader(&session, "cat");
    let (mut raw, _) = open(&session, &command.id, false);
    send(&mut raw, 5, b"beyond").unwrap();
    let (end, _) = last_word(&mut raw);
    let StreamEnd::Error(error) = end else { panic!("{end:?}") };
    assert_eq!((error.code, error.first_available), (Code::OutOfRange, Some(0)));
    assert!(command.info()["stdin_open"] == true, "a fault of one stream ends no stdin");
    command.stdin(&json!({"eof": true})).ok();
    command.closed();
    let (mut raw, state) = open(&session, &command.id, false);
    assert!(state.eof, "it takes nothing any more");
    assert!(matches!(last_word(&mut raw).0, StreamEnd::Stdin(state) if state.eof));
}

pub(crate) fn a_process_that_takes_no_more_ends_the_stream(rig: &Rig) {
    let session = rig.shared();
    // It lives on, and nothing is on its way to it.
    let command = reader(&session, "head -c 3; exec 0<&-; echo; echo closed; exec sleep 1000");
    let (mut raw, _) = open(&session, &command.id, false);
    send(&mut raw, 0, b"abc").unwrap();
    command.said("closed");
    let (end, _) = last_word(&mut raw);
    assert_eq!(end, StreamEnd::Stdin(StdinState { accepted: 3, offset: 3, eof: true }));
    assert!(command.info()["stdin_open"] == false);
    command.kill("KILL", "tree").ok();
    // One that dies in the middle of a flow.
    let command = reader(&session, "head -c 100000 > /dev/null");
    let (mut raw, _) = open(&session, &command.id, false);
    let block = vec![0; 64 << 10];
    let mut offset = 0;
    while offset < 64 << 20 && send(&mut raw, offset, &block).is_ok() {
        offset += block.len() as u64;
    }
    let (end, _) = last_word(&mut raw);
    let StreamEnd::Stdin(state) = end else { panic!("{end:?}") };
    assert!(state.eof && state.offset >= 100_000 && state.offset < 64 << 20, "{state:?}");
}

pub(crate) fn a_stream_to_a_process_that_never_reads_stalls_nobody(rig: &Rig) {
    let session = rig.fresh(json!({}));
    let command = reader(&session, "exec sleep 1000");
    let files = || session.serve_pid().map(proc::open_files);
    let before = (rig.kind() == Kind::Process).then(files).flatten();
    let blocked: Vec<Raw> = (0..8).map(|_| blocked_stream(&session, &command.id)).collect();
    assert_eq!(session.say("echo alive"), "alive");
    // Hosts that vanish while the process does not read are noticed.
    let mut last = blocked.into_iter().next_back().unwrap();
    if let Some(before) = before {
        // The last stream stays, and the broker comes and goes.
        wait::until("vanished streams are closed", wait::seconds(30), || {
            (files()? <= before + 4).then_some(())
        });
    }
    command.kill("KILL", "tree").ok();
    let (end, _) = last_word(&mut last);
    assert!(matches!(end, StreamEnd::Stdin(state) if state.eof), "{end:?}");
}

/// Sends until nobody takes any more.
fn blocked_stream(session: &Session, id: &str) -> Raw {
    let (mut raw, state) = open(session, id, false);
    raw.socket.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let block = vec![b'x'; 64 << 10];
    let mut offset = state.offset;
    let refused = loop {
        match send(&mut raw, offset, &block) {
            Ok(()) => offset += block.len() as u64,
            Err(e) => break e,
        }
        assert!(offset < 64 << 20, "it takes without end");
    };
    assert_eq!(refused.kind(), ErrorKind::WouldBlock);
    raw
}
