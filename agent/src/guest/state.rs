//! What the serving process knows, shared by everything that runs in it.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use postern_proto::{Code, Configure, Error, Event, FromAgent};
use tokio::sync::{Notify, watch};

use super::image::ImageStore;
use crate::command::{Commands, End, Ended, Namespaces, Session};
use crate::console::Console;
use crate::link::{ConnError, Outbox};
use crate::sys::process::random_id;

/// Connections at once; each open stream is one, so it is also how many can follow
/// and write. Who comes later is hung up on. Five hundred commands with eight
/// followers each are half of it; an idle one costs about 3 KiB.
const MAX_CONNECTIONS: usize = 8_192;

/// How often what nobody asks for is looked at: retention, graces.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// What init gives its serving process.
#[derive(Debug)]
pub struct Inherited {
    /// Listening and non-blocking.
    pub listener: OwnedFd,
    /// The directory that becomes the workload's root.
    pub root: OwnedFd,
    /// To the workload's init, which waits for the word that the root is there.
    pub workload: UnixStream,
    /// The workload's namespaces.
    pub namespaces: Namespaces,
    /// The cgroup below which commands have theirs.
    pub cgroups: Option<OwnedFd>,
    /// Where what must outlive this process is kept.
    pub memory: PathBuf,
    /// A byte from init asks to end everything.
    pub orders: UnixStream,
    /// New at each boot.
    pub boot_id: String,
    /// The agent runs with an oom_score_adj of its own.
    pub reset_oom: bool,
    /// CLOCK_BOOTTIME, microseconds.
    pub init_start_us: u64,
    /// The host's vsock port to dial when ready.
    pub doorbell: Option<u32>,
    /// Where the agent logs.
    pub console: Console,
}

/// The shared state. One thread: no locks, and no borrow across an await.
#[derive(Debug)]
pub struct State {
    /// Every command.
    pub commands: Rc<Commands>,
    /// The image on its way in.
    pub images: Arc<ImageStore>,
    /// For lines of the agent's own.
    pub console: Console,
    namespaces: RefCell<Option<Namespaces>>,
    session: RefCell<Option<Rc<Session>>>,
    pub(crate) configure: RefCell<Configure>,
    boot_id: String,
    instance_id: String,
    reset_oom: bool,
    init_start_us: u64,
    ready_us: u64,
    doorbell: Option<u32>,
    connections: Rc<Cell<usize>>,
    control: RefCell<Option<Rc<Occupied>>>,
    /// The highest epoch of a host that has had the control connection.
    epoch: watch::Sender<u64>,
    refusing: Cell<bool>,
    over: Notify,
}

/// A place among the connections, given back on drop.
#[derive(Debug)]
pub(crate) struct Place(Rc<Cell<usize>>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The one control connection.
#[derive(Debug)]
struct Occupied {
    epoch: u64,
    fenced: Notify,
    outbox: RefCell<Option<Rc<Outbox>>>,
}

/// Being the control connection, until another with a higher epoch comes.
#[derive(Debug)]
pub(crate) struct Seat(Rc<Occupied>);

impl Seat {
    pub(crate) async fn fenced(&self) {
        self.0.fenced.notified().await;
    }
}

impl State {
    pub(crate) fn new(inherited: Inherited) -> io::Result<(OwnedFd, Rc<Self>, Ended)> {
        let (commands, ended) = Commands::new(inherited.cgroups)?;
        let images = ImageStore::new(inherited.root, inherited.workload, inherited.memory);
        let state = Rc::new(Self {
            commands,
            images: Arc::new(images),
            console: inherited.console,
            namespaces: RefCell::new(Some(inherited.namespaces)),
            session: RefCell::default(),
            configure: RefCell::default(),
            boot_id: inherited.boot_id,
            instance_id: random_id()?,
            reset_oom: inherited.reset_oom,
            init_start_us: inherited.init_start_us,
            ready_us: crate::sys::process::boottime_us(),
            doorbell: inherited.doorbell,
            connections: Rc::default(),
            control: RefCell::default(),
            epoch: watch::Sender::new(0),
            refusing: Cell::new(false),
            over: Notify::new(),
        });
        // A serving process before this one had an image: commands can go on.
        if let Some(config) = state.images.remembered_image() {
            state.configure.replace(state.images.remembered_configure().unwrap_or_default());
            state.open_session(&config).map_err(io::Error::other)?;
        }
        Ok((inherited.listener, state, ended))
    }

    pub(crate) fn doorbell(&self) -> Option<u32> {
        self.doorbell
    }

    /// New at each boot.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// New at each start of this process.
    pub fn instance_id(&self) -> &str {
        &self.instance_id
    }

    /// When PID 1 began, and when this was ready.
    pub fn boot_times(&self) -> (u64, u64) {
        (self.init_start_us, self.ready_us)
    }

    /// The image is committed and its root in place: commands may be started.
    pub fn open_session(&self, config: &postern_proto::ImageConfig) -> Result<(), Error> {
        let failed = |what: &str, e: io::Error| {
            Error::new(Code::Internal, format!("{what}: {e}"))
                .with_errno(e.raw_os_error().unwrap_or(0))
        };
        let root = self.images.root().map_err(|e| failed("opening the root", e))?;
        if let Some(namespaces) = self.namespaces.borrow_mut().take() {
            self.commands
                .enter(namespaces, self.reset_oom)
                .map_err(|e| failed("entering the workload's namespaces", e))?;
        }
        let session = Session::new(root, config, &self.configure.borrow());
        self.session.replace(Some(Rc::new(session)));
        Ok(())
    }

    /// Settings that came after the image apply to commands from now on.
    pub fn reconfigure(&self, configure: Configure) -> Result<(), Error> {
        let session = self.session.borrow().clone();
        if let Some(session) = session {
            let changed = session.with_settings(&configure).map_err(|e| {
                Error::new(Code::ResourceExhausted, format!("opening the root again: {e}"))
            })?;
            self.session.replace(Some(Rc::new(changed)));
        }
        self.images.remember_configure(&configure);
        self.configure.replace(configure);
        Ok(())
    }

    /// The image's root and defaults.
    pub fn session(&self) -> Result<Rc<Session>, Error> {
        if self.refusing.get() {
            return Err(Error::new(Code::Unavailable, "the guest is shutting down"));
        }
        let session = self.session.borrow().clone();
        session.ok_or_else(|| Error::new(Code::FailedPrecondition, "there is no image yet"))
    }

    /// There is an image.
    pub fn has_session(&self) -> bool {
        self.session.borrow().is_some()
    }

    pub(crate) fn connection_place(&self) -> Option<Place> {
        let n = self.connections.get();
        (n < MAX_CONNECTIONS).then(|| {
            self.connections.set(n + 1);
            Place(Rc::clone(&self.connections))
        })
    }

    /// Makes a connection the control connection, and ends the one before it.
    pub(crate) fn take_control(&self, epoch: u64) -> Result<Seat, Error> {
        let mut control = self.control.borrow_mut();
        if let Some(other) = control.as_ref() {
            if other.epoch > epoch {
                let message = format!("a host with epoch {} is connected", other.epoch);
                return Err(Error::new(Code::FailedPrecondition, message));
            }
            other.fenced.notify_one();
        }
        let seat = Occupied { epoch, fenced: Notify::new(), outbox: RefCell::default() };
        let seat = Rc::new(seat);
        control.replace(Rc::clone(&seat));
        self.epoch.send_if_modified(|now| std::mem::replace(now, epoch) != epoch);
        Ok(Seat(seat))
    }

    /// Waits until a host with a higher epoch has come. Epoch 0 is that of a tool, which
    /// no host succeeds.
    pub(crate) async fn succeeded(&self, epoch: u64) {
        let mut newest = self.epoch.subscribe();
        let higher = newest.wait_for(|newest| epoch > 0 && *newest > epoch).await;
        // The sender is in `self`.
        debug_assert!(higher.is_ok());
    }

    pub(crate) fn set_outbox(&self, seat: &Seat, outbox: &Rc<Outbox>) {
        seat.0.outbox.replace(Some(Rc::clone(outbox)));
    }

    fn tell(&self, event: Event) {
        let control = self.control.borrow().clone();
        if let Some(outbox) = control.and_then(|c| c.outbox.borrow().clone()) {
            outbox.send(&FromAgent::Event(event));
        }
    }

    pub(crate) fn count_fault(&self, error: &ConnError) {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(e) = cause {
            text = format!("{text}: {e}");
            cause = e.source();
        }
        self.console.line(format_args!("connection: {text}"));
    }

    /// Nothing new from here on.
    pub fn refuse(&self) -> bool {
        !self.refusing.replace(true)
    }

    /// Ends the serving process, in order.
    pub fn finish(&self) {
        self.over.notify_one();
    }

    pub(crate) async fn until_over(&self) {
        self.over.notified().await;
    }
}

/// Tidies up behind commands that came to their end, and tells the host of those
/// that nobody waits for. A log that is final only later is told of on its own.
pub(crate) async fn after_the_end(state: Rc<State>, mut ended: Ended) {
    while let Some(end) = ended.recv().await {
        match &end {
            End::Final(command) if !command.is_awaited() => {
                state.tell(Event::CommandExited(Box::new(command.info())));
            }
            End::Final(_) => {}
            End::Closed(command) => state.tell(Event::CommandClosed(Box::new(command.info()))),
        }
        let (End::Final(command) | End::Closed(command)) = end;
        state.commands.tidy_after(&command);
    }
}

/// Looks now and then at what nobody asks for, and at once at logs that take too
/// much.
pub(crate) async fn housekeeping(state: Rc<State>) {
    let mut next = tokio::time::interval(HOUSEKEEPING);
    loop {
        tokio::select! {
            _ = next.tick() => state.commands.tidy(),
            () = state.commands.keep_to_the_budget() => {}
        }
    }
}
