//! The broker: every session of one host.

use std::path::PathBuf;
use std::time::Duration;

use super::{CreateSession, DriverChoice, Limits, ProgressSender, Result, Session, SessionInfo};

/// The broker; cheap to clone, all clones are one.
#[derive(Debug, Clone)]
pub struct Broker {}

impl Broker {
    /// Begins with the defaults.
    pub fn builder() -> BrokerBuilder {
        BrokerBuilder::default()
    }

    /// Makes a session and waits until it takes commands. A dropped call ends
    /// what it had begun to make.
    pub async fn create_session(
        &self,
        _request: CreateSession,
        _progress: Option<ProgressSender>,
    ) -> Result<Session> {
        todo!()
    }

    /// A session by its id.
    pub fn session(&self, _id: &str) -> Result<Session> {
        todo!()
    }

    /// Every session, oldest first.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        todo!()
    }

    /// Ends a session; `force` leaves its commands no grace.
    pub async fn delete_session(&self, _id: &str, _force: bool) -> Result<()> {
        todo!()
    }

    /// Ends every sandbox; what is not down by the deadline is killed.
    pub async fn shutdown(&self, _deadline: Duration) {
        todo!()
    }
}

/// How a broker is to be; everything has a default.
#[derive(Debug, Clone, Default)]
pub struct BrokerBuilder {
    data_dir: Option<PathBuf>,
    images_dir: Option<PathBuf>,
    default_image: Option<String>,
    driver: DriverChoice,
    agent: Option<PathBuf>,
    kernel: Option<PathBuf>,
    initramfs: Option<PathBuf>,
    limits: Limits,
}

impl BrokerBuilder {
    /// Sockets, consoles and what survives a restart; default: a directory
    /// below `$XDG_RUNTIME_DIR` or /tmp of this process's own.
    #[must_use]
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(dir.into());
        self
    }

    /// Where image names are looked up; default: `images` beside the agent.
    #[must_use]
    pub fn images_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.images_dir = Some(dir.into());
        self
    }

    /// For sessions that name none; default: `debian`.
    #[must_use]
    pub fn default_image(mut self, image: impl Into<String>) -> Self {
        self.default_image = Some(image.into());
        self
    }

    /// For sessions that name none.
    #[must_use]
    pub fn driver(mut self, driver: DriverChoice) -> Self {
        self.driver = driver;
        self
    }

    /// `postern-agent`; default: beside the executable, then /usr/lib/postern.
    #[must_use]
    pub fn agent(mut self, path: impl Into<PathBuf>) -> Self {
        self.agent = Some(path.into());
        self
    }

    /// `vmlinuz`; likewise.
    #[must_use]
    pub fn kernel(mut self, path: impl Into<PathBuf>) -> Self {
        self.kernel = Some(path.into());
        self
    }

    /// `initramfs.img`; likewise.
    #[must_use]
    pub fn initramfs(mut self, path: impl Into<PathBuf>) -> Self {
        self.initramfs = Some(path.into());
        self
    }

    /// The operator's bounds.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Looks for what it needs; what only one driver needs is missed when a
    /// session asks for it.
    pub async fn build(self) -> Result<Broker> {
        todo!()
    }
}
