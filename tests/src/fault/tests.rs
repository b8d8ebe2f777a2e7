//! The proxy does what it says.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::plan::{Act, Close, Fault};
use super::*;
use crate::wait;

fn shared() -> Arc<Shared> {
    Arc::new(Shared {
        upstream: PathBuf::new(),
        seed: 1,
        weather: Weather::CALM,
        calm: AtomicBool::new(false),
        tally: Tally::default(),
        ahead: Mutex::default(),
    })
}

/// A connection with these faults, from its two ends.
fn link(shared: &Arc<Shared>, number: u64, up: &[Fault], down: &[Fault]) -> [UnixStream; 2] {
    let (host, ours) = UnixStream::pair().unwrap();
    let (theirs, agent) = UnixStream::pair().unwrap();
    let late_end = Duration::ZERO;
    let plan = Plan { refused: None, up: up.to_vec(), down: down.to_vec(), late_end };
    tokio::spawn(relay::relay(Arc::clone(shared), number, plan, ours, theirs));
    [host, agent]
}

/// Everything until the end, and how that was.
async fn rest(socket: &mut UnixStream) -> (Vec<u8>, Option<ErrorKind>) {
    let mut all = Vec::new();
    let end = tokio::time::timeout(wait::seconds(20), socket.read_to_end(&mut all));
    let end = end.await.expect("it ends");
    (all, end.err().map(|e| e.kind()))
}

fn bytes() -> Vec<u8> {
    crate::random::Random::seeded(5).bytes(200_000)
}

#[tokio::test]
async fn a_cut_is_at_its_byte() {
    for how in [Close::Clean, Close::Reset, Close::Ahead(Duration::from_millis(1))] {
        let [mut host, mut agent] =
            link(&shared(), 0, &[], &[Fault { at: 70_000, act: Act::Cut(how) }]);
        let sent = tokio::spawn(async move {
            let written = agent.write_all(&bytes()).await;
            (written.is_ok(), rest(&mut agent).await.1)
        });
        let (got, end) = rest(&mut host).await;
        assert!(got == bytes()[..70_000] && end.is_none(), "{how:?}: {} bytes", got.len());
        let (written, end) = sent.await.unwrap();
        // What fits its buffer is written; then it hears of bytes that nobody read.
        if how == Close::Reset && written {
            assert_eq!(end, Some(ErrorKind::ConnectionReset));
        }
    }
}

#[tokio::test]
async fn splits_and_stalls_change_no_byte() {
    let split = Fault { at: 10, act: Act::Split { bytes: 5000, piece: 3 } };
    let stall = Fault { at: 60_000, act: Act::Stall(Duration::from_millis(20)) };
    let [mut host, mut agent] = link(&shared(), 0, &[split, stall], &[]);
    tokio::spawn(async move { host.write_all(&bytes()).await });
    let (got, _) = rest(&mut agent).await;
    assert!(got == bytes(), "{} bytes", got.len());
}

#[tokio::test]
async fn of_a_half_open_link_the_other_half_goes_on() {
    let silent = Fault { at: 4, act: Act::HalfOpen(Duration::from_millis(200)) };
    let [mut host, mut agent] = link(&shared(), 0, &[], &[silent]);
    agent.write_all(b"sentlost").await.unwrap();
    let mut four = [0; 4];
    host.read_exact(&mut four).await.unwrap();
    host.write_all(b"heard").await.unwrap();
    let mut five = [0; 5];
    agent.read_exact(&mut five).await.unwrap();
    assert_eq!((&four, &five), (b"sent", b"heard"));
    assert_eq!(rest(&mut host).await.0, b"");
}

#[tokio::test]
async fn an_end_overtakes_bytes_that_were_sent_before_it() {
    let shared = shared();
    let hold = Duration::from_millis(300);
    let cut = Fault { at: 4, act: Act::Cut(Close::Ahead(hold)) };
    let [mut first, mut first_agent] = link(&shared, 1, &[], &[cut]);
    let [mut second, mut second_agent] = link(&shared, 2, &[], &[]);
    first_agent.write_all(b"last").await.unwrap();
    assert_eq!(rest(&mut first).await.0, b"last");
    // It is over for its reader, and what others send from here on waits.
    second_agent.write_all(b"later").await.unwrap();
    let early = second.try_read(&mut [0; 5]);
    assert_eq!(early.unwrap_err().kind(), ErrorKind::WouldBlock);
    let mut later = [0; 5];
    second.read_exact(&mut later).await.unwrap();
    assert_eq!(&later, b"later");
    let (_, until) = shared.ahead.lock().unwrap().unwrap();
    assert!(Instant::now() >= until);
}

#[test]
fn dials_are_refused_and_taken_again() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = std::os::unix::net::UnixListener::bind(dir.path().join("agent")).unwrap();
    let path = dir.path().join("proxy");
    let weather = Weather { refuse_one_in: 3, ..Weather::CALM };
    let proxy = FaultProxy::start(&path, &dir.path().join("agent"), 1, weather);
    std::thread::spawn(move || {
        for mut socket in upstream.incoming().flatten() {
            std::io::Write::write_all(&mut socket, b"agent").unwrap();
        }
    });
    let dial = || {
        let mut socket = std::os::unix::net::UnixStream::connect(proxy.socket())?;
        std::io::Read::read_exact(&mut socket, &mut [0; 5])
    };
    let seen = std::cell::Cell::new((0, 0));
    wait::until("both are seen", wait::seconds(30), || {
        let (taken, refused) = seen.get();
        seen.set(if dial().is_ok() { (taken + 1, refused) } else { (taken, refused + 1) });
        (taken > 5 && refused > 5).then_some(())
    });
    assert!(proxy.tally().refused.load(Ordering::Relaxed) > 0);
    proxy.calm_down();
    wait::until("it is calm", wait::seconds(30), || dial().ok());
    (0..50).for_each(|_| dial().unwrap());
}
