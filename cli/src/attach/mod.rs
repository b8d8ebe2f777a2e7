//! A running command on this terminal: its output as it comes, keystrokes, signals
//! and the window's size for it, and its exit code.
//!
//! ```text
//!            ┌────────── link broke ──────────┐
//!            ▼                                │
//!      connecting ──► ready ──► riding the link ──► exit · detached
//!            └─ REJOIN passed: failed (125)
//! ```
//!
//! A link that broke is made anew: output goes on at the offset that was shown,
//! stdin at the one that was taken, so that no byte is lost or seen twice.

mod dial;
mod link;
mod local;
mod screen;
mod typed;
mod wire;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::Permit;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_tungstenite::tungstenite::Message;

use self::dial::{Dialer, REJOIN};
use self::link::{DOING, Link, News, Over};
use self::local::{Event, Input};
use self::screen::Screen;
use self::typed::{Piece, Typed};
use self::wire::{Exit, Ready};
use crate::client::Client;
use crate::client::socket::Socket;
use crate::error::Error;
use crate::signals::{Signals, Told};
use crate::terminal::keys::DetachKeys;
use crate::terminal::modes::Modes;
use crate::terminal::{self, Raw};

/// Our own word that we are there, also while output stalls us and the broker's
/// pings lie unread: it gives up after 60 s.
const ALIVE: Duration = Duration::from_secs(20);

/// After a KILL the exit must come; if it does not, the link is as good as dead.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// 128 and SIGPIPE: whoever read our output went away.
const BROKEN_PIPE: u8 = 141;

/// 128 and SIGKILL.
const KILLED: u8 = 137;

/// Which command, and how we are with it.
#[derive(Debug, Clone)]
pub(crate) struct Attach {
    pub(crate) client: Client,
    pub(crate) session: String,
    pub(crate) command: String,
    /// First byte of the output; None for the first that is left.
    pub(crate) from: Option<u64>,
    pub(crate) stdin: Stdin,
    pub(crate) detach_keys: DetachKeys,
    /// It is ours: signals are its, and it ends when our terminal goes.
    pub(crate) ours: bool,
}

/// What the command gets of our stdin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stdin {
    Nothing,
    /// All of it, from its first byte.
    Whole,
    /// What is typed from now on.
    FromNow,
}

/// How it ended for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Exited(u8),
    /// The command goes on.
    Detached,
    /// Likewise, and a signal of this number sent us away.
    SentAway(u8),
}

impl Attach {
    /// Stays until the exit, the detach keys, or a signal that sends us away.
    pub(crate) async fn attend(self, signals: &mut Signals) -> Result<Ending, Error> {
        let modes = Arc::new(Mutex::new(Modes::default()));
        let typed = (self.stdin == Stdin::Whole).then(|| Typed::at(0));
        let mut attending = Attending {
            what: self,
            signals,
            input: None,
            typed,
            raw: None,
            tty: false,
            resize: false,
            asked: 0,
            give_up: None,
        };
        let screen =
            Box::new(Screen::new(attending.what.from, attending.what.stdin, Arc::clone(&modes)));
        let ended = attending.run(screen).await;
        drop(attending.raw.take());
        leave_in_order(&modes);
        ended
    }
}

/// A terminal that a program has left in its own way is put in order.
fn leave_in_order(modes: &Mutex<Modes>) {
    let undo = modes.lock().unwrap_or_else(PoisonError::into_inner).undo();
    if !undo.is_empty() {
        use std::io::Write;
        let mut stdout = std::io::stdout().lock();
        let _ = stdout.write_all(undo.as_bytes()).and_then(|()| stdout.flush());
    }
}

struct Attending<'a> {
    what: Attach,
    signals: &'a mut Signals,
    /// From the first link on.
    input: Option<Input>,
    typed: Option<Typed>,
    raw: Option<Raw>,
    tty: bool,
    /// The command has not been told of the window's size.
    resize: bool,
    asked: u32,
    give_up: Option<Instant>,
}

/// How a link ended.
enum Ride {
    Ended(Ending),
    Lost(Box<Screen>, Error),
}

impl Attending<'_> {
    async fn run(&mut self, mut screen: Box<Screen>) -> Result<Ending, Error> {
        let mut dialer = Dialer::default();
        loop {
            let stdin_from = self.typed.as_mut().and_then(Typed::relink);
            let path = dial::path(&self.what, screen.at, stdin_from);
            let socket = match self.connect(&mut dialer, &path).await? {
                Ok(socket) => socket,
                Err(ending) => return Ok(ending),
            };
            let (shown, since) = (screen.at, Instant::now());
            let mut link = Link::new(socket, screen);
            match self.ride(&mut link).await? {
                Ride::Ended(ending) => {
                    link.close().await;
                    return Ok(ending);
                }
                Ride::Lost(left, error) => {
                    terminal::say(&format!("postern: {error}; coming back"));
                    dialer.broken(error, left.at > shown || since.elapsed() > REJOIN);
                    screen = left;
                }
            }
        }
    }

    /// A socket, or how it ended while there was none.
    async fn connect(
        &mut self,
        dialer: &mut Dialer,
        path: &str,
    ) -> Result<Result<Socket, Ending>, Error> {
        let client = self.what.client.clone();
        let connecting = dialer.dial(&client, path);
        tokio::pin!(connecting);
        loop {
            let room = self.typed.as_ref().is_some_and(Typed::has_room);
            tokio::select! {
                socket = &mut connecting => return socket.map(Ok),
                event = local::next(self.signals, self.input.as_mut(), room) => {
                    if let Some(ending) = self.happened(event).await {
                        return Ok(Err(ending));
                    }
                }
                () = until(self.give_up) => return Ok(Err(Ending::Exited(KILLED))),
            }
        }
    }

    async fn ride(&mut self, link: &mut Link) -> Result<Ride, Error> {
        let mut alive = interval(ALIVE);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Before the broker is ready it cannot know what stdin is for.
        let mut ready = false;
        loop {
            let room = self.typed.as_ref().is_some_and(Typed::has_room);
            let due = ready && (self.resize || self.typed.as_ref().is_some_and(Typed::is_due));
            tokio::select! {
                news = link.news.recv() => match news {
                    Some(News::Ready(told, go_on)) => {
                        ready = true;
                        self.ready(told)?;
                        let _ = go_on.send(());
                    }
                    Some(News::Stdin(offset)) => {
                        if let Some(typed) = &mut self.typed {
                            typed.taken(offset);
                        }
                    }
                    Some(News::Over(screen, over)) => return self.over(screen, over).await,
                    None => return Err(Error::Answer {
                        doing: DOING.to_owned(),
                        what: "showing the output failed".to_owned(),
                    }),
                },
                Ok(permit) = link.out.reserve(), if due => self.send_one(permit),
                event = local::next(self.signals, self.input.as_mut(), room) => {
                    if let Some(ending) = self.happened(event).await {
                        return Ok(Ride::Ended(ending));
                    }
                }
                // A full queue says that we are there, too.
                _ = alive.tick() => {
                    let _ = link.out.try_send(Message::Ping(Bytes::new()));
                }
                () = until(self.give_up) => return Ok(Ride::Ended(Ending::Exited(KILLED))),
            }
        }
    }

    /// The command is seen: from here on it gets what is typed.
    fn ready(&mut self, told: Ready) -> Result<(), Error> {
        let wanted = self.what.stdin != Stdin::Nothing;
        if wanted && told.tty && !terminal::is_typed() {
            return Err(Error::not_a_terminal());
        }
        self.tty = told.tty;
        self.resize = told.tty && (wanted || self.what.ours);
        if wanted && self.input.is_none() {
            if told.tty {
                self.raw = Some(Raw::enter()?);
            }
            let keys = if told.tty { self.what.detach_keys.clone() } else { DetachKeys::none() };
            self.input = Some(Input::start(keys));
            self.typed.get_or_insert_with(|| Typed::at(told.stdin_offset));
        }
        if let Some(typed) = &mut self.typed {
            typed.begin(told.stdin_offset);
        }
        Ok(())
    }

    fn send_one(&mut self, permit: Permit<'_, Message>) {
        if std::mem::take(&mut self.resize) {
            permit.send(Message::text(wire::resize(terminal::size()).to_string()));
            return;
        }
        match self.typed.as_mut().and_then(Typed::next) {
            Some(Piece::Bytes(bytes)) => permit.send(Message::Binary(bytes)),
            Some(Piece::End) => permit.send(Message::text(wire::end_of_stdin().to_string())),
            None => {}
        }
    }

    /// Something happened here; Some if it sends us away.
    async fn happened(&mut self, event: Event) -> Option<Ending> {
        match event {
            Event::Input(bytes) => {
                let (forward, detach) = self.input.as_mut()?.sift(&bytes);
                if let Some(typed) = &mut self.typed {
                    typed.push(&forward);
                }
                detach.then_some(Ending::Detached)
            }
            Event::InputEnd => {
                // A terminal's end is its hangup, which comes as a signal.
                if let Some(typed) = self.typed.as_mut().filter(|_| self.raw.is_none()) {
                    typed.finish();
                }
                None
            }
            Event::Told(Told::Window) => {
                self.resize = self.tty && (self.raw.is_some() || self.what.ours);
                None
            }
            Event::Told(Told::Continued) => {
                if let Some(raw) = &self.raw {
                    raw.again();
                    self.resize = true;
                }
                None
            }
            Event::Told(Told::Signal(name, number)) => self.signalled(name, number).await,
        }
    }

    /// Of a command that is not ours we only let go. One of ours on a terminal is
    /// hung up when its terminal goes, as by a modem; the terminal's own signals
    /// are keys and come as bytes.
    async fn signalled(&mut self, name: &str, number: u8) -> Option<Ending> {
        if !self.what.ours {
            return Some(Ending::SentAway(number));
        }
        if self.raw.is_some() && matches!(name, "TERM" | "HUP") {
            self.tell("HUP", "tree").await;
            return Some(Ending::SentAway(number));
        }
        self.asked += 1;
        // The first goes on as it is, as a terminal would send it: to the group. A
        // second asks the whole tree to end, a third does not ask.
        match (self.asked, name) {
            (1, "INT" | "QUIT") => self.tell(name, "group").await,
            (1, name) => self.tell(name, "tree").await,
            (2, _) => self.tell("TERM", "tree").await,
            _ => {
                self.tell("KILL", "tree").await;
                self.give_up = Some(Instant::now() + KILL_PATIENCE);
            }
        }
        None
    }

    async fn tell(&self, signal: &str, scope: &str) {
        let what = &self.what;
        // Told and not returned: the command's own exit is still to come.
        if let Err(error) = what.client.signal(&what.session, &what.command, signal, scope).await {
            terminal::say(&format!("postern: {error}"));
        }
    }

    async fn over(&mut self, screen: Box<Screen>, over: Over) -> Result<Ride, Error> {
        match over {
            Over::Exit(exit) => Ok(Ride::Ended(Ending::Exited(self.exited(exit)))),
            Over::Lost(error) => Ok(Ride::Lost(screen, error)),
            Over::Failed(Error::Io { source, .. })
                if source.kind() == std::io::ErrorKind::BrokenPipe =>
            {
                if self.what.ours {
                    self.tell("PIPE", "tree").await;
                }
                Ok(Ride::Ended(Ending::Exited(BROKEN_PIPE)))
            }
            Over::Failed(error) => Err(error),
        }
    }

    fn exited(&self, exit: Exit) -> u8 {
        if exit.timed_out {
            terminal::say("postern: the command ran out of time");
        }
        if exit.oom_killed {
            terminal::say("postern: the command was killed for want of memory");
        }
        u8::try_from(exit.exit_code).unwrap_or(u8::MAX)
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
