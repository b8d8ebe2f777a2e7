//! The broker: every session of one host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use postern_proto::Code;

use super::entrypoint::Entrypoint;
use super::lifecycle::{self, End, Home, note};
use super::making::Making;
use super::session::Settings;
use super::shared::SharedRoots;
use super::{
    BrokerBuilder, CreateSession, DriverChoice, DriverKind, Error, ImageConfig, ImageTransfer,
    Limits, ProgressSender, Result, Session, SessionInfo, SessionStatus, admission, adopt, id,
    resume, saved,
};
use crate::arch::GuestArch;
use crate::driver::{
    Attach, Driver, DriverError, Files, ProcessDriver, QemuDriver, Record, SandboxRoot, SandboxSpec,
};
use crate::image::{Images, Layout};
use crate::store::Store;

/// How many ended sessions stay listed, so that a client can read why one is gone.
const ENDED_KEPT: usize = 256;

/// The agent unpacks on two threads, and a command that keeps one processor busy
/// should not slow the agent down.
const DEFAULT_CPUS: u32 = 2;

/// Debian unpacked takes 260 MB of the root's tmpfs, so half a gigabyte does not do.
const DEFAULT_MEMORY_MB: u32 = 1024;

/// What the kernel, the agent and small commands need beside the root.
const OUTSIDE_ROOT_MB: u32 = 256;

/// The broker; cheap to clone, all clones are one.
#[derive(Debug, Clone)]
pub struct Broker {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) data_dir: PathBuf,
    pub(super) images_dir: PathBuf,
    pub(super) images: Images,
    pub(super) default_image: String,
    pub(super) image_transfer: ImageTransfer,
    pub(super) driver: DriverChoice,
    pub(super) arch: GuestArch,
    pub(super) limits: Limits,
    pub(super) process: Arc<ProcessDriver>,
    pub(super) qemu: Arc<QemuDriver>,
    /// None: every session has its image to itself.
    pub(super) shared: Option<SharedRoots>,
    pub(super) store: Store,
    /// In the order of their making.
    pub(super) sessions: Mutex<Sessions>,
}

#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_number: BTreeMap<u64, Session>,
    next: u64,
    /// No new ones: the broker is going down.
    closed: bool,
}

impl Inner {
    pub(super) fn home(&self, id: &str) -> Home {
        Home { dir: self.data_dir.join("sessions").join(id), store: self.store.clone() }
    }

    /// The driver that made what the record is of.
    pub(super) fn driver_of(
        &self,
        kind: DriverKind,
        record: &Record,
    ) -> Result<Arc<dyn Driver>, DriverError> {
        match (kind, record) {
            (DriverKind::Qemu, _) => Ok(self.qemu.clone()),
            (DriverKind::Process, _) => Ok(self.process.clone()),
            (DriverKind::Attach, Record::Attach(target)) => {
                Ok(Arc::new(Attach::new(target.clone().into())))
            }
            (DriverKind::Attach, _) => Err(DriverError::foreign("attach")),
        }
    }

    pub(super) fn sessions_now(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker {
    /// Begins with the defaults.
    pub fn builder() -> BrokerBuilder {
        BrokerBuilder::default()
    }

    /// With the sandboxes that an earlier broker of this store left.
    pub(super) async fn new(inner: Inner) -> Result<Self> {
        let adopted = adopt::sessions(&inner).await?;
        let forgotten = {
            let mut sessions = inner.sessions_now();
            adopted.into_iter().flat_map(|session| sessions.insert(session)).collect()
        };
        note(inner.store.forget(forgotten).await);
        let broker = Self { inner: Arc::new(inner) };
        tokio::spawn(resume::after_sleep(Arc::downgrade(&broker.inner)));
        // What it cannot delete now costs room only.
        if let Err(error) = broker.inner.images.tidy().await {
            tracing::warn!(%error, "the image store was not tidied");
        }
        Ok(broker)
    }

    /// Makes a session and waits until it takes commands. A dropped call ends
    /// what it had begun to make.
    pub async fn create_session(
        &self,
        request: CreateSession,
        progress: Option<ProgressSender>,
    ) -> Result<Session> {
        let (kind, driver) = self.driver(&request)?;
        admission::root(&request, kind)?;
        let image = self.open_image(&request, progress.as_ref()).await?;
        let about = image.as_ref().map(|layout| layout.about.clone());
        let entrypoint = Entrypoint::of(&request, about.as_deref())?;
        let (session, forgotten) = self.admit(&request, kind, about)?;
        let settings = session.settings();
        let home = self.inner.home(session.id());
        let root_mb = request.root_size_mb.unwrap_or_else(|| {
            (settings.memory_mb / 2).max(settings.memory_mb.saturating_sub(OUTSIDE_ROOT_MB))
        });
        let spec = SandboxSpec {
            id: settings.id.clone(),
            dir: home.dir.clone(),
            hostname: settings.hostname.clone(),
            memory_mb: settings.memory_mb,
            cpus: settings.cpus,
            root_mb,
            root: SandboxRoot::Memory,
            disk_mb: settings.disk_mb,
            image_disk: None,
            network: settings.network,
        };
        let mut unmade = Unmade { session: Some(session.clone()), home: home.clone() };
        let making = Making {
            session: &session,
            driver,
            by_disk: kind == DriverKind::Qemu && self.inner.image_transfer == ImageTransfer::Disk,
            spec,
            image,
            request: &request,
            entrypoint,
            progress: progress.as_ref(),
            limits: &self.inner.limits,
            shared: self.inner.shared.as_ref(),
            home,
        };
        let made = async {
            // Before anything of it is started.
            self.inner.store.add_session(saved::new_row(settings)).await?;
            note(self.inner.store.forget(forgotten).await);
            making.make().await
        };
        match made.await {
            Ok(()) => {
                unmade.session = None;
                Ok(session)
            }
            Err(error) => {
                tracing::warn!(session = session.id(), error = error.private(), "no session");
                unmade.because(&error).await;
                Err(error)
            }
        }
    }

    /// A session by its id; ended ones are known for a while.
    pub fn session(&self, id: &str) -> Result<Session> {
        let found = self.sessions_now().by_number.values().find(|s| s.id() == id).cloned();
        found.ok_or_else(|| Error::new(Code::NotFound, "there is no such session"))
    }

    /// Every session, oldest first.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.sessions_now().by_number.values().map(Session::info).collect()
    }

    /// Ends a session; `force` leaves its commands no grace. One that has ended
    /// is forgotten.
    pub async fn delete_session(&self, id: &str, force: bool) -> Result<()> {
        let session = self.session(id)?;
        if session.status().is_final() {
            self.sessions_now().by_number.retain(|_, s| s.id() != id);
            note(self.inner.store.forget(vec![id.to_owned()]).await);
            return Ok(());
        }
        let home = self.inner.home(id);
        // In a task, so that a caller who goes away does not leave it half ended.
        let ending = tokio::spawn(async move {
            lifecycle::end(&session, &home, End::Asked { force }).await;
        });
        ending.await.map_err(|e| {
            Error::new(Code::Internal, "the session could not be ended").with_source(e)
        })
    }

    /// Ends every sandbox and takes no new ones; what is not down by the
    /// deadline is killed with the broker's own end.
    pub async fn shutdown(&self, deadline: Duration) {
        let ends = self.close().into_iter().map(|session| {
            let home = self.inner.home(session.id());
            tokio::spawn(async move {
                lifecycle::end(&session, &home, End::Asked { force: false }).await;
            })
        });
        let all = join_all(ends);
        if tokio::time::timeout(deadline, all).await.is_err() {
            tracing::warn!("not every sandbox went down in time");
        }
    }

    /// Takes no new sessions, and leaves those that run for the next broker with
    /// this data directory: they and their commands go on meanwhile. What is not
    /// ready yet is ended; so is everything if there is [no store](BrokerBuilder::without_store).
    pub async fn leave(&self, deadline: Duration) {
        if !self.inner.store.is_lasting() {
            return self.shutdown(deadline).await;
        }
        for session in self.close() {
            match (session.status(), session.sandbox_if_any()) {
                (SessionStatus::Running, Some(sandbox)) => {
                    tracing::info!(session = session.id(), "session left for the next broker");
                    sandbox.leave();
                }
                _ => {
                    let why = End::NeverReady("the broker went down".to_owned());
                    lifecycle::end(&session, &self.inner.home(session.id()), why).await;
                }
            }
        }
    }

    /// Takes no new sessions; gives those that have not ended.
    fn close(&self) -> Vec<Session> {
        let mut sessions = self.sessions_now();
        sessions.closed = true;
        sessions.live().cloned().collect()
    }

    /// Where image names are looked up.
    pub fn images_dir(&self) -> &Path {
        &self.inner.images_dir
    }

    pub(super) fn sessions_now(&self) -> MutexGuard<'_, Sessions> {
        self.inner.sessions_now()
    }

    /// There before anything is started: a bad name costs no boot.
    async fn open_image(
        &self,
        request: &CreateSession,
        progress: Option<&ProgressSender>,
    ) -> Result<Option<Layout>> {
        let name = match (&request.image, &request.attach) {
            (Some(name), _) => name,
            (None, Some(_)) => return Ok(None),
            (None, None) => &self.inner.default_image,
        };
        self.ensure_image(name, request.pull_policy, progress).await.map(Some)
    }

    fn driver(&self, request: &CreateSession) -> Result<(DriverKind, Arc<dyn Driver>)> {
        if let Some(target) = &request.attach {
            return Ok((DriverKind::Attach, Arc::new(Attach::new(target.clone()))));
        }
        match request.driver.unwrap_or(self.inner.driver) {
            DriverChoice::Process if !self.inner.arch.is_host() => {
                let (guests, host) = (self.inner.arch, GuestArch::host());
                let message = format!(
                    "this broker's images are for {guests}; a process sandbox runs on {host}"
                );
                Err(Error::invalid("driver", message))
            }
            DriverChoice::Process => Ok((DriverKind::Process, self.inner.process.clone())),
            // Never a silent step down from a machine to mere namespaces.
            DriverChoice::Auto | DriverChoice::Qemu => {
                Ok((DriverKind::Qemu, self.inner.qemu.clone()))
            }
        }
    }

    /// A place in the table, if the host can bear it; with the ended sessions
    /// that are forgotten for it.
    fn admit(
        &self,
        request: &CreateSession,
        driver: DriverKind,
        image_config: Option<Arc<ImageConfig>>,
    ) -> Result<(Session, Vec<String>)> {
        let limits = &self.inner.limits;
        let ours = driver != DriverKind::Attach;
        let memory_mb = if ours { request.memory_mb.unwrap_or(DEFAULT_MEMORY_MB) } else { 0 };
        let cpus = if ours { request.cpus.unwrap_or(DEFAULT_CPUS) } else { 0 };
        let mut sessions = self.sessions_now();
        if sessions.closed {
            return Err(Error::new(Code::Unavailable, "the broker is going down"));
        }
        let live = sessions.live().count();
        if live >= limits.max_sessions {
            let message = format!("{live} sessions live; no more are allowed");
            return Err(Error::new(Code::ResourceExhausted, message));
        }
        if ours {
            let starting = sessions.by_number.values();
            let starting = starting.filter(|s| s.status() == SessionStatus::Starting);
            let promised = starting.map(|s| u64::from(s.settings().memory_mb)).sum();
            admission::check(limits, memory_mb, cpus, promised)?;
        }
        if let Some(disk_mb) = request.disk_mb {
            let starting = sessions.by_number.values();
            let starting = starting.filter(|s| s.status() == SessionStatus::Starting);
            let promised = starting.map(|s| u64::from(s.settings().disk_mb.unwrap_or(0))).sum();
            admission::disk(limits, &self.inner.data_dir, disk_mb, promised)?;
        }
        let id = id::session();
        let settings = Settings {
            created_at: SystemTime::now(),
            image: match (&request.image, ours) {
                (Some(image), _) => image.clone(),
                (None, true) => self.inner.default_image.clone(),
                (None, false) => String::new(),
            },
            driver,
            memory_mb,
            cpus,
            ttl: request.ttl.or(limits.default_ttl),
            disk_mb: request.disk_mb,
            hostname: hostname(request.hostname.as_deref(), &id)?,
            network: request.network,
            no_new_privs: request.no_new_privs,
            entrypoint: request.entrypoint,
            image_config,
            id,
        };
        let session = Session::new(settings, *self.inner.store.key());
        let forgotten = sessions.insert(session.clone());
        Ok((session, forgotten))
    }
}

impl Sessions {
    pub(super) fn live(&self) -> impl Iterator<Item = &Session> {
        self.by_number.values().filter(|session| !session.status().is_final())
    }

    /// The ids of the oldest ended ones, which are forgotten when there are many.
    fn insert(&mut self, session: Session) -> Vec<String> {
        let ended: Vec<u64> =
            self.by_number.iter().filter(|(_, s)| s.status().is_final()).map(|(n, _)| *n).collect();
        let oldest = ended.iter().take(ended.len().saturating_sub(ENDED_KEPT));
        let forgotten = oldest.filter_map(|number| self.by_number.remove(number));
        let forgotten = forgotten.map(|session| session.id().to_owned()).collect();
        self.by_number.insert(self.next, session);
        self.next += 1;
        forgotten
    }
}

fn hostname(asked: Option<&str>, id: &str) -> Result<String> {
    let Some(name) = asked else {
        // `sess_` is no part of a valid host name, and the first characters do.
        return Ok(id.trim_start_matches("sess_").chars().take(12).collect());
    };
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    // HOST_NAME_MAX of Linux.
    if name.is_empty()
        || name.len() > 64
        || !name.chars().all(letter)
        || name.starts_with(['-', '.'])
    {
        let message = "hostname must be 1 to 64 letters, digits, dots and hyphens";
        return Err(Error::invalid("hostname", message));
    }
    Ok(name.to_owned())
}

/// A session that is being made; dropped, what there is of it is ended.
struct Unmade {
    session: Option<Session>,
    home: Home,
}

impl Unmade {
    async fn because(&mut self, error: &Error) {
        if let Some(session) = self.session.take() {
            lifecycle::end(&session, &self.home, End::NeverReady(error.message.clone())).await;
        }
    }
}

impl Drop for Unmade {
    fn drop(&mut self) {
        let (Some(session), Ok(runtime)) =
            (self.session.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let home = self.home.clone();
        runtime.spawn(async move {
            let why = End::NeverReady("whoever asked for it went away".to_owned());
            lifecycle::end(&session, &home, why).await;
        });
    }
}

/// What the builder found, made into a broker.
pub(super) fn drivers(files: &Files, data_dir: &Path) -> (Arc<ProcessDriver>, Arc<QemuDriver>) {
    let process = Arc::new(ProcessDriver::new(files.clone(), data_dir.to_owned()));
    let qemu = Arc::new(QemuDriver::new(files.clone(), data_dir.to_owned()));
    (process, qemu)
}
