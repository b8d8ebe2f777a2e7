//! Bytes that no broker would send: that connection ends, nothing else does.

use std::io::{ErrorKind, Read, Write};

use bytes::BytesMut;
use postern_proto::{Code, Follow, Purpose, StreamOpen, StreamReply};
use postern_tests::random::Random;
use postern_tests::raw::{Item, Raw};
use postern_tests::{Rig, Session, wait};
use serde_json::json;

/// Sends bytes on a new connection and waits until the agent hangs up.
fn is_cut_off(session: &Session, what: &str, bytes: &[u8]) {
    let mut socket = session.agent().dial().unwrap();
    socket.set_read_timeout(Some(wait::seconds(60))).unwrap();
    // It may hang up before it has read everything.
    let _ = socket.write_all(bytes);
    let mut answer = Vec::new();
    match socket.read_to_end(&mut answer) {
        Err(e) if e.kind() == ErrorKind::WouldBlock => panic!("{what}: the connection stays"),
        _ => {}
    }
}

fn hello(purpose: Purpose) -> BytesMut {
    let mut out = BytesMut::new();
    postern_proto::Hello::host(purpose, 0, "hostile").encode(&mut out).unwrap();
    out
}

pub(crate) fn frames_that_are_none_end_their_connection_alone(rig: &Rig) {
    let session = rig.shared();
    let witness = session.start(json!({"command": "echo here; cat", "stdin_open": true}));
    witness.said("here");
    let mut random = Random::new("frames_that_are_none");
    let stream = hello(Purpose::Stream);
    let with = |rest: &[u8]| [&stream[..], rest].concat();
    for (what, bytes) in [
        ("4 GiB claimed in place of a hello", vec![0xff; 4]),
        ("a hello over its cap", [&(5_u32 << 10).to_be_bytes()[..], &[0; 64]].concat()),
        ("an empty frame", vec![0; 4]),
        ("garbage", random.bytes(4096)),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("4 GiB claimed in place of an opening", with(&[0xff; 4])),
        ("an opening that is garbage", with(&[&8_u32.to_be_bytes()[..], &[0xff; 8]].concat())),
        ("nested without end", with(&[&60_000_u32.to_be_bytes()[..], &[0x0b; 60_000]].concat())),
    ] {
        is_cut_off(&session, what, &bytes);
        assert_eq!(session.say("echo alive"), "alive", "after {what}");
    }
    assert_eq!(witness.stdin(&json!({"input": "still", "eof": true})).ok()["offset"], 5);
    assert_eq!(witness.exited()["output"], "here\nstill");
}

pub(crate) fn a_hello_cut_at_every_byte_does_no_harm(rig: &Rig) {
    let session = rig.shared();
    let mut whole = hello(Purpose::Stream);
    let follow = Follow { command_id: "none".to_owned(), ..Follow::default() };
    StreamOpen::Follow(follow).encode(&mut whole).unwrap();
    for cut in 0..whole.len() {
        let mut socket = session.agent().dial().unwrap();
        socket.write_all(&whole[..cut]).unwrap();
    }
    assert_eq!(session.say("echo alive"), "alive");
}

pub(crate) fn silent_peers_are_shown_out_and_take_nobodys_place(rig: &Rig) {
    let session = rig.shared();
    let mut silent: Vec<_> = (0..100).map(|_| session.agent().dial().unwrap()).collect();
    silent[0].write_all(&[0, 0]).unwrap();
    assert_eq!(session.say("echo alive"), "alive");
    for socket in &mut silent {
        socket.set_read_timeout(Some(wait::seconds(60))).unwrap();
        let ended = socket.read(&mut [0; 64]);
        assert!(
            !matches!(&ended, Err(e) if e.kind() == ErrorKind::WouldBlock),
            "it stays for ever"
        );
    }
}

pub(crate) fn what_is_not_known_is_answered_with_an_error(rig: &Rig) {
    let session = rig.shared();
    // A StreamOpen of a newer generation: field 15, an empty message.
    let mut raw = Raw::connect(&session.agent(), Purpose::Stream, 0).unwrap();
    raw.socket.write_all(&[0, 0, 0, 2, 0x7a, 0]).unwrap();
    let reply = raw.stream_reply().unwrap();
    let StreamReply::Error(error) = reply else { panic!("{reply:?}") };
    assert_eq!(error.code, Code::InvalidArgument);
    let follow = Follow { command_id: "none".to_owned(), ..Follow::default() };
    let (_, reply) = Raw::stream(&session.agent(), &StreamOpen::Follow(follow)).unwrap();
    let StreamReply::Error(error) = reply else { panic!("{reply:?}") };
    assert_eq!(error.code, Code::NotFound);
}

pub(crate) fn a_second_host_does_not_take_the_control_connection(rig: &Rig) {
    let session = rig.shared();
    let raw = Raw::control(&session.agent()).unwrap();
    assert_eq!(raw.hello.refusal.map(|e| e.code), Some(Code::FailedPrecondition));
    assert_eq!(session.say("echo alive"), "alive");
}

pub(crate) fn a_reader_that_vanishes_leaves_the_command_alone(rig: &Rig) {
    let session = rig.shared();
    let command = session.start(json!({"command": "yes | head -c 4000000; echo end >&2"}));
    for _ in 0..20 {
        let follow = Follow { command_id: command.id.clone(), ..Follow::default() };
        let (mut raw, _) = Raw::stream(&session.agent(), &StreamOpen::Follow(follow)).unwrap();
        let item = raw.item().unwrap();
        assert!(matches!(item, Item::Data(..) | Item::Gap(..)), "{item:?}");
    }
    let info = command.exited();
    assert_eq!((&info["exit_code"], &info["output_bytes"]), (&json!(0), &json!(4_000_004)));
}

pub(crate) fn a_raw_reader_sees_the_same_offsets(rig: &Rig) {
    let session = rig.shared();
    let command = session.start(json!({"argv": ["seq", "1", "3000"]}));
    command.closed();
    let all = (1..=3000).map(|n| format!("{n}\n")).collect::<String>().into_bytes();
    for from in [0, 7, 5000] {
        let follow = Follow { command_id: command.id.clone(), from, ..Follow::default() };
        let (mut raw, _) = Raw::stream(&session.agent(), &StreamOpen::Follow(follow)).unwrap();
        let mut got = Vec::new();
        loop {
            match raw.item().unwrap() {
                Item::Data(header, bytes) => {
                    assert_eq!(header.offset, from + got.len() as u64);
                    got.extend_from_slice(&bytes);
                }
                Item::End(_) => break,
                Item::Event(_) => {}
                Item::Gap(..) => panic!("a gap"),
            }
        }
        assert_eq!(got, &all[usize::try_from(from).unwrap()..]);
    }
}
