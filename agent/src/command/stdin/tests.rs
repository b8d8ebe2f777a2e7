//! stdin into a real pipe, at the pace of whoever reads it.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::LazyLock;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use proptest::prelude::*;
use tokio::io::Interest;

use super::*;
use crate::sys::watch::watch;

fn state(accepted: u64, offset: u64, eof: bool) -> StdinState {
    StdinState { accepted, offset, eof }
}

/// The process's end of a pipe, non-blocking.
fn connect(stdin: &mut Stdin) -> File {
    let (read, write): (OwnedFd, OwnedFd) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
    let write = Rc::new(watch(write, Interest::WRITABLE).unwrap());
    stdin.connect(Sink::pipe(write));
    read.into()
}

/// What is in the pipe, and whether it is at its end.
fn read(pipe: &mut File, max: usize, into: &mut Vec<u8>) -> bool {
    let mut buffer = vec![0; max];
    match pipe.read(&mut buffer) {
        Ok(n) => {
            into.extend_from_slice(&buffer[..n]);
            n == 0
        }
        Err(e) => {
            assert_eq!(e.kind(), std::io::ErrorKind::WouldBlock);
            false
        }
    }
}

fn read_all(pipe: &mut File, stdin: &mut Stdin) -> Vec<u8> {
    let mut all = Vec::new();
    while !read(pipe, 1 << 20, &mut all) {
        let _ = stdin.drain();
    }
    all
}

fn in_runtime<T>(test: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let _entered = runtime.enter();
    test()
}

#[test]
fn a_repeated_write_is_applied_once() {
    in_runtime(|| {
        let mut stdin = Stdin::new(&Bytes::new(), true);
        // Before there is a process it waits.
        assert_eq!(stdin.write(Some(0), &Bytes::from("abc"), false), Ok(state(3, 3, false)));
        let mut pipe = connect(&mut stdin);
        assert_eq!(stdin.write(Some(0), &Bytes::from("abc"), false), Ok(state(3, 3, false)));
        assert_eq!(stdin.write(Some(1), &Bytes::from("bcd"), true), Ok(state(3, 4, true)));
        assert_eq!(stdin.write(Some(1), &Bytes::from("bcd"), true), Ok(state(3, 4, true)));
        assert_eq!(read_all(&mut pipe, &mut stdin), b"abcd");
    });
}

#[test]
fn a_hole_is_refused_and_nothing_changes() {
    let mut stdin = Stdin::new(&Bytes::from("ab"), true);
    let beyond = StdinError::Beyond { expected: 2, given: 3 };
    assert_eq!(stdin.write(Some(3), &Bytes::from("x"), true), Err(beyond));
    assert_eq!(stdin.feed(3, b"x"), Err(beyond));
    assert_eq!(stdin.offset(), 2);
    assert!(stdin.is_open());
}

#[test]
fn a_full_buffer_takes_a_part_and_no_end() {
    in_runtime(|| {
        let mut stdin = Stdin::new(&Bytes::new(), true);
        let big = Bytes::from(vec![1; MAX_BUFFERED + 10]);
        let max = MAX_BUFFERED as u64;
        assert_eq!(stdin.write(Some(0), &big, true), Ok(state(max, max, false)));
        assert_eq!(stdin.feed(max, b"x"), Ok(0), "what waits comes first");
        let mut pipe = connect(&mut stdin);
        let _ = stdin.drain();
        assert_eq!(stdin.write(Some(0), &big, true), Ok(state(max + 10, max + 10, true)));
        assert_eq!(read_all(&mut pipe, &mut stdin).len(), MAX_BUFFERED + 10);
    });
}

#[test]
fn small_writes_do_not_keep_the_frames_in_which_they_came() {
    let mut stdin = Stdin::new(&Bytes::new(), true);
    let frame = Bytes::from(vec![7; 64 << 10]);
    for _ in 0..100 {
        stdin.write(None, &frame.slice(..1), false).unwrap();
    }
    assert!(frame.is_unique());
}

#[test]
fn after_the_end_nothing_is_taken() {
    let mut stdin = Stdin::new(&Bytes::from("x"), false);
    assert_eq!(stdin.write(None, &Bytes::from("y"), false), Err(StdinError::Ended(1)));
    assert_eq!(stdin.feed(1, b"y"), Err(StdinError::Ended(1)));
    assert_eq!(stdin.feed(0, b"x"), Ok(1), "that was applied");
    let mut stdin = Stdin::new(&Bytes::new(), true);
    stdin.close();
    assert_eq!(stdin.write(None, &Bytes::from("y"), false), Err(StdinError::Closed(0)));
}

#[test]
fn a_reader_that_is_gone_closes_it() {
    in_runtime(|| {
        let mut stdin = Stdin::new(&Bytes::new(), true);
        drop(connect(&mut stdin));
        assert_eq!(stdin.feed(0, b"x"), Err(StdinError::Closed(0)));
        assert!(!stdin.is_open());
    });
}

/// Something that somebody does with a stdin that has 1 MiB to say.
#[derive(Debug, Clone)]
enum Op {
    /// Of bytes from so far before the next offset on, so many; by WriteStdin.
    Write { back: u64, len: usize },
    /// By a stream.
    Feed { back: u64, len: usize },
    /// The process reads.
    Read { max: usize },
    /// The writer's turn.
    Drain,
}

/// What there is to say.
static SAID: LazyLock<Bytes> = LazyLock::new(|| {
    (0..1_u32 << 20).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
});

fn op() -> impl Strategy<Value = Op> {
    let (back, len) = (0..3_u64 << 14, 0..3_usize << 16);
    prop_oneof![
        (back.clone(), len.clone()).prop_map(|(back, len)| Op::Write { back, len }),
        (back, len).prop_map(|(back, len)| Op::Feed { back, len }),
        (1..3_usize << 16).prop_map(|max| Op::Read { max }),
        Just(Op::Drain),
    ]
}

proptest! {
    /// However it is cut, repeated and interleaved: every byte once, in order.
    #[test]
    fn every_byte_arrives_once_and_in_order(ops in prop::collection::vec(op(), 1..60)) {
        let said = &*SAID;
        in_runtime(|| {
            let mut stdin = Stdin::new(&said.slice(..10), true);
            let mut pipe = connect(&mut stdin);
            let mut got = Vec::new();
            for op in ops {
                let piece = |back: u64, len: usize| {
                    let from = stdin.offset().saturating_sub(back);
                    let begin = usize::try_from(from).unwrap();
                    (from, said.slice(begin..said.len().min(begin + len)))
                };
                match op {
                    Op::Write { back, len } => {
                        let (from, piece) = piece(back, len);
                        let stands = stdin.write(Some(from), &piece, false).unwrap();
                        assert!(stands.accepted <= piece.len() as u64);
                        assert!(stdin.buffered <= MAX_BUFFERED);
                    }
                    Op::Feed { back, len } => {
                        let (from, piece) = piece(back, len);
                        assert!(stdin.feed(from, &piece).unwrap() <= piece.len());
                    }
                    Op::Read { max } => drop(read(&mut pipe, max, &mut got)),
                    Op::Drain => drop(stdin.drain()),
                }
            }
            stdin.finish();
            got.extend(read_all(&mut pipe, &mut stdin));
            let end = usize::try_from(stdin.offset()).unwrap();
            assert!(got == said[..end], "{} bytes arrived of {end}", got.len());
        });
    }
}
