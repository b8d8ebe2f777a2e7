//! A reader that stalls in the midst of gigabytes.

use std::io::Read;

use postern_proto::{Follow, StreamOpen, StreamReply};
use postern_tests::deaf::Deaf;
use postern_tests::proc::Watch;
use postern_tests::random::Random;
use postern_tests::raw::{Address, Item, Raw};
use postern_tests::socket::Socket;
use postern_tests::{Command, Kind, Rig, Session, rig, wait};
use serde_json::json;

const BLOCK: usize = 64 << 20;

/// Window, stretch, and 16 MiB.
const MEMORY: u64 = (1 + 32 + 16) << 20;

/// The byte at any offset is that of the block, over and over.
fn compare(block: &[u8], mut offset: u64, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let at = usize::try_from(offset % BLOCK as u64).unwrap();
        let n = bytes.len().min(BLOCK - at);
        assert!(bytes[..n] == block[at..at + n], "other bytes from {offset} on");
        offset += n as u64;
        bytes = &bytes[n..];
    }
}

/// What a second reader gets straight from the agent, at the offsets that the
/// log has now.
fn reads_the_same(session: &Session, id: &str, block: &[u8]) -> u64 {
    let follow = Follow { command_id: id.to_owned(), no_wait: true, ..Follow::default() };
    let (mut raw, reply) = Raw::stream(&session.agent(), &StreamOpen::Follow(follow)).unwrap();
    let StreamReply::Follow(info) = reply else { panic!("{reply:?}") };
    let (mut next, mut read) = (0, 0);
    loop {
        match raw.item().unwrap() {
            Item::Gap(from, to) => {
                assert_eq!(from, next);
                assert!(to >= info.output_first);
                next = to;
            }
            Item::Data(header, bytes) => {
                assert_eq!(header.offset, next);
                compare(block, next, &bytes);
                next += bytes.len() as u64;
                read += bytes.len() as u64;
            }
            Item::Event(_) => {}
            Item::End(_) => return read,
        }
    }
}

pub(crate) fn a_reader_that_stalls_costs_bounded_memory_and_no_byte(_: &Rig) {
    let rig = Rig::alone(Kind::Process, "stall");
    let _alone = Rig::process().heavy();
    let session = rig.fresh(json!({}));
    let block = Random::new("a_reader_that_stalls").bytes(BLOCK);
    session.put("/tmp/block", &block).ok();
    let (blocks, stall) = if rig::big() { (128, 20) } else { (32, 5) };
    let total = (blocks * BLOCK) as u64;
    let watches = [
        ("broker", Watch::start(rig.broker().pid())),
        ("agent", Watch::start(session.serve_pid().unwrap())),
    ];
    let line = format!("i=0; while [ $i -lt {blocks} ]; do cat /tmp/block; i=$((i+1)); done");
    let command = session.start(json!({"command": line, "lossless": true}));
    let mut output = command.output("?follow=true&lossless=true");
    let mut buffer = vec![0; 1 << 20];
    let (mut at, mut stalled) = (0_u64, false);
    loop {
        let n = output.read(&mut buffer).unwrap();
        if n == 0 {
            break;
        }
        compare(&block, at, &buffer[..n]);
        at += n as u64;
        if !stalled && at > total / 3 {
            stalled = true;
            wait::pause(std::time::Duration::from_secs(stall));
            assert!(reads_the_same(&session, &command.id, &block) > 0);
            let held = command.info()["output_bytes"].as_u64().unwrap();
            assert!(held < total, "the command did not wait for its reader");
        }
    }
    assert_eq!(at, total);
    assert_eq!(command.exited()["exit_code"], 0);
    for (who, watch) in watches {
        let growth = watch.growth();
        println!("{who} grew by {} KiB", growth >> 10);
        assert!(growth <= MEMORY, "the {who} grew by {} MiB", growth >> 20);
    }
}

/// A lossless command with a reader that has begun, over a link that forgets it.
fn stuck_reader<'a>(session: &'a Session, link: &Deaf) -> (Command<'a>, Socket) {
    let line = format!("head -c {STUCK_SIZE} /dev/zero");
    let command = session.start(json!({"command": line, "lossless": true}));
    let known = link.connections();
    let reader = session.pty(&format!("?command_id={}&viewer=true", command.id));
    command.when("the reader has begun", wait::seconds(60), |info| {
        info["output_bytes"].as_u64() > Some(1 << 20)
    });
    assert!(link.connections() > known, "the reader has no stream of its own");
    link.forget_all_after(known);
    (command, reader)
}

/// More than a log keeps for a reader.
const STUCK_SIZE: u64 = 64 << 20;

/// A broker of the scenario's own that reaches another's sandbox over a link that can
/// forget.
fn over_a_deaf_link(sandbox: &Session, name: &str) -> (Rig, Session, Deaf) {
    let Address::Unix(agent) = sandbox.agent() else { panic!("no socket") };
    let link = Deaf::start(&agent.with_extension("deaf"), &agent);
    let front = Rig::alone(Kind::Process, name);
    let session = front.make(json!({"attach": {"unix": link.socket()}})).unwrap();
    (front, session, link)
}

/// The hang that the fault rig had in the VM: the process waited for ever for a
/// lossless reader whose stream the agent did not know to be cut.
pub(crate) fn a_reader_whose_leaving_its_stream_does_not_tell_is_not_waited_for(_: &Rig) {
    let sandbox = Rig::process().fresh(json!({}));
    let (_front, session, link) = over_a_deaf_link(&sandbox, "left");
    let (command, reader) = stuck_reader(&session, &link);
    reader.close();
    let exit = command.exited();
    assert_eq!((&exit["exit_code"], &exit["output_bytes"]), (&json!(0), &json!(STUCK_SIZE)));
}

/// Likewise, and the reader's broker was killed, so that nobody said anything.
pub(crate) fn a_reader_of_a_killed_broker_is_succeeded_though_its_stream_does_not_end(_: &Rig) {
    let sandbox = Rig::process().fresh(json!({}));
    let (front, session, link) = over_a_deaf_link(&sandbox, "succeeded");
    let (command, _reader) = stuck_reader(&session, &link);
    front.broker().kill();
    front.broker().start_again();
    let first = command.info()["output_first"].as_u64().unwrap();
    let mut output =
        command.output(&format!("?follow=true&until=closed&lossless=true&from={first}"));
    let read = std::io::copy(&mut output, &mut std::io::sink()).unwrap();
    assert_eq!((first + read, &command.exited()["exit_code"]), (STUCK_SIZE, &json!(0)));
}
