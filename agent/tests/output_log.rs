//! The output log against a model that remembers everything.
//!
//! Any interleaving of appends, reads, drops, broken links and returns must
//! give each reader exactly the bytes that were written, in order, with every
//! hole named; and a reader that is held for must have no hole at all.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::rc::Rc;
use std::time::{Duration, Instant};

use postern_agent::output::{Cursor, HoldId, Limits, Log, Meter, Next};
use postern_proto::OutputStream;
use proptest::prelude::*;

const STREAMS: [OutputStream; 2] = [OutputStream::Stdout, OutputStream::Stderr];
const GRACE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
enum Op {
    /// A pump read this many bytes of a stream; it honours the room unless the
    /// process is being drained.
    Append {
        stream: usize,
        len: usize,
        drain: bool,
    },
    /// A reader takes up to `max` bytes.
    Read {
        reader: usize,
        max: usize,
    },
    /// Its link breaks, and it comes back `back` bytes before where it was.
    Reconnect {
        reader: usize,
        back: u64,
    },
    Ack {
        reader: usize,
    },
    /// Time goes by.
    Wait {
        seconds: u64,
    },
    /// The session's budget is over.
    Squeeze {
        keep: u64,
    },
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..2usize, 1..3_000usize, prop::bool::weighted(0.1))
            .prop_map(|(stream, len, drain)| Op::Append { stream, len, drain }),
        6 => (0..4usize, 1..5_000usize).prop_map(|(reader, max)| Op::Read { reader, max }),
        1 => (0..4usize, 0..4_000u64).prop_map(|(reader, back)| Op::Reconnect { reader, back }),
        1 => (0..4usize).prop_map(|reader| Op::Ack { reader }),
        1 => (0..20u64).prop_map(|seconds| Op::Wait { seconds }),
        1 => prop_oneof![Just(0), 1..100u64, 100..4_000u64].prop_map(|keep| Op::Squeeze { keep }),
        1 => Just(Op::Close),
    ]
}

/// Everything that was ever written.
#[derive(Default)]
struct Model {
    bytes: Vec<u8>,
    tags: Vec<usize>,
}

impl Model {
    fn of_stream(&self, stream: usize) -> Vec<u8> {
        let pairs = self.bytes.iter().zip(&self.tags);
        pairs.filter(|(_, tag)| **tag == stream).map(|(b, _)| *b).collect()
    }
}

struct Reader {
    cursor: Cursor,
    only: Option<usize>,
    hold: Option<HoldId>,
    lossless: bool,
    ended: bool,
}

fn limits() -> Limits {
    Limits { window: 4_096, stretch: 8_192, max_runs: 64 }
}

/// One reader of everything, one of a stream, and a lossless one of each kind.
fn readers(log: &mut Log) -> Vec<Reader> {
    [(None, false), (Some(1), false), (None, true), (Some(0), true)]
        .into_iter()
        .map(|(only, lossless)| {
            let cursor = log.cursor(0, only.map(|i| STREAMS[i])).unwrap();
            let hold = lossless.then(|| log.attach(0));
            Reader { cursor, only, hold, lossless, ended: false }
        })
        .collect()
}

fn read(
    log: &mut Log,
    model: &Model,
    reader: &mut Reader,
    max: usize,
) -> Result<(), TestCaseError> {
    let before = reader.cursor.position();
    let expected = match reader.only {
        None => model.bytes.clone(),
        Some(stream) => model.of_stream(stream),
    };
    let at = |offset: u64| usize::try_from(offset).unwrap();
    match log.next(&mut reader.cursor, max) {
        Next::Data { stream, offset, stream_offset, bytes } => {
            prop_assert!(!reader.ended, "data after the end");
            prop_assert_eq!(offset, before, "offsets must not jump");
            prop_assert!(!bytes.is_empty() && bytes.len() <= max);
            prop_assert_eq!(bytes, &expected[at(offset)..at(offset) + bytes.len()]);
            let which = STREAMS.iter().position(|s| *s == stream).unwrap();
            let own = model.of_stream(which);
            prop_assert_eq!(bytes, &own[at(stream_offset)..at(stream_offset) + bytes.len()]);
            let n = bytes.len();
            log.advance(&mut reader.cursor, n);
        }
        Next::Gap { from, to } => {
            prop_assert_eq!(from, before);
            prop_assert!(to > from && at(to) <= expected.len());
            prop_assert!(reader.hold.is_none(), "a gap for a reader that is held for");
            log.skip_gap(&mut reader.cursor);
            prop_assert_eq!(reader.cursor.position(), to);
        }
        Next::Pending => prop_assert_eq!(at(before), expected.len(), "pending with data left"),
        Next::End => {
            prop_assert_eq!(at(before), expected.len(), "the end with data left");
            reader.ended = true;
        }
    }
    if let Some(hold) = reader.hold {
        log.served(hold, reader.cursor.offset());
    }
    Ok(())
}

fn at_the_end(log: &Log, model: &Model, reader: &Reader) -> bool {
    let end = match reader.only {
        None => model.bytes.len(),
        Some(stream) => model.of_stream(stream).len(),
    };
    log.cursor_is_whole(&reader.cursor) && reader.cursor.position() == end as u64
}

fn reconnect(log: &mut Log, reader: &mut Reader, back: u64, now: Instant) {
    if let Some(hold) = reader.hold.take() {
        log.broke_off(hold, now + GRACE);
    }
    // Within the stretch nothing may be missing; beyond it a gap is allowed.
    let back = if reader.lossless { back.min(limits().stretch / 2) } else { back };
    let from = reader.cursor.position().saturating_sub(back);
    reader.cursor = log.cursor(from, reader.only.map(|i| STREAMS[i])).unwrap();
    reader.ended = false;
    if reader.lossless && log.cursor_is_whole(&reader.cursor) {
        reader.hold = Some(log.attach(reader.cursor.offset()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_interleaving_is_exact(ops in prop::collection::vec(op(), 1..200)) {
        let meter = Meter::new(1 << 20);
        let mut log = Log::metered(limits(), Rc::clone(&meter));
        let mut model = Model::default();
        let mut readers = readers(&mut log);
        let mut now = Instant::now();
        let mut next_byte = 0u8;
        for op in ops {
            match op {
                Op::Append { stream, len, drain } if !log.is_closed() => {
                    let room = usize::try_from(log.room()).unwrap_or(usize::MAX);
                    // A drain is bounded by the pipes, and happens once.
                    let len = if drain { len.min(512) } else { len.min(room) };
                    let bytes: Vec<u8> = (0..len).map(|_| {
                        next_byte = next_byte.wrapping_mul(31).wrapping_add(7);
                        next_byte
                    }).collect();
                    log.append(STREAMS[stream], &bytes);
                    model.bytes.extend_from_slice(&bytes);
                    model.tags.resize(model.bytes.len(), stream);
                }
                Op::Append { .. } => {}
                Op::Read { reader, max } => read(&mut log, &model, &mut readers[reader], max)?,
                Op::Reconnect { reader, back } => {
                    reconnect(&mut log, &mut readers[reader], back, now);
                }
                Op::Ack { reader } => log.ack(readers[reader].cursor.offset()),
                Op::Wait { seconds } => {
                    now += Duration::from_secs(seconds);
                    log.expire(now);
                }
                Op::Squeeze { keep } => log.squeeze(keep),
                Op::Close => log.close(),
            }
            prop_assert_eq!(meter.used(), log.allocated(), "what is counted is what is there");
            prop_assert_eq!(usize::try_from(log.end()).unwrap(), model.bytes.len());
            for (index, stream) in STREAMS.iter().enumerate() {
                let total = model.of_stream(index).len();
                prop_assert_eq!(usize::try_from(log.stream_end(*stream)).unwrap(), total);
            }
        }
        // Nobody waits for ever: once all is read, there is room.
        for reader in &mut readers {
            for _ in 0..100_000 {
                // Once more at the end: a filtered reader passes the others' runs.
                let done = reader.ended || at_the_end(&log, &model, reader);
                read(&mut log, &model, reader, 1_000)?;
                if done {
                    break;
                }
            }
        }
        log.expire(now + GRACE);
        log.ack(log.end());
        prop_assert!(log.is_closed() || log.room() > 0, "all is read, and there is no room");
        // In the end each reader can come to its end.
        log.close();
        for reader in &mut readers {
            for _ in 0..100_000 {
                if reader.ended {
                    break;
                }
                read(&mut log, &model, reader, 1_000)?;
            }
            prop_assert!(reader.ended, "a reader never came to the end");
        }
        drop(log);
        prop_assert_eq!(meter.used(), 0, "all is given back");
    }

    #[test]
    fn without_holds_the_window_is_all_that_is_kept(
        lens in prop::collection::vec((0..2usize, 1..9_000usize), 1..100)
    ) {
        let mut log = Log::new(limits());
        for (stream, len) in lens {
            prop_assert_eq!(log.room(), u64::MAX, "nobody reads: nobody waits");
            log.append(STREAMS[stream], &vec![1; len]);
            prop_assert!(log.end() - log.first() <= limits().window);
        }
    }
}

#[test]
fn a_lossless_reader_stops_the_pump_at_the_window() {
    let mut log = Log::new(limits());
    let hold = log.attach(0);
    log.append(OutputStream::Stdout, &[1; 4_096]);
    assert_eq!(log.room(), 0);
    assert!(log.served(hold, 100), "it made room");
    assert_eq!(log.room(), 100);
    log.release(hold);
    assert_eq!(log.room(), u64::MAX);
}

#[test]
fn a_reader_that_does_not_come_back_is_waited_for_and_then_not() {
    let mut log = Log::new(limits());
    let now = Instant::now();
    log.expect_reader(0, now + GRACE);
    log.append(OutputStream::Stdout, &[1; 4_096]);
    assert!(!log.expire(now + GRACE / 2));
    assert_eq!(log.room(), 0);
    assert!(log.expire(now + GRACE));
    assert_eq!(log.room(), u64::MAX);
    log.append(OutputStream::Stdout, &[2; 100]);
    let mut cursor = log.cursor(0, None).unwrap();
    assert_eq!(log.next(&mut cursor, 10), Next::Gap { from: 0, to: 100 });
}

#[test]
fn several_readers_hold_at_the_slowest() {
    let mut log = Log::new(limits());
    let (slow, fast) = (log.attach(0), log.attach(0));
    log.append(OutputStream::Stdout, &[1; 2_000]);
    log.served(fast, 2_000);
    assert_eq!(log.room(), 2_096);
    log.served(slow, 1_000);
    assert_eq!(log.room(), 3_096);
}

#[test]
fn from_the_first_ack_on_nothing_later_is_dropped() {
    let mut log = Log::new(limits());
    let hold = log.attach(0);
    log.append(OutputStream::Stdout, &[1; 100]);
    log.ack(100);
    for _ in 0..100 {
        let room = usize::try_from(log.room()).unwrap();
        log.append(OutputStream::Stdout, &vec![1; room.min(1_000)]);
        log.served(hold, log.end());
    }
    assert_eq!(log.room(), 0, "window and stretch are full, and the ack stands");
    assert_eq!(log.first(), 100);
    assert_eq!(log.end(), 100 + 4_096 + 8_192);
    log.ack(200);
    assert_eq!(log.room(), 100);
}

#[test]
fn a_byte_by_byte_alternation_is_bounded() {
    let mut log = Log::new(limits());
    for i in 0..10_000 {
        log.append(STREAMS[i % 2], &[1]);
    }
    assert!(log.allocated() < 64 << 10, "{} bytes", log.allocated());
}

#[test]
fn a_held_log_of_alternating_streams_never_runs_out_of_room() {
    let mut log = Log::new(limits());
    let hold = log.attach(0);
    for i in 0..1_000 {
        assert!(log.room() > 0, "everything is read, and there is no room at {i}");
        log.append(STREAMS[i % 2], &[1]);
        log.served(hold, log.end());
    }
    assert!(log.end() - log.first() >= 32, "half of the runs are kept for who comes again");
}

#[test]
fn a_squeezed_log_that_is_final_keeps_nothing_and_names_the_gap() {
    let meter = Meter::new(1 << 20);
    let mut log = Log::metered(limits(), Rc::clone(&meter));
    log.append(OutputStream::Stdout, &[7; 3_000]);
    log.close();
    assert!(meter.used() >= 3_000);
    log.squeeze(0);
    assert_eq!(meter.used(), 0);
    let mut cursor = log.cursor(0, None).unwrap();
    assert_eq!(log.next(&mut cursor, 10), Next::Gap { from: 0, to: 3_000 });
    log.skip_gap(&mut cursor);
    assert_eq!(log.next(&mut cursor, 10), Next::End);
}

#[test]
fn a_squeezed_log_that_is_held_waits_and_loses_nothing() {
    let mut log = Log::new(limits());
    let hold = log.attach(0);
    log.append(OutputStream::Stdout, &[7; 3_000]);
    log.squeeze(100);
    assert_eq!((log.first(), log.room()), (0, 0));
    log.served(hold, 2_950);
    assert_eq!(log.room(), 50);
    log.served(hold, 3_000);
    assert_eq!((log.first(), log.room()), (2_900, 100), "the stretch is squeezed as well");
}

#[tokio::test(flavor = "current_thread")]
async fn the_meter_calls_when_the_budget_is_over_and_again_when_it_grows() {
    let meter = Meter::new(64 << 10);
    let mut log = Log::metered(Limits::default(), Rc::clone(&meter));
    let called = async |log: &mut Log, len: usize| {
        log.append(OutputStream::Stdout, &vec![1; len]);
        tokio::time::timeout(Duration::ZERO, meter.over()).await.is_ok()
    };
    assert!(!called(&mut log, 1 << 10).await);
    assert!(called(&mut log, 100 << 10).await);
    meter.relieved();
    assert!(!called(&mut log, 1).await, "nothing more could be done");
    assert!(called(&mut log, 1 << 20).await);
    log.squeeze(4 << 10);
    meter.relieved();
    assert!(meter.used() < meter.budget(), "{}", meter.used());
    assert!(!called(&mut log, 1 << 10).await);
}
