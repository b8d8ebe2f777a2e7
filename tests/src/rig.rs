//! Where scenarios run.

use std::ops::Deref;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::artifacts::dist_if_there;
use crate::broker::Broker;
use crate::session::{Answer, Session};

/// What a sandbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Namespaces of this host.
    Process,
    /// A QEMU microVM.
    Vm,
}

/// Whether streams of gigabytes are asked for, with `POSTERN_TEST_BIG=1`: they take
/// minutes, and what goes wrong in one shows within the first tenth.
pub fn big() -> bool {
    std::env::var("POSTERN_TEST_BIG").is_ok_and(|text| text != "0")
}

/// One rig: a broker, a session that gentle scenarios share, and fresh ones
/// for the others.
#[derive(Debug)]
pub struct Rig {
    kind: Kind,
    broker: Arc<Broker>,
    shared: Mutex<Option<Session>>,
    /// A microVM takes a core: one beside the shared one.
    turn: Mutex<()>,
    /// What fills the machine runs alone among its kind.
    heavy: Mutex<()>,
}

/// A session of a test's own.
#[derive(Debug)]
pub struct Fresh<'a> {
    session: Session,
    // After the session: the next may come when this one is gone.
    _turn: Option<MutexGuard<'a, ()>>,
}

impl Deref for Fresh<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Rig {
    /// Process sandboxes.
    pub fn process() -> &'static Self {
        static RIG: LazyLock<Rig> = LazyLock::new(|| Rig::new(Kind::Process, "process"));
        &RIG
    }

    /// MicroVMs.
    pub fn vm() -> &'static Self {
        static RIG: LazyLock<Rig> = LazyLock::new(|| Rig::new(Kind::Vm, "vm"));
        &RIG
    }

    /// MicroVMs of another architecture than this machine's; None, and a word why,
    /// where there is something missing for them.
    pub fn aarch64(test: &str) -> Option<&'static Self> {
        static RIG: LazyLock<Rig> =
            LazyLock::new(|| Rig::with(Kind::Vm, Broker::start_for("aarch64", Some("aarch64"))));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let qemu = "qemu-system-aarch64";
        let found = std::env::split_paths(&path).any(|dir| dir.join(qemu).is_file());
        let files = ["vmlinuz-aarch64", "initramfs-aarch64.img", "images-aarch64/busybox"];
        let mut missing = files.into_iter().filter(|name| dist_if_there(name).is_none());
        match missing.next().or((!found).then_some(qemu)) {
            None => Some(&RIG),
            Some(name) => {
                println!("SKIPPED {test}: no {name}; enable: make dist ARCH=aarch64");
                None
            }
        }
    }

    /// A rig with a broker that nobody else uses.
    pub fn alone(kind: Kind, name: &str) -> Self {
        Self::new(kind, name)
    }

    /// MicroVMs of a broker of their own, to which images go by `stream` or `disk`.
    pub fn with_images_by(transfer: &'static str, name: &str) -> Self {
        Self::with(Kind::Vm, Broker::start_with_images_by(transfer, name))
    }

    fn new(kind: Kind, name: &str) -> Self {
        Self::with(kind, Broker::start(name))
    }

    fn with(kind: Kind, broker: Broker) -> Self {
        let broker = Arc::new(broker);
        let (shared, turn, heavy) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { kind, broker, shared, turn, heavy }
    }

    /// What its sandboxes are.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its broker.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// One of two, by the kind: sizes are smaller where everything is emulated.
    pub fn size<T>(&self, process: T, vm: T) -> T {
        match self.kind {
            Kind::Process => process,
            Kind::Vm => vm,
        }
    }

    /// The session for scenarios that do it no harm: busybox, nothing set.
    pub fn shared(&self) -> Session {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.get_or_insert_with(|| self.make(json!({})).unwrap()).lend()
    }

    /// A session that the scenario may harm.
    pub fn fresh(&self, settings: Value) -> Fresh<'_> {
        let turn = (self.kind == Kind::Vm)
            .then(|| self.turn.lock().unwrap_or_else(PoisonError::into_inner));
        Fresh { session: self.make(settings).unwrap(), _turn: turn }
    }

    /// A session, or why there is none.
    pub fn make(&self, mut settings: Value) -> Result<Session, Answer> {
        settings["driver"] = self.size("process", "qemu").into();
        if settings["memory_mb"].is_null() {
            settings["memory_mb"] = self.size(256, 512).into();
        }
        Session::make(self.kind, Arc::clone(&self.broker), &settings)
    }

    /// Held by scenarios that fill the machine.
    pub fn heavy(&self) -> MutexGuard<'_, ()> {
        self.heavy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
