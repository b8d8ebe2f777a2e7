//! Everything arrives exactly once and in order over a link that breaks all the
//! time: see [`postern_tests::fault`].
//!
//! `POSTERN_FAULT_SEEDS` (how many) and `POSTERN_FAULT_MB` (output of each) make
//! it longer, `POSTERN_FAULT_SEED` repeats one, `POSTERN_FAULT_KILL_ONE_IN` says
//! how often the broker is killed.

use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use postern_tests::events::{Event, Events};
use postern_tests::fault::{FaultProxy, Weather};
use postern_tests::http::{Http, Response};
use postern_tests::random::Random;
use postern_tests::raw::Address;
use postern_tests::session::Answer;
use postern_tests::tagged::Tagged;
use postern_tests::{Rig, Session, wait};
use serde_json::{Value, json};

/// Between two acknowledgements.
const ACK_EVERY: u64 = 1 << 20;

/// The most of stdin in one request. It must get through between two cuts: the
/// link is bad, not useless.
const MAX_PIECE: u64 = 100 << 10;

/// The broker is killed and started again under one seed in so many; 0 for none.
const KILL_ONE_IN: u64 = 3;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|e| panic!("{name}: {e}")))
}

fn seeds(count: u64) -> Vec<u64> {
    if let Some(one) = setting("POSTERN_FAULT_SEED") {
        return vec![one];
    }
    let mut random = Random::new("faults");
    let count = setting("POSTERN_FAULT_SEEDS").unwrap_or(count);
    (0..count).map(|_| random.below(1 << 40)).collect()
}

pub(crate) fn tagged_output_and_stdin_exactly_once(rig: &Rig) {
    let _alone = rig.heavy();
    let sandbox = rig.fresh(json!({}));
    let megabytes = setting("POSTERN_FAULT_MB").unwrap_or(rig.size(4, 1));
    let tagged = Tagged::new(megabytes << 20);
    let kill_one_in = setting("POSTERN_FAULT_KILL_ONE_IN").unwrap_or(KILL_ONE_IN);
    // The broker that made the sandbox is another one, and stays alive.
    let front = Rig::alone(rig.kind(), "faults");
    for (number, seed) in (1..).zip(seeds(rig.size(6, 2))) {
        println!("POSTERN_FAULT_SEED={seed} POSTERN_FAULT_MB={megabytes}");
        let begun = std::time::Instant::now();
        let proxy = bad_link(&sandbox, seed, megabytes << 20);
        let session = attach(&front, &sandbox, &proxy);
        let kill = kill_one_in > 0 && number % kill_one_in == 0;
        exactly_once(&session, seed, &tagged, kill);
        println!("  {:.1?}: {:?}", begun.elapsed(), proxy.tally());
        proxy.calm_down();
    }
}

fn bad_link(sandbox: &Session, seed: u64, bytes: u64) -> FaultProxy {
    let weather = Weather { up: MAX_PIECE + bytes / 64, down: bytes / 24, refuse_one_in: 12 };
    let (Address::Unix(agent) | Address::Hybrid(agent, _)) = sandbox.agent();
    let path = agent.with_extension(format!("{seed:x}"));
    FaultProxy::start(&path, &agent, seed, weather)
}

/// Over a link like this it may take several tries.
fn attach(front: &Rig, sandbox: &Session, proxy: &FaultProxy) -> Session {
    let target = match sandbox.agent() {
        Address::Unix(_) => json!({"unix": proxy.socket()}),
        Address::Hybrid(_, port) => json!({"hybrid": proxy.socket(), "port": port}),
    };
    wait::until("the sandbox is attached", wait::seconds(60), || {
        front.make(json!({"attach": target})).ok()
    })
}

fn exactly_once(session: &Session, seed: u64, tagged: &Tagged, kill: bool) {
    let key = format!("faults-{seed}");
    let client = Client { http: session.broker().http, session: session.id.clone() };
    let command = client.start(tagged, &key);
    let (out, err) = (tagged.stdout(), tagged.stderr());
    let read = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let events = scope.spawn(|| command.events([&out, &err], seed, &read));
        scope.spawn(|| command.raw("stdout", &out, seed));
        scope.spawn(|| command.raw("stderr", &err, seed));
        scope.spawn(|| command.write(&tagged.stdin(), seed));
        if kill {
            let at = Random::seeded(seed ^ 0x9).below((out.len() + err.len()) as u64);
            wait::until("the reader is so far", wait::seconds(600), || {
                (read.load(Ordering::Relaxed) >= at || events.is_finished()).then_some(())
            });
            println!("  the broker is killed at {at}");
            session.broker().kill();
            session.broker().start_again();
        }
        let exit = events.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        assert_eq!(exit.data["exit_code"], 7, "{exit:?}");
        assert_eq!(exit.data["output_bytes"], out.len() + err.len(), "{exit:?}");
    });
    let list = client.ask("GET", "/commands", &Value::Null);
    let of_this_seed = |c: &&Value| c["command_id"].as_str() == Some(&*command.id);
    let list = list["commands"].as_array().unwrap();
    assert_eq!(list.iter().filter(of_this_seed).count(), 1, "{list:?}");
    assert!(list.iter().all(|c| c["status"] != "running"), "it was started twice: {list:?}");
}

/// Who asks again whenever there is no answer.
struct Client {
    http: Http,
    session: String,
}

struct Command<'a> {
    client: &'a Client,
    id: String,
}

impl Client {
    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<Response> {
        let path = format!("/v1/sessions/{}{path}", self.session);
        self.http.send(method, &path, headers, body.as_bytes())
    }

    /// The answer of whoever answers at last; an answer that is no success and
    /// not "later" is none that a good client gets.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        wait::until(&format!("{method} {path}"), wait::seconds(90), || {
            let mut response = self.send(method, path, &[], &body).ok()?;
            let json = response.json().ok()?;
            match response.status {
                200 => Some(json),
                502..=504 => None,
                status => panic!("{method} {path}: {:?}", Answer { status, json }),
            }
        })
    }

    fn start(&self, tagged: &Tagged, key: &str) -> Command<'_> {
        let mut request = tagged.request();
        request["idempotency_key"] = key.into();
        let started = self.ask("POST", "/exec", &request);
        Command { client: self, id: started["command_id"].as_str().unwrap().to_owned() }
    }
}

/// One thread has failed: the others need not wait for what will not come.
struct EndsOnPanic<'a>(&'a Command<'a>);

impl Drop for EndsOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let body = r#"{"signal":"KILL","scope":"tree"}"#;
            let killed = self.0.client.send("POST", &self.0.path("kill"), &[], body);
            println!("the command is killed: {killed:?}");
        }
    }
}

impl Command<'_> {
    fn path(&self, rest: &str) -> String {
        format!("/commands/{}/{rest}", self.id)
    }

    /// A body to read from; again until there is one.
    fn open(&self, rest: &str, headers: &[(&str, &str)]) -> Response {
        wait::until(&format!("GET {rest}"), wait::seconds(90), || {
            let response = self.client.send("GET", &self.path(rest), headers, "").ok()?;
            match response.status {
                200 => Some(response),
                502..=504 => None,
                _ => panic!("GET {rest}: {:?}", Answer::of(response)),
            }
        })
    }

    /// Follows events to the exit, and leaves in mid-way now and then.
    fn events(&self, expected: [&[u8]; 2], seed: u64, read: &AtomicU64) -> Event {
        let _end = EndsOnPanic(self);
        let mut random = Random::seeded(seed ^ 0xe);
        let total = expected.iter().map(|all| all.len() as u64).sum::<u64>();
        let (mut at, mut own, mut acked) = (0, [0; 2], 0);
        loop {
            let id = at.to_string();
            let response = self.open("stream?lossless=true", &[("Last-Event-ID", &id)]);
            let leave = at + random.below(total) + 1;
            let mut events = Events::new(response);
            while at < leave {
                let event = match events.event() {
                    Err(_cut) => break,
                    Ok(event) => event.expect("the stream ended without an exit"),
                };
                match event.name.as_str() {
                    "exit" => {
                        assert_eq!(own, expected.map(<[u8]>::len), "not all came before the exit");
                        return event;
                    }
                    "output" => {}
                    _ => panic!("at {at}: {event:?}"),
                }
                assert_eq!(event.number("offset"), at);
                let (which, bytes) = (usize::from(event.data["stream"] == "stderr"), event.bytes());
                same("events", expected[which], own[which], &bytes);
                own[which] += bytes.len();
                at += bytes.len() as u64;
                read.store(at, Ordering::Relaxed);
                if at - acked >= ACK_EVERY {
                    acked = at;
                    self.client.ask("POST", &self.path("ack"), &json!({"offset": at}));
                }
            }
        }
    }

    /// Reads one stream as it is to the end of the log.
    fn raw(&self, stream: &str, expected: &[u8], seed: u64) {
        let _end = EndsOnPanic(self);
        let mut random = Random::seeded(seed ^ expected.len() as u64);
        let mut at = 0;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let query =
                format!("output?follow=true&until=closed&lossless=true&stream={stream}&from={at}");
            let mut response = self.open(&query, &[]);
            assert_eq!(response.header("x-postern-offset"), Some(&*at.to_string()), "a gap");
            let leave = at + usize::try_from(random.below(expected.len() as u64)).unwrap();
            while at <= leave {
                match response.read(&mut buffer) {
                    Err(_cut) => break,
                    Ok(0) => {
                        assert_eq!(at, expected.len(), "{stream} ended as if it were whole");
                        return;
                    }
                    Ok(n) => {
                        same(stream, expected, at, &buffer[..n]);
                        at += n;
                    }
                }
            }
        }
    }

    /// Writes everything, each piece until somebody says how far it came.
    fn write(&self, input: &[u8], seed: u64) {
        let _end = EndsOnPanic(self);
        let mut random = Random::seeded(seed ^ 0x5);
        let mut at = 0;
        loop {
            let size = usize::try_from(random.below(MAX_PIECE)).unwrap() + 1;
            let piece = &input[at..input.len().min(at + size)];
            let eof = at + piece.len() == input.len();
            let body = json!({
                "input": BASE64.encode(piece), "encoding": "base64", "offset": at, "eof": eof,
            });
            let state = self.client.ask("POST", &self.path("stdin"), &body);
            let next = usize::try_from(state["offset"].as_u64().unwrap()).unwrap();
            assert!((at..=at + piece.len()).contains(&next), "from {at}: {state}");
            if state["eof"] == true {
                assert_eq!(next, input.len(), "{state}");
                return;
            }
            if next == at {
                // Full: as fast as the command reads.
                wait::pause(std::time::Duration::from_millis(5));
            }
            at = next;
        }
    }
}

/// `bytes` are what is expected at `at`.
fn same(who: &str, expected: &[u8], at: usize, bytes: &[u8]) {
    let there = expected
        .get(at..at + bytes.len())
        .unwrap_or_else(|| panic!("{who}: {} bytes at {at}, of {}", bytes.len(), expected.len()));
    if there != bytes {
        let first = there.iter().zip(bytes).position(|(a, b)| a != b).unwrap();
        let end = bytes.len().min(first + 40);
        panic!(
            "{who}: from {} on it says {:?} and not {:?}",
            at + first,
            String::from_utf8_lossy(&bytes[first..end]),
            String::from_utf8_lossy(&there[first..end]),
        );
    }
}
