//! No byte is lost: whole streams, cut streams, and readers that stall.

use std::io::Read;
use std::time::{Duration, Instant};

use postern_tests::events::Events;
use postern_tests::layout::hex;
use postern_tests::proc::Watch;
use postern_tests::random::Random;
use postern_tests::{Command, Kind, Rig, Session, rig, wait};
use serde_json::json;
use sha2::{Digest, Sha256};

/// The stretch that a hold keeps by default, the window, and 16 MiB.
const MEMORY: u64 = (32 + 1 + 16) << 20;

/// Bytes of one stream, several times what may be buffered.
pub(crate) fn size(rig: &Rig) -> u64 {
    let of = |big, usual| if rig::big() { big } else { usual };
    rig.size(of(1 << 30, 256 << 20), of(64 << 20, 32 << 20))
}

/// Random bytes as they are made in the sandbox, and their sum beside them.
fn random_bytes<'a>(session: &'a Session, size: u64, sum: &str) -> Command<'a> {
    let line = format!(
        "rm -f {sum} {sum}.fifo; mkfifo {sum}.fifo; sha256sum < {sum}.fifo > {sum} & \
         head -c {size} /dev/urandom | tee {sum}.fifo; wait"
    );
    session.start(json!({"command": line, "lossless": true}))
}

fn expected(session: &Session, sum: &str) -> String {
    session.say(&format!("cut -d ' ' -f 1 {sum}"))
}

/// Memory of the broker and of the agent while something goes on. Nobody else
/// uses them: the rig is the scenario's own.
struct Memory(Vec<(&'static str, Watch)>);

impl Memory {
    fn watch(rig: &Rig, session: &Session) -> Self {
        let mut list = vec![("broker", Watch::start(rig.broker().pid()))];
        if rig.kind() == Kind::Process {
            list.push(("agent", Watch::start(session.serve_pid().unwrap())));
        }
        Self(list)
    }

    fn stayed_below(self, limit: u64) {
        for (who, watch) in self.0 {
            let growth = watch.growth();
            println!("{who} grew by {} KiB", growth >> 10);
            assert!(growth <= limit, "the {who} grew by {} MiB", growth >> 20);
        }
    }
}

pub(crate) fn a_stream_of_events_is_byte_exact_and_memory_stays_flat(rig: &Rig) {
    let _alone = rig.heavy();
    let rig = &Rig::alone(rig.kind(), "lossless-sse");
    let session = rig.fresh(json!({}));
    session.say("true");
    let memory = Memory::watch(rig, &session);
    let command = random_bytes(&session, size(rig), "/tmp/sum");
    let mut events = Events::new(command.stream("?lossless=true"));
    let (mut sum, mut at, mut exit) = (Sha256::new(), 0, None);
    while let Some(event) = events.event().unwrap() {
        match event.name.as_str() {
            "output" => {
                assert_eq!(event.number("offset"), at);
                let bytes = event.bytes();
                at += bytes.len() as u64;
                sum.update(&bytes);
            }
            "exit" => exit = Some(event),
            other => panic!("{other}: {event:?}"),
        }
    }
    assert_eq!(at, size(rig));
    assert_eq!(exit.unwrap().data["exit_code"], 0);
    assert_eq!(hex(&sum.finalize()), expected(&session, "/tmp/sum"));
    memory.stayed_below(MEMORY);
}

pub(crate) fn raw_output_is_byte_exact_and_memory_stays_flat(rig: &Rig) {
    let _alone = rig.heavy();
    let rig = &Rig::alone(rig.kind(), "lossless-raw");
    let session = rig.fresh(json!({}));
    session.say("true");
    let memory = Memory::watch(rig, &session);
    let command = random_bytes(&session, size(rig), "/tmp/sum");
    let mut output = command.output("?follow=true&lossless=true");
    let (mut sum, mut total) = (Sha256::new(), 0);
    let mut buffer = vec![0; 256 << 10];
    loop {
        match output.read(&mut buffer).unwrap() {
            0 => break,
            n => {
                total += n as u64;
                sum.update(&buffer[..n]);
            }
        }
    }
    assert_eq!(total, size(rig));
    assert_eq!(hex(&sum.finalize()), expected(&session, "/tmp/sum"));
    assert_eq!(command.exited()["exit_code"], 0);
    memory.stayed_below(MEMORY);
}

pub(crate) fn a_stream_cut_fifty_times_and_resumed_is_byte_exact(rig: &Rig) {
    let _alone = rig.heavy();
    let rig = &Rig::alone(rig.kind(), "lossless-cut");
    let session = rig.fresh(json!({}));
    let mut random = Random::new("a_stream_cut_fifty_times");
    let size = size(rig);
    let mut cuts: Vec<u64> = (0..50).map(|_| random.below(size)).collect();
    cuts.sort_unstable();
    let command = random_bytes(&session, size, "/tmp/sum");
    let (mut sum, mut at) = (Sha256::new(), 0);
    let mut exits = 0;
    let mut connections = 0;
    while exits == 0 {
        let cut = cuts.iter().copied().find(|cut| *cut > at).unwrap_or(u64::MAX);
        let mut events = Events::new(command.resume("?lossless=true", at));
        connections += 1;
        // What is on its way when the connection drops is for the next one.
        while at < cut
            && let Some(event) = events.event().unwrap()
        {
            match event.name.as_str() {
                "output" => {
                    assert_eq!(event.number("offset"), at, "connection {connections}");
                    let bytes = event.bytes();
                    at += bytes.len() as u64;
                    assert_eq!(event.id, Some(at));
                    sum.update(&bytes);
                }
                "exit" => {
                    assert_eq!(event.data["exit_code"], 0);
                    exits += 1;
                }
                other => panic!("{other}: {event:?}"),
            }
        }
    }
    assert!(connections > 25, "it was cut {connections} times only");
    assert_eq!(at, size);
    assert_eq!(hex(&sum.finalize()), expected(&session, "/tmp/sum"));
}

/// The hold that waited for it stood at the beginning, and the log was full: the
/// command slept for the 30 s of the hold's grace.
pub(crate) fn a_reader_that_begins_further_on_wakes_the_command(rig: &Rig) {
    const SIZE: usize = 3_000_000;
    const FROM: usize = 1 << 16;
    let session = rig.shared();
    let line = format!("yes 0123456789abcdef | head -c {SIZE}");
    let command = session.start(json!({"command": line, "lossless": true}));
    wait::until("the window is full", wait::seconds(30), || {
        (command.look().ok()["output_bytes"] == 1 << 20).then_some(())
    });
    let begun = Instant::now();
    let path = format!("?follow=true&lossless=true&from={FROM}");
    let got = command.output(&path).whole().unwrap();
    assert_eq!(got.len(), SIZE - FROM);
    assert!(begun.elapsed() < Duration::from_secs(20), "it slept: {:?}", begun.elapsed());
}

pub(crate) fn two_lossless_readers_both_get_everything(rig: &Rig) {
    let session = rig.shared();
    let size = rig.size(32 << 20, 4 << 20);
    let command = random_bytes(&session, size, "/tmp/two");
    std::thread::scope(|scope| {
        let read = |path: &'static str| {
            let command = &command;
            scope.spawn(move || {
                let bytes = command.output(path).whole().unwrap();
                (bytes.len() as u64, hex(&Sha256::digest(&bytes)))
            })
        };
        let readers = [read("?follow=true&lossless=true"), read("?follow=true&lossless=true&x=2")];
        let sums = readers.map(|reader| reader.join().unwrap());
        let expected = (size, expected(&session, "/tmp/two"));
        assert_eq!(sums, [expected.clone(), expected]);
    });
}
